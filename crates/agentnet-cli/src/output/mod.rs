//! Everything that is printed: tables for people, JSON for programs, colours for terminals.

pub mod escape;
pub mod names;
pub mod style;
pub mod table;
pub mod text;
pub mod time;

use std::io::{IsTerminal, Write};

use agentnet_proto::{Clock as _, SystemClock, Timestamp};
use serde::Serialize;

use crate::failure::Failure;

/// Where and how a command prints.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    json: bool,
    width: Option<u16>,
}

impl Out {
    /// Standard output; `json` for programs.
    pub fn new(json: bool) -> Self {
        let width = std::io::stdout().is_terminal().then(|| comfy_table::Table::new().width()).flatten();
        Self { json, width }
    }

    /// Whether a program reads this.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Columns of the terminal; `None` for a pipe.
    pub fn width(self) -> Option<u16> {
        self.width
    }

    /// Now, for "12 s ago".
    pub fn now(self) -> Timestamp {
        SystemClock.now()
    }

    /// One line or block. Text of others must have gone through [`escape`].
    pub fn line(self, text: impl std::fmt::Display) -> Result<(), Failure> {
        let mut stdout = anstream::stdout().lock();
        writeln!(stdout, "{text}")?;
        stdout.flush()?;
        Ok(())
    }

    /// Text that goes on in the same line.
    pub fn text(self, text: impl std::fmt::Display) -> Result<(), Failure> {
        let mut stdout = anstream::stdout().lock();
        write!(stdout, "{text}")?;
        stdout.flush()?;
        Ok(())
    }

    /// One JSON document.
    pub fn document<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|error| not_json(&error))?;
        self.line(escape::clean_json(&text))
    }

    /// One JSON document in one line.
    pub fn json_line<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| not_json(&error))?;
        // A payload keeps the sender's line breaks between its tokens.
        self.line(escape::clean_json(&text.replace(['\n', '\r'], " ")))
    }

    /// `value` for programs, what `people` makes of it for people.
    pub fn show<T: Serialize + ?Sized>(
        self,
        value: &T,
        people: impl FnOnce(&T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.json { self.document(value) } else { people(value) }
    }
}

/// A line on standard error. Nothing is left to do when that is closed.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

fn not_json(error: &serde_json::Error) -> Failure {
    Failure::local("internal", format!("the answer can't be written as JSON: {error}"), "report this")
}
