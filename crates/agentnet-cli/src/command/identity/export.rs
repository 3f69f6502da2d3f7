//! `agentnet identity export`.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use agentnet::{IdentityStore, identity::ExportFormat};
use clap::ValueEnum;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    confirm,
    password::{Open, Seal},
};
use crate::{command::Context, failure::Failure, output::escape::clean};

/// Write an identity out, with its secret key
///
/// Whoever has the output can speak as this agent. To a file (made readable by you only), or to standard output.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name
    pub name: String,
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Identity)]
    pub format: Format,
    /// Write a new file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Don't ask before a secret is shown on the terminal
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub password: Open,
    #[command(flatten)]
    pub seal: Seal,
}

/// How an identity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// An identity file, encrypted if wanted
    Identity,
    /// A key file of the original AgentNet, for `.keys/`
    Original,
    /// The NATS user seed, SU...
    NkeySeed,
}

impl From<Format> for ExportFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Identity => Self::Identity,
            Format::Original => Self::Original,
            Format::NkeySeed => Self::NkeySeed,
        }
    }
}

#[derive(Serialize)]
struct Exported<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

/// Writes it out.
pub fn run(ctx: &Context, store: &IdentityStore, args: &Args) -> Result<(), Failure> {
    let wants_seal = args.seal.encrypt || args.seal.new_password_file.is_some();
    if wants_seal && args.format != Format::Identity {
        return Err(Failure::local(
            "identity_format_plain",
            "only an identity file can be encrypted",
            "leave out --encrypt, or export with --format identity",
        ));
    }
    let found = store.find(&args.name)?;
    let shows_secret = !wants_seal && args.output.is_none() && std::io::stdout().is_terminal();
    if shows_secret && !args.yes {
        confirm::ask(&format!("Show the secret key of {} on this terminal?", clean(&args.name)))?;
    }
    let password = if found.is_encrypted { Some(args.password.required(&args.name)?) } else { None };
    let seal = args.seal.wanted()?;
    let text = store.export(&args.name, args.format.into(), password.as_ref(), seal.as_ref())?;
    let exported = Exported {
        name: &args.name,
        file: args.output.as_deref(),
        text: args.output.is_none().then_some(text.as_str()),
    };
    if let Some(path) = &args.output {
        write_new(path, &text)?;
    }
    ctx.out.show(&exported, |_| match &args.output {
        Some(path) => ctx.out.line(format!("written to {}", clean(&path.to_string_lossy()))),
        None => Ok(std::io::stdout().write_all(text.as_bytes())?),
    })
}

/// Makes the file, which must not exist, readable by its owner only.
fn write_new(path: &Path, text: &Zeroizing<String>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::local(
            "identity_io",
            format!("{} can't be written: {error}", path.display()),
            "name a file that doesn't exist yet, in a directory that you may write to",
        )
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}
