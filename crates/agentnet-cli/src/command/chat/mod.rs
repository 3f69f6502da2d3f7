//! `agentnet chat`.

mod input;
mod line;
mod talk;
mod view;

use std::{path::PathBuf, time::Duration};

use super::{
    Context, environment,
    join::{self, About},
};
use crate::{
    args::{To, seconds},
    failure::Failure,
    network::context,
};

/// Names another history file.
const HISTORY_VARIABLE: &str = "AGENTNET_CHAT_HISTORY";

/// Talk with an agent
///
/// Every line goes to the agent as a request, {"text": ...}, and its reply is printed. /help shows the commands. Lines
/// can be piped in too.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub to: To,
    /// How long a reply may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub timeout: Duration,
    #[command(flatten)]
    pub about: About,
    /// Print replies as the JSON they are
    #[arg(long)]
    pub raw: bool,
}

/// Talks until `/quit`, the end of input, or Ctrl-C at the prompt.
///
/// # Errors
/// `interrupted`; that the network can't be reached; for piped lines, the last one that got no reply.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let target = args.to.target()?;
    let network = join::reach(ctx).await?;
    let who = join::describe(&args.to, &target);
    talk::run(ctx, &args, &network, target, who, history_path()).await
}

/// Lives beside the context file.
fn history_path() -> Option<PathBuf> {
    if let Some(path) = environment(HISTORY_VARIABLE) {
        return Some(path.into());
    }
    Some(context::path(&environment)?.with_file_name("chat_history"))
}
