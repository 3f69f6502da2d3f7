//! `agentnet identity create`.

use agentnet::IdentityStore;

use super::{password::Seal, view::Shown};
use crate::{command::Context, failure::Failure};

/// Make an identity
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name: the agent_id or username that will use it
    pub name: String,
    #[command(flatten)]
    pub seal: Seal,
}

/// Makes it and shows its public key.
pub fn run(ctx: &Context, store: &IdentityStore, args: &Args) -> Result<(), Failure> {
    let password = args.seal.wanted()?;
    let made = store.create(&args.name, password.as_ref())?;
    Shown::changed(store, &made)?.print(ctx)
}
