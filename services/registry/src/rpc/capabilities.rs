//! `registry.capability_restrict`, `.capability_grant`, `.capability_revoke` and `.capability_list`: who may serve what.

use std::sync::Arc;

use agentnet_proto::rpc::{
    CapabilityGrantRequest, CapabilityListRequest, CapabilityListResponse, CapabilityRestrictRequest,
    RestrictedCapability,
};
use agentnet_proto::{AccountChange, AccountEvent, AccountId, Capability, ErrorCode, RpcError};
use agentnet_store::capabilities::{self, Restricted};

use super::standing::target;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::{access, events};

pub(super) async fn restrict(
    app: Arc<App>,
    call: Call,
    request: CapabilityRestrictRequest,
) -> Result<CapabilityListResponse, RpcError> {
    let capability = named(&request.capability)?;
    let work = async {
        let by = access::operator(&app, &call, request.account_id.as_deref()).await?;
        let db = app.store.pool();
        if request.open {
            capabilities::open(db, &capability).await?;
        } else {
            capabilities::restrict(db, &capability, by.as_ref().map(AccountId::as_str), app.now()).await?;
        }
        // Whoever has it by its own word gets or loses the permission to hear it.
        Ok((
            capabilities::unentitled(db, &capability).await?,
            capabilities::list(db, Some(&capability)).await?,
        ))
    };
    let (concerned, now) =
        app.within("db.capability_restrict", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    tell(&app, concerned).await;
    Ok(answer(&app, now))
}

pub(super) async fn grant(
    app: Arc<App>,
    call: Call,
    request: CapabilityGrantRequest,
) -> Result<CapabilityListResponse, RpcError> {
    change(&app, &call, &request, true).await
}

pub(super) async fn revoke(
    app: Arc<App>,
    call: Call,
    request: CapabilityGrantRequest,
) -> Result<CapabilityListResponse, RpcError> {
    change(&app, &call, &request, false).await
}

async fn change(
    app: &App,
    call: &Call,
    request: &CapabilityGrantRequest,
    granted: bool,
) -> Result<CapabilityListResponse, RpcError> {
    let capability = named(&request.capability)?;
    let work = async {
        let by = access::operator(app, call, request.account_id.as_deref()).await?;
        let id = target(app, &request.target).await?.account_id;
        let db = app.store.pool();
        if granted {
            let by = by.as_ref().map(AccountId::as_str);
            if !capabilities::grant(db, &capability, &id, by, app.now()).await? {
                let detail = format!("{capability} isn't restricted: whoever registers it may serve it");
                return Err(Failed::Refused(RpcError::with_detail(ErrorCode::NotFound, detail)));
            }
        } else {
            capabilities::revoke(db, &capability, &id).await?;
        }
        Ok((id, capabilities::list(db, Some(&capability)).await?))
    };
    let (id, now) = app.within("db.capability_grant", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    tell(app, vec![id]).await;
    Ok(answer(app, now))
}

pub(super) async fn list(
    app: Arc<App>,
    _: Call,
    _: CapabilityListRequest,
) -> Result<CapabilityListResponse, RpcError> {
    let work = async { Ok(capabilities::list(app.store.pool(), None).await?) };
    let found = app.within("db.capabilities", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    Ok(answer(&app, found))
}

fn named(capability: &str) -> Result<String, RpcError> {
    Capability::new(capability).map(|name| name.to_string()).map_err(RpcError::from)
}

fn answer(app: &App, found: Vec<Restricted>) -> CapabilityListResponse {
    let row = |one: Restricted| RestrictedCapability { capability: one.capability, granted: one.granted };
    let mut restricted: Vec<RestrictedCapability> = found.into_iter().map(row).collect();
    super::fit::fit(&mut restricted, app.row_budget());
    CapabilityListResponse { restricted, generated_at: app.now().to_string() }
}

/// Ends the connections of those whose permissions changed; without any, others still read the list anew.
async fn tell(app: &App, accounts: Vec<String>) {
    if let Err(error) = app.restricted.refresh(&app.store).await {
        app.failures.log("db.restricted", &crate::app::chain(&error));
    }
    let event = |account_id| AccountEvent {
        account_id,
        change: Some(AccountChange::Permissions),
        ..AccountEvent::default()
    };
    if accounts.is_empty() {
        return events::announce_keys(app, &event(String::new())).await;
    }
    for account in accounts {
        events::announce_keys(app, &event(account)).await;
    }
}

/// The answer to whoever says it serves what an operator hasn't granted it.
pub(super) fn denied(capabilities: &[String]) -> RpcError {
    let detail = format!("only whom an operator grants it may serve {}", capabilities.join(", "));
    RpcError::with_detail(ErrorCode::CapabilityRestricted, detail)
}
