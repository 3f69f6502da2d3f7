//! `agentnet message-search`.

use agentnet::proto::rpc::MessageSearchRequest;

use super::{Context, messages};
use crate::{args::RpcTimeout, failure::Failure, output::names::Names};

/// Find messages by words, accounts, kind or time
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Words that all occur in the payload, in any case
    #[arg(long, value_name = "WORDS")]
    pub q: Option<String>,
    /// Only this thread
    #[arg(long)]
    pub thread_id: Option<String>,
    /// Only from this account
    #[arg(long, value_name = "ACCOUNT_ID")]
    pub from_account_id: Option<String>,
    /// Only to this account
    #[arg(long, value_name = "ACCOUNT_ID")]
    pub to_account_id: Option<String>,
    /// Only of this kind: direct, request, reply, error, system, stream
    #[arg(long)]
    pub kind: Option<String>,
    /// Sent at or after, ISO 8601; UTC unless it names an offset
    #[arg(long, value_name = "TIME")]
    pub from_ts: Option<String>,
    /// Sent at or before, ISO 8601; UTC unless it names an offset
    #[arg(long, value_name = "TIME")]
    pub to_ts: Option<String>,
    /// At most this many, 1 to 200
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: i64,
    /// Continue where the page before ended
    #[arg(long)]
    pub cursor: Option<String>,
    #[command(flatten)]
    pub rpc: RpcTimeout,
}

/// Prints one row for each message.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-message-search").await?;
    let registry = link.registry(args.rpc.timeout);
    let request = MessageSearchRequest {
        q: args.q,
        thread_id: args.thread_id,
        from_account_id: args.from_account_id,
        to_account_id: args.to_account_id,
        kind: args.kind,
        from_ts: args.from_ts,
        to_ts: args.to_ts,
        limit: Some(args.limit),
        cursor: args.cursor,
    };
    let answer = registry.message_search(&request).await?;
    let names = match ctx.out.is_json() {
        true => Names::default(),
        false => messages::learn_names(&registry, &answer.messages).await,
    };
    link.close().await;
    ctx.out.show(&answer, |answer| {
        messages::print(ctx, &answer.messages, answer.next_cursor.as_deref(), &names, true)
    })
}
