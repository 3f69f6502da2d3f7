//! Chat sessions and questions to agents.

use std::time::Duration;

use agentnet_service::config::{ConfigError, Env};

use super::to_usize;

/// Rules of chat sessions and of questions to agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRules {
    /// `GATEWAY_SESSIONS_PER_USER`: sessions of one account that go on at once. 5.
    pub per_user: usize,
    /// `GATEWAY_SESSION_SECONDS`: how long a session lasts. 3,600 s.
    pub ttl: Duration,
    /// `GATEWAY_SESSION_IDLE_SECONDS`: a session in which nothing is said for so long ends. 1,800 s.
    pub inactivity: Duration,
    /// `GATEWAY_MAX_TURNS`: how often two agents speak before they stop, unless the session says otherwise. 20.
    pub max_turns: u32,
    /// `GATEWAY_ANSWER_SECONDS`: how long an agent of a session may take to answer. 120 s.
    pub answer_within: Duration,
    /// `GATEWAY_P2P_SECONDS`: how long an agent may take to answer over P2P, unless the client says otherwise. 30 s.
    pub p2p_within: Duration,
    /// `GATEWAY_P2P_AGENT`: the agent that a listener of the P2P module stands for; else the host's name says which.
    pub p2p_agent: Option<String>,
    /// `GATEWAY_HOSTING_SECONDS`: how long an agent with the capability `hosting` may take to start an agent that a session
    /// asks for. 30 s.
    pub hosting_within: Duration,
    /// `GATEWAY_RELAY_LEASE_SECONDS`: two agents whose gateway hasn't been heard of for so long are taken over by another
    /// one. 10 s.
    pub relay_lease: Duration,
}

impl Default for SessionRules {
    fn default() -> Self {
        Self {
            per_user: 5,
            ttl: Duration::from_secs(3600),
            inactivity: Duration::from_secs(1800),
            max_turns: 20,
            answer_within: Duration::from_secs(120),
            p2p_within: Duration::from_secs(30),
            p2p_agent: None,
            hosting_within: Duration::from_secs(30),
            relay_lease: Duration::from_secs(10),
        }
    }
}

impl SessionRules {
    pub(super) fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let default = Self::default();
        let wait = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
        let max_turns = env.integer("GATEWAY_MAX_TURNS", u64::from(default.max_turns), 1..=1000)?;
        Ok(Self {
            per_user: to_usize(env.integer("GATEWAY_SESSIONS_PER_USER", default.per_user as u64, 1..=100)?),
            ttl: env.seconds("GATEWAY_SESSION_SECONDS", default.ttl, wait.clone())?,
            inactivity: env.seconds("GATEWAY_SESSION_IDLE_SECONDS", default.inactivity, wait.clone())?,
            max_turns: u32::try_from(max_turns).unwrap_or(default.max_turns),
            answer_within: env.seconds("GATEWAY_ANSWER_SECONDS", default.answer_within, wait.clone())?,
            p2p_within: env.seconds("GATEWAY_P2P_SECONDS", default.p2p_within, wait.clone())?,
            p2p_agent: env.get("GATEWAY_P2P_AGENT"),
            hosting_within: env.seconds("GATEWAY_HOSTING_SECONDS", default.hosting_within, wait.clone())?,
            relay_lease: env.seconds("GATEWAY_RELAY_LEASE_SECONDS", default.relay_lease, wait)?,
        })
    }
}
