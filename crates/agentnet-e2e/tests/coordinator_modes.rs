//! The coordinator where callers have to show who they are: whose agents are whose, in signed and secure mode.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use agentnet::Stage;
use serde_json::json;
use support::{
    SOON, Stack,
    coordinator::{Api, Events, good, is_fault, person},
};
use tokio::time::timeout;

async fn agents_belong_to_whoever_registered_them(stack: Stack) {
    let gateway = stack.gateway(&[("GATEWAY_RATE_LOGIN", "100")]).await;
    let nobody = Api::of(&gateway);
    let refused = is_fault(nobody.get("/agents/x").await, 401, "unauthenticated");
    assert!(refused["detail"].as_str().unwrap().contains("/api/auth/login"), "{refused}");
    for path in ["/peers", "/tasks/status", "/messages/history", "/registry/stats"] {
        is_fault(nobody.get(path).await, 401, "unauthenticated");
    }
    let ann = nobody.with(&person(&stack, &gateway, "ann").await);
    let bob = nobody.with(&person(&stack, &gateway, "bob").await);
    let made = ann.register("Ann's agent", json!({"capabilities": ["x"]})).await;
    let key = made["api_key"].as_str().unwrap();
    let agent = nobody.with(key);
    let path = "/agents/Ann's%20agent";
    assert_eq!(bob.got(path).await["agent"]["agent_id"], "Ann's agent", "everybody finds it");
    // Others don't act for it.
    let taken = json!({"agent_id": "Ann's agent", "agent_type": "worker"});
    is_fault(bob.post("/agents/register", &taken).await, 403, "forbidden");
    is_fault(bob.put(&format!("{path}/status"), &json!({"status": "busy"})).await, 403, "forbidden");
    is_fault(bob.get(&format!("{path}/messages")).await, 403, "forbidden");
    is_fault(bob.get("/peers/Ann's%20agent").await, 403, "forbidden");
    is_fault(bob.get("/peers").await, 403, "forbidden");
    // Its owner and itself do.
    for api in [&ann, &agent] {
        good(api.put(&format!("{path}/status"), &json!({"status": "busy"})).await);
        assert_eq!(api.got(&format!("{path}/messages")).await["count"], 0);
    }
    assert!(ann.register("Ann's agent", json!({})).await.get("api_key").is_none(), "told once");

    // Mail from a signing agent, taken over HTTP by a key that is the agent's.
    let sender = stack.node("sender").identity(stack.identity("sender")).start().await.unwrap();
    let id = made["account_id"].as_str().unwrap();
    let sent = sender.send_to_account(id, json!({"n": 1})).queued().await.unwrap();
    sent.until(Stage::Stored).await.unwrap();
    let mail = agent.mail(&format!("{path}/messages"), 1).await;
    let message = mail["messages"][0].clone();
    assert_eq!((&message["sender_id"], &message["payload"]), (&json!("sender"), &json!({"n": 1})));
    let ack = json!({"message_ids": [message["message_id"]]});
    is_fault(bob.post(&format!("{path}/messages/ack"), &ack).await, 403, "forbidden");
    agent.posted(&format!("{path}/messages/ack"), &ack).await;
    timeout(SOON, sent.until(Stage::Processed)).await.unwrap().unwrap();

    // The sender is the account that asks.
    let message = json!({"receiver_id": "bob", "message_type": "direct", "payload": {"n": 2}});
    is_fault(agent.post("/messages/send", &message).await, 404, "not_found");
    bob.register("bobs", json!({})).await;
    let message = json!({"receiver_id": "bobs", "message_type": "direct", "payload": {"n": 2}});
    let id = agent.posted("/messages/send", &message).await["message_id"].as_str().unwrap().to_owned();
    let shown = bob.got("/messages/history?receiver_id=bobs").await;
    assert_eq!(
        (&shown["count"], &shown["messages"][0]["sender_id"]),
        (&json!(1), &json!("Ann's agent")),
        "{shown}"
    );
    assert_eq!(ann.got("/messages/history?sender_id=Ann's%20agent").await["count"], 1);
    // Whoever has nothing to do with it doesn't see it.
    let eve = nobody.with(&person(&stack, &gateway, "eve").await);
    assert_eq!(eve.got("/messages/history").await["count"], 0);
    assert_eq!(eve.got("/messages/history?sender_id=Ann's%20agent&receiver_id=bobs").await["count"], 0);
    is_fault(eve.get(&format!("/messages/{id}")).await, 404, "not_found");
    is_fault(eve.get("/messages/history?sender_id=nobody").await, 404, "not_found");
    // A broadcast reaches both.
    let body = json!({"message_type": "broadcast", "payload": {"n": 3}, "agent_type": "worker"});
    let sent = eve.posted("/messages/broadcast", &body).await;
    assert_eq!(sent["count"], 2, "{sent}");
    bob.mail("/agents/bobs/messages", 2).await;
    // Peers of an agent that one registered.
    good(ann.poke("/peers/add?agent_id=Ann's%20agent&peer_id=bobs").await);
    assert_eq!(agent.got("/peers/Ann's%20agent").await["peers"], json!(["bobs"]));
    is_fault(bob.poke("/peers/add?agent_id=Ann's%20agent&peer_id=bobs").await, 403, "forbidden");
    is_fault(ann.poke("/peers/add?agent_id=nobody&peer_id=bobs").await, 404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_belong_to_whoever_registered_them_in_secure_mode() {
    agents_belong_to_whoever_registered_them(Stack::secure(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_belong_to_whoever_registered_them_in_signed_mode() {
    agents_belong_to_whoever_registered_them(Stack::signed().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_tasks_are_for_those_whose_tasks_they_are() {
    let stack = Stack::secure(&[]).await;
    let gateway = stack.gateway(&[("GATEWAY_RATE_LOGIN", "100")]).await;
    let ann = Api::of(&gateway).with(&person(&stack, &gateway, "ann").await);
    let eve = Api::of(&gateway).with(&person(&stack, &gateway, "eve").await);
    let task = |n: u64| json!({"task_data": {"n": n}, "priority": "normal", "requirements": {"capabilities": ["none"]}});
    let anns = ann.posted("/tasks/submit", &task(1)).await["task_id"].clone();
    let eves = eve.posted("/tasks/submit", &task(2)).await["task_id"].clone();
    for (api, own) in [(&eve, &eves), (&ann, &anns)] {
        let mut events =
            Events::open(api, "/events?last_event_id=0-0&types=task_submitted,task_cancelled").await;
        let (_, first) = events.until(|_, _| true).await;
        assert_eq!(&first["task_id"], own);
        is_fault(
            api.get(&format!("/tasks/{}", if own == &anns { &eves } else { &anns }.as_str().unwrap())).await,
            404,
            "not_found",
        );
        let id = own.as_str().unwrap();
        good(api.poke(&format!("/tasks/{id}/cancel")).await);
        let (_, next) = events.until(|_, _| true).await;
        assert_eq!((&next["task_id"], &next["state"]), (own, &json!("cancelled")));
    }
    is_fault(eve.poke("/tasks/queues/low/clear").await, 403, "forbidden");
    is_fault(eve.put("/load-balancer/strategy?strategy=round_robin", &json!({})).await, 403, "forbidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_per_caller_and_say_when_to_come_back() {
    let stack = Stack::secure(&[]).await;
    let gateway = stack.gateway(&[("GATEWAY_RATE_WORK", "2"), ("GATEWAY_RATE_LOGIN", "100")]).await;
    let ann = Api::of(&gateway).with(&person(&stack, &gateway, "ann").await);
    let bob = Api::of(&gateway).with(&person(&stack, &gateway, "bob").await);
    for n in 0..2 {
        ann.register(&format!("a{n}"), json!({})).await;
    }
    let body = json!({"agent_id": "a2", "agent_type": "worker"});
    let answer = ann.request(reqwest::Method::POST, "/agents/register").json(&body).send().await.unwrap();
    assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    is_fault((answer.status().as_u16(), answer.json().await.unwrap()), 429, "rate_limited");
    bob.register("b0", json!({})).await;
}
