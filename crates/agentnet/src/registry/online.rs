//! The registry's list for those who have no client of it.

use agentnet_proto::{
    Security,
    rpc::{self, AgentInfo},
};

use super::{RPC_TIMEOUT, RegistryClient};
use crate::{
    connect::{NatsSettings, connect, enters_with_key},
    error::Error,
    node::AgentNode,
};

/// Every session online on the network at `url`. In secure mode, where only accounts may ask, it is asked as the identity
/// `agentnet-list`, made on first use.
///
/// # Errors
/// As [`connect`] and [`RegistryClient::list`]; in secure mode as [`AgentNodeBuilder::start`](crate::AgentNodeBuilder::start).
pub async fn list_online_agents(url: &str) -> Result<Vec<AgentInfo>, Error> {
    const NAME: &str = "agentnet-list";
    let lookup = |name: &str| std::env::var(name).ok();
    let told = lookup("AGENTNET_SECURITY").and_then(|word| word.parse().ok());
    let settings = NatsSettings::from_url(url)?.named(NAME);
    if enters_with_key(told, &settings, &lookup) {
        let node = AgentNode::builder(NAME).nats(settings).security(Security::Secure).start().await?;
        let listed = node.registry().list(&rpc::ListRequest::default()).await;
        let own = node.session_tag();
        // It only asked: whether its goodbye was heard matters to nobody.
        let _ = node.close().await;
        let mut agents = listed?.agents;
        agents.retain(|agent| agent.session_tag.as_ref() != Some(&own));
        return Ok(agents);
    }
    let connection = connect(&settings).await?;
    let agents = RegistryClient::over(&connection).list(&rpc::ListRequest::default()).await;
    let _ = connection.close(RPC_TIMEOUT).await;
    Ok(agents?.agents)
}
