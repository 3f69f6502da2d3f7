//! `agentnet threads`.

use agentnet::proto::rpc::{ThreadListRequest, ThreadListResponse};

use super::Context;
use crate::{
    args::{OldLimits, RpcTimeout},
    failure::Failure,
    output::{
        escape::clean,
        names::Names,
        style::{DIM, paint},
        table::{Table, number},
        text, time,
    },
};

/// Threads, latest activity first
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only threads that this account takes part in
    #[arg(long, value_name = "ACCOUNT_ID", conflicts_with = "participant_username")]
    pub participant_account: Option<String>,
    /// Only threads that the account of this username takes part in
    #[arg(long, value_name = "USERNAME")]
    pub participant_username: Option<String>,
    /// Part of a thread id, in any case
    #[arg(long, visible_alias = "q", default_value = "")]
    pub query: String,
    /// At most this many, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: i64,
    /// Continue where the page before ended
    #[arg(long)]
    pub cursor: Option<String>,
    #[command(flatten)]
    pub old: OldLimits,
    #[command(flatten)]
    pub rpc: RpcTimeout,
}

/// Prints one row for each thread.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    args.old.warn();
    let link = ctx.connect("agentnet-cli-threads").await?;
    let registry = link.registry(args.rpc.timeout);
    let request = ThreadListRequest {
        query: args.query,
        limit: Some(args.limit),
        participant_account_id: args.participant_account,
        participant_username: args.participant_username,
        cursor: args.cursor,
    };
    let answer = registry.thread_list(&request).await?;
    let mut names = Names::default();
    if !ctx.out.is_json() {
        names
            .learn(&registry, answer.results.iter().flat_map(|row| &row.participants).map(String::as_str))
            .await;
    }
    link.close().await;
    ctx.out.show(&answer, |answer| people(ctx, answer, &names))
}

fn people(ctx: &Context, answer: &ThreadListResponse, names: &Names) -> Result<(), Failure> {
    if answer.results.is_empty() {
        return ctx.out.line(paint(DIM, "No thread fits."));
    }
    let columns = ["Thread ID", "Messages", "Tail Msgs", "Tokens~", "Last Activity", "Participants"];
    let mut table = Table::new(&columns, ctx.out.width()).whole(&[0, 4]);
    for row in &answer.results {
        let last = row.last_message_at.as_deref().unwrap_or(&row.updated_at);
        let participants: Vec<String> = row.participants.iter().map(|id| names.of(id)).collect();
        table.row(vec![
            comfy_table::Cell::new(clean(&row.thread_id)).add_attribute(comfy_table::Attribute::Bold),
            number(text::grouped(row.message_count)),
            number(text::grouped(row.pending_messages)),
            number(text::grouped(row.approx_tokens)),
            time::ago(last, ctx.out.now()).into(),
            participants.join(", ").into(),
        ]);
    }
    ctx.out.line(table.render())?;
    super::messages::next_page(ctx, answer.next_cursor.as_deref())
}
