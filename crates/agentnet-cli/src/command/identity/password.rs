//! Where passwords come from: a file, the environment, or a person, without echo. Never the command line.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use agentnet::identity::password_from_env;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Longest password file.
const MAX: u64 = 4096;

/// The password of an identity that exists.
#[derive(Debug, Clone, clap::Args)]
pub struct Open {
    /// Read the password from the first line of this file
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// The password that a new file gets.
#[derive(Debug, Clone, clap::Args)]
pub struct Seal {
    /// Encrypt under a password, asked for unless AGENTNET_IDENTITY_PASSWORD holds it
    #[arg(long)]
    pub encrypt: bool,
    /// Encrypt under the first line of this file
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
}

impl Open {
    /// What is known without asking.
    pub fn given(&self) -> Result<Option<SecretString>, Failure> {
        self.password_file.as_deref().map_or_else(|| Ok(password_from_env()), |path| read(path).map(Some))
    }

    /// The password for `name`, asked for if need be.
    pub fn required(&self, name: &str) -> Result<SecretString, Failure> {
        match self.given()? {
            Some(password) => Ok(password),
            None => ask(&format!("Password of {name}: ")),
        }
    }
}

impl Seal {
    /// The password to encrypt under, if one is wanted. A new one is asked for twice.
    pub fn wanted(&self) -> Result<Option<SecretString>, Failure> {
        if let Some(path) = &self.new_password_file {
            return read(path).map(Some);
        }
        if !self.encrypt {
            return Ok(None);
        }
        if let Some(password) = password_from_env() {
            return Ok(Some(password));
        }
        let first = ask("New password: ")?;
        if first.expose_secret().is_empty() {
            return Err(agentnet::IdentityError::PasswordEmpty.into());
        }
        let second = ask("Again: ")?;
        if first.expose_secret() == second.expose_secret() {
            Ok(Some(first))
        } else {
            Err(Failure::local("identity_passwords_differ", "the two passwords differ", "try again"))
        }
    }
}

fn ask(prompt: &str) -> Result<SecretString, Failure> {
    let required = |detail: &str| {
        Failure::local(
            "identity_password_required",
            detail,
            "run it in a terminal, or give a password file or AGENTNET_IDENTITY_PASSWORD",
        )
    };
    if !io::stderr().is_terminal() {
        return Err(required("a password is needed, and there is no terminal to ask on"));
    }
    match rpassword::prompt_password(prompt) {
        Ok(password) => Ok(password.into()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Failure::Interrupted),
        Err(error) => Err(required(&format!("the password can't be asked for: {error}"))),
    }
}

fn read(path: &Path) -> Result<SecretString, Failure> {
    let failed = |error: io::Error| {
        Failure::local(
            "identity_password_file",
            format!("the password file {} can't be read: {error}", path.display()),
            "check its name and permissions",
        )
    };
    let mut text = Zeroizing::new(String::with_capacity(MAX as usize));
    File::open(path).and_then(|file| file.take(MAX).read_to_string(&mut text)).map_err(failed)?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.into()),
        _ => Err(agentnet::IdentityError::PasswordEmpty.into()),
    }
}
