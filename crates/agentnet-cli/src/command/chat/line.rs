//! What a person types into a chat.

/// A line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Nothing.
    Empty,
    /// `/quit`.
    Quit,
    /// `/help`.
    Help,
    /// `/showthread`.
    ShowThread,
    /// `/thread <id>`.
    Thread(String),
    /// Begins with `/` and is none of ours.
    Unknown(String),
    /// Everything else goes to the agent. A line that begins with `//` is sent with one `/`.
    Say(String),
}

/// The commands, for `/help` and completion.
pub const COMMANDS: [(&str, &str); 4] = [
    ("/help", "show this"),
    ("/showthread", "show the thread this talk is on"),
    ("/thread <id>", "go on in another thread"),
    ("/quit", "end; Ctrl-D does too"),
];

impl Line {
    /// Reads a line.
    pub fn read(text: &str) -> Self {
        let text = text.trim();
        let Some(command) = text.strip_prefix('/') else {
            return if text.is_empty() { Self::Empty } else { Self::Say(text.to_owned()) };
        };
        if command.starts_with('/') {
            return Self::Say(command.to_owned());
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match (name, rest.trim()) {
            ("quit" | "exit", "") => Self::Quit,
            ("help", _) => Self::Help,
            ("showthread", "") => Self::ShowThread,
            ("thread", "") => Self::ShowThread,
            ("thread", id) => Self::Thread(id.to_owned()),
            _ => Self::Unknown(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_text() {
        for (text, line) in [
            ("", Line::Empty),
            ("  \t", Line::Empty),
            (" /quit ", Line::Quit),
            ("/exit", Line::Quit),
            ("/help", Line::Help),
            ("/showthread", Line::ShowThread),
            ("/thread", Line::ShowThread),
            ("/thread  thread_x ", Line::Thread("thread_x".into())),
            ("/nope", Line::Unknown("/nope".into())),
            ("/quit now", Line::Unknown("/quit now".into())),
            ("//etc/passwd", Line::Say("/etc/passwd".into())),
            (" hi there ", Line::Say("hi there".into())),
        ] {
            assert_eq!(Line::read(text), line, "{text:?}");
        }
    }
}
