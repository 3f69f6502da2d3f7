//! The methods about agents as the coordinator knows them, and what they share: who is meant, and who may act for whom.

pub(super) mod discover;
pub(super) mod mail;
pub(super) mod register;
pub(super) mod report;
mod session;
pub(super) mod show;
pub(super) mod stats;
pub(super) mod webhooks;

use agentnet_proto::rpc::{AgentCard, WebhookState};
use agentnet_proto::{AccountId, ErrorCode, RpcError, Security};
use agentnet_store::agents::{self, Agent, At};

use crate::access;
use crate::app::{App, Failed};
use crate::caller::{Call, Caller};
use crate::validate;

/// The time that statuses are worked out for. `last_seen` of sessions is written in batches, so that much later counts.
pub(crate) fn at(app: &App) -> At {
    At { now: app.now(), late_after: app.config.heartbeat * 2 + app.config.flush_interval }
}

/// The agent that a text names: by coordinator id, username, account id.
///
/// # Errors
/// [`ErrorCode::InvalidField`]; not found; [`ErrorCode::Ambiguous`]; Postgres.
pub(in crate::rpc) async fn named(app: &App, field: &str, text: &str) -> Result<Agent, Failed> {
    validate::query(field, text)?;
    if text.is_empty() {
        return Err(RpcError::with_detail(ErrorCode::InvalidField, format!("{field} is required")).into());
    }
    let mut found = agents::named(app.store.pool(), text, at(app)).await?;
    match (found.pop(), found.is_empty()) {
        (Some(agent), true) => Ok(agent),
        (Some(_), false) => Err(RpcError::from(ErrorCode::Ambiguous).into()),
        (None, _) => Err(RpcError::with_detail(ErrorCode::NotFound, "Agent not found").into()),
    }
}

/// Whoever reads may see the agent: a private one only itself, its owner and operators.
pub(in crate::rpc) async fn reader(app: &App, call: &Call) -> Result<Option<AccountId>, Failed> {
    match (app.config.security, &call.caller) {
        (Security::Open, _) => Ok(None),
        (_, Caller::Account(account)) if access::is_operator(app, account).await? => Ok(None),
        (_, Caller::Account(account)) => Ok(Some(account.clone())),
        (_, Caller::Anyone | Caller::Key(_)) => Ok(None),
    }
}

/// Whether the caller may act for the agent: it is the agent, registered it, or runs the network. In open mode anybody may.
/// Who that is, if it is known.
///
/// # Errors
/// As [`access::actor`]; [`ErrorCode::Forbidden`].
pub(in crate::rpc) async fn acts_for(
    app: &App,
    call: &Call,
    claimed: Option<&str>,
    agent: &Agent,
) -> Result<Option<AccountId>, Failed> {
    let Some((account, is_operator)) = access::operator_or_other(app, call, claimed).await? else {
        return Ok(None);
    };
    let is_own = agent.account_id == account.as_str() || agent.owner_id.as_deref() == Some(account.as_str());
    if is_own || is_operator {
        return Ok(Some(account));
    }
    let detail = "only the agent itself, whoever registered it, and operators may do this";
    Err(RpcError::with_detail(ErrorCode::Forbidden, detail).into())
}

/// The agent as everybody sees it.
pub(in crate::rpc) fn card(agent: Agent) -> AgentCard {
    let webhook = agent.webhook_url.map(|url| WebhookState {
        url,
        failures: agent.webhook_failures,
        last_error: agent.webhook_error,
        disabled_at: agent.webhook_disabled_at.map(|at| at.to_string()),
    });
    AgentCard {
        agent_id: agent.agent_id,
        account_id: agent.account_id,
        username: agent.username,
        agent_type: agent.agent_type,
        status: agent.status,
        capabilities: agent.capabilities,
        services: agent.services,
        endpoints: agent.endpoints,
        metadata: agent.metadata,
        last_heartbeat: agent.heard_at.map(|at| at.to_string()),
        registration_time: agent.registered_at.to_string(),
        load_metrics: agent.load_metrics,
        health_score: agent.health,
        version: agent.version,
        tags: agent.tags,
        accepts: agent.accepts,
        coordinator_id: agent.coordinator_id,
        webhook,
    }
}
