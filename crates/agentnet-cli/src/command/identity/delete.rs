//! `agentnet identity delete`.

use agentnet::{IdentityError, IdentityStore};
use serde::Serialize;

use super::confirm;
use crate::{command::Context, failure::Failure, output::escape::clean};

/// Remove an identity and its key
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name
    pub name: String,
    /// Don't ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Serialize)]
struct Deleted<'a> {
    deleted: &'a str,
}

/// Asks, and removes it.
pub fn run(ctx: &Context, store: &IdentityStore, args: &Args) -> Result<(), Failure> {
    // What isn't there needs no question; what is damaged may go.
    if let Err(error @ (IdentityError::NotFound { .. } | IdentityError::NameTaken { .. })) =
        store.find(&args.name)
    {
        return Err(error.into());
    }
    if !args.yes {
        let name = clean(&args.name);
        confirm::ask(&format!("Delete the key of {name}? Nobody can bring it back."))?;
    }
    store.delete(&args.name)?;
    ctx.out.show(&Deleted { deleted: &args.name }, |deleted| {
        ctx.out.line(format!("deleted {}", clean(deleted.deleted)))
    })
}
