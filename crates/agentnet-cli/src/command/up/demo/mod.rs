//! Agents that talk, so that a newcomer sees traffic within seconds.
//!
//! They are ordinary agents of the client crate on the network that was just started: what they say passes NATS, is
//! stored in Postgres and can be watched, searched and answered like everything else.

mod small_talk;
mod talk;
mod topics;

use std::{sync::Arc, time::Duration};

use agentnet::{
    AgentNode, Incoming,
    connect::context::UserIdentity,
    proto::{
        Security,
        subject::{ALL_CAPABILITIES, ALL_INBOXES, ALL_RECEIPTS, ALL_REPLIES},
    },
};
use agentnet_local::DataDir;
use futures_util::{StreamExt as _, future, stream};
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::{progress::Progress, stack::Stack};
use crate::{
    command::{
        Context,
        watch::{Printer, subscribe},
    },
    failure::Failure,
    network::{Link, Network},
};
use small_talk::Role;

/// What the terminal shows: messages, what recipients say about them, and replies, which in secure mode nobody hears but
/// who asked.
const SHOWN: [&str; 3] = [ALL_INBOXES, ALL_CAPABILITIES, ALL_RECEIPTS];

/// Marks messages that the agents send each other. Everything without it comes from somebody else.
const STEP: &str = "demo_step";

/// Between two words of an answer that comes word by word.
const WORD_PAUSE: Duration = Duration::from_millis(60);

/// The running demo.
pub struct Demo {
    agents: Vec<AgentNode>,
    talk: JoinHandle<()>,
    viewer: JoinHandle<()>,
}

impl Demo {
    /// Starts the agents and their talk, and shows what passes.
    ///
    /// # Errors
    /// When the agents can't join.
    pub async fn start(ctx: &Context, dir: &DataDir, stack: &Stack) -> Result<Self, Failure> {
        let network = stack.network();
        let link = network.connect("agentnet-demo-watch").await?;
        // Before the first word is said.
        let viewer = view(ctx, link, stack.told.security).await?;
        let (topic, _) = watch::channel("nothing yet".to_owned());
        let topic = Arc::new(topic);
        let joined =
            future::try_join_all(Role::ALL.map(|role| join(role, dir, &network, Arc::clone(&topic)))).await;
        let agents = match joined {
            Ok(agents) => agents,
            Err(failure) => {
                viewer.abort();
                return Err(failure);
            }
        };
        let talk = tokio::spawn(talk::run(agents.clone(), topic));
        Ok(Self { agents, talk, viewer })
    }

    /// Says goodbye.
    pub async fn stop(self, progress: &Progress) {
        let step = progress.step("stopping agents");
        self.talk.abort();
        future::join_all(self.agents.iter().map(AgentNode::close)).await;
        self.viewer.abort();
        step.done("agents stopped");
    }
}

async fn view(ctx: &Context, link: Link, security: Security) -> Result<JoinHandle<()>, Failure> {
    let replies = (security != Security::Secure).then_some(ALL_REPLIES);
    let subjects: Vec<String> = SHOWN.into_iter().chain(replies).map(str::to_owned).collect();
    let mut messages = subscribe(&link, &subjects).await?;
    let mut printer = Printer::new(ctx.out, link.registry(std::time::Duration::from_millis(500)), false);
    Ok(tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            // Nobody looks any more; the agents talk on for others.
            if printer.print(&message).await.is_err() {
                return;
            }
        }
    }))
}

async fn join(
    role: Role,
    dir: &DataDir,
    network: &Network,
    topic: Arc<watch::Sender<String>>,
) -> Result<AgentNode, Failure> {
    let own = Network {
        who: Some(UserIdentity { dir: dir.identities_dir(), name: role.id().to_owned() }),
        ..network.clone()
    };
    let node = own
        .agent(role.id())?
        .name(role.name())
        .capabilities(role.capabilities())
        .on_message(move |message: Incoming| {
            let topic = topic.borrow().clone();
            async move { Ok(answer(role, &message, &topic).await?) }
        })
        .start()
        .await?;
    Ok(node)
}

/// Answers who waits for an answer.
async fn answer(role: Role, message: &Incoming, topic: &str) -> Result<(), agentnet::Error> {
    if !message.wants_reply() {
        return Ok(());
    }
    let payload = message.payload().value();
    let text = match payload.get(STEP).and_then(serde_json::Value::as_str) {
        Some(step) => talk::reply_to(step, &payload),
        None => {
            let text = message.text().unwrap_or_else(|| message.payload().get().to_owned());
            let answer = role.answer(&text, topic);
            if role == Role::Researcher {
                // One of them answers people as a language model does.
                let words = stream::iter(answer.split_inclusive(' ')).then(|word| async move {
                    sleep(WORD_PAUSE).await;
                    word
                });
                message.reply_stream(words).await?;
                return Ok(());
            }
            answer
        }
    };
    message.reply(json!({ "text": text })).await?;
    Ok(())
}
