//! Tasks over HTTP: submitted, worked at by an agent that polls, called off; queues and strategies.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use support::{
    Stack,
    coordinator::{Api, good, is_fault},
    hook::Hook,
    until, until_async,
};

async fn state(api: &Api, id: &str) -> String {
    api.got(&format!("/tasks/{id}")).await["task"]["state"].as_str().unwrap().to_owned()
}

fn wanted(capability: &str, priority: &str) -> Value {
    json!({"task_data": {"task_type": "sum", "numbers": [1, 2]}, "priority": priority,
        "requirements": {"capabilities": [capability], "agent_type": "worker"}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_over_http_gets_tasks_and_says_what_comes_of_them() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let api = Api::of(&gateway);
    api.register("adder", json!({"capabilities": ["add"]})).await;
    let submitted = api.posted("/tasks/submit", &wanted("add", "HIGH")).await;
    assert_eq!(
        (&submitted["message"], &submitted["priority"]),
        (&json!("Task submitted successfully"), &json!("HIGH"))
    );
    let id = submitted["task_id"].as_str().unwrap();
    let mail = api.mail("/agents/adder/messages", 1).await;
    let message = &mail["messages"][0];
    assert_eq!(
        (&message["message_type"], &message["payload"]["task_id"]),
        (&json!("task"), &json!(id)),
        "{mail}"
    );
    assert_eq!(message["payload"]["task_data"]["numbers"], json!([1, 2]));

    let accepted = good(api.poke(&format!("/tasks/{id}/accept")).await);
    let lease = accepted["lease"].clone();
    assert_eq!(accepted["task"]["state"], "running");
    let ack = json!({"message_ids": [message["message_id"]]});
    api.posted("/agents/adder/messages/ack", &ack).await;
    let progress = json!({"lease": lease, "progress": 0.5, "note": "half"});
    api.posted(&format!("/tasks/{id}/progress"), &progress).await;
    api.posted(&format!("/tasks/{id}/heartbeat"), &json!({"lease": lease})).await;
    let stolen = json!({"lease": "another", "result": 4});
    is_fault(api.post(&format!("/tasks/{id}/complete"), &stolen).await, 409, "task_lease_lost");
    let done = json!({"lease": lease, "result": {"sum": 3}});
    assert_eq!(api.posted(&format!("/tasks/{id}/complete"), &done).await["state"], "completed");
    let shown = api.got(&format!("/tasks/{id}")).await;
    assert_eq!(
        (&shown["task"]["result"], &shown["task"]["progress_note"]),
        (&json!({"sum": 3}), &json!("half"))
    );
    until_async(async || {
        let stats = api.got("/tasks/status").await["stats"].clone();
        stats["tasks_completed"] == 1 && stats["load_balancer_stats"]["successful_assignments"] == 1
    })
    .await;
    assert_eq!(api.got("/tasks?worker=adder").await["count"], 1);
    assert_eq!(api.got("/tasks?state=queued").await["count"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_posted_where_the_seeds_agents_take_it() {
    let stack = Stack::start().await;
    let quick = [("GATEWAY_WEBHOOK_PRIVATE", "true"), ("GATEWAY_WEBHOOK_POLL_SECONDS", "0.05")];
    let gateway = stack.gateway(&quick).await;
    let api = Api::of(&gateway);
    let (hook, url) = Hook::start(&[202]).await;
    api.register("hooked", json!({"capabilities": ["add"], "endpoints": {"http": url}})).await;
    let id =
        api.posted("/tasks/submit", &wanted("add", "normal")).await["task_id"].as_str().unwrap().to_owned();
    until(|| hook.count() == 1).await;
    assert!(hook.got.lock().unwrap()[0].0.starts_with("POST /tasks/execute "));
    let body = hook.body(0);
    assert_eq!(
        (&body["sender_id"], &body["message_type"]),
        (&json!("task_distributor"), &json!("task_assignment"))
    );
    let payload = &body["payload"];
    assert_eq!((&payload["task_id"], &payload["assigned_agent"]), (&json!(id), &json!("hooked")), "{body}");
    for member in ["task_type", "task_data", "requirements", "deadline", "priority", "status", "created_at"] {
        assert!(payload.get(member).is_some(), "{member}: {payload}");
    }
    let lease = good(api.poke(&format!("/tasks/{id}/accept")).await)["lease"].clone();
    let failed = json!({"lease": lease, "code": "no_numbers", "detail": "there are none"});
    assert_eq!(api.posted(&format!("/tasks/{id}/fail"), &failed).await["state"], "failed");
    assert_eq!(api.got(&format!("/tasks/{id}")).await["task"]["code"], "no_numbers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_wait_are_called_off_and_cleared() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let api = Api::of(&gateway);
    let mut ids = Vec::new();
    for priority in ["urgent", "low", "low"] {
        let task = api.posted("/tasks/submit", &wanted("nobody can", priority)).await;
        ids.push(task["task_id"].as_str().unwrap().to_owned());
    }
    let queues = api.got("/tasks/queues").await;
    assert_eq!(queues["total_queued"], 3, "{queues}");
    assert_eq!(api.got("/tasks/status").await["stats"]["queue_sizes"]["low"], 2);
    let cancelled = api.posted(&format!("/tasks/{}/cancel", ids[0]), &json!({"reason": "too late"})).await;
    assert_eq!((&cancelled["changed"], &cancelled["task"]["state"]), (&json!(true), &json!("cancelled")));
    assert_eq!(good(api.poke("/tasks/queues/low/clear").await)["cleared_count"], 2);
    for id in &ids {
        assert_eq!(state(&api, id).await, "cancelled");
    }
    // Submitted twice under one key it is one task.
    let mut body = wanted("nobody can", "normal");
    body["idempotency_key"] = json!("k");
    let (one, two) = (api.posted("/tasks/submit", &body).await, api.posted("/tasks/submit", &body).await);
    assert_eq!(one["task_id"], two["task_id"]);

    let fault = is_fault(api.post("/tasks/submit", &wanted("x", "soon")).await, 400, "invalid_priority");
    assert_eq!(fault["detail"], "Invalid priority: soon");
    is_fault(api.get("/tasks/no-such-task").await, 404, "not_found");
    let changed = good(api.put("/load-balancer/strategy?strategy=predictive", &json!({})).await);
    assert_eq!(changed["strategy"], "predictive");
    assert_eq!(api.got("/load-balancer/stats").await["stats"]["strategy"], "predictive");
    let fault =
        is_fault(api.put("/load-balancer/strategy?strategy=luck", &json!({})).await, 400, "invalid_strategy");
    assert_eq!(fault["detail"], "Invalid strategy: luck");
    let metrics = api.request(reqwest::Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(metrics.headers()["content-type"], "text/plain; charset=utf-8");
    assert!(metrics.text().await.unwrap().contains("agentnet_tasks_queued{priority=\"normal\"} 1"));
}
