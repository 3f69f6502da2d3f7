//! The examples of the seed, word for word: what they say to curl is what is asked here, of a gateway in open mode.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{Stack, coordinator::is_fault};

/// The seed's examples in its order; only the address is another one.
const EXAMPLES: [&str; 15] = [
    r#"curl -X POST http://localhost:9001/agents/register \
-H "Content-Type: application/json" \
-d '{
"agent_id": "hermes-agent",
"agent_type": "worker",
"capabilities": ["data-processing", "analysis"],
"services": ["task-execution"],
"endpoints": {"http": "http://localhost:9002"},
"metadata": {"version": "1.0.0"}
}'"#,
    r#"curl -X POST http://localhost:9001/agents/discover \
-H "Content-Type: application/json" \
-d '{
"status": "active",
"agent_type": "worker"
}'"#,
    "curl http://localhost:9001/agents/hermes-agent",
    r#"curl -X PUT http://localhost:9001/agents/hermes-agent/status \
-H "Content-Type: application/json" \
-d '{
"status": "busy",
"load_metrics": {
"active_connections": 5,
"pending_tasks": 2
}
}'"#,
    r#"curl -X POST http://localhost:9001/tasks/submit \
-H "Content-Type: application/json" \
-d '{
"task_data": {
"model": "llama2",
"prompt": "test prompt"
},
"priority": "normal",
"requirements": {}
}'"#,
    "curl http://localhost:9001/tasks/status",
    r#"curl -X POST http://localhost:9001/messages/send \
-H "Content-Type: application/json" \
-d '{
"receiver_id": "hermes-agent",
"message_type": "direct",
"payload": {"task": "process_data"},
"priority": "normal",
"protocol": "hierarchical"
}'"#,
    r#"curl -X POST http://localhost:9001/messages/broadcast \
-H "Content-Type: application/json" \
-d '{
"message_type": "broadcast",
"payload": {"announcement": "system_update"},
"agent_type": "worker"
}'"#,
    r#"curl "http://localhost:9001/messages/history?sender_id=agent-1&limit=50""#,
    "curl http://localhost:9001/messages/{message_id}",
    r#"curl -X POST "http://localhost:9001/peers/add?agent_id=agent-1&peer_id=agent-2""#,
    r#"curl -X POST "http://localhost:9001/peers/remove?agent_id=agent-1&peer_id=agent-2""#,
    "curl http://localhost:9001/peers/agent-1",
    "curl http://localhost:9001/peers",
    "curl http://localhost:9001/health",
];

/// Runs one in a shell, silently, and adds the status.
async fn run(example: &str, base: &str) -> (u16, Value) {
    let asked = example.replace("http://localhost:9001", base);
    let script = asked.replacen("curl ", "curl -sS --globoff --max-time 30 -w '\n%{http_code}' ", 1);
    let done = tokio::task::spawn_blocking(move || Command::new("sh").arg("-c").arg(script).output());
    let output = done.await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{example}: {complaint}"));
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_else(|_| panic!("{example}: {body}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_seed_do_what_it_says() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let base = gateway.url("");
    let mut answers = Vec::new();
    for example in EXAMPLES {
        let (status, body) = run(example, &base).await;
        let expected = if example.contains("{message_id}") { 404 } else { 200 };
        assert_eq!(status, expected, "{example}: {body}");
        answers.push(body);
    }
    let [
        registered,
        found,
        shown,
        reported,
        task,
        tasks,
        sent,
        broadcast,
        history,
        missing,
        added,
        removed,
        of,
        all,
        health,
    ] = &answers[..]
    else {
        panic!("fifteen examples")
    };
    assert_eq!(registered["message"], "Agent hermes-agent registered successfully");
    assert_eq!((&found["count"], &found["agents"][0]["agent_id"]), (&json!(1), &json!("hermes-agent")));
    for member in [
        "agent_id",
        "agent_type",
        "status",
        "capabilities",
        "services",
        "endpoints",
        "metadata",
        "last_heartbeat",
        "registration_time",
        "load_metrics",
        "health_score",
        "version",
        "tags",
    ] {
        assert!(shown["agent"].get(member).is_some(), "{member}: {shown}");
    }
    assert_eq!(
        (&reported["message"], &reported["new_status"]),
        (&json!("Agent hermes-agent status updated"), &json!("busy"))
    );
    assert_eq!(
        (&task["message"], &task["priority"]),
        (&json!("Task submitted successfully"), &json!("normal"))
    );
    for member in [
        "tasks_distributed",
        "tasks_completed",
        "tasks_failed",
        "avg_distribution_time",
        "load_balancer_stats",
        "queue_sizes",
    ] {
        assert!(tasks["stats"].get(member).is_some(), "{member}: {tasks}");
    }
    assert_eq!(tasks["stats"]["load_balancer_stats"]["strategy"], "least_connections");
    assert_eq!(
        (&sent["message"], &sent["receiver_id"]),
        (&json!("Message sent successfully"), &json!("hermes-agent"))
    );
    assert_eq!((&broadcast["count"], &broadcast["recipients"]), (&json!(1), &json!(["hermes-agent"])));
    assert_eq!((&history["limit"], &history["offset"]), (&json!(50), &json!(0)));
    assert_eq!(
        (&missing["status"], &missing["detail"]),
        (&json!("error"), &json!("Message {message_id} not found"))
    );
    assert_eq!(added["message"], "Peer agent-2 added for agent agent-1");
    assert_eq!(removed["message"], "Peer agent-2 removed for agent agent-1");
    assert_eq!((&of["count"], &all["total_peers"]), (&json!(0), &json!(0)));
    assert_eq!(health["status"], "healthy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elsewhere_they_say_what_is_needed() {
    let stack = Stack::secure(&[]).await;
    let gateway = stack.gateway(&[]).await;
    for example in EXAMPLES.iter().filter(|example| !example.contains("/health")) {
        let fault = is_fault(run(example, &gateway.url("")).await, 401, "unauthenticated");
        let detail = fault["detail"].as_str().unwrap();
        assert!(detail.contains("/api/auth/login") && detail.contains("API key"), "{detail}");
    }
}
