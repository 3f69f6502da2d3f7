//! What receipts do to deliveries.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_proto::{Envelope, Receipt, ReceiptStatus};
use support::{LIMIT, Net, message, receipt};

use agentnet_local::testing::eventually;

async fn wait_confirmed(net: &Net, id: &str, status: &ReceiptStatus, times: usize) {
    eventually(LIMIT, || async {
        let notices = net.notices.of("bob");
        let confirmed =
            notices.iter().flat_map(|n| &n.receipts).filter(|r| r.message_id == id && r.status == *status);
        (confirmed.count() >= times).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_receipt_before_its_message_waits_for_it() {
    let net = Net::start().await;
    let persister = net.persister().await;
    net.receipt("alice", &receipt("m1", ReceiptStatus::Processed, None)).await;
    net.delivery_is("m1", "bob", "processed", false).await;
    wait_confirmed(&net, "m1", &ReceiptStatus::Processed, 1).await;
    net.send(&message("m1")).await;
    net.delivery_is("m1", "bob", "processed", true).await;
    let complete =
        "SELECT count(*) FROM agent_deliveries WHERE sender_account_id = 'alice' AND thread_id = 't1'
                    AND expires_at IS NOT NULL AND finished_at IS NOT NULL AND next_attempt_at IS NULL";
    assert_eq!(net.number(complete).await, 1);
    persister.stop().await;
}

#[tokio::test]
async fn states_only_move_forward() {
    let net = Net::start().await;
    let persister = net.persister().await;
    let steps = [
        (ReceiptStatus::Rejected, Some("busy"), "pending"),
        (ReceiptStatus::Rejected, Some("duplicate"), "accepted"),
        (ReceiptStatus::Accepted, None, "accepted"),
        (ReceiptStatus::Rejected, Some("rate_limited"), "accepted"),
        (ReceiptStatus::Rejected, Some("handler_error"), "rejected"),
        (ReceiptStatus::Accepted, None, "rejected"),
        (ReceiptStatus::Rejected, Some("duplicate"), "rejected"),
        (ReceiptStatus::Processed, None, "processed"),
        (ReceiptStatus::Rejected, Some("timeout"), "processed"),
        (ReceiptStatus::Other("pondered".to_owned()), None, "processed"),
    ];
    net.send(&message("m1")).await;
    net.delivery_is("m1", "bob", "pending", true).await;
    let mut sent: Vec<&ReceiptStatus> = Vec::new();
    for (status, code, state) in &steps {
        net.receipt("alice", &receipt("m1", status.clone(), *code)).await;
        sent.push(status);
        // Confirmed means committed.
        wait_confirmed(&net, "m1", status, sent.iter().filter(|s| **s == status).count()).await;
        assert_eq!(net.delivery("m1", "bob").await.unwrap().0, *state, "{status} {code:?}");
    }
    let attempts = "SELECT attempts::bigint FROM agent_deliveries";
    assert_eq!(net.number(attempts).await, 0);
    persister.stop().await;
}

#[tokio::test]
async fn who_is_held_back_is_tried_again_later() {
    let net = Net::start().await;
    let persister = net.persister().await;
    net.send(&message("m1")).await;
    net.receipt("alice", &receipt("m1", ReceiptStatus::Rejected, Some("shutting_down"))).await;
    eventually(LIMIT, || async { (net.delivery("m1", "bob").await?.1? == "shutting_down").then_some(()) })
        .await;
    let again = "SELECT count(*) FROM agent_deliveries WHERE state = 'pending' AND lease_until IS NULL
                 AND next_attempt_at = receipt_at + interval '1 s' AND owner_session = 's1'";
    assert_eq!(net.number(again).await, 1);
    net.receipt("alice", &receipt("m1", ReceiptStatus::Accepted, None)).await;
    net.delivery_is("m1", "bob", "accepted", true).await;
    let leased = "SELECT count(*) FROM agent_deliveries WHERE lease_until = receipt_at + interval '60 s'
                  AND next_attempt_at = lease_until AND accepted_at = receipt_at AND last_code IS NULL";
    assert_eq!(net.number(leased).await, 1);
    persister.stop().await;
}

#[tokio::test]
async fn a_receipt_moves_only_the_delivery_of_its_account() {
    let net = Net::start().await;
    let persister = net.persister().await;
    net.send(&message("m1")).await;
    let foreign = Receipt {
        from_account_id: Some("mallory".to_owned()),
        ..receipt("m1", ReceiptStatus::Processed, None)
    };
    net.receipt("alice", &foreign).await;
    net.delivery_is("m1", "mallory", "processed", false).await;
    net.delivery_is("m1", "bob", "pending", true).await;
    persister.stop().await;
}

fn to_capability(id: &str) -> Envelope {
    Envelope { to_agent: "capability:translate".to_owned(), to_account_id: None, ..message(id) }
}

/// As the original SDKs send it.
fn legacy(id: &str) -> Receipt {
    Receipt { to_agent: None, schema_version: None, ..receipt(id, ReceiptStatus::Accepted, None) }
}

#[tokio::test]
async fn receipts_find_a_capabilitys_delivery() {
    let net = Net::start().await;
    let persister = net.persister().await;
    let publish = async |id: &str| {
        net.publish("agent.capability.translate", to_capability(id).encode().unwrap()).await;
    };
    publish("m1").await;
    net.delivery_is("m1", "capability:translate", "pending", true).await;
    net.receipt("alice", &legacy("m1")).await;
    net.delivery_is("m1", "capability:translate", "accepted", true).await;
    let named = Receipt {
        to_agent: Some("capability:translate".to_owned()),
        ..receipt("m2", ReceiptStatus::Processed, None)
    };
    net.receipt("alice", &named).await;
    publish("m2").await;
    net.delivery_is("m2", "capability:translate", "processed", true).await;
    // The message comes while the stream keeps the receipt back.
    net.receipt("alice", &legacy("m3")).await;
    eventually(LIMIT, || async { (persister.counters().postponed > 0).then_some(()) }).await;
    publish("m3").await;
    net.delivery_is("m3", "capability:translate", "accepted", true).await;
    net.drained().await;
    assert_eq!(net.number("SELECT count(*) FROM agent_deliveries").await, 3);
    let handlers =
        "SELECT count(*) FROM agent_deliveries WHERE handler_account_id = 'bob' AND owner_session = 's1'";
    assert_eq!(net.number(handlers).await, 3);
    persister.stop().await;
}

#[tokio::test]
async fn a_receipt_without_message_is_kept_in_the_end() {
    let net = Net::start().await;
    let persister = net.persister().await;
    net.receipt("alice", &legacy("never")).await;
    net.delivery_is("never", "bob", "accepted", false).await;
    net.drained().await;
    assert!(net.notices.of("bob").is_empty(), "older peers are not confirmed to");
    persister.stop().await;
}
