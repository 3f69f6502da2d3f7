//! `registry.agent_report`: how an agent is. The same as `registry.set_status`, said over HTTP, where it is a heartbeat too.

use std::sync::Arc;

use agentnet_proto::rpc::{AgentReportRequest, AgentShowResponse, MAX_LOAD_METRICS};
use agentnet_proto::task::AgentStatus;
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::StoreError;
use agentnet_store::agents::{self, Reported};

use super::{acts_for, at, card, named, session};
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;

pub(in crate::rpc) async fn report(
    app: Arc<App>,
    call: Call,
    request: AgentReportRequest,
) -> Result<AgentShowResponse, RpcError> {
    let status = request.status.as_deref().map(AgentStatus::parse).transpose()?;
    let metrics = &request.load_metrics;
    if metrics.iter().any(|(name, value)| name.len() > 64 || name.contains('\0') || !value.is_finite()) {
        let detail = "load_metrics are numbers by names of at most 64 bytes";
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    let too_many = || {
        let detail = format!("an agent has at most {MAX_LOAD_METRICS} figures of its load");
        RpcError::with_detail(ErrorCode::InvalidField, detail)
    };
    let failed = StoreError::query("agent_report.transaction");
    let work = async {
        let agent = named(&app, "agent", &request.agent).await?;
        acts_for(&app, &call, request.account_id.as_deref(), &agent).await?;
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        match agents::report(&mut tx, &agent.account_id, status, metrics, at(&app)).await? {
            Reported::Done => {}
            Reported::Unknown => return Err(Failed::NotFound),
            Reported::TooMany => return Err(too_many().into()),
        }
        let after =
            agents::of_account(&mut *tx, &agent.account_id, at(&app)).await?.ok_or(Failed::NotFound)?;
        tx.commit().await.map_err(&failed)?;
        Ok(after)
    };
    let agent = app.within("db.agent_report", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    session::heard(&app, &agent).await;
    Ok(AgentShowResponse { agent: card(agent), generated_at: app.now().to_string() })
}
