//! Sends a few messages to agent_b and says how far each came.

use agentnet::{AgentNode, ErrorKind};
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let node = AgentNode::builder("agent_a").name("Agent A").capabilities(["chat"]).start().await?;
    println!("{} is online as {}", node.username(), node.account_id());

    let thread = "examples_ab";
    for text in ["hello", "how is the weather?", "bye"] {
        match node.send("@agent_b", json!({"text": text})).thread(thread).await {
            Ok(delivery) => match delivery.stage {
                Some(stage) => println!("{text:?} is {stage}"),
                None => println!("{text:?} is on its way"),
            },
            Err(e) if e.kind() == ErrorKind::NotFound => {
                println!(
                    "there is no agent_b yet: start it with `cargo run -p agentnet-examples --bin agent_b`"
                );
                break;
            }
            Err(e) => println!("{text:?} failed: {e}"),
        }
    }
    node.close().await?;
    Ok(())
}
