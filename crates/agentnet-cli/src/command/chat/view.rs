//! How a chat looks.

use agentnet::proto::Envelope;

use crate::{
    failure::Failure,
    output::{
        Out,
        escape::{clean, clean_block, clean_json},
        style::{BAD, BOLD, DIM, WARN, paint, person},
        text, time,
    },
};

use super::{input::Above, line::COMMANDS};

/// Prints to the terminal above the prompt, or to standard output when there is none.
pub struct View {
    out: Out,
    raw: bool,
    above: Option<Above>,
    /// Whether part of a reply stands in the line, and whether the line has ended.
    speaking: Option<bool>,
}

impl View {
    /// `above` prints above a prompt that may stand.
    pub fn new(out: Out, raw: bool, above: Option<Above>) -> Self {
        Self { out, raw, above, speaking: None }
    }

    /// The reply to what was just said.
    pub fn reply(&mut self, reply: &Envelope) -> Result<(), Failure> {
        if self.out.is_json() {
            return self.out.json_line(reply);
        }
        if self.raw {
            return self.print(&clean(&text::one_line(&reply.payload)));
        }
        let from = clean(&reply.from_agent).into_owned();
        let said = said(reply);
        // A pipe's reader wants the text alone.
        if self.above.is_none() {
            return self.print(&said);
        }
        self.print(&format!("{}  {said}", paint(person(&from), &from)))
    }

    /// A piece of a reply that is being written. Programs, and readers of raw payloads, get the whole.
    pub fn delta(&mut self, who: &str, delta: &str) -> Result<(), Failure> {
        if self.out.is_json() || self.raw {
            return Ok(());
        }
        // No prompt stands while a reply is waited for.
        if self.speaking.is_none() && self.above.is_some() {
            self.out.text(format_args!("{}  ", paint(person(who), clean(who))))?;
        }
        self.speaking = Some(delta.ends_with('\n'));
        self.out.text(clean_block(delta))
    }

    /// The reply is complete; whether it was shown.
    pub fn end_deltas(&mut self) -> Result<bool, Failure> {
        let speaking = self.speaking.take();
        if speaking == Some(false) {
            self.out.line("")?;
        }
        Ok(speaking.is_some())
    }

    /// A message that came by itself.
    pub fn incoming(&mut self, message: &Envelope, thread: &str) -> Result<(), Failure> {
        if self.out.is_json() {
            return self.out.json_line(message);
        }
        let from = clean(&message.from_agent).into_owned();
        let elsewhere = message.thread_id_or_default();
        let place = if elsewhere == thread { String::new() } else { format!(" in {}", clean(&elsewhere)) };
        let said =
            if self.raw { clean(&text::one_line(&message.payload)).into_owned() } else { said(message) };
        self.print(&format!(
            "{} {}{}  {said}",
            paint(DIM, time::clock(&message.sent_at)),
            paint(person(&from), &from),
            paint(DIM, place),
        ))
    }

    /// Something went wrong with one line; the talk goes on.
    pub fn failed(&mut self, failure: &Failure) -> Result<(), Failure> {
        if self.out.is_json() {
            self.out.line(clean_json(&failure.to_json().replace('\n', "")))?;
        }
        let hint = if failure.hint().is_empty() {
            String::new()
        } else {
            format!("\n{} {}", paint(WARN, "hint:"), failure.hint())
        };
        let text = format!("{} {}{hint}", paint(BAD, "error:"), clean_block(&failure.to_string()));
        match self.above {
            Some(_) => self.print(&text),
            None => {
                crate::output::note(text);
                Ok(())
            }
        }
    }

    /// How to begin.
    pub fn welcome(&mut self, who: &str, thread: &str) -> Result<(), Failure> {
        if self.above.is_none() {
            return Ok(());
        }
        let text = format!("talking with {} in {}; /help shows commands", paint(BOLD, who), clean(thread));
        self.print(&paint(DIM, text))
    }

    /// The thread the talk is on.
    pub fn thread(&mut self, thread: &str) -> Result<(), Failure> {
        if self.out.is_json() {
            return self.out.json_line(&serde_json::json!({ "thread_id": thread }));
        }
        self.print(&format!("thread {}", clean(thread)))
    }

    /// The commands.
    pub fn help(&mut self) -> Result<(), Failure> {
        for (command, what) in COMMANDS {
            let pad = " ".repeat(16_usize.saturating_sub(command.len()));
            self.remark(&format!("{command}{pad}{what}"))?;
        }
        self.remark("Everything else goes to the agent. // at the beginning sends a line that begins with /.")
    }

    /// A remark of this program.
    pub fn remark(&mut self, text: &str) -> Result<(), Failure> {
        let text = paint(DIM, clean(text));
        // A program reads replies on standard output and nothing else.
        if self.above.is_none() {
            crate::output::note(text);
            return Ok(());
        }
        self.print(&text)
    }

    fn print(&mut self, text: &str) -> Result<(), Failure> {
        match &mut self.above {
            Some(above) => {
                let text = if crate::output::style::is_on() {
                    text.to_owned()
                } else {
                    anstream::adapter::strip_str(text).to_string()
                };
                above(text + "\n");
                Ok(())
            }
            None => self.out.line(text),
        }
    }
}

fn said(message: &Envelope) -> String {
    match message.payload.as_text() {
        Some(text) => clean_block(text.trim_end()),
        None => clean(&text::one_line(&message.payload)).into_owned(),
    }
}
