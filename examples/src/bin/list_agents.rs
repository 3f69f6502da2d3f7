//! Prints who is online, without joining the network.

use agentnet::{connect::default_nats_url, list_online_agents};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    for agent in list_online_agents(&default_nats_url()).await? {
        println!(
            "{:<24} {:<32} {}",
            agent.username.unwrap_or_default(),
            agent.account_id.unwrap_or_default(),
            agent.capabilities.join(", ")
        );
    }
    Ok(())
}
