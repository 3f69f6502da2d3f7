//! `agentnet api-key create | list | revoke`: keys for machines that come in over HTTP.

use agentnet::proto::rpc::{
    self, API_KEY_SCOPES, ApiKeyCreateRequest, ApiKeyListRequest, ApiKeyRevokeRequest, ApiKeyRow,
};

use super::Context;
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::clean,
        style::{BOLD, DIM, paint},
        table::Table,
        time,
    },
};

/// Name of its connections.
const LINK: &str = "agentnet-cli-api-key";

/// Keys for machines that come in over HTTP
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key; it is shown once
    Create(Create),
    /// An account's keys
    List(List),
    /// Take a key out of use, and end its logins
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What it is for
    name: String,
    /// The account it speaks for, by id or username; one's own unless given
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// What it may be used for, several times; everything unless given
    #[arg(long = "scope", value_name = "SCOPE", value_parser = API_KEY_SCOPES)]
    scopes: Vec<String>,
    /// Until when it is good, ISO 8601; for ever unless given
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    #[command(flatten)]
    rpc: RpcTimeout,
}

#[derive(Debug, clap::Args)]
struct List {
    /// The account, by id or username; one's own unless given
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    #[command(flatten)]
    rpc: RpcTimeout,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// The key's id, as `list` shows it
    #[arg(value_name = "KEY_ID")]
    key_id: String,
    #[command(flatten)]
    rpc: RpcTimeout,
}

/// Does what the subcommand says.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Create(args) => create(ctx, args).await,
        Command::List(args) => list(ctx, args).await,
        Command::Revoke(args) => revoke(ctx, args).await,
    }
}

async fn create(ctx: &Context, args: Create) -> Result<(), Failure> {
    let request = ApiKeyCreateRequest {
        account_id: None,
        target: args.account,
        name: args.name,
        scopes: args.scopes,
        expires_at: args.expires,
    };
    let answer = ctx.ask::<rpc::ApiKeyCreate>(LINK, &args.rpc, &request).await?;
    ctx.out.show(&answer, |answer| {
        ctx.out.line(paint(BOLD, clean(answer.api_key.expose())))?;
        let until = answer.key.expires_at.as_deref();
        let until =
            until.map_or_else(|| "for ever".to_owned(), |at| format!("until {}", time::date_time(at)));
        let account = clean(&answer.key.account_id);
        ctx.out.line(paint(DIM, format!("for {account}, {until}. It isn't shown again.")))
    })
}

async fn list(ctx: &Context, args: List) -> Result<(), Failure> {
    let request = ApiKeyListRequest { account_id: None, target: args.account };
    let answer = ctx.ask::<rpc::ApiKeyList>(LINK, &args.rpc, &request).await?;
    ctx.out.show(&answer, |answer| {
        if answer.keys.is_empty() {
            return ctx.out.line(paint(DIM, "No keys."));
        }
        let mut table = Table::new(&["Key", "Name", "For", "Made", "Last used", "State"], ctx.out.width());
        for key in &answer.keys {
            table.row(row(key));
        }
        ctx.out.line(table.render())
    })
}

fn row(key: &ApiKeyRow) -> Vec<String> {
    let at = time::date_time;
    let state = match (&key.revoked_at, &key.expires_at) {
        (Some(revoked), _) => format!("revoked {}", at(revoked)),
        (None, Some(expires)) => format!("until {}", at(expires)),
        (None, None) => "good".to_owned(),
    };
    let scopes = if key.scopes.is_empty() { "everything".to_owned() } else { key.scopes.join(", ") };
    vec![
        clean(&key.key_id).into_owned(),
        clean(&key.name).into_owned(),
        clean(&scopes).into_owned(),
        at(&key.created_at),
        key.last_used_at.as_deref().map_or_else(|| "never".to_owned(), at),
        state,
    ]
}

async fn revoke(ctx: &Context, args: Revoke) -> Result<(), Failure> {
    let request = ApiKeyRevokeRequest { account_id: None, key_id: args.key_id };
    let answer = ctx.ask::<rpc::ApiKeyRevoke>(LINK, &args.rpc, &request).await?;
    ctx.out.show(&answer, |answer| {
        ctx.out.line(format!("{} ({}) is revoked.", clean(&answer.key.name), clean(&answer.key.key_id)))
    })
}
