//! Events of the coordinator: live, filtered, resumed by id at another gateway.

mod support;

use serde_json::{Value, json};
use support::{
    Stack,
    coordinator::{Api, Events, good, is_fault},
    web::Web,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_told_once_and_resumed_anywhere() {
    let stack = Stack::start().await;
    let (first, second) = (stack.gateway(&[]).await, stack.gateway(&[]).await);
    let api = Api::of(&first);
    let mut live = Events::open(&api, "/events").await;
    let mut socket = Web::open(&second.ws("/events/ws?types=agent_status"), &[]).await.unwrap();
    api.register("w", json!({})).await;
    let (id, _) = live.until(|kind, data| kind == "agent_registered" && data["agent_id"] == "w").await;
    let is = |status: &'static str| {
        move |kind: &str, data: &Value| kind == "agent_status" && data["status"] == status
    };
    live.until(is("active")).await;
    let report = json!({"status": "busy", "load_metrics": {"cpu_usage": 0.5}});
    good(api.put("/agents/w/status", &report).await);
    let (_, load) = live.until(|kind, _| kind == "load_metrics").await;
    assert_eq!((&load["agent_id"], &load["load_metrics"]["cpu_usage"]), (&json!("w"), &json!(0.5)));
    let (_, busy) = live.until(is("busy")).await;
    assert_eq!((&busy["old_status"], &busy["health_score"]), (&json!("active"), &json!(0.9)));
    // The other gateway tells the same.
    let frame = socket.until(|frame| frame["data"]["status"] == "busy").await;
    assert_eq!(frame["type"], "agent_status");
    drop(live);

    // What happened meanwhile is told to whoever comes back, to whichever gateway, and nothing twice.
    good(api.put("/agents/w/status", &json!({"status": "error"})).await);
    let last = frame["id"].as_str().unwrap();
    let other = Api::of(&second);
    let mut back = Events::open(&other, &format!("/events?last_event_id={last}&types=agent_status")).await;
    let (_, _, data) = back.next().await;
    assert_eq!((&data["data"]["old_status"], &data["data"]["status"]), (&json!("busy"), &json!("error")));
    let mut all = Events::open(&other, &format!("/events?last_event_id={id}&types=agent_status")).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(all.next().await.2["data"]["status"].clone());
    }
    assert_eq!(told, ["active", "busy", "error"]);
    is_fault(api.get("/events?last_event_id=yesterday").await, 422, "validation_failed");

    // An agent on NATS that goes says so, too.
    let bob = stack.node("bob").start().await.unwrap();
    back.until(|_, data| data["agent_id"] == "bob" && data["status"] == "active").await;
    bob.close().await.unwrap();
}
