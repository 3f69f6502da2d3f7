//! `agentnet thread-messages`.

use agentnet::proto::rpc::ThreadMessagesRequest;

use super::{Context, messages};
use crate::{args::RpcTimeout, failure::Failure, output::names::Names};

/// One thread's messages, newest first
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The thread
    #[arg(long)]
    pub thread_id: String,
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
    let link = ctx.connect("agentnet-cli-thread-messages").await?;
    let registry = link.registry(args.rpc.timeout);
    let request =
        ThreadMessagesRequest { thread_id: args.thread_id, limit: Some(args.limit), cursor: args.cursor };
    let answer = registry.thread_messages(&request).await?;
    let names = match ctx.out.is_json() {
        true => Names::default(),
        false => messages::learn_names(&registry, &answer.messages).await,
    };
    link.close().await;
    ctx.out.show(&answer, |answer| {
        messages::print(ctx, &answer.messages, answer.next_cursor.as_deref(), &names, false)
    })
}
