//! Prints what it is sent and answers requests, until Ctrl-C.

use agentnet::AgentNode;
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let node = AgentNode::builder("agent_b")
        .name("Agent B")
        .capabilities(["chat"])
        .on_message(|msg| async move {
            let text = msg.text().unwrap_or_else(|| msg.payload().get().to_owned());
            println!("{}: {text}", msg.from_agent());
            if msg.wants_reply() {
                msg.reply(json!({"text": format!("you said {text:?}")})).await?;
            }
            Ok(())
        })
        .start()
        .await?;
    println!("{} is online as {}; Ctrl-C ends it", node.username(), node.account_id());
    node.serve_forever().await?;
    Ok(())
}
