//! `agentnet identity rotate`.

use std::time::Duration;

use agentnet::{Identity, IdentityStore};
use secrecy::SecretString;

use super::{password::Open, view::Shown};
use crate::{
    command::Context,
    failure::Failure,
    network::{Link, Network},
    output::note,
};

/// How long the registry may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Replace the key by a new one
///
/// The old key stays in the file until the network has taken the new one, for which the old one signs. With --network
/// both happen now; what was interrupted is completed by doing it again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name
    pub name: String,
    /// Tell the network, too; a replacement that it hasn't heard of is completed first, and no other key made
    #[arg(long)]
    pub network: bool,
    #[command(flatten)]
    pub password: Open,
}

/// Replaces it and shows the new key.
pub fn run(ctx: &Context, store: &IdentityStore, args: &Args) -> Result<(), Failure> {
    let password = match store.find(&args.name)?.is_encrypted {
        true => Some(args.password.required(&args.name)?),
        false => None,
    };
    let rotated = if args.network {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(at_network(ctx, store, &args.name, password.as_ref()))?
    } else {
        store.rotate(&args.name, password.as_ref())?
    };
    Shown::changed(store, &rotated)?.print(ctx)
}

/// In, as the identity that the network knows: after an interruption that is one of the replaced keys.
async fn enter(network: &Network, identity: &Identity) -> Result<Link, Failure> {
    let mut entered = network.connect_as("agentnet-cli-rotate", identity).await;
    for old in identity.predecessors() {
        match &entered {
            Err(failure) if failure.code() == "identity_unknown_to_network" => {
                entered = network.connect_as("agentnet-cli-rotate", &old).await;
            }
            _ => break,
        }
    }
    entered
}

/// First into the file, then to the network, then the old key out of the file: whatever is interrupted, the file has the
/// key that the network knows.
async fn at_network(
    ctx: &Context,
    store: &IdentityStore,
    name: &str,
    password: Option<&SecretString>,
) -> Result<Identity, Failure> {
    // Reached before anything changes.
    let before = store.load(name, password)?;
    let link = enter(&ctx.network()?, &before).await?;
    let identity = if before.retired().is_empty() {
        store.rotate(name, password)?
    } else {
        note("completing the replacement that the network hasn't heard of");
        before
    };
    let registry = link.registry(TIMEOUT);
    let signer = link.signer().map(|signer| signer.as_ref().clone());
    let mut refused = None;
    for old in identity.retired() {
        let Some(signer) = &signer else { break };
        let as_old = registry.clone().signed_by(signer.with_key(old.key.clone()).into());
        match as_old.rotate(identity.key()).await {
            Ok(_) => {
                link.close().await;
                return Ok(store.forget_retired(name, password)?);
            }
            // Perhaps an earlier one is the one that the network knows.
            Err(error) if error.code() == "auth_public_key_mismatch" => refused = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    link.close().await;
    let detail = refused.map_or_else(String::new, |error| format!(": {}", error.detail()));
    Err(Failure::local(
        "identity_unknown_to_network",
        format!("no account of this network knows a key of {name}{detail}"),
        "the new key is in the file; an agent that registers with it gets a new account",
    ))
}
