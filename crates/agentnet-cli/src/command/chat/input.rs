//! Where a chat's lines come from: a line editor on a terminal, plain lines elsewhere.
//!
//! Both block, so each has a thread. It reads the next line only when asked, so that a prompt never stands in the
//! middle of a reply.

use std::{
    io::{BufRead as _, IsTerminal as _},
    path::{Path, PathBuf},
    sync::mpsc as blocking,
    thread,
};

use rustyline::{Config, Editor, ExternalPrinter as _, error::ReadlineError, history::FileHistory};
use tokio::sync::mpsc;

use crate::{failure::Failure, network::context::write_private, output::style};

/// Most lines kept in the history file.
const HISTORY: usize = 1000;
/// Longest line taken from a pipe, bytes: as much as a message may hold.
const MAX_LINE: usize = 256_000;

/// What came when a line was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// A line.
    Line(String),
    /// End of input, Ctrl-D.
    End,
    /// Ctrl-C.
    Interrupt,
    /// Reading failed.
    Failed(String),
}

/// Prints above the prompt.
pub type Above = Box<dyn FnMut(String) + Send>;

/// The reading side of a chat.
pub struct Reader {
    ask: blocking::Sender<()>,
    answers: mpsc::Receiver<Input>,
    /// Prints above the prompt; `None` when there is no prompt.
    pub above: Option<Above>,
}

impl Reader {
    /// Reads from standard input.
    ///
    /// # Errors
    /// When the terminal can't be set up.
    pub fn new(history: Option<PathBuf>, prompt: &str) -> Result<Self, Failure> {
        let (ask, asked) = blocking::channel();
        let (answer, answers) = mpsc::channel(1);
        let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let mut above = None;
        if interactive {
            let mut editor = editor()?;
            if let Ok(mut printer) = editor.create_external_printer() {
                above = Some(Box::new(move |text: String| {
                    // The terminal is gone; the reader will notice too.
                    let _ = printer.print(text);
                }) as Above);
            }
            let styled = if style::is_on() { style::paint(style::BOLD, prompt) } else { prompt.to_owned() };
            let prompt = (prompt.to_owned(), styled);
            thread::spawn(move || edit(editor, history.as_deref(), &prompt, &asked, &answer));
        } else {
            thread::spawn(move || read_lines(&asked, &answer));
        }
        Ok(Self { ask, answers, above })
    }

    /// Whether a person types.
    pub fn is_interactive(&self) -> bool {
        self.above.is_some()
    }

    /// Shows the prompt.
    pub fn prompt(&self) {
        // A reader that has ended answers `End` below.
        let _ = self.ask.send(());
    }

    /// The answer to the last [`prompt`](Self::prompt). Safe to be dropped and called anew.
    pub async fn line(&mut self) -> Input {
        self.answers.recv().await.unwrap_or(Input::End)
    }
}

type Terminal = Editor<(), FileHistory>;

fn editor() -> Result<Terminal, Failure> {
    let failed = |error: ReadlineError| {
        Failure::local(
            "terminal",
            format!("the terminal can't be used: {error}"),
            "pipe the lines into the command",
        )
    };
    let config = Config::builder().max_history_size(HISTORY).map_err(failed)?.auto_add_history(true).build();
    let mut editor = Editor::with_config(config).map_err(failed)?;
    // Without a helper the prompt's style is left out.
    editor.set_helper(Some(()));
    Ok(editor)
}

fn edit(
    mut editor: Terminal,
    history: Option<&Path>,
    prompt: &(String, String),
    asked: &blocking::Receiver<()>,
    answer: &mpsc::Sender<Input>,
) {
    if let Some(path) = history {
        // Made here first, so that nobody else can read it. One that is missing or damaged is a history lost.
        if !path.exists() {
            let _ = write_private(path, b"#V2");
        }
        let _ = editor.load_history(path);
    }
    while asked.recv().is_ok() {
        let input = match editor.readline(prompt) {
            Ok(line) => {
                if let Some(path) = history {
                    let _ = editor.append_history(path);
                }
                Input::Line(line)
            }
            Err(ReadlineError::Eof) => Input::End,
            Err(ReadlineError::Interrupted) => Input::Interrupt,
            Err(error) => Input::Failed(error.to_string()),
        };
        if answer.blocking_send(input).is_err() {
            return;
        }
    }
}

fn read_lines(asked: &blocking::Receiver<()>, answer: &mpsc::Sender<Input>) {
    let mut stdin = std::io::stdin().lock();
    while asked.recv().is_ok() {
        let mut line = Vec::new();
        let mut limited = std::io::Read::take(&mut stdin, MAX_LINE as u64);
        let input = match limited.read_until(b'\n', &mut line) {
            Ok(0) => Input::End,
            Ok(MAX_LINE) => Input::Failed(format!("a line is longer than {MAX_LINE} bytes")),
            Ok(_) => Input::Line(String::from_utf8_lossy(&line).into_owned()),
            Err(error) => Input::Failed(error.to_string()),
        };
        if answer.blocking_send(input).is_err() {
            return;
        }
    }
}
