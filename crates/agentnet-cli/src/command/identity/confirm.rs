//! Questions that are answered yes or no.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use crate::failure::Failure;

/// Asks on the terminal.
///
/// # Errors
/// `not_confirmed` for everything but yes, and where there is nobody to ask.
pub fn ask(question: &str) -> Result<(), Failure> {
    let refused =
        |detail: &str| Failure::local("not_confirmed", detail, "say --yes to do it without a question");
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(refused("this needs a yes, and there is no terminal to ask on"));
    }
    let mut stderr = anstream::stderr();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().take(64).read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(refused("nothing was done")),
    }
}
