//! `agentnet online`: which accounts are online.

use agentnet::proto::rpc::{MAX_ONLINE, OnlineRequest};

use super::Context;
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::clean,
        style::{BAD, DIM, GOOD, paint},
        table::{Table, number},
        time,
    },
};

/// Which accounts are online
#[derive(Debug, clap::Args)]
pub struct Args {
    /// By id or username, at most 256
    #[arg(value_name = "ACCOUNT", required = true, num_args = 1..=MAX_ONLINE)]
    accounts: Vec<String>,
    #[command(flatten)]
    rpc: RpcTimeout,
}

/// Prints one row for each account.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-online").await?;
    let answer = link.registry(args.rpc.timeout).online(&OnlineRequest { accounts: args.accounts }).await;
    link.close().await;
    ctx.out.show(&answer?, |answer| {
        let mut table =
            Table::new(&["Account", "Username", "Online", "Sessions", "Last seen"], ctx.out.width());
        for row in &answer.accounts {
            let online = match (&row.account_id, row.online) {
                (None, _) => paint(DIM, "unknown"),
                (Some(_), true) => paint(GOOD, "yes"),
                (Some(_), false) => paint(BAD, "no"),
            };
            table.row(vec![
                comfy_table::Cell::new(clean(row.account_id.as_deref().unwrap_or(&row.asked))),
                row.username.as_deref().map(|name| format!("@{}", clean(name))).unwrap_or_default().into(),
                online.into(),
                number(row.sessions),
                row.last_seen.as_deref().map(|at| time::ago(at, ctx.out.now())).unwrap_or_default().into(),
            ]);
        }
        ctx.out.line(table.render())
    })
}
