//! Adds numbers for whoever asks. Start several: each request reaches one of them.

use agentnet::AgentNode;
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let node = AgentNode::builder("rpc_worker")
        .name("Adder")
        .capabilities(["add"])
        .on_message(|msg| async move {
            // A payload of another shape is the caller's mistake: the error goes back as `handler_error`.
            let numbers: Vec<f64> = msg.payload().parse()?;
            let sum: f64 = numbers.iter().sum();
            // A message may also come without a question; replying to one of those would be an error.
            if msg.wants_reply() {
                msg.reply(json!({"sum": sum})).await?;
            }
            Ok(())
        })
        .start()
        .await?;
    println!("{} takes requests for `add`; Ctrl-C ends it", node.username());
    node.serve_forever().await?;
    Ok(())
}
