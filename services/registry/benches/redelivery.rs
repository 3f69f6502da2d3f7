//! How fast a backlog drains, and what others notice of it: the time from publish to `stored` of messages between two
//! other agents, before and during the drain. Prints a table; registry, persister and agents share this process.
#![allow(clippy::unwrap_used, reason = "a bench that can't go on ends")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agentnet_local::testing::eventually;
use agentnet_proto::{Clock as _, StoredNotice, SystemClock};
use async_nats::Client;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use support::World;
use support::agents::{QUICK, joining, persister};

const BACKLOG: usize = 10_000;
/// Messages a second between the other agents.
const PROBES: u64 = 200;
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() {
    let world = World::new().await;
    let _persister = persister(&world).await;
    let registry = world.registry(&QUICK).await;
    let bob = world.account("bob").await;
    for n in 0..BACKLOG {
        let body = message(&format!("m{n:05}"), "alice", &bob);
        world.client.publish(format!("account.{bob}.inbox"), body.into()).await.unwrap();
    }
    counted(&world, "pending", BACKLOG).await;
    world.age(10.0).await;
    world.holds("SELECT bool_and(parked) FROM agent_deliveries").await;
    let agent = world.agent(joining("bob", Some("1.2"), &[])).await;
    let before = {
        let done = Arc::new(AtomicBool::new(false));
        let probing = tokio::spawn(probe(support::connect(&world.nats.url()).await, "quiet", done.clone()));
        tokio::time::sleep(Duration::from_secs(3)).await;
        done.store(true, Ordering::Relaxed);
        probing.await.unwrap()
    };
    let done = Arc::new(AtomicBool::new(false));
    let probing = tokio::spawn(probe(support::connect(&world.nats.url()).await, "busy", done.clone()));
    let started = Instant::now();
    let working = tokio::spawn(work(
        support::connect(&world.nats.url()).await,
        agent.account.clone(),
        agent.tag.clone(),
    ));
    world.hello(&agent).await;
    let order_held = tokio::time::timeout(LIMIT, working).await.unwrap().unwrap();
    let took = started.elapsed();
    done.store(true, Ordering::Relaxed);
    let during = probing.await.unwrap();
    counted(&world, "processed", BACKLOG).await;
    println!(
        "{BACKLOG} messages for one agent: {took:.2?}, {:.0} a second, in order: {order_held}",
        BACKLOG as f64 / took.as_secs_f64()
    );
    println!("published again: {}", registry.handle.redelivery().redelivered);
    println!("{:<28}{:>10}{:>10}{:>10}", "publish to stored, others", "messages", "p50 ms", "p99 ms");
    for (name, mut times) in [("before", before), ("during", during)] {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!("{name:<28}{:>10}{:>10.2}{:>10.2}", times.len(), at(0.5), at(0.99));
    }
    registry.stop().await;
}

fn message(id: &str, from: &str, to: &str) -> String {
    json!({
        "message_id": id, "from_agent": from, "from_account_id": from, "to_agent": to, "to_account_id": to,
        "payload": {"text": "x"}, "sent_at": SystemClock.now().to_string(), "ttl_ms": 600_000, "thread_id": "t1",
        "kind": "direct", "schema_version": "1.2",
    })
    .to_string()
}

async fn counted(world: &World, state: &str, wanted: usize) {
    eventually(LIMIT, || async {
        let sql = "SELECT count(*) FROM agent_deliveries WHERE state = $1 AND sender_account_id = 'alice'";
        let found: i64 = sqlx::query_scalar(sql).bind(state).fetch_one(&world.pool).await.unwrap();
        found == wanted as i64
    })
    .await;
}

/// Handles everything at once; whether it came in order.
async fn work(client: Client, account: String, tag: String) -> bool {
    let mut inbox = client.subscribe(format!("account.{account}.redelivery")).await.unwrap();
    let (mut in_order, mut last) = (true, String::new());
    for _ in 0..BACKLOG {
        let message: Value = serde_json::from_slice(&inbox.next().await.unwrap().payload).unwrap();
        let id = message["message_id"].as_str().unwrap().to_owned();
        in_order &= last < id;
        let receipt = json!({
            "message_id": id, "status": "processed", "event_at": "2026-01-01T00:00:00Z", "from_account_id": account,
            "from_session_tag": tag, "to_account_id": "alice", "to_agent": account, "schema_version": "1.2",
        });
        client.publish("account.alice.receipts", receipt.to_string().into()).await.unwrap();
        last = id;
    }
    // What a client that is dropped still holds is gone.
    client.flush().await.unwrap();
    in_order
}

/// Sends at a steady rate until told to stop; how long each took to be stored.
async fn probe(client: Client, prefix: &str, done: Arc<AtomicBool>) -> Vec<Duration> {
    let mut notices = client.subscribe("account.dave.stored").await.unwrap();
    client.flush().await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / PROBES));
    let (mut sent, mut times) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            _ = ticks.tick(), if !done.load(Ordering::Relaxed) => {
                let id = format!("{prefix}{}", sent.len());
                sent.push(Instant::now());
                client.publish("account.carol.inbox", message(&id, "dave", "carol").into()).await.unwrap();
            }
            notice = notices.next() => {
                let notice: StoredNotice = serde_json::from_slice(&notice.unwrap().payload).unwrap();
                for id in notice.message_ids {
                    let place: usize = id.strip_prefix(prefix).unwrap().parse().unwrap();
                    times.push(sent[place].elapsed());
                }
                if done.load(Ordering::Relaxed) && times.len() == sent.len() {
                    return times;
                }
            }
        }
    }
}
