//! `agentnet revoke`.

use agentnet::proto::rpc::RevokeRequest;

use super::Context;
use crate::{args::RpcTimeout, failure::Failure, output::escape::clean};

/// Take a key out of use
///
/// An account's owner revokes with the key itself (--as NAME), an operator anybody's. The key means nothing from then on,
/// and is never bound again; an account that has no other key needs an operator to enrol a new one.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whose").required(true))]
pub struct Args {
    /// The account with this id
    #[arg(long, value_name = "ACCOUNT_ID", group = "whose")]
    pub account: Option<String>,
    /// The account of this username
    #[arg(long, value_name = "USERNAME", group = "whose")]
    pub username: Option<String>,
    /// The key, base64url; the one that speaks for the account unless given
    #[arg(long, value_name = "PUBLIC_KEY")]
    pub key: Option<String>,
    #[command(flatten)]
    pub rpc: RpcTimeout,
}

/// Revokes, and prints what means nothing any more.
///
/// # Errors
/// `forbidden`, `auth_*`, or what the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-revoke").await?;
    let registry = link.registry(args.rpc.timeout);
    let account_id = match (args.account, args.username) {
        (Some(id), _) => id,
        (None, Some(name)) => registry.resolve_account(&name).await?.account_id,
        // clap requires one.
        (None, None) => String::new(),
    };
    let answer = registry.revoke(&RevokeRequest { account_id, public_key: args.key }).await?;
    link.close().await;
    ctx.out.show(&answer, |answer| {
        let (key, account) = (clean(&answer.public_key), clean(&answer.account_id));
        ctx.out.line(format!("{key} speaks for {account} no more."))
    })
}
