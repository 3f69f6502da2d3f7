//! `registry.set_status` and `.status_list`: what agents say about how they are.

use std::collections::HashMap;
use std::sync::Arc;

use agentnet_proto::rpc::{
    AgentLoad, MAX_LOAD_METRICS, MAX_STATUSES, SetStatusRequest, StatusEvent, StatusListRequest,
    StatusListResponse, StatusView,
};
use agentnet_proto::task::AgentStatus;
use agentnet_proto::{AccountId, ErrorCode, EventType, RpcError, Security, Subject};
use agentnet_store::{status, tasks};

use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::{access, events, validate};

/// Longest name of a figure, in characters.
const MAX_METRIC: usize = 64;

pub(in crate::rpc) async fn set_status(
    app: Arc<App>,
    call: Call,
    request: SetStatusRequest,
) -> Result<StatusEvent, RpcError> {
    let said = request.status.as_deref().map(AgentStatus::parse).transpose()?;
    let too_many = || {
        RpcError::with_detail(
            ErrorCode::InvalidField,
            format!("load_metrics has more than {MAX_LOAD_METRICS} entries"),
        )
    };
    if request.load_metrics.len() > MAX_LOAD_METRICS {
        return Err(too_many());
    }
    for (name, value) in &request.load_metrics {
        validate::name("load_metrics", name, MAX_METRIC)?;
        if !value.is_finite() {
            return Err(RpcError::with_detail(
                ErrorCode::InvalidField,
                format!("load_metrics.{name} is no number"),
            ));
        }
    }
    let work = async {
        let account = whose(&app, &call, &request).await?;
        let set = status::set(app.store.pool(), account.as_str(), said, &request.load_metrics).await?;
        set.ok_or_else(|| Failed::from(too_many()))
    };
    let status = app.within("db.set_status", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let event = StatusEvent { status, generated_at: app.now().to_string() };
    events::publish(&app, Subject::Event(EventType::Status), &event).await;
    // What waited for somebody may have found it.
    app.presence.workers.notify_one();
    Ok(event)
}

/// The account that it is about.
async fn whose(app: &App, call: &Call, request: &SetStatusRequest) -> Result<AccountId, Failed> {
    let asker = match (app.config.security, &request.account_id, &request.target) {
        (Security::Open, None, Some(_)) => None,
        (_, claimed, _) => Some(access::actor(app, call, claimed.as_deref()).await?),
    };
    let Some(target) = &request.target else { return asker.ok_or(Failed::NotFound) };
    let target = access::named(app, "target", target).await?;
    match asker {
        Some(asker)
            if app.config.security != Security::Open
                && asker != target
                && !access::is_operator(app, &asker).await? =>
        {
            let detail = "an account says how it is itself; operators may for others";
            Err(RpcError::with_detail(ErrorCode::Forbidden, detail).into())
        }
        _ => Ok(target),
    }
}

pub(in crate::rpc) async fn status_list(
    app: Arc<App>,
    _: Call,
    request: StatusListRequest,
) -> Result<StatusListResponse, RpcError> {
    if request.accounts.len() > MAX_STATUSES {
        let detail = format!("at most {MAX_STATUSES} accounts at once");
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    for account in &request.accounts {
        validate::query("accounts", account)?;
    }
    let work = async {
        let db = app.store.pool();
        let said = status::of(db, &request.accounts).await?;
        Ok((said, tasks::Figures::of(db, &request.accounts).await?))
    };
    let (said, figures) =
        app.within("db.status_list", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let now = app.now().to_string();
    let mut said: HashMap<String, StatusView> =
        said.into_iter().map(|status| (status.account_id.clone(), status)).collect();
    let loads = figures.into_iter().map(|figures| AgentLoad {
        status: said.remove(&figures.account_id).unwrap_or_else(|| StatusView {
            account_id: figures.account_id.clone(),
            status: AgentStatus::default(),
            load_metrics: std::collections::BTreeMap::new(),
            updated_at: now.clone(),
        }),
        tasks_in_hand: figures.in_hand,
        tasks_completed: figures.completed,
        tasks_failed: figures.attempts - figures.completed,
        avg_ms: figures.avg_ms,
    });
    // As asked: rows come in any order.
    let mut agents: Vec<AgentLoad> = loads.collect();
    agents.sort_by_key(|agent| request.accounts.iter().position(|id| *id == agent.status.account_id));
    Ok(StatusListResponse { agents, generated_at: now })
}
