//! Joining the network as an agent, for the commands that send.

use std::future;

use agentnet::{AgentNode, Target};
use tokio::signal;

use super::Context;
use crate::{args::To, failure::Failure, network::Network, output::escape::clean};

/// What the messages of `send`, `request` and `chat` may say about themselves.
#[derive(Debug, Clone, clap::Args)]
pub struct About {
    /// Thread to go on in; a new one unless given
    #[arg(long)]
    pub thread_id: Option<String>,
    /// Message that this one answers or follows
    #[arg(long, value_name = "MESSAGE_ID")]
    pub parent_message_id: Option<String>,
}

/// The network, reached: says at once when it can't be.
///
/// # Errors
/// As [`Network::connect`].
pub async fn reach(ctx: &Context) -> Result<Network, Failure> {
    let network = ctx.network()?;
    // The node tries on for longer than a person wants to wait for "nobody listens".
    network.connect("agentnet-cli").await?.close().await;
    Ok(network)
}

/// Runs `work` as an agent that sends and takes no messages: a short-lived process must not take what is meant for a
/// longer one of the same account. However `work` ends, by Ctrl-C too, the session is ended in order.
///
/// # Errors
/// When the network or the registry can't be reached or refuses; what `work` failed with; `interrupted`.
pub async fn as_sender<T>(
    ctx: &Context,
    network: &Network,
    agent_id: &str,
    work: impl AsyncFnOnce(&AgentNode) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let interrupted = async {
        // An error means that there are no signals to wait for.
        if signal::ctrl_c().await.is_err() {
            future::pending::<()>().await;
        }
        Failure::Interrupted
    };
    tokio::pin!(interrupted);
    let builder = ctx.agent(network, agent_id)?;
    let node = tokio::select! {
        biased;
        failure = &mut interrupted => return Err(failure),
        node = builder.start() => node?,
    };
    let done = tokio::select! {
        biased;
        failure = interrupted => Err(failure),
        done = work(&node) => done,
    };
    leave(&node).await;
    done
}

/// Ends a session. What the command's own messages came to is known by now.
pub async fn leave(node: &AgentNode) {
    if let Err(error) = node.close().await {
        tracing::debug!(%error, "the session didn't end in order");
    }
}

/// The target as people read it.
pub fn describe(to: &To, target: &Target) -> String {
    match (&to.to_username, target) {
        (Some(name), _) => clean(name.trim().trim_start_matches('@')).into_owned(),
        (None, target) => clean(&target.to_string()).into_owned(),
    }
}
