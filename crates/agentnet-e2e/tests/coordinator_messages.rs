//! Messages of the coordinator: protocols, broadcasts, history.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use agentnet::{AgentNode, Incoming};
use serde_json::{Value, json};
use support::{
    SOON, Stack,
    coordinator::{Api, is_fault},
};
use tokio::{sync::mpsc, time::timeout};

fn message(to: &str, n: usize, protocol: &str) -> Value {
    json!({"receiver_id": to, "message_type": "direct", "payload": {"n": n}, "protocol": protocol})
}

async fn listener(stack: &Stack, agent_id: &str) -> (AgentNode, mpsc::UnboundedReceiver<Value>) {
    let (tell, told) = mpsc::unbounded_channel();
    let node = stack.node(agent_id).max_concurrency(1).on_message(move |message: Incoming| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(message.payload().value());
            Ok(())
        }
    });
    (node.start().await.unwrap(), told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_say_from_whom_they_take_what() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let api = Api::of(&gateway);
    let (_bob, mut heard) = listener(&stack, "bob").await;
    let sent = api.posted("/messages/send", &message("bob", 1, "hierarchical")).await;
    assert_eq!((&sent["receiver_id"], &sent["protocol"]), (&json!("bob"), &json!("hierarchical")));
    assert_eq!(timeout(SOON, heard.recv()).await.unwrap().unwrap(), json!({"n": 1}));
    let fault =
        is_fault(api.post("/messages/send", &message("bob", 1, "telepathy")).await, 400, "invalid_field");
    assert_eq!(
        fault["detail"],
        "Invalid protocol: telepathy. Valid protocols: hierarchical, peer_to_peer, broadcast"
    );
    let mut bad = message("bob", 1, "hierarchical");
    bad["priority"] = json!("urgent");
    is_fault(api.post("/messages/send", &bad).await, 400, "invalid_field");
    bad["priority"] = json!("low");
    bad["message_type"] = json!("gossip");
    let fault = is_fault(api.post("/messages/send", &bad).await, 400, "invalid_field");
    assert!(fault["detail"].as_str().unwrap().starts_with("Invalid message type: gossip"), "{fault}");
    let fault =
        is_fault(api.post("/messages/send", &message("nobody", 1, "hierarchical")).await, 404, "not_found");
    assert_eq!(fault["detail"], "Agent not found");

    // Each rule, and the relation that satisfies it.
    let accepts = |rules: Value| json!({"accepts": rules});
    api.register(
        "closed",
        accepts(json!({"hierarchical": "relations", "peer_to_peer": "peers", "broadcast": "none"})),
    )
    .await;
    for protocol in ["hierarchical", "peer_to_peer", "broadcast"] {
        is_fault(
            api.post("/messages/send", &message("closed", 1, protocol)).await,
            403,
            "protocol_forbidden",
        );
    }
    api.register("agent-coordinator", json!({"agent_type": "coordinator"})).await;
    let mut rules = accepts(json!({"hierarchical": "relations", "peer_to_peer": "peers"}));
    rules["coordinator"] = json!("agent-coordinator");
    api.register("closed", rules).await;
    api.posted("/messages/send", &message("closed", 2, "hierarchical")).await;
    is_fault(
        api.post("/messages/send", &message("closed", 2, "peer_to_peer")).await,
        403,
        "protocol_forbidden",
    );
    api.poke("/peers/add?agent_id=closed&peer_id=agent-coordinator").await;
    api.posted("/messages/send", &message("closed", 3, "peer_to_peer")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_is_one_message_with_a_delivery_for_each() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let api = Api::of(&gateway);
    let (bob, mut heard) = listener(&stack, "bob").await;
    api.register("bob", json!({"capabilities": ["x"]})).await;
    api.register("offline", json!({"capabilities": ["x", "y"]})).await;
    api.register("other", json!({"agent_type": "consumer", "capabilities": ["x"]})).await;
    api.register("deaf", json!({"capabilities": ["x"], "accepts": {"broadcast": "none"}})).await;
    let body = json!({"message_type": "broadcast", "payload": {"announcement": "system_update"}, "agent_type": "worker",
        "capabilities": ["x"]});
    let sent = api.posted("/messages/broadcast", &body).await;
    let mut recipients: Vec<&str> =
        sent["recipients"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect();
    recipients.sort_unstable();
    assert_eq!((recipients, &sent["count"]), (vec!["bob", "offline"], &json!(2)), "{sent}");
    assert_eq!(sent["message"], "Broadcast sent to 2 agents");
    assert_eq!(sent["message_ids"].as_array().unwrap().len(), 1);
    assert_eq!(timeout(SOON, heard.recv()).await.unwrap().unwrap(), json!({"announcement": "system_update"}));
    let mail = api.got("/agents/offline/messages").await;
    assert_eq!((&mail["messages"][0]["message_id"], &mail["count"]), (&sent["message_ids"][0], &json!(1)));
    assert_eq!(mail["messages"][0]["protocol"], "broadcast");
    for (agent, count) in [("offline", 1), ("bob", 1), ("other", 0), ("deaf", 0)] {
        let history = api.got(&format!("/messages/history?receiver_id={agent}")).await;
        assert_eq!(history["count"], count, "{agent}: {history}");
    }
    let nobody = json!({"message_type": "broadcast", "payload": {}, "capabilities": ["z"]});
    let none = api.posted("/messages/broadcast", &nobody).await;
    assert_eq!((&none["count"], &none["message"]), (&json!(0), &json!("No matching agents found")));
    // Nobody answers to everybody.
    let thread = api.got("/messages/history?receiver_id=bob").await["messages"][0]["thread_id"].clone();
    let target = format!("thread:{}", thread.as_str().unwrap());
    support::until_async(async || {
        let answer = bob.send(agentnet::Target::parse(&target).unwrap(), json!({})).await;
        answer.is_err_and(|error| error.code() == "thread_closed")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_filtered_by_both_ends_and_its_pages_hold() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let api = Api::of(&gateway);
    let bob = stack.node("bob").start().await.unwrap();
    for agent in ["a", "b"] {
        api.register(agent, json!({})).await;
    }
    let a = api.got("/agents/a").await["agent"]["account_id"].as_str().unwrap().to_owned();
    for n in 0..5 {
        api.posted("/messages/send", &message(if n % 2 == 0 { "a" } else { "b" }, n, "hierarchical")).await;
    }
    bob.send_to_account(&a, json!({"n": 5})).until(agentnet::Stage::Stored).await.unwrap();
    let ns = async |query: &str| -> Vec<u64> {
        let page = api.got(&format!("/messages/history?{query}")).await;
        assert_eq!(page["count"], page["messages"].as_array().unwrap().len());
        page["messages"].as_array().unwrap().iter().map(|m| m["payload"]["n"].as_u64().unwrap()).collect()
    };
    assert_eq!(ns("").await, [5, 4, 3, 2, 1, 0]);
    assert_eq!(ns("receiver_id=a").await, [5, 4, 2, 0]);
    assert_eq!(ns("sender_id=bob").await, [5]);
    // Both together.
    assert_eq!(ns("sender_id=agent-coordinator&receiver_id=a").await, [4, 2, 0]);
    assert!(ns("sender_id=bob&receiver_id=b").await.is_empty());
    assert_eq!(ns("receiver_id=a&limit=2&offset=1").await, [4, 2]);
    assert!(ns("limit=0").await.is_empty());
    is_fault(api.get("/messages/history?limit=-1").await, 422, "validation_failed");
    assert!(ns("sender_id=nobody").await.is_empty());
    // The cursor holds whatever comes meanwhile.
    let page = api.got("/messages/history?receiver_id=a&limit=2").await;
    api.posted("/messages/send", &message("a", 9, "hierarchical")).await;
    let next = page["next_cursor"].as_str().unwrap();
    assert_eq!(ns(&format!("receiver_id=a&limit=2&cursor={next}")).await, [2, 0]);

    let one = &page["messages"][1];
    let shown = api.got(&format!("/messages/{}", one["message_id"].as_str().unwrap())).await;
    assert_eq!(&shown["message"], one);
    assert_eq!((&one["sender_id"], &one["receiver_id"]), (&json!("agent-coordinator"), &json!("a")));
    let missing = is_fault(api.get("/messages/no-such").await, 404, "not_found");
    assert_eq!(missing["detail"], "Message no-such not found");
}
