//! Receipts that belong into a delivery's history: refusals always, the straight way only after a redelivery.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::item::{Effect, ReceiptRow};
use crate::{
    StoreError,
    deliveries::{DeliveryEvent, what},
};

/// Adds them. Rare next to the receipts that only move their delivery.
pub(super) async fn add(
    conn: &mut PgConnection,
    told: &[(&ReceiptRow, &str)],
    redelivered: &HashSet<(String, String)>,
) -> Result<(), StoreError> {
    let events: Vec<DeliveryEvent> = told
        .iter()
        .filter_map(|(receipt, recipient)| {
            let what = match receipt.effect {
                Effect::None => return None,
                Effect::HeldBack => what::HELD_BACK,
                Effect::Rejected => what::REJECTED,
                Effect::Duplicate => what::DUPLICATE,
                Effect::Accepted | Effect::Processed if !is_in(redelivered, receipt, recipient) => {
                    return None;
                }
                Effect::Accepted => what::ACCEPTED,
                Effect::Processed => what::PROCESSED,
            };
            Some(DeliveryEvent {
                message_id: receipt.message_id.clone(),
                recipient: (*recipient).to_owned(),
                at: receipt.received_at,
                what: what.to_owned(),
                attempt: None,
                account_id: Some(receipt.account_id.clone()),
                session: receipt.session_tag.clone(),
                code: receipt.code.clone(),
                detail: receipt.detail.clone(),
            })
        })
        .collect();
    crate::deliveries::add_events(conn, &events).await
}

fn is_in(redelivered: &HashSet<(String, String)>, receipt: &ReceiptRow, recipient: &str) -> bool {
    // Mostly empty, and then nothing is allocated.
    !redelivered.is_empty() && redelivered.contains(&(receipt.message_id.clone(), recipient.to_owned()))
}
