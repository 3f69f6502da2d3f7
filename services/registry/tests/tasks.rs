//! Tasks over NATS: submitting once, assignment by eligibility and strategy, leases, ends, and two replicas at it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use agentnet_local::testing::eventually;
use async_nats::Subscriber;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use support::agents::{Agent, joining};
use support::secure::{Asking, id, secure};
use support::{PATIENCE, World};

/// Settings that make tasks quick to watch.
const QUICK: [(&str, &str); 3] = [
    ("AGENTNET_TASK_INTERVAL_SECONDS", "0.05"),
    ("AGENTNET_TASK_RETRY_SECONDS", "0.05"),
    ("GC_INTERVAL_SECONDS", "0.2"),
];

fn quick(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    QUICK.into_iter().chain(more.iter().copied()).collect()
}

/// An agent that takes tasks.
async fn worker(world: &World, name: &str, capabilities: &[&str], offer: Value) -> Agent {
    let mut joining = joining(name, Some("1.2"), capabilities);
    joining["metadata"] = json!({"tasks": offer, "agent_type": "worker", "tags": [name]});
    let agent = world.agent(joining).await;
    world.hello(&agent).await;
    agent
}

/// The next task that comes to the agent.
async fn next(inbox: &mut Subscriber) -> Value {
    let message = tokio::time::timeout(PATIENCE, inbox.next()).await.unwrap().unwrap();
    let envelope: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(envelope["kind"], "task", "{envelope}");
    envelope["payload"].clone()
}

impl World {
    async fn submit(&self, submitter: &str, more: Value) -> Value {
        let mut body = json!({"account_id": submitter, "task_data": {"n": 1}});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = self.call("task_submit", body).await;
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    }

    async fn accept(&self, agent: &Agent, task: &Value) -> String {
        let body = json!({"account_id": agent.account, "task_id": task["task_id"], "attempt": task["attempt"],
            "session_tag": agent.tag});
        let answer = self.call("task_accept", body).await;
        answer["lease"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn report(&self, method: &str, agent: &Agent, task: &Value, lease: &str, more: Value) -> Value {
        let mut body = json!({"account_id": agent.account, "task_id": task["task_id"], "lease": lease});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.call(method, body).await
    }

    async fn task(&self, task_id: &str) -> Value {
        self.call("task_get", json!({"task_id": task_id})).await
    }

    async fn reaches(&self, task_id: &str, state: &str) -> Value {
        eventually(PATIENCE, || async {
            let found = self.task(task_id).await;
            (found["task"]["state"] == state).then_some(found)
        })
        .await
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

#[tokio::test]
async fn a_task_goes_to_who_can_do_it_and_its_result_comes_back() {
    let world = World::new().await;
    let registry = world.registry(&quick(&[])).await;
    let ann = world.account("ann").await;
    let mut news = world.client.subscribe(format!("account.{ann}.tasks")).await.unwrap();
    let mut watched = world.client.subscribe("agentnet.events.tasks").await.unwrap();
    let answer = world
        .submit(
            &ann,
            json!({"task_type": "add", "priority": "High", "requirements": {"capabilities": ["sums"]},
            "task_data": {"a": 1.0, "b": 2}}),
        )
        .await;
    assert_eq!((&answer["changed"], &answer["task"]["state"]), (&json!(true), &json!("queued")));
    let task_id = text(&answer["task"], "task_id");
    assert_eq!(task_id.len(), 36, "a UUID");
    // One that can't, one that takes no tasks, one that is away; then one that can.
    let mut other = worker(&world, "other", &["drawing"], json!(true)).await;
    let mut idle = world.agent(joining("idle", Some("1.2"), &["sums"])).await;
    world.hello(&idle).await;
    world.holds("SELECT count(*) = 1 FROM agent_tasks WHERE parked AND looks > 0").await;
    let mut bob = worker(&world, "bob", &["sums", "drawing"], json!({"capacity": 2})).await;
    let task = next(&mut bob.inbox).await;
    assert_eq!((text(&task, "task_id"), &task["attempt"]), (task_id.clone(), &json!(1)));
    assert_eq!((text(&task, "submitter"), text(&task, "priority")), (ann.clone(), "high".to_owned()));
    // The data is what was written.
    let whole = world.task(&task_id).await;
    assert_eq!(whole["task"]["task_data"], json!({"a": 1.0, "b": 2}));
    assert_eq!(whole["task"]["state"], "assigned");
    let lease = world.accept(&bob, &task).await;
    assert_eq!(world.accept(&bob, &task).await, lease, "the same session is answered alike");
    let told =
        world.report("task_progress", &bob, &task, &lease, json!({"progress": 0.5, "note": "half"})).await;
    assert_eq!(told["state"], "running", "{told}");
    let half = world.task(&task_id).await;
    assert_eq!((&half["task"]["progress"], &half["task"]["progress_note"]), (&json!(0.5), &json!("half")));
    for _ in 0..2 {
        let done = world.report("task_complete", &bob, &task, &lease, json!({"result": {"sum": 3}})).await;
        assert_eq!(done["state"], "completed", "also when asked again: {done}");
    }
    let done = world.task(&task_id).await;
    assert_eq!(
        (&done["task"]["result"], &done["attempts"][0]["outcome"]),
        (&json!({"sum": 3}), &json!("completed"))
    );
    let mut heard = Vec::new();
    while heard.last().is_none_or(|last| last != "completed") {
        let message = tokio::time::timeout(PATIENCE, news.next()).await.unwrap().unwrap();
        heard.push(text(&serde_json::from_slice(&message.payload).unwrap(), "event"));
    }
    assert_eq!(heard, ["submitted", "assigned", "started", "progress", "completed"]);
    let first = tokio::time::timeout(PATIENCE, watched.next()).await.unwrap().unwrap();
    assert_eq!(text(&serde_json::from_slice(&first.payload).unwrap(), "task_id"), task_id);
    assert!(support::agents::is_silent(&world, &mut other.inbox).await);
    assert!(support::agents::is_silent(&world, &mut idle.inbox).await);
    registry.stop().await;
}

#[tokio::test]
async fn a_task_submitted_twice_is_one_task() {
    let world = World::new().await;
    let registry = world.registry(&QUICK).await;
    let (ann, eve) = (world.account("ann").await, world.account("eve").await);
    let first = world.submit(&ann, json!({"idempotency_key": "k", "task_data": {"n": 1}})).await;
    let again =
        world.submit(&ann, json!({"idempotency_key": "k", "task_data": {"n": 1}, "ttl_ms": 5000})).await;
    assert_eq!((&again["task"]["task_id"], &again["changed"]), (&first["task"]["task_id"], &json!(false)));
    let other =
        world.error("task_submit", json!({"account_id": ann, "idempotency_key": "k", "task_data": 2}));
    assert_eq!(other.await, "idempotency_key_reused");
    world.submit(&eve, json!({"idempotency_key": "k"})).await;
    world.submit(&ann, json!({"task_id": "mine"})).await;
    assert_eq!(world.submit(&ann, json!({"task_id": "mine"})).await["changed"], false);
    for (who, data) in [(&ann, json!(3)), (&eve, json!({"n": 1}))] {
        let taken = json!({"account_id": who, "task_id": "mine", "task_data": data});
        assert_eq!(world.error("task_submit", taken).await, "task_exists");
    }
    world.holds("SELECT count(*) = 3 FROM agent_tasks").await;
    registry.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_code() {
    let world = World::new().await;
    let registry = world.registry(&quick(&[("AGENTNET_TASKS_PER_SUBMITTER", "3")])).await;
    let ann = world.account("ann").await;
    let long = "x".repeat(129);
    let cases = [
        ("task_submit", json!({"priority": "soon"}), "invalid_priority"),
        ("task_submit", json!({"deadline": "yesterday"}), "deadline_invalid"),
        ("task_submit", json!({"deadline": "2020-01-01T00:00:00Z"}), "deadline_invalid"),
        ("task_submit", json!({"ttl_ms": 0}), "deadline_invalid"),
        ("task_submit", json!({"ttl_ms": 9_999_999_999_i64}), "deadline_invalid"),
        ("task_submit", json!({"task_id": "a b"}), "invalid_field"),
        ("task_submit", json!({"task_id": long}), "invalid_field"),
        ("task_submit", json!({"task_type": long}), "invalid_field"),
        ("task_submit", json!({"max_attempts": 101}), "invalid_field"),
        ("task_submit", json!({"max_attempts": -1}), "invalid_field"),
        ("task_submit", json!({"idempotency_key": "\0"}), "invalid_field"),
        ("task_submit", json!({"requirements": {"capabilities": [long]}}), "invalid_field"),
        ("task_submit", json!({"requirements": {"agents": ["@nobody"]}}), "not_found"),
        ("task_submit", json!({"task_data": "x".repeat(200_001)}), "payload_too_large"),
        ("task_submit", json!({"account_id": "acct_none"}), "not_found"),
        ("task_list", json!({"state": "ended"}), "invalid_state"),
        ("task_list", json!({"priority": "soon"}), "invalid_priority"),
        ("task_list", json!({"submitter": "@nobody"}), "not_found"),
        ("task_get", json!({}), "invalid_field"),
        ("task_get", json!({"task_id": "none"}), "not_found"),
        ("task_cancel", json!({"task_id": "none"}), "not_found"),
        ("task_accept", json!({"task_id": "none"}), "task_not_assigned"),
        ("task_heartbeat", json!({"task_id": "none"}), "invalid_field"),
        ("task_heartbeat", json!({"task_id": "none", "lease": "x"}), "task_not_assigned"),
        ("task_progress", json!({"task_id": "none", "lease": "x"}), "invalid_field"),
        ("task_progress", json!({"task_id": "none", "lease": "x", "progress": 1.5}), "invalid_field"),
        ("task_progress", json!({"task_id": "none", "lease": "x", "progress": -0.1}), "invalid_field"),
        (
            "task_complete",
            json!({"task_id": "none", "lease": "x", "result": "x".repeat(200_001)}),
            "payload_too_large",
        ),
        ("task_complete", json!({"task_id": "none", "lease": "x"}), "task_not_assigned"),
        ("task_fail", json!({"task_id": "none"}), "task_not_assigned"),
        ("task_queue_clear", json!({"priority": "x"}), "invalid_priority"),
        ("task_strategy", json!({"strategy": "fastest"}), "invalid_strategy"),
        ("set_status", json!({"status": "asleep"}), "invalid_status"),
        ("set_status", json!({"status": "busy", "target": "@nobody"}), "not_found"),
        ("set_status", json!({"load_metrics": {"x".repeat(65): 1.0}}), "invalid_field"),
    ];
    for (method, mut body, code) in cases {
        if body.get("account_id").is_none() {
            body["account_id"] = json!(ann);
        }
        assert_eq!(world.error(method, body.clone()).await, code, "{method} {body}");
    }
    assert_eq!(world.error("task_submit", json!({})).await, "account_id is required");
    let many: BTreeMap<String, f64> = (0..33).map(|n| (n.to_string(), 1.0)).collect();
    assert_eq!(
        world.error("set_status", json!({"account_id": ann, "load_metrics": many})).await,
        "invalid_field"
    );
    for n in 0..32 {
        let one = json!({"account_id": ann, "load_metrics": {n.to_string(): 1}});
        assert!(world.call("set_status", one).await.get("error").is_none());
    }
    let one_more = json!({"account_id": ann, "load_metrics": {"more": 1}});
    assert_eq!(world.error("set_status", one_more).await, "invalid_field", "figures add up");
    for method in ["task_submit", "task_get", "task_accept", "set_status", "task_stats"] {
        assert_eq!(
            text(&world.call_raw(method, "[]").await, "error"),
            "payload must be an object",
            "{method}"
        );
    }
    // Refused ones counted as well, until the next count; after it there is room for three.
    eventually(PATIENCE, || async {
        world.call("task_submit", json!({"account_id": ann})).await.get("error").is_none().then_some(())
    })
    .await;
    eventually(PATIENCE, || async {
        let answer = world.call("task_submit", json!({"account_id": ann})).await;
        (answer["error"] == "task_queue_full" && answer["retryable"] == true).then_some(())
    })
    .await;
    world.holds("SELECT count(*) <= 3 FROM agent_tasks").await;
    registry.stop().await;
}

#[tokio::test]
async fn who_falls_silent_loses_the_task_and_is_not_believed_afterwards() {
    let world = World::new().await;
    let settings = quick(&[("AGENTNET_TASK_LEASE_SECONDS", "0.4"), ("AGENTNET_TASK_ACCEPT_SECONDS", "0.4")]);
    let registry = world.registry(&settings).await;
    let ann = world.account("ann").await;
    let mut bob = worker(&world, "bob", &[], json!(true)).await;
    let task_id = text(&world.submit(&ann, json!({})).await["task"], "task_id");
    let first = next(&mut bob.inbox).await;
    let stale = world.accept(&bob, &first).await;
    // Heartbeats keep it for longer than a lease.
    for _ in 0..8 {
        let beat = world.report("task_heartbeat", &bob, &first, &stale, json!({})).await;
        assert_eq!(beat["state"], "running", "{beat}");
        world.holds("SELECT clock_timestamp() > lease_until - interval '0.3 s' FROM agent_tasks").await;
    }
    let mut kim = worker(&world, "kim", &[], json!(true)).await;
    // Then silence: somebody else gets it.
    let second = next(&mut kim.inbox).await;
    assert_eq!((text(&second, "task_id"), &second["attempt"]), (task_id.clone(), &json!(2)));
    for method in ["task_heartbeat", "task_progress", "task_complete", "task_fail"] {
        let late =
            world.report(method, &bob, &first, &stale, json!({"result": "stale", "progress": 1})).await;
        assert_eq!(late["error"], "task_lease_lost", "{method}");
    }
    let lease = world.accept(&kim, &second).await;
    let late = world.report("task_complete", &bob, &first, &stale, json!({"result": "stale"})).await;
    assert_eq!(late["error"], "task_lease_lost");
    world.report("task_complete", &kim, &second, &lease, json!({"result": "fresh"})).await;
    let late = world.report("task_complete", &bob, &first, &stale, json!({"result": "stale"})).await;
    assert_eq!(late["error"], "task_over");
    let found = world.task(&task_id).await;
    assert_eq!(found["task"]["result"], "fresh");
    assert_eq!(found["attempts"][0]["outcome"], "lease_lapsed");
    assert_eq!(found["task"]["attempts_failed"], 1);
    // One that nobody accepts comes again, and that is no failed attempt.
    let unheard = text(&world.submit(&ann, json!({})).await["task"], "task_id");
    eventually(PATIENCE, || async {
        let found = world.task(&unheard).await;
        let outcome = found["attempts"][1]["outcome"] == "not_accepted";
        (outcome && found["task"]["attempts_failed"] == 0).then_some(())
    })
    .await;
    registry.stop().await;
}

#[tokio::test]
async fn every_way_a_task_ends() {
    let world = World::new().await;
    let registry = world.registry(&QUICK).await;
    let ann = world.account("ann").await;
    let mut bob = worker(&world, "bob", &[], json!({"capacity": 1})).await;
    let mut news = world.client.subscribe(format!("account.{}.tasks", bob.account)).await.unwrap();
    // Failed: the worker says that it can't be done.
    let submitted = world.submit(&ann, json!({})).await;
    let task = next(&mut bob.inbox).await;
    let lease = world.accept(&bob, &task).await;
    let told = world
        .report("task_fail", &bob, &task, &lease, json!({"code": "no_paper", "detail": "none left"}))
        .await;
    assert_eq!(told["state"], "failed", "{told}");
    let found = world.task(&text(&submitted["task"], "task_id")).await;
    assert_eq!(
        (text(&found["task"], "code"), text(&found["task"], "detail")),
        ("no_paper".into(), "none left".into())
    );
    // Dead: it asks for another try until there is none left.
    let submitted = world.submit(&ann, json!({"max_attempts": 2})).await;
    for _ in 0..2 {
        let task = next(&mut bob.inbox).await;
        let lease = world.accept(&bob, &task).await;
        world.report("task_fail", &bob, &task, &lease, json!({"retry": true})).await;
    }
    let found = world.reaches(&text(&submitted["task"], "task_id"), "dead").await;
    assert_eq!(found["attempts"].as_array().unwrap().len(), 2);
    // Declined: that counts nothing.
    let submitted = world.submit(&ann, json!({"max_attempts": 1})).await;
    let task = next(&mut bob.inbox).await;
    let declined = world.report("task_fail", &bob, &task, "", json!({"code": "shutting_down"})).await;
    assert_eq!(declined["state"], "queued", "{declined}");
    let task = next(&mut bob.inbox).await;
    assert_eq!((&task["task_id"], &task["attempt"]), (&submitted["task"]["task_id"], &json!(2)));
    // Cancelled: the worker hears it, and is refused.
    let lease = world.accept(&bob, &task).await;
    let cancel = json!({"account_id": ann, "task_id": task["task_id"], "reason": "never mind"});
    assert_eq!(world.call("task_cancel", cancel.clone()).await["task"]["state"], "cancelled");
    assert_eq!(world.call("task_cancel", cancel).await["changed"], false, "once");
    loop {
        let message = tokio::time::timeout(PATIENCE, news.next()).await.unwrap().unwrap();
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        if event["event"] == "cancelled" {
            assert_eq!(event["task_id"], task["task_id"]);
            break;
        }
    }
    let late = world.report("task_complete", &bob, &task, &lease, json!({})).await;
    assert_eq!(late["error"], "task_over");
    // Expired: at work, and in the queue.
    let running = text(&world.submit(&ann, json!({"ttl_ms": 5000})).await["task"], "task_id");
    let task = next(&mut bob.inbox).await;
    let lease = world.accept(&bob, &task).await;
    let waiting = text(&world.submit(&ann, json!({"ttl_ms": 300})).await["task"], "task_id");
    let found = world.reaches(&waiting, "expired").await;
    assert_eq!(found["task"]["attempt"], 0);
    world.reaches(&running, "expired").await;
    assert_eq!(world.report("task_heartbeat", &bob, &task, &lease, json!({})).await["error"], "task_over");
    // All of it is in the figures.
    eventually(PATIENCE, || async {
        let stats = world.call("task_stats", json!({})).await;
        let folded = stats["tasks_failed"] == 4 && stats["tasks_completed"] == 0;
        let balancer = &stats["load_balancer_stats"];
        let all = balancer["total_assignments"] == 6 && balancer["successful_assignments"] == 0;
        (folded && all && balancer["active_agents"] == 1).then_some(())
    })
    .await;
    world.holds("SELECT sum(ended) = 5 FROM agent_task_ends").await;
    assert_eq!(world.call("task_stats", json!({})).await["tasks_failed"], 4, "also when it is folded");
    registry.stop().await;
}

#[tokio::test]
async fn busy_agents_get_nothing_and_capacity_is_kept_to() {
    let world = World::new().await;
    let registry = world.registry(&QUICK).await;
    let ann = world.account("ann").await;
    let mut bob = worker(&world, "bob", &[], json!({"capacity": 2})).await;
    for status in ["busy", "maintenance", "inactive", "error", "stale"] {
        let set = json!({"account_id": bob.account, "status": status, "load_metrics": {"cpu_usage": 0.9}});
        let answer = world.call("set_status", set).await;
        assert_eq!((&answer["status"], &answer["load_metrics"]["cpu_usage"]), (&json!(status), &json!(0.9)));
    }
    for _ in 0..3 {
        world.submit(&ann, json!({})).await;
    }
    eventually(PATIENCE, || async {
        let queues = world.call("task_queues", json!({})).await;
        (queues["queues"][3]["waiting_for_agent"] == 3).then_some(())
    })
    .await;
    world.call("set_status", json!({"account_id": bob.account, "status": "active"})).await;
    let (first, _second) = (next(&mut bob.inbox).await, next(&mut bob.inbox).await);
    // Full: the third waits until one is done.
    world.holds("SELECT count(*) FILTER (WHERE state = 'assigned') = 2 FROM agent_tasks").await;
    eventually(PATIENCE, || async {
        let status = world.call("status_list", json!({"accounts": [bob.account, "acct_nobody"]})).await;
        let agent = &status["agents"][0];
        (agent["tasks_in_hand"] == 2 && agent["status"] == "active").then_some(())
    })
    .await;
    assert!(support::agents::is_silent(&world, &mut bob.inbox).await);
    let lease = world.accept(&bob, &first).await;
    world.report("task_complete", &bob, &first, &lease, json!({})).await;
    next(&mut bob.inbox).await;
    registry.stop().await;
}

/// Urgent ones first, and whoever has many doesn't keep others from theirs.
#[tokio::test]
async fn the_order_is_by_priority_and_fair_between_submitters() {
    let world = World::new().await;
    let registry = world.registry(&QUICK).await;
    let (ann, eve) = (world.account("ann").await, world.account("eve").await);
    for n in 0..20 {
        world.submit(&eve, json!({"task_id": format!("eve{n:02}")})).await;
    }
    world.submit(&ann, json!({"task_id": "low", "priority": "low"})).await;
    world.submit(&ann, json!({"task_id": "normal"})).await;
    world.submit(&ann, json!({"task_id": "urgent", "priority": "urgent"})).await;
    // One low task has waited for long.
    world.submit(&eve, json!({"task_id": "old", "priority": "low"})).await;
    sqlx::query("UPDATE agent_tasks SET created_at = created_at - interval '700 s', rank_at = rank_at - interval '700 s' WHERE task_id = 'old'")
        .execute(&world.pool)
        .await
        .unwrap();
    let mut bob = worker(&world, "bob", &[], json!({"capacity": 1})).await;
    let mut order = Vec::new();
    while order.len() < 24 {
        let task = next(&mut bob.inbox).await;
        let lease = world.accept(&bob, &task).await;
        order.push(text(&task, "task_id"));
        world.report("task_complete", &bob, &task, &lease, json!({})).await;
    }
    let place = |id: &str| order.iter().position(|one| one == id).unwrap();
    assert_eq!(order[..2], ["old", "urgent"], "{order:?}");
    assert!(place("normal") < 5, "eve's twenty went first: {order:?}");
    assert!(place("low") > place("normal"), "{order:?}");
    let eves: Vec<&String> = order.iter().filter(|id| id.starts_with("eve")).collect();
    assert!(eves.is_sorted(), "{eves:?}");
    registry.stop().await;
}

#[tokio::test]
async fn the_strategy_is_every_replicas_and_changes_while_they_run() {
    let world = World::new().await;
    let long = ("AGENTNET_TASK_ACCEPT_SECONDS", "300");
    let one = world.registry(&quick(&[long])).await;
    let two = world.registry(&quick(&[long, ("REGISTRY_SERVER_ID", "two")])).await;
    let ann = world.account("ann").await;
    assert_eq!(world.call("task_strategy", json!({})).await["strategy"], "least_connections");
    let mut workers = Vec::new();
    for name in ["w1", "w2", "w3"] {
        workers.push(worker(&world, name, &[], json!({"capacity": 50})).await);
    }
    let accounts: Vec<String> = workers.iter().map(|worker| worker.account.clone()).collect();
    // Both replicas know all of them.
    world.holds("SELECT count(*) = 3 FROM agent_sessions WHERE metadata::text LIKE '%capacity%'").await;
    for strategy in ["consistent_hash", "round_robin", "random_of_two", "predictive"] {
        let set = world.call("task_strategy", json!({"strategy": strategy})).await;
        assert_eq!(set["strategy"], strategy, "{set}");
        let mut given: BTreeMap<String, usize> = BTreeMap::new();
        for n in 0..9 {
            let id = format!("{strategy}{n}");
            world.submit(&ann, json!({"task_id": id, "affinity": "same"})).await;
            let found = world.reaches(&id, "assigned").await;
            *given.entry(text(&found["task"], "worker")).or_default() += 1;
        }
        match strategy {
            "consistent_hash" => assert_eq!(given.values().copied().collect::<Vec<_>>(), [9], "{given:?}"),
            "round_robin" => assert_eq!(given.values().copied().collect::<Vec<_>>(), [3, 3, 3], "{given:?}"),
            _ => assert_eq!(given.values().sum::<usize>(), 9),
        }
        assert!(given.keys().all(|account| accounts.contains(account)));
    }
    one.stop().await;
    two.stop().await;
}

/// Two replicas and a crash: nothing is given to two, nothing is lost.
#[tokio::test]
async fn replicas_share_the_queue_and_one_of_them_dies() {
    let world = World::new().await;
    let one = world.registry(&quick(&[("AGENTNET_TASK_ACCEPT_SECONDS", "1")])).await;
    let two =
        world.registry(&quick(&[("REGISTRY_SERVER_ID", "two"), ("AGENTNET_TASK_ACCEPT_SECONDS", "1")])).await;
    let ann = world.account("ann").await;
    let mut bob = worker(&world, "bob", &[], json!({"capacity": 5})).await;
    let mut ids = BTreeSet::new();
    for n in 0..60 {
        ids.insert(format!("t{n:02}"));
        world.submit(&ann, json!({"task_id": format!("t{n:02}")})).await;
    }
    let mut done = BTreeSet::new();
    let mut one = Some(one);
    while done.len() < 60 {
        let task = next(&mut bob.inbox).await;
        let body = json!({"account_id": bob.account, "task_id": task["task_id"], "attempt": task["attempt"],
            "session_tag": bob.tag});
        let accepted = world.call("task_accept", body).await;
        let Some(lease) = accepted["lease"].as_str() else { continue };
        let told = world.report("task_complete", &bob, &task, lease, json!({})).await;
        assert_eq!(told["state"], "completed", "{told}");
        assert!(done.insert(text(&task, "task_id")), "{task} was done twice");
        if done.len() == 20 {
            one.take().unwrap().kill();
            // What was on its way to it is nobody's now: requests go to the other one.
            eventually(PATIENCE, || async {
                world.call("task_stats", json!({})).await.get("error").is_none().then_some(())
            })
            .await;
        }
    }
    assert_eq!(done, ids);
    world.holds("SELECT count(*) = 60 FROM agent_tasks WHERE state = 'completed'").await;
    two.stop().await;
}

#[tokio::test]
async fn lists_pages_queues_and_clearing() {
    let world = World::new().await;
    let registry = world.registry(&QUICK).await;
    let (ann, eve) = (world.account("ann").await, world.account("eve").await);
    for n in 0..5 {
        world.submit(&ann, json!({"task_id": format!("a{n}"), "priority": "low"})).await;
    }
    world.submit(&eve, json!({"task_id": "e", "priority": "urgent"})).await;
    let ids = |page: &Value| -> Vec<String> {
        page["tasks"].as_array().unwrap().iter().map(|task| text(task, "task_id")).collect()
    };
    let first = world.call("task_list", json!({"submitter": "@ann", "limit": 3})).await;
    assert_eq!(ids(&first), ["a4", "a3", "a2"]);
    assert!(first["tasks"][0].get("task_data").is_none());
    let rest =
        world.call("task_list", json!({"submitter": ann, "limit": 3, "cursor": first["next_cursor"]})).await;
    assert_eq!((ids(&rest), rest.get("next_cursor")), (vec!["a1".to_owned(), "a0".to_owned()], None));
    assert_eq!(ids(&world.call("task_list", json!({"priority": "urgent"})).await), ["e"]);
    let queues = world.call("task_queues", json!({})).await;
    let sizes: Vec<i64> =
        queues["queues"].as_array().unwrap().iter().map(|q| q["queued"].as_i64().unwrap()).collect();
    assert_eq!(sizes, [1, 0, 0, 0, 5]);
    let stats = world.call("task_stats", json!({})).await;
    assert_eq!(stats["queue_sizes"], json!({"urgent": 1, "critical": 0, "high": 0, "normal": 0, "low": 5}));
    assert_eq!(world.call("task_queue_clear", json!({"priority": "LOW"})).await["cleared"], 5);
    assert_eq!(ids(&world.call("task_list", json!({"state": "cancelled", "limit": 2})).await), ["a4", "a3"]);
    assert_eq!(world.call("task_queue_clear", json!({"priority": "low"})).await["cleared"], 0);
    registry.stop().await;
}

/// In secure mode: other accounts neither see nor touch a task, whatever they know of it.
#[tokio::test]
async fn in_secure_mode_a_task_is_its_submitters_and_its_workers() {
    let world = World::new().await;
    let settings: Vec<(&str, &str)> = secure().into_iter().chain(QUICK).collect();
    let registry = world.registry(&settings).await;
    let (ann, bob, eve) =
        (Asking::new(&world, 'a').await, Asking::new(&world, 'b').await, Asking::new(&world, 'e').await);
    let submitted = ann.call("task_submit", json!({"task_id": "t", "task_data": {"secret": 1}})).await;
    assert_eq!(submitted["task"]["submitter"], id('a'), "{submitted}");
    // A worker, put there by hand: it has the task, and a lease.
    sqlx::query("UPDATE agent_tasks SET state = 'assigned', worker = $1, attempt = 1, assigned_at = now(), lease_until = now() + interval '1 hour'")
        .bind(id('b'))
        .execute(&world.pool)
        .await
        .unwrap();
    for (method, body) in [
        ("task_submit", json!({"account_id": id('a')})),
        ("task_accept", json!({"account_id": id('b'), "task_id": "t"})),
        ("task_cancel", json!({"account_id": id('a'), "task_id": "t"})),
        ("set_status", json!({"account_id": id('b'), "status": "busy"})),
        ("set_status", json!({"target": id('b'), "status": "busy"})),
        ("task_list", json!({"submitter": id('a')})),
        ("task_queue_clear", json!({"priority": "normal"})),
        ("task_strategy", json!({"strategy": "round_robin"})),
    ] {
        assert_eq!(eve.call(method, body.clone()).await["error"], "forbidden", "{method} {body}");
    }
    assert_eq!(eve.call("task_get", json!({"task_id": "t"})).await["error"], "not_found");
    assert_eq!(eve.call("task_cancel", json!({"task_id": "t"})).await["error"], "not_found");
    assert_eq!(eve.call("task_list", json!({})).await["tasks"], json!([]));
    assert_eq!(eve.call("task_accept", json!({"task_id": "t"})).await["error"], "task_not_assigned");
    let accepted = bob.call("task_accept", json!({"task_id": "t", "attempt": 1})).await;
    let lease = text(&accepted, "lease");
    assert_eq!(accepted["task"]["task_data"], json!({"secret": 1}));
    // A stolen lease is no use to another account, and a made-up one to nobody.
    for method in ["task_heartbeat", "task_progress", "task_complete", "task_fail"] {
        let body = json!({"task_id": "t", "lease": lease, "progress": 0.5, "result": "forged"});
        assert_eq!(eve.call(method, body.clone()).await["error"], "task_not_assigned", "{method}");
        assert_eq!(ann.call(method, body).await["error"], "task_not_assigned", "{method}");
        let body = json!({"task_id": "t", "lease": "made up", "progress": 0.5});
        assert_eq!(bob.call(method, body).await["error"], "task_lease_lost", "{method}");
    }
    // The worker may not call it off, and may read it.
    assert_eq!(bob.call("task_cancel", json!({"task_id": "t"})).await["error"], "forbidden");
    assert_eq!(bob.call("task_get", json!({"task_id": "t"})).await["task"]["state"], "running");
    assert_eq!(bob.call("task_list", json!({"worker": id('b')})).await["tasks"][0]["task_id"], "t");
    let done = bob.call("task_complete", json!({"task_id": "t", "lease": lease, "result": "real"})).await;
    assert_eq!(done["state"], "completed");
    assert_eq!(ann.call("task_get", json!({"task_id": "t"})).await["task"]["result"], "real");
    // Unsigned changes are refused.
    let request = ann.client.request(format!("registry.task_submit.{}", id('a')), "{}".into());
    let unsigned: Value = serde_json::from_slice(&request.await.unwrap().payload).unwrap();
    assert_eq!(unsigned["error"], "auth_required", "{unsigned}");
    registry.stop().await;
}

#[tokio::test]
async fn what_has_ended_is_forgotten_in_time_and_the_figures_stay() {
    let world = World::new().await;
    let registry = world.registry(&quick(&[("TASK_RETENTION_DAYS", "1")])).await;
    let ann = world.account("ann").await;
    world.submit(&ann, json!({"task_id": "old"})).await;
    world.submit(&ann, json!({"task_id": "young"})).await;
    for id in ["old", "young"] {
        world.call("task_cancel", json!({"account_id": ann, "task_id": id})).await;
    }
    world.holds("SELECT count(*) = 2 FROM agent_tasks WHERE counted").await;
    sqlx::query("UPDATE agent_tasks SET finished_at = finished_at - interval '2 days' WHERE task_id = 'old'")
        .execute(&world.pool)
        .await
        .unwrap();
    world.holds("SELECT array_agg(task_id) = '{young}' FROM agent_tasks").await;
    world.holds("SELECT ended = 2 FROM agent_task_ends WHERE state = 'cancelled'").await;
    registry.stop().await;
}
