//! `agentnet identity import`.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use agentnet::{IdentityError, IdentityStore};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{
    password::{Open, Seal},
    view::Shown,
};
use crate::{command::Context, failure::Failure};

/// Longest text to import.
const MAX: u64 = 64 * 1024;

/// Take in an exported identity, a key file of the original AgentNet or a NATS user seed
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file; - reads standard input
    pub file: PathBuf,
    /// Its name here; the name in the text, or of the original's file, when left out
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub password: Open,
    #[command(flatten)]
    pub seal: Seal,
}

/// Takes it in and shows its public key.
pub fn run(ctx: &Context, store: &IdentityStore, args: &Args) -> Result<(), Failure> {
    let text = read(&args.file)?;
    let seal = args.seal.wanted()?;
    let import = |name: Option<&str>, password: Option<&SecretString>| {
        store.import(&text, name, password, seal.as_ref())
    };
    let given = args.password.given()?;
    let mut imported = import(args.name.as_deref(), given.as_ref());
    if let Err(IdentityError::PasswordRequired { name }) = &imported {
        imported = import(args.name.as_deref(), Some(&args.password.required(name)?));
    }
    // The original keeps the name of a key in its file's name.
    if let (Err(IdentityError::NameMissing), Some(stem)) =
        (&imported, args.file.file_stem().and_then(|s| s.to_str()))
        && args.file.extension().is_some_and(|extension| extension == "json")
    {
        imported = import(Some(stem), given.as_ref());
    }
    Shown::changed(store, &imported?)?.print(ctx)
}

fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::with_capacity(MAX as usize));
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX).read_to_string(&mut text))
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(IdentityError::NotAnIdentity.into())
        }
        Err(error) => Err(Failure::local(
            "identity_io",
            format!("{} can't be read: {error}", path.display()),
            "check its name and permissions",
        )),
    }
}
