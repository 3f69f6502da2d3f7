//! `agentnet thread-status`.

use super::Context;
use crate::{
    args::{OldLimits, RpcTimeout},
    failure::Failure,
    output::{
        escape::clean,
        names::Names,
        style::{BOLD, paint},
        table::Table,
        text, time,
    },
};

/// One thread's counters
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The thread
    #[arg(long)]
    pub thread_id: String,
    #[command(flatten)]
    pub old: OldLimits,
    #[command(flatten)]
    pub rpc: RpcTimeout,
}

/// Prints the counters, one a line.
///
/// # Errors
/// `not_found`, or what the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    args.old.warn();
    let link = ctx.connect("agentnet-cli-thread-status").await?;
    let registry = link.registry(args.rpc.timeout);
    let answer = registry.thread_status(&args.thread_id).await?;
    let mut names = Names::default();
    if !ctx.out.is_json() {
        names.learn(&registry, answer.thread.participants.iter().map(String::as_str)).await;
    }
    link.close().await;
    ctx.out.show(&answer, |answer| {
        let row = &answer.thread;
        let last = row.last_message_at.as_deref().map_or_else(
            || "-".to_owned(),
            |at| format!("{} UTC ({})", time::date_time(at), time::ago(at, ctx.out.now())),
        );
        let participants: Vec<String> = row.participants.iter().map(|id| names.of(id)).collect();
        let mut facts = Table::facts(ctx.out.width());
        facts.fact("Thread", paint(BOLD, clean(&row.thread_id)));
        facts.fact("Status", clean(&row.status));
        facts.fact("Messages", text::grouped(row.message_count));
        facts.fact("Tail Msgs", text::grouped(row.pending_messages));
        facts.fact("Bytes", text::grouped(row.byte_count));
        facts.fact("Tokens~", text::grouped(row.approx_tokens));
        facts.fact("Checkpoint", text::grouped(row.latest_checkpoint_end));
        facts.fact("Owner", clean(&answer.thread_management_owner));
        facts.fact("Last Msg At", last);
        facts.fact("Participants", participants.join(", "));
        ctx.out.line(facts.render())
    })
}
