//! Tasks and statuses, on an open network.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use agentnet::{AgentNode, AgentNodeBuilder, TaskError, TaskRun};
use serde_json::json;
use support::{Ran, agents::shared};

fn run(args: &[&str]) -> Ran {
    shared().place.run(args)
}

fn agent(name: &str, change: impl FnOnce(AgentNodeBuilder) -> AgentNodeBuilder) -> AgentNode {
    let builder = change(AgentNode::builder(name).nats_url(&shared().url));
    shared().runtime.block_on(builder.start()).unwrap()
}

#[test]
fn tasks_are_submitted_watched_listed_and_cancelled() {
    let _bob = agent("task_bob", |node| {
        node.capability("task_cli").on_task(|task: TaskRun| async move {
            match task.json::<i64>()? {
                0 => Err(TaskError::failed("nothing comes of nothing").with_code("zero")),
                n => Ok(json!({"twice": 2 * n})),
            }
        })
    });
    let _ann = agent("task_ann", |node| node);
    let run_as = |args: &[&str]| run(&[args, &["--account", "@task_ann"]].concat());
    let submit = ["task", "submit", "--capability", "task_cli"];
    run_as(&[&submit[..], &["21", "--type", "double", "--priority", "HIGH", "--wait"]].concat())
        .exits(0)
        .says("completed")
        .says(r#"{"twice":42}"#);
    run_as(&[&submit[..], &["0", "--wait"]].concat()).exits(2).says("failed").warns("zero");
    let id = run_as(&["task", "submit", "1", "--capability", "nobody_can", "--task-id", "cli-1"]).exits(0);
    assert_eq!(id.stdout.trim(), "cli-1");
    run_as(&["task", "submit", "1", "--capability", "nobody_can", "--task-id", "cli-1"])
        .exits(0)
        .says("was submitted before: queued");
    let found = run_as(&["task", "show", "cli-1", "--json"]).exits(0).json();
    assert_eq!((&found["task"]["state"], &found["task"]["task_data"]), (&json!("queued"), &json!(1)));
    run_as(&["task", "list", "--submitter", "@task_ann"])
        .exits(0)
        .says("cli-1")
        .says("completed")
        .says("zero");
    run_as(&["task", "queues"]).exits(0).says("urgent").says("least_connections");
    run_as(&["task", "cancel", "cli-1", "--reason", "enough"]).exits(0).says("is cancelled");
    run_as(&["task", "cancel", "cli-1"]).exits(0).says("had ended: cancelled");
    run_as(&["task", "show", "cli-1"]).exits(0).says("enough");
    run_as(&["task", "watch", "cli-1"]).exits(2).says("cancelled");
    run_as(&["task", "show", "none"]).exits(2).warns("error: not_found:");
    run_as(&["task", "submit", "{}", "--priority", "soon"]).exits(2).warns("error: invalid_priority:");
    run(&["task", "submit", "{}"]).exits(2).warns("account_id is required");
    run(&["task", "strategy"]).exits(0).says("least_connections").says("round_robin");
    run(&["task", "strategy", "fastest"]).exits(2).warns("error: invalid_strategy:");
}

#[test]
fn statuses_are_set_and_shown() {
    let _kim = agent("task_kim", |node| node);
    run(&["status", "set", "busy", "--load", "cpu_usage=0.75", "--account", "@task_kim"])
        .exits(0)
        .says("busy cpu_usage=0.75");
    run(&["status", "show", "@task_kim"]).exits(0).says("busy").says("0 tasks in hand");
    run(&["status", "set", "active", "--agent", "@task_kim"]).exits(0).says("active");
    run(&["status", "set", "asleep", "--account", "@task_kim"]).exits(2).warns("error: invalid_status:");
    run(&["status", "set", "busy", "--load", "cpu"]).exits(2).warns("NAME=NUMBER");
}
