//! Why the gateway couldn't start or stopped.

use std::{net::SocketAddr, path::PathBuf};

/// Why the gateway couldn't start or stopped. `#[source]` has the cause.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// NATS can't be reached with what was configured.
    #[error("the gateway's account can't enter the network")]
    Enter(#[source] agentnet::Error),
    /// What the configuration says about NATS can't be used.
    #[error("the gateway's NATS settings can't be used")]
    Settings(#[source] agentnet::Error),
    /// The gateway's key can't be used.
    #[error("AGENTNET_NKEY_SEED or GATEWAY_KEY_SEED is no seed of a NATS user")]
    Key,
    /// The gateway has no key of its own, and the network wants one.
    #[error("the gateway has no key: set AGENTNET_NKEY_SEED in secure mode, GATEWAY_KEY_SEED in signed mode")]
    NoKey,
    /// The registry doesn't know the gateway's key as one.
    #[error("the registry doesn't know the gateway's key; add {0} to its AGENTNET_GATEWAY_KEYS")]
    Unknown(String),
    /// An address can't be listened on.
    #[error("GATEWAY_LISTEN={addr} can't be listened on; choose a free port of this machine")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificate or key can't be used.
    #[error("{} can't be used for TLS; GATEWAY_TLS_CERT and GATEWAY_TLS_KEY name PEM files that belong together", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
