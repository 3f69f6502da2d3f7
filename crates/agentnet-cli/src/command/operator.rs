//! `agentnet operator grant | revoke | list`, `agentnet suspend` and `agentnet resume`.

use agentnet::{
    RegistryClient,
    proto::rpc::{AccountStanding, OperatorListRequest, StandingRequest, StandingResponse},
};

use super::Context;
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::clean,
        style::{DIM, paint},
        table::Table,
    },
};

/// Who runs the network
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an account an operator: it reads everything and may change other accounts
    Grant(Target),
    /// Make an operator an agent again
    Revoke(Target),
    /// Who the operators are
    List(RpcTimeout),
}

/// An account, and who asks.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The account's id or username
    #[arg(value_name = "ACCOUNT")]
    pub target: String,
    #[command(flatten)]
    pub rpc: RpcTimeout,
}

impl Target {
    fn request(&self) -> StandingRequest {
        StandingRequest { account_id: None, target: self.target.clone() }
    }
}

/// Does what the subcommand says.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Grant(target) => {
            let done =
                change(ctx, &target, async |registry, request| registry.operator_grant(&request).await);
            report(ctx, &done.await?, "is an operator")
        }
        Command::Revoke(target) => {
            let done =
                change(ctx, &target, async |registry, request| registry.operator_revoke(&request).await);
            report(ctx, &done.await?, "is no operator")
        }
        Command::List(rpc) => list(ctx, &rpc).await,
    }
}

/// Locks an account out.
///
/// # Errors
/// What the registry or the network answered.
pub async fn suspend(ctx: &Context, target: Target) -> Result<(), Failure> {
    let done = change(ctx, &target, async |registry, request| registry.suspend(&request).await).await?;
    report(ctx, &done, "is suspended: it can't register, send or ask until `agentnet resume`")
}

/// Lets an account in again.
///
/// # Errors
/// What the registry or the network answered.
pub async fn resume(ctx: &Context, target: Target) -> Result<(), Failure> {
    let done = change(ctx, &target, async |registry, request| registry.resume(&request).await).await?;
    report(ctx, &done, "is let in again")
}

async fn change(
    ctx: &Context,
    target: &Target,
    ask: impl AsyncFnOnce(&RegistryClient, StandingRequest) -> Result<StandingResponse, agentnet::Error>,
) -> Result<StandingResponse, Failure> {
    let link = ctx.connect("agentnet-cli-operator").await?;
    let registry = link.registry(target.rpc.timeout);
    let answer = ask(&registry, target.request()).await?;
    link.close().await;
    Ok(answer)
}

fn report(ctx: &Context, answer: &StandingResponse, what: &str) -> Result<(), Failure> {
    ctx.out.show(answer, |answer| {
        let account = &answer.account;
        ctx.out.line(format!("@{} ({}) {what}.", clean(&account.username), clean(&account.account_id)))
    })
}

async fn list(ctx: &Context, rpc: &RpcTimeout) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-operator").await?;
    let answer = link.registry(rpc.timeout).operator_list(&OperatorListRequest {}).await?;
    link.close().await;
    ctx.out.show(&answer, |answer| {
        if answer.operators.is_empty() {
            return ctx.out.line(paint(DIM, "Nobody is an operator."));
        }
        let mut table = Table::new(&["Username", "Account", "By", "Status"], ctx.out.width());
        for AccountStanding { account_id, username, configured, status, .. } in &answer.operators {
            let by = if *configured { "configuration" } else { "grant" };
            table.row(vec![
                format!("@{}", clean(username)),
                clean(account_id).into_owned(),
                by.to_owned(),
                clean(status).into_owned(),
            ]);
        }
        ctx.out.line(table.render())
    })
}
