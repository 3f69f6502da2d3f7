//! Where NATS is, for the nodes of this gateway.

use std::time::Duration;

use agentnet::{
    AgentNode, AgentNodeBuilder, HandlerResult, Identity, Incoming,
    connect::{NatsAuth, NatsServer, NatsSettings, NatsTls},
    proto::{
        Security,
        signature::{Deployment, SecretKey},
    },
};
use agentnet_service::config::{NatsAuth as ConfiguredAuth, NatsConfig};
use serde_json::{Map, Value};

use super::Seat;
use crate::{config::Config, error::GatewayError};

/// Messages of people and web clients are tried for a day, unless they say otherwise.
const DEFAULT_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Where NATS is, for the nodes of this gateway.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    settings: NatsSettings,
    security: Security,
    deployment: Deployment,
}

impl Entry {
    pub(crate) fn of(config: &Config, nats: &NatsConfig) -> Result<Self, GatewayError> {
        Ok(Self {
            settings: settings(nats)?,
            security: config.security,
            deployment: config.deployment.clone(),
        })
    }

    pub(crate) fn settings(&self) -> &NatsSettings {
        &self.settings
    }

    /// A node to be, with the rules of people and web clients.
    pub(crate) fn node(&self, agent_id: &str) -> AgentNodeBuilder {
        AgentNode::builder(agent_id)
            .nats(self.settings.clone())
            .security(self.security)
            .deployment(self.deployment.clone())
            .dev_auth(false)
            .default_ttl(DEFAULT_TTL)
            .outbox(1024, 32 * 1024 * 1024)
    }

    /// One of the gateway's own accounts, for callers that show nothing. No agent: it isn't found among them.
    pub(crate) fn own(&self, name: &str) -> AgentNodeBuilder {
        let mut metadata = Map::new();
        metadata.insert("via".to_owned(), Value::from("gateway"));
        self.node(name).metadata(metadata)
    }

    /// Opens a session for an account with a key that was bound to it. A person's session takes their mail, as nothing else
    /// does; an agent's own sessions take an agent's.
    pub(crate) async fn seat(
        &self,
        account_id: &str,
        username: &str,
        is_person: bool,
        key: SecretKey,
    ) -> Result<Seat, agentnet::Error> {
        let mut metadata = Map::new();
        metadata.insert("via".to_owned(), Value::from("gateway"));
        if !is_person {
            // Its mail waits for its own sessions, or is posted or fetched.
            metadata.insert("takes_mail".to_owned(), Value::from(false));
        }
        let mut builder = self
            .node(username)
            .account_id(account_id)
            .username(username)
            .metadata(metadata)
            .no_rate_limit()
            .circuit_breaker(u32::MAX, Duration::from_secs(1));
        if self.security.wants_signatures() {
            builder = builder.identity(Identity::of_key(username, key));
        }
        if is_person {
            builder = builder.on_message(taken);
        }
        Seat::of(builder.start().await?)
    }
}

/// Mail of a person is in their history once it is stored, and is shown by whoever observes.
async fn taken(_: Incoming) -> HandlerResult {
    Ok(())
}

/// The chassis' settings as the client crate has them.
fn settings(nats: &NatsConfig) -> Result<NatsSettings, GatewayError> {
    let blank = NatsSettings::from_url("nats://127.0.0.1").map_err(GatewayError::Settings)?;
    let servers = nats.servers.iter();
    Ok(NatsSettings {
        servers: servers
            .map(|server| NatsServer { host: server.host.clone(), port: server.port, tls: server.tls })
            .collect(),
        auth: match &nats.auth {
            ConfiguredAuth::Open => NatsAuth::Open,
            ConfiguredAuth::Token(token) => NatsAuth::Token(token.clone()),
            ConfiguredAuth::UserPassword(user, password) => {
                NatsAuth::UserPassword(user.clone(), password.clone())
            }
            ConfiguredAuth::NkeySeed(seed) => NatsAuth::NkeySeed(seed.clone()),
        },
        tls: NatsTls { ca: nats.tls.ca.clone(), client: nats.tls.client.clone() },
        connect_timeout: nats.connect_deadline,
        reconnect_max: nats.reconnect_max,
        ping_interval: nats.ping_interval,
        ..blank
    })
}
