//! `registry.agent_register`: an agent that comes in over HTTP gets an account, or one that has one says more about itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentnet_proto::rpc::{
    AGENT_TYPES, AgentRegisterRequest, AgentRegisterResponse, MAX_AGENT_ID, RESERVED_AGENT_IDS,
};
use agentnet_proto::{AccountId, ErrorCode, RpcError, SecretText, Security};
use agentnet_store::accounts::{self, Plan, Presented, Wish};
use agentnet_store::agents::{self, Agent, Event};
use agentnet_store::api_keys::{self, NewApiKey};
use agentnet_store::{StoreError, blocks, capabilities};
use serde_json::{Value, json};

use super::{at, card, named, session};
use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::rpc::identity::{self, Settled};
use crate::{enrolment, users, validate};

/// Tries when others register the same names at once.
const MAX_ATTEMPTS: usize = 8;
/// Most endpoints of one agent.
const MAX_ENDPOINTS: usize = 32;

/// Whose account it is to be.
enum Whose {
    /// One there is.
    Known { account_id: String, username: String },
    /// A new one, of this owner.
    New(Option<AccountId>),
}

/// What was registered.
struct Registered {
    agent: Agent,
    settled: Settled,
    created: bool,
    webhook_secret: Option<SecretText>,
    api_key: Option<SecretText>,
}

pub(in crate::rpc) async fn register(
    app: Arc<App>,
    call: Call,
    request: AgentRegisterRequest,
) -> Result<AgentRegisterResponse, RpcError> {
    check(&request)?;
    let work = async {
        let by = access::operator_or_other(&app, &call, request.account_id.as_deref()).await?;
        let coordinator = coordinator(&app, &request).await?;
        for attempt in 0..MAX_ATTEMPTS {
            let whose = whose(&app, by.as_ref(), &request.agent_id).await?;
            let done = write(&app, &request, whose, coordinator.as_deref(), attempt).await?;
            if let Some(done) = done {
                return Ok(done);
            }
        }
        app.failures.log("agent_register", "every try was overtaken by other registrations");
        Err(RpcError::from(ErrorCode::IdentityFailed).into())
    };
    let done = app.within("db.agent_register", QUERY_DEADLINE, ErrorCode::IdentityFailed, work).await?;
    identity::announce(&app, &done.settled).await;
    session::heard(&app, &done.agent).await;
    Ok(AgentRegisterResponse {
        agent: card(done.agent),
        created: done.created,
        webhook_secret: done.webhook_secret,
        api_key: done.api_key,
        generated_at: app.now().to_string(),
    })
}

/// The account behind the id: the agent that has it, else the one of that username or account id, else the caller's own, if
/// that is an agent's without a coordinator id. Others' agents are not the caller's to change.
async fn whose(app: &App, by: Option<&(AccountId, bool)>, agent_id: &str) -> Result<Whose, Failed> {
    let mut found = agents::named(app.store.pool(), agent_id, at(app)).await?;
    // One that has the id comes before one whose username it is.
    found.sort_by_key(|agent| (agent.agent_id != agent_id, agent.username == agent_id));
    let found = found.into_iter().next();
    let known = |agent: Agent| Whose::Known { account_id: agent.account_id, username: agent.username };
    let Some((account, is_operator)) = by else {
        return match found {
            Some(agent) => Ok(known(agent)),
            // An account that was no agent until now.
            None => Ok(match accounts::id_of_username(app.store.pool(), agent_id).await? {
                Some(account_id) => Whose::Known { account_id, username: agent_id.to_owned() },
                None => Whose::New(None),
            }),
        };
    };
    if let Some(agent) = found {
        let is_own =
            agent.account_id == account.as_str() || agent.owner_id.as_deref() == Some(account.as_str());
        if is_own || *is_operator {
            return Ok(known(agent));
        }
        let detail = "another account's agent has this agent_id; choose another one";
        return Err(RpcError::with_detail(ErrorCode::Forbidden, detail).into());
    }
    match agents::of_account(app.store.pool(), account.as_str(), at(app)).await? {
        Some(own) if own.agent_id == own.username && app.config.security != Security::Open => Ok(known(own)),
        _ => Ok(Whose::New(Some(account.clone()))),
    }
}

/// One try, in one transaction; `None` when somebody was faster.
async fn write(
    app: &App,
    request: &AgentRegisterRequest,
    whose: Whose,
    coordinator: Option<&str>,
    attempt: usize,
) -> Result<Option<Registered>, Failed> {
    let failed = StoreError::query("agent_register.transaction");
    let mut tx = app.store.pool().begin().await.map_err(&failed)?;
    let (plan, owner) = match whose {
        Whose::Known { account_id, username } => {
            (Plan { account_id, username: username.clone(), current_username: Some(username) }, None)
        }
        Whose::New(owner) => {
            let account_id = app.ids.account_id();
            let wish = Wish { agent_id: &request.agent_id, username: None, account_id: Some(&account_id) };
            (accounts::plan(&mut *tx, &wish, &*app.ids, attempt).await?, owner)
        }
    };
    access::check_standing(app, &plan.account_id)?;
    if plan.is_new() && agentnet_proto::username::is_guest(&plan.username) {
        return Err(RpcError::from(ErrorCode::UsernameReserved).into());
    }
    let denied = capabilities::denied(&mut *tx, &request.capabilities, &plan.account_id).await?;
    if !denied.is_empty() {
        return Err(crate::rpc::capabilities::denied(&denied).into());
    }
    let presented = Presented {
        agent_id: &request.agent_id,
        name: &request.agent_id,
        capabilities: &request.capabilities,
        metadata: &request.metadata,
        is_guest: false,
    };
    if !accounts::apply(&mut tx, &plan, &presented, app.now()).await? {
        tx.rollback().await.map_err(&failed)?;
        return Ok(None);
    }
    let webhook_url = webhook_url(request);
    let webhook_secret = users::secret("whsec_", &*app.ids);
    let filled = agents::Presented {
        agent_id: &request.agent_id,
        owner_id: owner.as_ref().map(AccountId::as_str),
        agent_type: &request.agent_type,
        services: &request.services,
        tags: &request.tags,
        endpoints: &request.endpoints,
        metadata: &request.metadata,
        version: version(request),
        coordinator_id: coordinator,
        accepts: &request.accepts,
        webhook_url: webhook_url.as_deref(),
        webhook_secret: webhook_secret.expose(),
    };
    let Some(is_new_webhook) = agents::put(&mut tx, &plan.account_id, &filled, app.now()).await? else {
        tx.rollback().await.map_err(&failed)?;
        return Ok(None);
    };
    let created = plan.is_new();
    let api_key = match created && owner.is_some() && app.config.security != Security::Open {
        true => Some(api_key(app, &mut tx, &plan.account_id).await?),
        false => None,
    };
    let agent = agents::of_account(&mut *tx, &plan.account_id, at(app)).await?.ok_or(Failed::NotFound)?;
    let event = Event {
        kind: "agent_registered".to_owned(),
        account_id: Some(agent.account_id.clone()),
        readers: None,
        body: json!({"agent_id": agent.agent_id, "account_id": agent.account_id, "agent_type": agent.agent_type,
            "capabilities": agent.capabilities, "services": agent.services, "created": created}),
    };
    agents::add_event(&mut tx, &event, app.now()).await?;
    let blocks = !created && blocks::any(&mut *tx, &plan.account_id).await?;
    tx.commit().await.map_err(&failed)?;
    Ok(Some(Registered {
        agent,
        settled: Settled { plan, bound: None, blocks },
        created,
        webhook_secret: is_new_webhook.then_some(webhook_secret),
        api_key,
    }))
}

/// The agent's own key over HTTP: nobody else could make it one but an operator.
async fn api_key(
    app: &App,
    tx: &mut agentnet_store::Connection,
    account_id: &str,
) -> Result<SecretText, Failed> {
    let key_id = app.ids.ulid_lower();
    let api_key = users::secret(&format!("{}{key_id}_", crate::rpc::users::API_KEY_PREFIX), &*app.ids);
    let new = NewApiKey {
        key_id: &key_id,
        account_id,
        name: "coordinator",
        secret_sha256: enrolment::hash(api_key.expose()),
        scopes: &[],
        expires_at: None,
    };
    api_keys::create(tx, &new, app.now()).await?.ok_or_else(|| RpcError::from(ErrorCode::ApiKeysFull))?;
    Ok(api_key)
}

async fn coordinator(app: &App, request: &AgentRegisterRequest) -> Result<Option<String>, Failed> {
    let said = request
        .coordinator
        .as_deref()
        .or_else(|| request.metadata.get("coordinator").and_then(Value::as_str));
    let Some(said) = said.filter(|said| !said.is_empty()) else { return Ok(None) };
    match named(app, "coordinator", said).await {
        Ok(agent) => Ok(Some(agent.account_id)),
        Err(Failed::Refused(error)) if error.code() == Some(ErrorCode::NotFound) => {
            let detail = format!("coordinator: there is no agent {said}");
            Err(RpcError::with_detail(ErrorCode::InvalidField, detail).into())
        }
        Err(failed) => Err(failed),
    }
}

fn version(request: &AgentRegisterRequest) -> &str {
    let told = request.metadata.get("version").and_then(Value::as_str);
    request.version.as_deref().or(told).unwrap_or("1.0.0")
}

/// Where messages are posted: `messages`, else below `http`; nowhere for those that poll.
fn webhook_url(request: &AgentRegisterRequest) -> Option<String> {
    if request.accepts.delivery.as_deref() == Some("poll") {
        return None;
    }
    let exact = request.endpoints.get("messages").cloned();
    let below = |url: &String| format!("{}/messages", url.trim_end_matches('/'));
    exact.or_else(|| request.endpoints.get("http").map(below))
}

fn check(request: &AgentRegisterRequest) -> Result<(), RpcError> {
    let refused = |detail: String| Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    let id = &request.agent_id;
    if id.is_empty() || id.len() > MAX_AGENT_ID || id.chars().any(char::is_control) {
        return refused(format!("agent_id has 1 to {MAX_AGENT_ID} bytes and no control characters"));
    }
    if RESERVED_AGENT_IDS.contains(&id.as_str()) {
        return refused(format!("agent_id: {id} is reserved; choose another one"));
    }
    if !AGENT_TYPES.contains(&request.agent_type.as_str()) {
        return refused(format!("agent_type is none of {}", AGENT_TYPES.join(", ")));
    }
    validate::told(&request.capabilities, &request.metadata)?;
    validate::words("services", &request.services)?;
    validate::words("tags", &request.tags)?;
    validate::name("version", version(request), 64)?;
    endpoints(&request.endpoints)?;
    let accepts = &request.accepts;
    for (field, said, words) in [
        ("accepts.hierarchical", &accepts.hierarchical, &["all", "relations", "none"][..]),
        ("accepts.peer_to_peer", &accepts.peer_to_peer, &["all", "peers", "none"]),
        ("accepts.broadcast", &accepts.broadcast, &["all", "none"]),
        ("accepts.delivery", &accepts.delivery, &["webhook", "poll"]),
    ] {
        if said.as_deref().is_some_and(|said| !words.contains(&said)) {
            return refused(format!("{field} is none of {}", words.join(", ")));
        }
    }
    Ok(())
}

fn endpoints(endpoints: &BTreeMap<String, String>) -> Result<(), RpcError> {
    if endpoints.len() > MAX_ENDPOINTS {
        let detail = format!("endpoints has more than {MAX_ENDPOINTS} entries");
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    for (name, url) in endpoints {
        validate::name("endpoints", name, 64)?;
        // What is only told to others may be any address; what we post to is a URL.
        match name.as_str() {
            "http" | "messages" => validate::web_url(&format!("endpoints.{name}"), url)?,
            _ => validate::name(&format!("endpoints.{name}"), url, 2048)?,
        }
    }
    Ok(())
}
