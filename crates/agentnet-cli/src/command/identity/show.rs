//! `agentnet identity show`.

use agentnet::{IdentityStore, identity::Origin};

use super::{password::Open, view::Shown};
use crate::{command::Context, failure::Failure};

/// One identity's public key, file and age
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name
    pub name: String,
    #[command(flatten)]
    pub password: Open,
}

/// Shows it. Asks for no password: without one, only replaced keys stay hidden.
pub fn run(ctx: &Context, store: &IdentityStore, args: &Args) -> Result<(), Failure> {
    let found = store.find(&args.name)?;
    let file = match found.origin {
        Origin::Store | Origin::Guest => store.path_of(&args.name)?,
        Origin::Original => store.original_path_of(&args.name).unwrap_or_default(),
    };
    let shown = Shown::of(&found, &file);
    let password = args.password.given()?;
    if found.is_encrypted && password.is_none() {
        return shown.print(ctx);
    }
    shown.with(&store.load(&args.name, password.as_ref())?).print(ctx)
}
