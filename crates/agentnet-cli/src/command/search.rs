//! `agentnet search`.

use agentnet::proto::rpc::SearchRequest;

use super::Context;
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::clean,
        style::{DIM, paint},
        table::{Table, number},
        text,
    },
};

/// Find accounts by name, capability or status
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Part of a username or display name, in any case
    #[arg(long, visible_alias = "q", default_value = "")]
    pub query: String,
    /// Only accounts with exactly this capability
    #[arg(long)]
    pub capability: Option<String>,
    /// Only accounts with a system of their own of this type, such as `p2p-system`
    #[arg(long, value_name = "TYPE")]
    pub sub_system_type: Option<String>,
    /// Only accounts of this status: `online`, `offline`, `active`, `suspended`
    #[arg(long)]
    pub status: Option<String>,
    /// At most this many, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: i64,
    /// Only accounts with a session online
    #[arg(long)]
    pub online_only: bool,
    #[command(flatten)]
    pub rpc: RpcTimeout,
}

/// Prints one row for each account.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-search").await?;
    let request = SearchRequest {
        query: args.query,
        capability: args.capability,
        sub_system_type: args.sub_system_type,
        limit: Some(args.limit),
        online_only: args.online_only,
        status: args.status,
    };
    let answer = link.registry(args.rpc.timeout).search(&request).await;
    link.close().await;
    ctx.out.show(&answer?, |answer| {
        if answer.results.is_empty() {
            return ctx.out.line(paint(DIM, "No account fits."));
        }
        let columns = ["Username", "Name", "Online", "Capabilities", "Status", "Account"];
        let mut table = Table::new(&columns, ctx.out.width()).whole(&[0, 5]);
        for account in &answer.results {
            table.row(vec![
                comfy_table::Cell::new(clean(&account.username)).add_attribute(comfy_table::Attribute::Bold),
                clean(&account.display_name).into(),
                number(account.online_sessions),
                text::join(&account.capabilities).into(),
                clean(&account.status).into(),
                clean(&account.account_id).into(),
            ]);
        }
        ctx.out.line(table.render())
    })
}
