//! Observing an account's subjects: everything passes by, nothing is taken, also while connections are renewed.

mod support;

use std::{collections::BTreeSet, time::Duration};

use agentnet::{Observed, Stage};
use serde_json::json;
use support::{SOON, Stack};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_observed_is_left_to_the_accounts_sessions() {
    let stack = Stack::start().await;
    let bob = stack.node("bob").on_message(|_| async { Ok(()) }).start().await.unwrap();
    let watcher = stack.node("bob").account_id(bob.account_id()).start().await.unwrap();
    assert_eq!(watcher.account_id(), bob.account_id());
    let mut mail = watcher.observe(&[Observed::Mail]).await.unwrap();
    let mut told = bob.observe(&[Observed::Told("news".to_owned())]).await.unwrap();
    let alice = stack.node("alice").start().await.unwrap();
    let mut receipts = alice.observe(&[Observed::Receipts]).await.unwrap();
    let sent = alice.send("@bob", json!({"text": "hi"})).until(Stage::Processed).await.unwrap();
    let seen = timeout(SOON, mail.next()).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&seen.payload).contains(&sent.message_id));
    let receipt = timeout(SOON, receipts.next()).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&receipt.payload).contains(&sent.message_id));
    watcher.tell("news", b"told".to_vec()).await.unwrap();
    assert_eq!(&timeout(SOON, told.next()).await.unwrap().unwrap().payload[..], b"told");
    assert!(watcher.tell("a.b", Vec::new()).await.is_err());
    // The end of the node is the end of what it observes.
    watcher.close().await.unwrap();
    assert!(timeout(SOON, mail.next()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observation_outlives_the_renewal_of_its_connection() {
    let stack = Stack::secure(&[("AGENTNET_CONNECTION_SECONDS", "3")]).await;
    let bob = stack.node("bob").no_rate_limit().on_message(|_| async { Ok(()) }).start().await.unwrap();
    let mut mail = bob.observe(&[Observed::Mail]).await.unwrap();
    let alice = stack.node("alice").start().await.unwrap();
    let connection = || bob.connection().client().server_info().client_id;
    let (before, mut sent) = (connection(), BTreeSet::new());
    let renewed_twice = async {
        let mut seen = BTreeSet::from([before]);
        while seen.len() < 3 {
            sent.insert(alice.send("@bob", json!(1)).until(Stage::Processed).await.unwrap().message_id);
            seen.insert(connection());
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, renewed_twice).await.expect("the connection isn't renewed");
    let mut heard = BTreeSet::new();
    while heard.len() < sent.len() {
        let message = timeout(SOON, mail.next()).await.expect("a message was missed").unwrap();
        let envelope: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        heard.insert(envelope["message_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(heard, sent);
    // Another account's mail isn't heard, whatever is asked for.
    let mut all = bob.observe(&[Observed::AllMail]).await.unwrap();
    alice.send_to_account("acct_01kahj000000000000000000ab", json!(1)).no_ack().await.unwrap();
    assert!(timeout(Duration::from_millis(500), all.next()).await.is_err());
}
