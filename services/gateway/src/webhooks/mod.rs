//! Webhooks: posts to agents that come in over HTTP what the registry has for them.
//!
//! Any gateway posts anything: what it claims is its own for a while, and what it doesn't report on in time is there again.

mod guard;
mod post;
mod sign;

use std::{sync::Arc, time::Duration};

use agentnet_proto::rpc;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};

use crate::app::App;
use post::Poster;

/// Claimed at once.
const CLAIM: usize = 20;
/// How long a claim lasts: longer than any post may take.
const LEASE_SECONDS: u32 = 120;
/// How long after a failure to ask the registry.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Posts until the gateway closes.
pub(crate) async fn run(app: App) {
    if app.config.webhooks.at_once == 0 {
        return;
    }
    let poster = Arc::new(Poster::new(&app.config.webhooks));
    let room = Arc::new(Semaphore::new(app.config.webhooks.at_once));
    loop {
        let began = Instant::now();
        let free = room.available_permits().min(CLAIM);
        let mut pause = app.config.webhooks.every;
        if free > 0 {
            match claim(&app, free).await {
                Ok(postings) => {
                    if postings.len() >= free {
                        pause = Duration::ZERO;
                    }
                    for posting in postings {
                        // Nobody else takes permits.
                        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
                        let (app, poster) = (app.clone(), Arc::clone(&poster));
                        app.clone().streams.spawn(async move {
                            post_one(&app, &poster, posting).await;
                            drop(permit);
                        });
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "what is to be posted couldn't be asked for");
                    pause = AFTER_FAILURE;
                }
            }
        }
        tokio::select! {
            biased;
            () = app.closing.cancelled() => return,
            () = sleep_until(began + pause.max(Duration::from_millis(10))) => {}
        }
    }
}

async fn claim(app: &App, limit: usize) -> Result<Vec<rpc::Posting>, agentnet::Error> {
    let request = rpc::WebhookClaimRequest {
        account_id: app.own.account(),
        limit: i64::try_from(limit).ok(),
        lease_seconds: Some(LEASE_SECONDS),
    };
    Ok(app.own.registry().call::<rpc::WebhookClaim>(&request).await?.postings)
}

async fn post_one(app: &App, poster: &Poster, posting: rpc::Posting) {
    let outcome = poster.post(&posting, app.config.clock.now()).await;
    let label = if outcome.is_ok() { "taken" } else { "failed" };
    metrics::counter!("gateway_webhooks_total", "outcome" => label).increment(1);
    let request = rpc::WebhookReportRequest {
        account_id: app.own.account(),
        recipient: posting.recipient,
        message_id: posting.mail.message.row.message_id,
        error: outcome.err(),
    };
    // What isn't reported is claimed again when its time is over.
    if let Err(error) = app.own.registry().call::<rpc::WebhookReport>(&request).await {
        tracing::warn!(%error, "what came of a webhook couldn't be reported");
    }
}
