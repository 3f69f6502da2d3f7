//! `agentnet redrive`.

use agentnet::proto::rpc::RedriveRequest;

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

/// Try again what was given up
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct Args {
    /// This message, dead or expired
    #[arg(long, group = "what")]
    pub message_id: Option<String>,
    /// What is dead for this account, or for capability:NAME
    #[arg(long, value_name = "ACCOUNT_ID", group = "what")]
    pub to_account: Option<String>,
    /// What is dead for the account of this username
    #[arg(long, value_name = "USERNAME", group = "what", conflicts_with = "to_account")]
    pub to_username: Option<String>,
    /// Everything that is dead
    #[arg(long, group = "what", conflicts_with_all = ["message_id", "to_account", "to_username"])]
    pub all: bool,
    /// At most this many, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: i64,
    #[command(flatten)]
    pub rpc: RpcTimeout,
}

/// Prints what is tried again.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-redrive").await?;
    let registry = link.registry(args.rpc.timeout);
    let recipient =
        super::deliveries::recipient(&registry, args.to_account, args.to_username.as_deref()).await?;
    let request =
        RedriveRequest { message_id: args.message_id, recipient, all: args.all, limit: Some(args.limit) };
    let answer = registry.redrive(&request).await?;
    link.close().await;
    ctx.out.show(&answer, |answer| {
        if answer.redriven.is_empty() {
            return ctx.out.line(paint(DIM, "Nothing was given up."));
        }
        let mut table = Table::new(&["Message ID", "To"], ctx.out.width());
        for key in &answer.redriven {
            table.row(vec![clean(&key.message_id).into_owned(), clean(&key.recipient).into_owned()]);
        }
        ctx.out.line(table.render())?;
        ctx.out.line(match answer.more {
            true => "These are tried again; there may be more: run the command once more.".to_owned(),
            false => format!("{} tried again.", answer.redriven.len()),
        })
    })
}
