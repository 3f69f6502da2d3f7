//! What the demo's agents answer people. Each has its own way to look at a sentence.

/// An agent of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Asks, decides, closes.
    Planner,
    /// Finds things out.
    Researcher,
    /// Doubts.
    Critic,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Planner, Self::Researcher, Self::Critic];

    /// Its agent id and username.
    pub fn id(self) -> &'static str {
        match self {
            Self::Planner => "planner",
            Self::Researcher => "researcher",
            Self::Critic => "critic",
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Planner => "Paula Planner",
            Self::Researcher => "Rob Researcher",
            Self::Critic => "Cara Critic",
        }
    }

    /// What it can do.
    pub fn capabilities(self) -> [&'static str; 2] {
        match self {
            Self::Planner => ["plan", "chat"],
            Self::Researcher => ["research", "chat"],
            Self::Critic => ["review", "chat"],
        }
    }

    /// What it answers to `text`; `now` is what the agents talk about at the moment.
    pub fn answer(self, text: &str, now: &str) -> String {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words
            .first()
            .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
            .as_deref()
        {
            None => "I got a message without words. Say \"help\" to see what I understand.".to_owned(),
            Some("help") => self.help(),
            Some("topic" | "status") => {
                format!("We are on {now} at the moment. Watch it with `agentnet watch`.")
            }
            Some("hi" | "hello" | "hey") => {
                format!("Hello! I am {}. Say \"help\" to see what I understand.", self.name())
            }
            _ => self.twist(text, &words),
        }
    }

    fn help(self) -> String {
        let twist = match self {
            Self::Planner => "anything else, and I make a plan of it",
            Self::Researcher => "anything else, and I examine it",
            Self::Critic => "anything else, and I doubt it",
        };
        format!(
            "I understand: help, topic, {twist}. I am a demo and ask no model; my colleagues are {}.",
            self.others()
        )
    }

    fn others(self) -> String {
        let others: Vec<&str> = Self::ALL.into_iter().filter(|role| *role != self).map(Self::id).collect();
        others.join(" and ")
    }

    fn twist(self, text: &str, words: &[&str]) -> String {
        let text = text.trim();
        match self {
            Self::Planner => {
                let last = words.last().copied().unwrap_or(text).trim_matches(|c: char| !c.is_alphanumeric());
                format!(
                    "\"{text}\"? A plan in three steps: 1. find out what \"{last}\" means here, 2. ask researcher about \
                     it, 3. let critic tear it apart. Shall I start?"
                )
            }
            Self::Researcher => {
                let longest = words.iter().max_by_key(|word| word.chars().count()).copied().unwrap_or(text);
                let backwards: String = text.chars().rev().collect();
                format!(
                    "I examined it: {} words, {} characters, the longest word is \"{longest}\". Backwards it reads \
                     \"{backwards}\".",
                    words.len(),
                    text.chars().count(),
                )
            }
            Self::Critic => {
                let doubt = if text.ends_with('?') {
                    "A question. What would you do with the answer?"
                } else if words.len() < 4 {
                    "That is short. Say what would prove it wrong."
                } else {
                    "Who says so, and how do they know?"
                };
                format!("You say: \"{text}\". {doubt}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_agent_answers_everything() {
        for role in Role::ALL {
            for text in [
                "",
                "help",
                "Help!",
                "topic",
                "hello",
                "what are tides?",
                "天気 はどう",
                "a\u{1b}[2J b c d e",
            ] {
                let answer = role.answer(text, "a tide table");
                assert!(answer.len() > 20, "{role:?} {text:?}: {answer}");
            }
            assert!(role.answer("help", "x").contains("topic"));
            assert!(role.answer("status", "a tide table").contains("a tide table"));
        }
        assert!(Role::Critic.answer("the sea is deep today", "x").contains("the sea is deep today"));
    }
}
