//! `registry.register`: opens a session, making the account if need be.

use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::dev_auth::AuthBlock;
use agentnet_proto::rpc::{AgentInfo, RegisterRequest, RegisterResponse};
use agentnet_proto::signature::Purpose;
use agentnet_proto::subject::AccountId;
use agentnet_proto::{ErrorCode, RpcError, Security, schema_version};
use agentnet_store::accounts::{Presented, Wish};
use agentnet_store::sessions::Session;
use tokio::time::timeout;

use super::identity::{self, Opening};
use crate::app::{App, REGISTER_DEADLINE, REGISTER_TURN};
use crate::caller::{Call, Caller};
use crate::presence::Opened;
use crate::signed::{self, Signed};
use crate::{events, validate};

pub(super) async fn register(
    app: Arc<App>,
    call: Call,
    request: RegisterRequest,
) -> Result<RegisterResponse, RpcError> {
    check(&request)?;
    let (signed, own_account) = who(&app, &call, &request)?;
    if !app.presence.has_room() {
        return Err(RpcError::with_detail(
            ErrorCode::Busy,
            "as many sessions as this registry holds are online",
        ));
    }
    let now = app.now();
    let auth = request.auth.as_ref().map(AuthBlock::from);
    let name = if request.name.trim().is_empty() { request.agent_id.clone() } else { request.name };
    let mut session = Session {
        session_tag: app.ids.session_tag(&app.config.server_id),
        agent_id: request.agent_id,
        account_id: None,
        username: None,
        server_id: app.config.server_id.clone(),
        schema_version: request.schema_version.clone().unwrap_or_else(|| schema_version::DEFAULT.to_owned()),
        connected_at: now,
        age: Duration::ZERO,
        name,
        capabilities: request.capabilities,
        metadata: request.metadata,
    };
    let (agent_id, name) = (session.agent_id.clone(), session.name.clone());
    let (capabilities, metadata) = (session.capabilities.clone(), session.metadata.clone());
    let wish = Wish {
        agent_id: &agent_id,
        username: request.username.as_deref(),
        account_id: request.account_id.as_deref().or(own_account),
    };
    let presented = Presented {
        agent_id: &agent_id,
        name: &name,
        capabilities: &capabilities,
        metadata: &metadata,
        is_guest: request.guest,
    };
    let opening = Opening {
        signed: signed.as_ref(),
        auth: auth.as_ref(),
        unknown_key: match &call.caller {
            Caller::Key(key) => Some(key),
            Caller::Account(_) | Caller::Anyone => None,
        },
        is_guest: request.guest,
        enrolment_token: request.enrolment_token.as_ref(),
        session: &mut session,
    };
    let Ok(Ok(_turn)) = timeout(REGISTER_TURN, app.registering.acquire()).await else {
        let detail = "more agents register at once than the registry can take in; try again";
        return Err(RpcError::with_detail(ErrorCode::Busy, detail));
    };
    let work = identity::settle(&app, &wish, &presented, Some(opening));
    let settled = app.within("db.register", REGISTER_DEADLINE, ErrorCode::IdentityFailed, work).await?;
    let plan = &settled.plan;
    let info = AgentInfo {
        agent_id,
        name,
        capabilities,
        metadata,
        account_id: Some(plan.account_id.clone()),
        username: Some(plan.username.clone()),
        session_tag: Some(session.session_tag.clone()),
        last_seen: None,
        schema_version: request.schema_version,
    };
    let opened = Opened { server_id: app.config.server_id.as_str().into(), at: now };
    app.presence.open(&info, &opened);
    identity::announce(&app, &settled).await;
    events::announce_online(&app, &info, &opened).await;
    Ok(RegisterResponse {
        account_id: plan.account_id.clone(),
        username: plan.username.clone(),
        session_tag: session.session_tag,
        heartbeat_interval: app.config.heartbeat.as_secs_f64(),
        ttl_seconds: app.config.ttl.as_secs_f64(),
        blocks: settled.blocks,
        tasks_account: app.tasks.account().map(str::to_owned),
        registered_at: now.to_string(),
        schema_version: Some(schema_version::CURRENT.to_owned()),
    })
}

/// The signature v2 of the request, if it carries one, and the account that the subject proves. In open mode signatures
/// mean nothing.
fn who<'a>(
    app: &App,
    call: &'a Call,
    request: &RegisterRequest,
) -> Result<(Option<Signed>, Option<&'a str>), RpcError> {
    let own_account = call.caller.account().map(AccountId::as_str);
    if own_account.is_some() && request.account_id.is_some() && own_account != request.account_id.as_deref() {
        let detail = "the connection's key speaks for another account";
        return Err(RpcError::with_detail(ErrorCode::AuthPublicKeyMismatch, detail));
    }
    let is_wanted = match app.config.security {
        Security::Open => false,
        Security::Signed => signed::is_signed(call),
        Security::Secure => true,
    };
    if !is_wanted {
        return Ok((None, own_account));
    }
    let signed = signed::one(call, &app.config.deployment, |nonce| Purpose::Register(nonce))?;
    signed::is_fresh(app, &signed)?;
    if matches!(&call.caller, Caller::Key(key) if *key != signed.key) {
        let detail = "the request must be signed by the connection's key";
        return Err(RpcError::with_detail(ErrorCode::AuthPublicKeyMismatch, detail));
    }
    Ok((Some(signed), own_account))
}

fn check(request: &RegisterRequest) -> Result<(), RpcError> {
    super::required(&request.agent_id, ErrorCode::AgentIdRequired)?;
    validate::name("agent_id", &request.agent_id, validate::MAX_NAME)?;
    validate::name("name", &request.name, validate::MAX_TITLE)?;
    validate::name("username", request.username.as_deref().unwrap_or_default(), validate::MAX_TITLE)?;
    validate::name("schema_version", request.schema_version.as_deref().unwrap_or_default(), 16)?;
    if let Some(id) = &request.account_id {
        validate::account_id(id)?;
    }
    validate::told(&request.capabilities, &request.metadata)
}
