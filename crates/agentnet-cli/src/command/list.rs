//! `agentnet list`.

use agentnet::proto::rpc::{AgentInfo, ListRequest};

use super::Context;
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::clean,
        style::{BOLD, DIM, paint},
        table::Table,
        text, time,
    },
};

/// Who is online
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only sessions with exactly this capability
    #[arg(long)]
    pub capability: Option<String>,
    /// Only sessions with a system of their own of this type, such as `p2p-system`
    #[arg(long, value_name = "TYPE")]
    pub sub_system_type: Option<String>,
    /// Only sessions that are `online`, or `late` with their heartbeat
    #[arg(long)]
    pub status: Option<String>,
    /// Only sessions of this account
    #[arg(long, value_name = "ACCOUNT_ID")]
    pub account_id: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub limit: Option<i64>,
    /// Continue where the page before ended
    #[arg(long)]
    pub cursor: Option<String>,
    #[command(flatten)]
    pub rpc: RpcTimeout,
}

/// Prints one row for each session.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-list").await?;
    let request = ListRequest {
        capability: args.capability,
        sub_system_type: args.sub_system_type,
        status: args.status,
        account_id: args.account_id,
        limit: args.limit,
        cursor: args.cursor,
    };
    let answer = link.registry(args.rpc.timeout).list(&request).await;
    link.close().await;
    ctx.out.show(&answer?, |answer| {
        if answer.agents.is_empty() {
            return ctx.out.line(paint(DIM, "Nobody is online."));
        }
        ctx.out.line(table(ctx, &answer.agents))?;
        let sessions = if answer.agents.len() == 1 { "session" } else { "sessions" };
        ctx.out.line(paint(DIM, format_args!("{} {sessions} online", answer.agents.len())))?;
        super::messages::next_page(ctx, answer.next_cursor.as_deref())
    })
}

fn table(ctx: &Context, agents: &[AgentInfo]) -> String {
    let mut table =
        Table::new(&["Username", "Name", "Agent", "Capabilities", "Last seen", "Account"], ctx.out.width())
            .whole(&[0, 5, 4]);
    for agent in agents {
        table.row(vec![
            paint(BOLD, clean(agent.username.as_deref().unwrap_or("-"))),
            clean(&agent.name).into_owned(),
            clean(&agent.agent_id).into_owned(),
            text::join(&agent.capabilities),
            agent.last_seen.as_deref().map_or_else(|| "-".to_owned(), |at| time::ago(at, ctx.out.now())),
            clean(agent.account_id.as_deref().unwrap_or("-")).into_owned(),
        ]);
    }
    table.render()
}
