//! History queries at a million messages, and the RPC rate beside bare NATS request/reply, in one run.
//!
//! `cargo bench -p agentnet-registry`. `BENCH_MESSAGES` (1,000,000) and `BENCH_REQUESTS` (40,000 a round) scale it
//! down. Real nats-server, real Postgres (fsync off, which only the loading notices), the registry in a thread of
//! its own with the runtime its binary would use.

#![expect(clippy::unwrap_used, reason = "a bench that can't go on has nothing to say")]

mod load;
mod rates;

use std::time::{Duration, Instant};

use agentnet_local::testing::{TEST_TOKEN, TestDb, TestNats};
use agentnet_registry::Registry;
use agentnet_service::config::Env;
use agentnet_service::service::{FullConfig, start};
use agentnet_service::shutdown::Shutdown;
use agentnet_store::{Store, StoreConfig};
use async_nats::Client;
use base64::Engine as _;
use serde_json::{Value, json};
use sqlx::PgPool;

fn main() {
    // `cargo test --benches` runs benches too; there is nothing to check here.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let messages = setting("BENCH_MESSAGES", 1_000_000);
    let requests = setting("BENCH_REQUESTS", 40_000);
    let nats = TestNats::start();
    let db = TestDb::create().await;
    Store::migrate(&StoreConfig::new(db.url().to_owned().into(), "bench")).await.unwrap();
    let pool = PgPool::connect(db.url()).await.unwrap();
    let started = Instant::now();
    load::messages(&pool, messages).await;
    println!("loaded {messages} messages in {:.0} s", started.elapsed().as_secs_f64());
    serve(&nats.url(), db.url());
    let client = connect(&nats.url()).await;
    wait_for_registry(&client).await;
    queries(&client, &pool, messages).await;
    rates::compare(&client, &nats.url(), requests).await;
    sessions(&client).await;
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

pub(crate) async fn connect(url: &str) -> Client {
    async_nats::ConnectOptions::with_token(TEST_TOKEN.to_owned()).connect(url).await.unwrap()
}

/// Runs a future in a thread of its own, as a process of its own would.
pub(crate) fn in_thread<F: Future<Output = ()>>(make: impl FnOnce() -> F + Send + 'static) {
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(make());
    });
}

fn serve(nats_url: &str, db_url: &str) {
    let env = Env::from_pairs([("NATS_URL", nats_url), ("DATABASE_URL", db_url)]);
    let mut config = FullConfig::read::<Registry>(&env).unwrap();
    config.service.announce = false;
    in_thread(move || async move {
        let shutdown = Shutdown::new(config.chassis.shutdown);
        start::<Registry>(config, &shutdown).await.unwrap().task.await.unwrap().unwrap();
    });
}

async fn wait_for_registry(client: &Client) {
    for _ in 0..1_000 {
        if client.request("registry.list", "{}".into()).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the registry doesn't answer");
}

pub(crate) async fn call(client: &Client, method: &str, body: &Value) -> Value {
    let answer = client.request(format!("registry.{method}"), body.to_string().into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert!(answer.get("error").is_none(), "{method} {body}: {answer}");
    answer
}

/// Latencies of history queries, one in flight, through NATS.
async fn queries(client: &Client, pool: &PgPool, messages: usize) {
    let oldest: (String, String) = sqlx::query_as(
        "SELECT message_id, to_char(sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') \
         FROM agent_messages ORDER BY sent_at, message_id OFFSET 50 LIMIT 1",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    let cursor = format!(r#"{{"message_id":"{}","sent_at":"{}"}}"#, oldest.0, oldest.1);
    let deepest = base64::engine::general_purpose::URL_SAFE.encode(cursor);
    let some = move |n: usize| load::at(n * 7_919 % messages);
    type Make = Box<dyn Fn(usize) -> Value>;
    let cases: Vec<(&str, &str, Make)> = vec![
        ("first page of a thread", "thread_messages", Box::new(|_| json!({"thread_id": "big"}))),
        (
            "deepest page of a thread",
            "thread_messages",
            Box::new(move |_| json!({"thread_id": "big", "cursor": deepest})),
        ),
        (
            "page of a small thread",
            "thread_messages",
            Box::new(|n| json!({"thread_id": format!("small{}", n % 100)})),
        ),
        ("search: everything", "message_search", Box::new(|_| json!({}))),
        ("search: common word", "message_search", Box::new(|_| json!({"q": "hello"}))),
        (
            "search: word in 1 of 1,000",
            "message_search",
            Box::new(|n| json!({"q": format!("topic{}", n % 1000)})),
        ),
        ("search: word in 1 of 20", "message_search", Box::new(|n| json!({"q": format!("group{}", n % 20)}))),
        (
            "search: rare word",
            "message_search",
            Box::new(move |n| json!({"q": format!("unique{}", n * 7_919 % messages)})),
        ),
        (
            "search: two words",
            "message_search",
            Box::new(|n| json!({"q": format!("hello topic{}", n % 1000)})),
        ),
        ("search: absent word", "message_search", Box::new(|n| json!({"q": format!("nowhere{n}")}))),
        (
            "search: from",
            "message_search",
            Box::new(|n| json!({"from_account_id": format!("acct_{}", n % 1000)})),
        ),
        ("search: to", "message_search", Box::new(|n| json!({"to_account_id": format!("acct_{}", n % 500)}))),
        (
            "search: from and to",
            "message_search",
            Box::new(|n| {
                json!({"from_account_id": format!("acct_{}", n % 1000),
                "to_account_id": format!("acct_{}", n % 500)})
            }),
        ),
        ("search: rare kind", "message_search", Box::new(|_| json!({"kind": "system"}))),
        ("search: common kind", "message_search", Box::new(|_| json!({"kind": "reply"}))),
        (
            "search: a minute of time",
            "message_search",
            Box::new(move |n| json!({"from_ts": some(n), "to_ts": load::at(n * 7_919 % messages + 60)})),
        ),
        ("thread_list: first page", "thread_list", Box::new(|_| json!({}))),
        (
            "thread_list: participant",
            "thread_list",
            Box::new(|n| json!({"participant_account_id": format!("acct_{}", n % 1000)})),
        ),
        (
            "thread_list: part of an id",
            "thread_list",
            Box::new(|n| json!({"query": format!("ALL{}", n % 100)})),
        ),
        ("thread_status", "thread_status", Box::new(|_| json!({"thread_id": "big"}))),
    ];
    println!("\n{:<28} {:>9} {:>9}   goal: p50 1 ms, p99 5 ms", "query", "p50 ms", "p99 ms");
    for (name, method, make) in cases {
        for n in 0..20 {
            call(client, method, &make(n)).await;
        }
        let mut times = Vec::new();
        for n in 0..400 {
            let body = make(n);
            let asked = Instant::now();
            call(client, method, &body).await;
            times.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        let verdict = if p50 <= 1.0 && p99 <= 5.0 { "" } else { "  MISSED" };
        println!("{name:<28} {p50:>9.2} {p99:>9.2}{verdict}");
    }
}

/// Memory with 10,000 sessions online, and what it takes to list them.
async fn sessions(client: &Client) {
    let before = resident_mb();
    for n in 0..10_000 {
        let body = json!({"agent_id": format!("agent_{n}"), "name": format!("Agent number {n}"),
            "session_tag": format!("registry_01M0000000000000000000{n:04}"), "account_id": format!("acct_01m00000000000000000000{n:04}"),
            "username": format!("agent_{n}"), "capabilities": ["math", "search"], "metadata": {"region": "eu"}});
        client.publish("registry.hello", body.to_string().into()).await.unwrap();
        if n % 500 == 0 {
            client.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let mut shown = 0;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        shown = 0;
        let mut cursor = Value::Null;
        loop {
            let page = call(client, "list", &json!({"cursor": cursor})).await;
            shown += page["agents"].as_array().unwrap().len();
            cursor = page["next_cursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        if shown >= 10_000 {
            break;
        }
    }
    println!(
        "\n{shown} sessions: whole process (registry, client, bench) {before:.0} MB before, {:.0} MB after",
        resident_mb()
    );
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()).unwrap_or(0.0)
        / 1024.0
}
