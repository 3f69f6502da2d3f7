//! `registry.webhook_claim` and `.webhook_report`: what gateways post for agents, and what came of it.

use std::sync::Arc;

use agentnet_proto::rpc::{
    Posting, WebhookClaimRequest, WebhookClaimResponse, WebhookReportRequest, WebhookReportResponse,
    clamp_limit,
};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::StoreError;
use agentnet_store::agents::{self, Event};
use serde_json::json;

use super::at;
use super::mail::{give_back, lease, readable, tell_done, tell_taken};
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::{access, validate};

/// Longest error text kept, in characters.
const MAX_ERROR: usize = 300;

pub(in crate::rpc) async fn claim(
    app: Arc<App>,
    call: Call,
    request: WebhookClaimRequest,
) -> Result<WebhookClaimResponse, RpcError> {
    let limit = clamp_limit(request.limit, 20, 100);
    let lease = lease(request.lease_seconds, 600);
    let failed = StoreError::query("webhook_claim.transaction");
    let work = async {
        access::gateway(&app, &call, request.account_id.as_deref()).await?;
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let most = app.config.redelivery.max_deliveries;
        let mut postings = Vec::new();
        let mut used = 0;
        for claimed in agents::claim_webhooks(&mut tx, limit, lease, most).await? {
            let Some(recipient) = claimed.deliveries.first().map(|one| one.recipient.clone()) else {
                continue;
            };
            let (mail, mut left) = readable(&app, &mut tx, &claimed.agent_id, claimed.deliveries).await?;
            for mail in mail {
                used += crate::rpc::fit::json_len(&mail) + 1024;
                if used > app.row_budget() && !postings.is_empty() {
                    left.push(mail.message.row.message_id);
                    continue;
                }
                postings.push(Posting {
                    recipient: recipient.clone(),
                    agent_id: claimed.agent_id.clone(),
                    url: claimed.url.clone(),
                    secret: claimed.secret.clone(),
                    mail,
                });
            }
            give_back(&mut tx, &recipient, &left).await?;
            if !left.is_empty() {
                agents::mark_due(&mut *tx, &[recipient]).await?;
            }
        }
        tx.commit().await.map_err(&failed)?;
        Ok(postings)
    };
    let postings = app.within("db.webhook_claim", QUERY_DEADLINE, ErrorCode::DeliveriesFailed, work).await?;
    for posting in &postings {
        tell_taken(&app, &posting.recipient, std::slice::from_ref(&posting.mail)).await;
    }
    Ok(WebhookClaimResponse { postings, generated_at: app.now().to_string() })
}

pub(in crate::rpc) async fn report(
    app: Arc<App>,
    call: Call,
    request: WebhookReportRequest,
) -> Result<WebhookReportResponse, RpcError> {
    validate::query("message_id", &request.message_id)?;
    validate::query("recipient", &request.recipient)?;
    let error = request.error.as_deref().map(plain);
    let failed = StoreError::query("webhook_report.transaction");
    let work = async {
        access::gateway(&app, &call, request.account_id.as_deref()).await?;
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let most = app.config.webhook_failures;
        let outcome =
            agents::webhook_failed(&mut tx, &request.recipient, &request.message_id, error.as_deref(), most)
                .await?;
        let mut done = Vec::new();
        if error.is_none() {
            let ids = [request.message_id.clone()];
            done = agents::ack(&mut tx, &request.recipient, &ids, None).await?;
        }
        if outcome.just_now
            && let Some(agent) = agents::of_account(&mut *tx, &request.recipient, at(&app)).await?
        {
            let event = Event {
                kind: "webhook_disabled".to_owned(),
                account_id: Some(agent.account_id.clone()),
                readers: Some([Some(agent.account_id), agent.owner_id].into_iter().flatten().collect()),
                body: json!({"agent_id": agent.agent_id, "failures": agent.webhook_failures, "last_error": error}),
            };
            agents::add_event(&mut tx, &event, app.now()).await?;
        }
        tx.commit().await.map_err(&failed)?;
        Ok((outcome, done))
    };
    let (outcome, done) =
        app.within("db.webhook_report", QUERY_DEADLINE, ErrorCode::DeliveriesFailed, work).await?;
    tell_done(&app, &request.recipient, &done).await;
    if outcome.just_now {
        tracing::warn!(account = request.recipient, "a webhook failed too often and is off now");
    }
    Ok(WebhookReportResponse { disabled: outcome.disabled, generated_at: app.now().to_string() })
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_ERROR).collect()
}
