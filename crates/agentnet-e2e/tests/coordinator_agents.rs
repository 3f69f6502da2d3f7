//! Agents of the coordinator over a whole network: registering, finding, statuses, health, peers; agents on NATS among them.

mod support;

use agentnet::AgentNode;
use serde_json::json;
use support::{
    Stack,
    coordinator::{Api, good, is_fault},
    until_async,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_register_once_and_are_found_by_what_they_are() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let api = Api::of(&gateway);
    let first = api
        .register(
            "Hermes/agent é",
            json!({"capabilities": ["data-processing", "analysis"], "services": ["task-execution"], "tags": ["gpu"],
                "metadata": {"version": "1.2.3"}}),
        )
        .await;
    assert_eq!(
        (&first["status"], &first["agent_id"], &first["created"]),
        (&json!("success"), &json!("Hermes/agent é"), &json!(true))
    );
    api.register("plain", json!({"agent_type": "provider", "capabilities": ["analysis"]})).await;

    // The exact bytes, percent-encoded as every client does.
    let path = "/agents/Hermes%2Fagent%20%C3%A9";
    let shown = api.got(path).await["agent"].clone();
    assert_eq!((&shown["agent_id"], &shown["version"]), (&json!("Hermes/agent é"), &json!("1.2.3")));
    assert_eq!((&shown["status"], &shown["health_score"]), (&json!("active"), &json!(1.0)));
    assert!(shown["last_heartbeat"].is_string() && shown["registration_time"].is_string());
    // By username and account id as well.
    for name in ["username", "account_id"] {
        let other = api.got(&format!("/agents/{}", shown[name].as_str().unwrap())).await;
        assert_eq!(other["agent"]["account_id"], first["account_id"]);
    }

    for query in [
        json!({"capabilities": ["analysis", "data-processing"]}),
        json!({"services": ["task-execution"], "status": "active"}),
        json!({"tags": ["gpu"], "min_health_score": 0.9, "ignored": {"a": 1}}),
        json!({"agent_type": "worker", "limit": 1}),
    ] {
        assert_eq!(api.discover(query.clone()).await, ["Hermes/agent é"], "{query}");
    }
    assert_eq!(api.discover(json!({})).await.len(), 2);
    for query in
        [json!({"status": "no such"}), json!({"agent_type": "no such"}), json!({"min_health_score": 1.1})]
    {
        assert!(api.discover(query).await.is_empty());
    }
    assert_eq!(api.got("/agents/service/task-execution").await["count"], 1);
    assert_eq!(api.got("/agents/capability/analysis").await["count"], 2);

    // Registering again replaces what was there.
    let again = api
        .register("Hermes/agent é", json!({"capabilities": ["painting"], "agent_type": "specialist"}))
        .await;
    assert_eq!((&again["created"], &again["account_id"]), (&json!(false), &first["account_id"]));
    assert_eq!(api.discover(json!({"capabilities": ["painting"]})).await, ["Hermes/agent é"]);
    assert_eq!(api.discover(json!({"capabilities": ["analysis"]})).await, ["plain"]);
    assert!(api.discover(json!({"services": ["task-execution"]})).await.is_empty());

    let stats = api.got("/registry/stats").await["stats"].clone();
    assert_eq!((&stats["total_agents"], &stats["type_counts"]["provider"]), (&json!(2), &json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_agents_hold_each_once() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let api = Api::of(&gateway);
    for n in 0..7 {
        api.register(&format!("a{n}"), json!({})).await;
        if n % 2 == 0 {
            good(api.put(&format!("/agents/a{n}/status"), &json!({"status": "busy"})).await);
        }
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let mut query = json!({"limit": 2});
        if let Some(cursor) = cursor {
            query["cursor"] = cursor;
        }
        let page = api.posted("/agents/discover", &query).await;
        seen.extend(
            page["agents"]
                .as_array()
                .unwrap()
                .iter()
                .map(|a| (a["health_score"].as_f64().unwrap(), a["agent_id"].as_str().unwrap().to_owned())),
        );
        match page.get("next_cursor") {
            Some(next) => cursor = Some(next.clone()),
            None => break,
        }
    }
    let healths: Vec<f64> = seen.iter().map(|(health, _)| *health).collect();
    assert_eq!(healths, [1.0, 1.0, 1.0, 0.9, 0.9, 0.9, 0.9]);
    let mut ids: Vec<&String> = seen.iter().map(|(_, id)| id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_and_health_follow_what_is_reported() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let api = Api::of(&gateway);
    api.register("worker-1", json!({})).await;
    let report = async |body| good(api.put("/agents/worker-1/status", &body).await);
    // Counts are no ratios: the original takes this agent for overloaded.
    let busy =
        report(json!({"status": "busy", "load_metrics": {"active_connections": 5, "pending_tasks": 2}}))
            .await;
    assert_eq!((&busy["new_status"], &busy["health_score"]), (&json!("busy"), &json!(0.9)));
    assert!(busy["updated_at"].is_string() && busy["agent_id"] == "worker-1");
    let loaded =
        report(json!({"status": "busy", "load_metrics": {"active_connections": 0, "pending_tasks": 0,
        "cpu_usage": 1.0, "memory_usage": 1.0, "capacity": 10}}))
        .await;
    assert_eq!(loaded["health_score"], 0.9, "the mean of four is a half");
    for (status, health) in [("maintenance", 0.8), ("error", 0.5), ("active", 1.0)] {
        assert_eq!(report(json!({"status": status})).await["health_score"], health, "{status}");
        assert_eq!(api.discover(json!({"status": status})).await, ["worker-1"]);
    }
    let hot = json!({"status": "active", "load_metrics": {"active_connections": 10, "pending_tasks": 10}});
    assert_eq!(report(hot).await["health_score"], 0.7);
    // What was reported stays beside what is new.
    let shown = api.got("/agents/worker-1").await["agent"].clone();
    assert_eq!(
        (&shown["load_metrics"]["cpu_usage"], &shown["load_metrics"]["pending_tasks"]),
        (&json!(1.0), &json!(10.0))
    );

    // A heartbeat leaves a status that says something, and ends one that says that nobody is there.
    report(json!({"status": "busy"})).await;
    assert_eq!(good(api.poke("/agents/worker-1/heartbeat").await)["new_status"], "busy");
    report(json!({"status": "inactive"})).await;
    assert_eq!(api.got("/agents/worker-1").await["agent"]["status"], "inactive");
    assert_eq!(good(api.poke("/agents/worker-1/heartbeat").await)["new_status"], "active");

    is_fault(
        api.put("/agents/worker-1/status", &json!({"status": "asleep"})).await,
        422,
        "validation_failed",
    );
    is_fault(api.put("/agents/nobody/status", &json!({"status": "busy"})).await, 404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_on_nats_are_there_without_doing_anything() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let api = Api::of(&gateway);
    let node: AgentNode =
        stack.node("bob").capability("chat").on_message(|_| async { Ok(()) }).start().await.unwrap();
    let shown = api.got("/agents/bob").await["agent"].clone();
    assert_eq!((&shown["status"], &shown["agent_type"]), (&json!("active"), &json!("general")));
    assert_eq!(api.discover(json!({"capabilities": ["chat"], "status": "active"})).await, ["bob"]);
    // The gateway's own accounts are no agents.
    assert_eq!(api.discover(json!({})).await, ["bob"]);
    node.close().await.unwrap();
    until_async(async || api.got("/agents/bob").await["agent"]["status"] == "inactive").await;
    assert_eq!(api.got("/agents/bob").await["agent"]["health_score"], 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_in_the_shape_of_the_seed() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let api = Api::of(&gateway);
    let missing = is_fault(api.get("/agents/nobody").await, 404, "not_found");
    assert_eq!(missing["detail"], "Agent not found");
    for (body, field) in [
        (json!({"agent_type": "worker"}), "agent_id"),
        (json!({"agent_id": "", "agent_type": "worker"}), "agent_id"),
        (json!({"agent_id": "a"}), "agent_type"),
        (json!({"agent_id": "a", "agent_type": "wizard"}), "agent_type"),
        (json!({"agent_id": "a", "agent_type": "worker", "endpoints": {"http": "nowhere"}}), "endpoints"),
        (json!({"agent_id": "a", "agent_type": "worker", "accepts": {"broadcast": "some"}}), "accepts"),
        (json!({"agent_id": "a", "agent_type": "worker", "coordinator": "nobody"}), "coordinator"),
    ] {
        let fault = is_fault(api.post("/agents/register", &body).await, 422, "validation_failed");
        assert!(fault["detail"].as_str().unwrap().contains(field), "{fault}");
    }
    for reserved in ["register", "discover", "service", "capability"] {
        let body = json!({"agent_id": reserved, "agent_type": "worker"});
        is_fault(api.post("/agents/register", &body).await, 422, "validation_failed");
    }
    is_fault(api.post("/agents/discover", &json!([])).await, 422, "validation_failed");

    // One's coordinator id that is another's username.
    api.register("Twin", json!({})).await;
    let other = stack.node("twin-of").start().await.unwrap();
    assert_eq!(api.got("/agents/twin-of").await["agent"]["account_id"], other.account_id());
    api.register("Somebody", json!({})).await;
    let renamed = stack.node("x").username("Twin2").start().await.unwrap();
    let name = renamed.username();
    let id = api.got(&format!("/agents/{name}")).await["agent"]["account_id"].clone();
    assert_eq!(id, renamed.account_id());
    let taken = sqlx::PgPool::connect(stack.database_url()).await.unwrap();
    sqlx::query("UPDATE agent_cards SET agent_id = $1 WHERE agent_id = 'Somebody'")
        .bind(&name)
        .execute(&taken)
        .await
        .unwrap();
    is_fault(api.get(&format!("/agents/{name}")).await, 409, "ambiguous");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_are_the_friends_of_the_client_crate() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let api = Api::of(&gateway);
    let bob = stack.node("bob").start().await.unwrap();
    let ann = stack.node("ann").start().await.unwrap();
    let added = good(api.poke("/peers/add?agent_id=bob&peer_id=ann").await);
    assert_eq!((&added["agent_id"], &added["peer_id"]), (&json!("bob"), &json!("ann")));
    good(api.poke("/peers/add?agent_id=bob&peer_id=ann").await);
    assert_eq!(api.got("/peers/bob").await["peers"], json!(["ann"]));
    assert_eq!(api.got("/peers/ann").await["count"], 0, "directed");
    let friends = bob.friends(None, None).await.unwrap().peers;
    assert_eq!(friends.iter().map(|f| f.account_id.as_str()).collect::<Vec<_>>(), [ann.account_id()]);
    ann.add_friend("bob", None).await.unwrap();
    let all = api.got("/peers").await;
    assert_eq!(all["connections"], json!({"bob": ["ann"], "ann": ["bob"]}));
    assert_eq!((&all["total_agents"], &all["total_peers"]), (&json!(2), &json!(2)));
    good(api.poke("/peers/remove?agent_id=bob&peer_id=ann").await);
    good(api.poke("/peers/remove?agent_id=bob&peer_id=ann").await);
    assert_eq!(api.got("/peers/bob").await["peers"], json!([]));
    is_fault(api.poke("/peers/add?agent_id=bob").await, 422, "validation_failed");
    // Where nobody proves anything, whoever is noted before it comes is there when it does.
    good(api.poke("/peers/add?agent_id=agent-1&peer_id=agent-2").await);
    let late = api.register("agent-2", json!({})).await;
    assert_eq!(late["created"], false);
    assert_eq!(api.got("/peers/agent-1").await["peers"], json!(["agent-2"]));
    assert_eq!(api.got("/agents/agent-1").await["agent"]["status"], "inactive");
}
