//! Where passwords of people come from: a file, the environment, standard input, or a person, without echo. Never the
//! command line.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    path::{Path, PathBuf},
};

use agentnet::proto::SecretText;
use zeroize::Zeroizing;

use super::environment;
use crate::failure::Failure;

/// The variable that holds a password, for programs.
pub const VARIABLE: &str = "AGENTNET_USER_PASSWORD";
/// Longest input that is read.
const MAX: u64 = 4096;

/// How the password is given.
#[derive(Debug, Clone, clap::Args)]
pub struct Given {
    /// Read the password from the first line of this file, `-` for standard input (env: AGENTNET_USER_PASSWORD); asked for
    /// unless given
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

impl Given {
    /// A new password; a person is asked twice.
    ///
    /// # Errors
    /// `password_required` without a terminal, `passwords_differ`, `password_file`.
    pub fn new_password(&self) -> Result<SecretText, Failure> {
        if let Some(found) = self.given()? {
            return Ok(found);
        }
        let first = ask("New password: ")?;
        let second = ask("Again: ")?;
        if first == second {
            Ok(first)
        } else {
            Err(Failure::local("passwords_differ", "the two passwords differ", "try again"))
        }
    }

    fn given(&self) -> Result<Option<SecretText>, Failure> {
        match &self.password_file {
            Some(path) if path.as_os_str() == "-" => {
                first_line(io::stdin(), Path::new("standard input")).map(Some)
            }
            Some(path) => File::open(path)
                .map_or_else(|error| Err(unreadable(path, &error)), |file| first_line(file, path).map(Some)),
            None => Ok(environment(VARIABLE).map(SecretText::new)),
        }
    }
}

/// Asks on the terminal, without echo.
///
/// # Errors
/// `password_required` without one.
pub fn ask(prompt: &str) -> Result<SecretText, Failure> {
    let required = |detail: &str| {
        let hint = format!("run it in a terminal, or give --password-file or {VARIABLE}");
        Failure::local("password_required", detail, hint)
    };
    if !io::stderr().is_terminal() {
        return Err(required("a password is needed, and there is no terminal to ask on"));
    }
    match rpassword::prompt_password(prompt) {
        Ok(password) => Ok(SecretText::new(password)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Failure::Interrupted),
        Err(error) => Err(required(&format!("the password can't be asked for: {error}"))),
    }
}

fn first_line(from: impl Read, path: &Path) -> Result<SecretText, Failure> {
    let mut text = Zeroizing::new(String::with_capacity(MAX as usize));
    from.take(MAX).read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(SecretText::new(line)),
        _ => Err(unreadable(path, &io::Error::other("its first line is empty"))),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let detail = format!("the password can't be read from {}: {error}", path.display());
    Failure::local("password_file", detail, "check its name and permissions")
}
