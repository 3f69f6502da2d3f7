//! What was given up, to the senders: on their `stored` subject, never as a receipt, for no recipient said it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use agentnet_proto::{AccountId, ErrorCode, FailedMessage, StoredNotice, Subject};
use agentnet_store::deliveries::Ended;

use super::Redelivery;
use crate::app::App;

/// Entries of one notice: it fits into a NATS message whatever they hold.
const MOST: usize = 100;

impl Redelivery {
    /// Tells, and counts. A notice that is lost is made up for by `registry.why`.
    pub(super) async fn tell(&self, ended: Vec<Ended>) {
        for delivery in &ended {
            let counter = if delivery.state == "dead" { &self.counters.dead } else { &self.counters.expired };
            counter.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("agentnet_registry_given_up_total", "state" => delivery.state.clone())
                .increment(1);
        }
        tell_senders(&self.app, ended).await;
    }
}

/// Tells the senders of deliveries that ended how they did.
pub(crate) async fn tell_senders(app: &App, ended: Vec<Ended>) {
    let mut by_sender: BTreeMap<AccountId, Vec<FailedMessage>> = BTreeMap::new();
    for delivery in ended {
        let Some(Ok(sender)) = delivery.sender_account_id.clone().map(AccountId::new) else { continue };
        by_sender.entry(sender).or_default().push(failed(delivery));
    }
    for (sender, failed) in by_sender {
        let subject = Subject::Stored(sender).to_string();
        for part in failed.chunks(MOST) {
            let notice: StoredNotice = StoredNotice { failed: part.to_vec(), ..StoredNotice::at(app.now()) };
            let Ok(body) = serde_json::to_vec(&notice) else { continue };
            if let Err(error) = app.client.publish(subject.clone(), body.into()).await {
                app.failures.log("redelivery.tell", &error.to_string());
            }
        }
    }
}

fn failed(delivery: Ended) -> FailedMessage {
    let meaning = ErrorCode::parse(&delivery.code).map_or("", |code| code.meaning().trim());
    let detail = match delivery.last_code {
        Some(last) => format!("{meaning} The last answer was {last}."),
        None => meaning.to_owned(),
    };
    FailedMessage {
        message_id: delivery.message_id,
        state: delivery.state,
        code: delivery.code,
        detail,
        recipient: Some(delivery.recipient),
    }
}
