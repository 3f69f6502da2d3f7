//! Asks any agent with the capability `add` for a sum.

use std::time::Duration;

use agentnet::{AgentNode, ErrorKind};
use anyhow::Context;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let numbers = std::env::args()
        .skip(1)
        .map(|arg| arg.parse::<f64>().with_context(|| format!("{arg:?} is not a number")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let node = AgentNode::builder("rpc_client").start().await?;
    match node.request_capability("add", &numbers).timeout(Duration::from_secs(5)).await {
        Ok(reply) => println!("{}", reply.json::<serde_json::Value>()?["sum"]),
        Err(e) if e.kind() == ErrorKind::NoResponder => {
            println!("no worker is online: start one with `cargo run -p agentnet-examples --bin rpc_worker`");
        }
        Err(e) => println!("failed: {e}"),
    }
    node.close().await?;
    Ok(())
}
