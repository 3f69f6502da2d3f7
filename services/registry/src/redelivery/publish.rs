//! The stored bytes on their way again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use agentnet_proto::Subject;
use agentnet_proto::envelope::{ATTEMPT_HEADER, SIGNATURE_HEADER};
use agentnet_store::deliveries::Granted;
use async_nats::HeaderMap;
use governor::{DefaultDirectRateLimiter, Jitter};

use super::{Redelivery, decide::Unwillings};
use crate::presence::Route;

/// Replicas and recipients that wait for the same second don't all wake in it.
const JITTER: Duration = Duration::from_millis(3);
/// How long the connection may take; what isn't out by then is tried again when its lease has run out.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

impl Redelivery {
    /// Publishes in order, within the rates.
    pub(super) async fn publish(
        &self,
        route: &Route,
        granted: Vec<Granted>,
        unwilling: &Unwillings,
        account: &DefaultDirectRateLimiter,
    ) {
        let client = self.nats.client();
        let mut published = 0;
        for message in granted {
            account.until_ready_with_jitter(Jitter::up_to(JITTER)).await;
            self.rate.until_ready_with_jitter(Jitter::up_to(JITTER)).await;
            let subject = match route {
                Route::Redelivery(accounts) => {
                    // By message, so that holders of a capability share the work.
                    let place = message
                        .message_id
                        .bytes()
                        .fold(0_usize, |sum, b| sum.wrapping_mul(31) + usize::from(b));
                    let willing = unwilling.willing(accounts, &message.message_id);
                    match willing.get(place % willing.len().max(1)) {
                        Some(account) => Subject::Redelivery((*account).clone()),
                        None => return,
                    }
                }
                Route::Legacy(subject) => subject.clone(),
                Route::Nobody => return,
            };
            let mut headers = HeaderMap::new();
            headers.insert(ATTEMPT_HEADER, message.attempt.to_string());
            if let Some(signature) = message.signature {
                headers.insert(SIGNATURE_HEADER, signature);
            }
            let sent =
                client.publish_with_headers(subject.to_string(), headers, message.envelope.into()).await;
            if let Err(error) = sent {
                self.app.failures.log("redelivery.publish", &error.to_string());
                break;
            }
            published += 1;
        }
        if let Err(error) = self.nats.flush(FLUSH_LIMIT).await {
            self.app.failures.log("redelivery.flush", &error.to_string());
        }
        self.counters.redelivered.fetch_add(published, Ordering::Relaxed);
        metrics::counter!("agentnet_registry_redelivered_total").increment(published);
    }
}
