//! `registry.register`: opens a session, making the account if need be.

use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::dev_auth::AuthBlock;
use agentnet_proto::rpc::{AgentInfo, RegisterRequest, RegisterResponse};
use agentnet_proto::{ErrorCode, RpcError, schema_version};
use agentnet_store::accounts::{Presented, Wish};
use agentnet_store::sessions::Session;

use super::identity::{self, Opening};
use crate::app::{App, REGISTER_DEADLINE};
use crate::caller::{Call, Caller};
use crate::presence::Opened;
use crate::{events, validate};

pub(super) async fn register(
    app: Arc<App>,
    call: Call,
    request: RegisterRequest,
) -> Result<RegisterResponse, RpcError> {
    check(&request)?;
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
        account_id: request.account_id.as_deref(),
    };
    let presented =
        Presented { agent_id: &agent_id, name: &name, capabilities: &capabilities, metadata: &metadata };
    let opening = Opening {
        auth: auth.as_ref(),
        unknown_key: match &call.caller {
            Caller::Key(key) => Some(key),
            Caller::Account(_) | Caller::Anyone => None,
        },
        enrolment_token: request.enrolment_token.as_ref(),
        session: &mut session,
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
        registered_at: now.to_string(),
        schema_version: Some(schema_version::CURRENT.to_owned()),
    })
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
