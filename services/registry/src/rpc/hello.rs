//! `registry.hello`: a session says that it is there. Published at every heartbeat, heard by every replica.

use std::sync::{Arc, LazyLock};

use agentnet_proto::rpc::AgentInfo;
use agentnet_proto::signature::Purpose;
use agentnet_proto::{RpcError, Security, Timestamp};
use agentnet_service::rpc::decode_object;
use agentnet_store::accounts::{Presented, Wish};
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::identity;
use super::whose::{self, Verdict};
use crate::app::{App, REGISTER_DEADLINE};
use crate::caller::Call;
use crate::presence::Heard;
use crate::{signed, validate};

/// Hellos that wait for Postgres at once; others wait for their next heartbeat.
static RESOLVING: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(16));

/// Takes a hello; `false` when it was dropped.
pub(crate) async fn hello(app: Arc<App>, call: Call, body: Bytes) -> bool {
    let Ok(info) = decode_object::<AgentInfo>(&body) else { return false };
    if check(&info).is_err() {
        return false;
    }
    if info.account_id.as_deref().is_some_and(|id| app.suspended.contains(id))
        || !app.restricted.allows(&info.capabilities, info.account_id.as_deref())
    {
        return false;
    }
    // An old one, kept and said again, must not make a session look alive.
    if signed::is_signed(&call) && !is_recent(&app, &info) {
        return false;
    }
    let tag = info.session_tag.as_deref().unwrap_or_default();
    match whose::may_speak(&app, &call, tag, info.account_id.as_deref(), &Purpose::Hello).await {
        Verdict::Yes => take(app, info, body),
        Verdict::No => false,
        // Not awaited: later hellos mustn't wait for Postgres.
        Verdict::AskStore(question) => {
            let Ok(slot) = RESOLVING.try_acquire() else { return false };
            tokio::spawn(async move {
                let _slot = slot;
                if question.answer(&app).await {
                    take(app, info, body);
                }
            });
            true
        }
    }
}

fn is_recent(app: &App, info: &AgentInfo) -> bool {
    let (now, skew) = (app.now(), app.config.auth_max_skew);
    let said_at = info.last_seen.as_deref().and_then(Timestamp::parse);
    said_at.is_some_and(|at| (now.saturating_sub(skew)..=now.saturating_add(skew)).contains(&at))
}

/// Into the presence; `false` when there is no room, or nothing that says whose session it is.
fn take(app: Arc<App>, info: AgentInfo, body: Bytes) -> bool {
    match app.presence.hello(info, app.now(), &app.config.server_id) {
        Heard::Touched | Heard::Changed | Heard::Restored => true,
        Heard::Refused => false,
        Heard::NeedsAccount => {
            // It may not make or join an account where signatures count.
            if app.config.security != Security::Open {
                return false;
            }
            let Ok(slot) = RESOLVING.try_acquire() else { return false };
            tokio::spawn(async move {
                let _slot = slot;
                // Logged where it failed; the session's next hello tries again.
                let _ = restore(&app, &body).await;
            });
            true
        }
    }
}

/// Whether the session can be held in memory and in Postgres.
pub(crate) fn check(info: &AgentInfo) -> Result<(), RpcError> {
    let tag = info.session_tag.as_deref().unwrap_or_default();
    super::required(&info.agent_id, agentnet_proto::ErrorCode::AgentIdRequired)?;
    super::required(tag, agentnet_proto::ErrorCode::InvalidField)?;
    validate::name("agent_id", &info.agent_id, validate::MAX_NAME)?;
    validate::name("session_tag", tag, validate::MAX_TITLE)?;
    validate::name("name", &info.name, validate::MAX_TITLE)?;
    validate::name("username", info.username.as_deref().unwrap_or_default(), validate::MAX_TITLE)?;
    validate::name("schema_version", info.schema_version.as_deref().unwrap_or_default(), 16)?;
    if let Some(id) = &info.account_id {
        validate::account_id(id)?;
    }
    validate::told(&info.capabilities, &info.metadata)
}

/// Finds or makes the account of a session that doesn't name it, as register would.
async fn restore(app: &App, body: &[u8]) -> Result<(), RpcError> {
    let Ok(mut info) = decode_object::<AgentInfo>(body) else { return Ok(()) };
    let name = if info.name.is_empty() { &info.agent_id } else { &info.name };
    let wish = Wish {
        agent_id: &info.agent_id,
        username: info.username.as_deref(),
        account_id: info.account_id.as_deref(),
    };
    let presented = Presented {
        agent_id: &info.agent_id,
        name,
        capabilities: &info.capabilities,
        metadata: &info.metadata,
        is_guest: false,
    };
    let code = agentnet_proto::ErrorCode::IdentityFailed;
    let work = identity::settle(app, &wish, &presented, None);
    let settled = app.within("db.restore_session", REGISTER_DEADLINE, code, work).await?;
    identity::announce(app, &settled).await;
    let plan = settled.plan;
    info.account_id = Some(plan.account_id);
    info.username = Some(plan.username);
    app.presence.hello(info, app.now(), &app.config.server_id);
    Ok(())
}
