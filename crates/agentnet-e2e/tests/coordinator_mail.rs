//! Mail of agents that come in over HTTP: fetched and acknowledged, or posted to their webhooks.

mod support;

use std::time::Duration;

use agentnet::Stage;
use serde_json::{Value, json};
use support::{
    SOON, Stack,
    coordinator::{Api, is_fault},
    hook::Hook,
    until_async,
};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_is_fetched_leased_and_acknowledged() {
    let stack = Stack::start_with(&[("AGENT_TTL_SECONDS", "2"), ("HEARTBEAT_INTERVAL_SECONDS", "0.5")]).await;
    let gateway = stack.gateway(&[]).await;
    let api = Api::of(&gateway);
    api.register("poller", json!({})).await;
    let id = api.got("/agents/poller").await["agent"]["account_id"].as_str().unwrap().to_owned();
    let bob = stack.node("bob").start().await.unwrap();

    let one = bob.send_to_account(&id, json!({"n": 1})).queued().await.unwrap();
    one.until(Stage::Stored).await.unwrap();
    let sent = api
        .posted(
            "/messages/send",
            &json!({"receiver_id": "poller", "message_type": "direct", "payload": {"n": 2},
            "priority": "high"}),
        )
        .await;
    let page = api.got("/agents/poller/messages?lease_seconds=1").await;
    let ns: Vec<&Value> = page["messages"].as_array().unwrap().iter().map(|m| &m["payload"]["n"]).collect();
    assert_eq!(ns, [1, 2], "{page}");
    let (first, second) = (&page["messages"][0], &page["messages"][1]);
    assert_eq!(
        (&first["sender_id"], &first["receiver_id"], &first["attempt"]),
        (&json!("bob"), &json!("poller"), &json!(1))
    );
    assert_eq!(
        (&second["sender_id"], &second["message_id"]),
        (&json!("agent-coordinator"), &sent["message_id"])
    );
    assert_eq!((&second["priority"], &second["protocol"]), (&json!("high"), &json!("hierarchical")));
    // The sender hears that it was taken.
    timeout(SOON, one.until(Stage::Accepted)).await.unwrap().unwrap();
    // It is one reader's for a while, and there again when that one doesn't say that it is done.
    assert_eq!(api.got("/agents/poller/messages").await["count"], 0);
    let again = api.mail("/agents/poller/messages?lease_seconds=60", 2).await;
    assert_eq!(again["messages"][0]["attempt"], 2, "{again}");

    let ids = [&first["message_id"], &second["message_id"]];
    let body = json!({"message_ids": [ids[0], "unknown"], "failed": [ids[1]]});
    let acked = api.posted("/agents/poller/messages/ack", &body).await;
    assert_eq!((&acked["acknowledged"], &acked["unknown"]), (&json!(ids), &json!(["unknown"])));
    timeout(SOON, one.until(Stage::Processed)).await.unwrap().unwrap();
    // Again is the same.
    assert_eq!(api.posted("/agents/poller/messages/ack", &body).await["acknowledged"], json!(ids));
    let state = |id: &Value| {
        let request = agentnet::proto::rpc::DeliveriesRequest {
            message_id: id.as_str().map(str::to_owned),
            ..Default::default()
        };
        let registry = stack.registry();
        async move {
            registry.call::<agentnet::proto::rpc::Deliveries>(&request).await.unwrap().deliveries[0]
                .state
                .clone()
        }
    };
    assert_eq!((state(ids[0]).await.as_str(), state(ids[1]).await.as_str()), ("processed", "rejected"));
    is_fault(api.get("/agents/nobody/messages").await, 404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_is_posted_signed_and_again_after_a_failure() {
    let stack = Stack::start().await;
    let quick = [("GATEWAY_WEBHOOK_PRIVATE", "true"), ("GATEWAY_WEBHOOK_POLL_SECONDS", "0.05")];
    let gateway = stack.gateway(&quick).await;
    let api = Api::of(&gateway);
    // A redirect is a failure: it isn't followed.
    let (hook, url) = Hook::start(&[500, 302]).await;
    let registered = api.register("hooked", json!({"endpoints": {"http": url}})).await;
    let secret = registered["webhook_secret"].as_str().unwrap().to_owned();
    let again = api.register("hooked", json!({"endpoints": {"http": url}})).await;
    assert!(again.get("webhook_secret").is_none(), "told once");
    let shown = api.got("/agents/hooked").await["agent"].clone();
    assert_eq!(shown["webhook"]["url"], format!("{url}/messages"));
    assert!(!shown.to_string().contains(&secret));
    let id = shown["account_id"].as_str().unwrap().to_owned();
    let bob = stack.node("bob").start().await.unwrap();
    let sent =
        bob.send_to_account(&id, json!({"n": 1})).ttl(Duration::from_secs(600)).queued().await.unwrap();
    timeout(SOON, sent.until(Stage::Processed)).await.unwrap().unwrap();
    assert_eq!(hook.count(), 3);
    let (path, headers, body) = hook.got.lock().unwrap()[2].clone();
    assert!(path.starts_with("POST /messages "), "{path}");
    let value = hook.body(2);
    assert_eq!(
        (&value["sender_id"], &value["payload"], &value["receiver_id"]),
        (&json!("bob"), &json!({"n": 1}), &json!("hooked"))
    );
    let header =
        |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap();
    assert_eq!(header("agentnet-message-id"), value["id"].as_str().unwrap());
    // As docs/COORDINATOR.md tells agents to check it.
    let signature = header("agentnet-webhook-signature");
    let (seconds, mac) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    assert_eq!(mac, hmac_hex(secret.as_bytes(), &[seconds.as_bytes(), b".", &body].concat()));
    let webhook = api.got("/agents/hooked").await["agent"]["webhook"].clone();
    assert_eq!(webhook["failures"], 0, "{webhook}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_fails_is_turned_off_and_its_mail_can_be_fetched() {
    let stack = Stack::start_with(&[("AGENTNET_WEBHOOK_FAILURES", "2")]).await;
    // Without leave, this machine's own addresses aren't posted to.
    let gateway = stack.gateway(&[("GATEWAY_WEBHOOK_POLL_SECONDS", "0.05")]).await;
    let api = Api::of(&gateway);
    let (hook, url) = Hook::start(&[]).await;
    api.register("inside", json!({"endpoints": {"messages": format!("{url}/in")}})).await;
    api.posted("/messages/send", &json!({"receiver_id": "inside", "message_type": "direct", "payload": {}}))
        .await;
    let webhook = || async { api.got("/agents/inside").await["agent"]["webhook"].clone() };
    until_async(async || webhook().await["disabled_at"].is_string()).await;
    let state = webhook().await;
    assert_eq!(state["failures"], 2, "{state}");
    assert!(state["last_error"].as_str().unwrap().contains("GATEWAY_WEBHOOK_PRIVATE"), "{state}");
    assert_eq!(hook.count(), 0);
    // The message is there all the same.
    until_async(async || api.got("/agents/inside/messages").await["count"] == 1).await;
    // Registering again turns it on.
    api.register("inside", json!({"endpoints": {"messages": format!("{url}/in")}})).await;
    assert!(webhook().await.get("disabled_at").is_none());
}

/// HMAC-SHA256 by the book (RFC 2104), so that both sides aren't the same code.
fn hmac_hex(key: &[u8], message: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    let mut block = [0_u8; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |byte: u8| block.map(|b| b ^ byte);
    let inner = Sha256::digest([&pad(0x36)[..], message].concat());
    Sha256::digest([&pad(0x5c)[..], &inner].concat()).iter().map(|b| format!("{b:02x}")).collect()
}
