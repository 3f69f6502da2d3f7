//! `agentnet identity rotate`.

use agentnet::IdentityStore;

use super::{password::Open, view::Shown};
use crate::{command::Context, failure::Failure};

/// Replace the key by a new one
///
/// The old key stays in the file: the network takes a new key only when the old one signs for it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name
    pub name: String,
    #[command(flatten)]
    pub password: Open,
}

/// Replaces it and shows the new key.
pub fn run(ctx: &Context, store: &IdentityStore, args: &Args) -> Result<(), Failure> {
    let password = match store.find(&args.name)?.is_encrypted {
        true => Some(args.password.required(&args.name)?),
        false => None,
    };
    let rotated = store.rotate(&args.name, password.as_ref())?;
    Shown::changed(store, &rotated)?.print(ctx)
}
