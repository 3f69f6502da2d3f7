//! The talk among the demo's agents: endless, one thread a topic.

use std::{sync::Arc, time::Duration};

use agentnet::{
    AgentNode, Error, Reply,
    proto::{IdGen as _, SystemClock, SystemIds},
};
use rand::{prelude::IndexedRandom as _, seq::SliceRandom as _};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use super::{
    STEP,
    topics::{CLOSINGS, REVIEWS, TAKEN_UP, TOPICS, Topic, VERDICTS},
};

/// Seconds between two sentences, at least and at most: a person reads along.
const PAUSE: std::ops::Range<f64> = 1.2..3.0;
/// After something went wrong, such as a restart of NATS.
const RECOVER: Duration = Duration::from_secs(2);
/// How long a colleague may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Words of a finding that a review quotes.
const QUOTED_WORDS: usize = 6;

/// Talks until it is aborted. `now` is told the topic.
pub async fn run(agents: Vec<AgentNode>, now: Arc<watch::Sender<String>>) {
    let [planner, researcher, critic] = agents.as_slice() else { return };
    let ids = SystemIds::new(SystemClock::shared());
    for topic in TOPICS.iter().cycle() {
        now.send_replace(topic.name.to_owned());
        let thread = format!("thread_demo_{}_{}", topic.slug, ids.suffix(6));
        let cast = Cast { planner, researcher, critic, thread };
        if let Err(error) = cast.discuss(topic).await {
            tracing::warn!(%error, "the demo's talk was interrupted; going on");
            sleep(RECOVER).await;
        }
    }
}

/// What an agent answers to a colleague's request of that kind.
pub fn reply_to(step: &str, payload: &Value) -> String {
    let field = |name: &str| payload.get(name).and_then(Value::as_str).unwrap_or_default();
    match step {
        "question" => answer_of(field("text")).unwrap_or("I found nothing about that.").to_owned(),
        "review" => fill(pick(REVIEWS), &quote(field("finding"))),
        _ => pick(VERDICTS).to_owned(),
    }
}

struct Cast<'a> {
    planner: &'a AgentNode,
    researcher: &'a AgentNode,
    critic: &'a AgentNode,
    thread: String,
}

impl Cast<'_> {
    async fn discuss(&self, topic: &Topic) -> Result<(), Error> {
        let mut facts: Vec<_> = topic.facts.iter().collect();
        facts.shuffle(&mut rand::rng());
        let opening = json!({ STEP: "opening", "text": format!("New subject: {}. Let us find out what matters.", topic.name) });
        self.tell(self.planner, "researcher", opening.clone()).await?;
        self.tell(self.planner, "critic", opening).await?;
        let Some(((alone, found_alone), asked)) = facts.split_first() else { return Ok(()) };
        for (question, _) in asked {
            let finding =
                self.ask(self.planner, "researcher", json!({ STEP: "question", "text": question })).await?;
            let finding = finding.text().unwrap_or_default();
            let review =
                json!({ STEP: "review", "text": format!("Does this hold? {finding}"), "finding": finding });
            self.ask(self.planner, "critic", review).await?;
        }
        // Any agent that can research may take this one.
        let work = json!({ STEP: "work", "text": format!("Open question: {alone}") });
        self.pause().await;
        let work = self.planner.send_to_capability("research", work).thread(&self.thread).await?;
        self.pause().await;
        let result = json!({ STEP: "result", "text": fill(pick(TAKEN_UP), found_alone) });
        self.researcher.send("planner", result).thread(&self.thread).parent(work.message_id).await?;
        let closing = json!({ STEP: "closing", "text": fill(pick(CLOSINGS), topic.name) });
        self.ask(self.planner, "critic", closing).await?;
        self.tell(self.critic, "planner", json!({ STEP: "done", "text": format!("Filed: {}.", topic.name) }))
            .await
    }

    async fn ask(&self, from: &AgentNode, to: &str, payload: Value) -> Result<Reply, Error> {
        self.pause().await;
        from.request(to, payload).thread(&self.thread).timeout(REPLY_TIMEOUT).await
    }

    async fn tell(&self, from: &AgentNode, to: &str, payload: Value) -> Result<(), Error> {
        self.pause().await;
        from.send(to, payload).thread(&self.thread).await?;
        Ok(())
    }

    async fn pause(&self) {
        sleep(Duration::from_secs_f64(rand::random_range(PAUSE))).await;
    }
}

fn answer_of(question: &str) -> Option<&'static str> {
    TOPICS
        .iter()
        .flat_map(|topic| topic.facts)
        .find(|(asked, _)| *asked == question)
        .map(|(_, answer)| *answer)
}

fn pick(sentences: &'static [&'static str]) -> &'static str {
    sentences.choose(&mut rand::rng()).copied().unwrap_or_default()
}

fn fill(sentence: &str, with: &str) -> String {
    sentence.replacen("{}", with, 1)
}

fn quote(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().take(QUOTED_WORDS).collect();
    words.join(" ").trim_end_matches(|c: char| !c.is_alphanumeric()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_has_its_answer() {
        for (question, answer) in TOPICS.iter().flat_map(|topic| topic.facts) {
            assert_eq!(reply_to("question", &json!({ "text": question })), *answer);
        }
        assert!(reply_to("question", &json!({ "text": "?" })).contains("nothing"));
    }

    #[test]
    fn reviews_quote_what_they_review() {
        for _ in 0..20 {
            let review =
                reply_to("review", &json!({ "finding": "The Moon pulls the near water more, and so on." }));
            assert!(review.contains("\"The Moon pulls the near water\""), "{review}");
            assert!(!review.contains("{}"));
        }
        assert!(!reply_to("closing", &Value::Null).is_empty());
    }
}
