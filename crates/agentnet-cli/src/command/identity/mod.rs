//! `agentnet identity`: the keys of this user's agents.
//!
//! These commands need no network and no runtime: they ask and read files like any small tool, and Ctrl-C ends them.

mod confirm;
mod create;
mod delete;
mod export;
mod import;
mod list;
mod password;
mod rotate;
mod show;
mod view;

use agentnet::{IdentityError, IdentityStore};
use clap::Subcommand;

use super::Context;
use crate::failure::Failure;

/// Keys that agents speak with
///
/// An identity is one Ed25519 key in a file that only you can read, in the directory that AGENTNET_IDENTITY_DIR names or
/// in your data directory. Agents make theirs on first use. Passwords are asked for, read from a file, or taken from
/// AGENTNET_IDENTITY_PASSWORD; never from the command line, where other users could read them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an identity
    Create(create::Args),
    /// All identities
    List(list::Args),
    /// One identity's public key, file and age
    Show(show::Args),
    /// Write an identity out, with its secret key
    Export(export::Args),
    /// Take in an exported identity, a key file of the original AgentNet or a NATS user seed
    Import(import::Args),
    /// Replace the key by a new one
    Rotate(rotate::Args),
    /// Remove an identity and its key
    Delete(delete::Args),
}

/// Runs the command.
///
/// # Errors
/// Why it didn't do what was asked; `identity_*`.
pub fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let store = IdentityStore::from_env()?;
    match args.command {
        Command::Create(args) => create::run(ctx, &store, &args),
        Command::List(args) => list::run(ctx, &store, &args),
        Command::Show(args) => show::run(ctx, &store, &args),
        Command::Export(args) => export::run(ctx, &store, &args),
        Command::Import(args) => import::run(ctx, &store, &args),
        Command::Rotate(args) => rotate::run(ctx, &store, &args),
        Command::Delete(args) => delete::run(ctx, &store, &args),
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::local(error.code(), format!("{error}{cause}"), next_step(&error))
    }
}

fn next_step(error: &IdentityError) -> &'static str {
    match error {
        IdentityError::NotFound { .. } => {
            "see what exists with `agentnet identity list`, or make it with `agentnet identity create`"
        }
        IdentityError::PasswordRequired { .. } => {
            "run it in a terminal, or give --password-file or AGENTNET_IDENTITY_PASSWORD"
        }
        IdentityError::PasswordWrong { .. } => {
            "try again; without its password an identity can't be recovered"
        }
        IdentityError::NameMissing => "give --name",
        IdentityError::Exists { .. } => {
            "see it with `agentnet identity show`, or import under another --name"
        }
        _ => "",
    }
}
