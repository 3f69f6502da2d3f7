//! A raw NATS peer that plays the rest of the network, in the literal JSON of the protocol: registry, persister, and
//! agents written with the original SDK.
#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::needless_pass_by_value, reason = "test support")]

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use agentnet::{AgentNode, AgentNodeBuilder};
use agentnet_local::testing::{TEST_TOKEN, TestNats, eventually};
use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

pub const SECOND: Duration = Duration::from_secs(1);
pub const SOON: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Seen {
    pub online: HashSet<String>,
    pub registers: Vec<Value>,
    pub hellos: Vec<Value>,
    pub goodbyes: Vec<Value>,
    /// Everything the stream would capture, as subject and body.
    pub captured: Vec<(String, Value, Vec<u8>)>,
    /// The persister confirms only while this is true.
    pub storing: bool,
    /// Message ids that are refused with a code instead of stored.
    pub refuse: HashMap<String, String>,
    pub keys: HashMap<String, String>,
    /// What the registry answers to methods that are nothing to it otherwise; null is no answer.
    pub answers: HashMap<String, Value>,
    /// What the registry says in place of 12 s.
    pub heartbeat: Option<f64>,
}

pub struct Network {
    pub nats: TestNats,
    pub raw: Client,
    pub seen: Arc<Mutex<Seen>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Network {
    /// NATS, a registry and a persister.
    pub async fn start() -> Self {
        let mut network = Self::without_registry().await;
        network.start_registry().await;
        network.start_persister().await;
        network
    }

    pub async fn without_registry() -> Self {
        let nats = TestNats::start();
        let options = async_nats::ConnectOptions::with_token(TEST_TOKEN.to_owned());
        let raw = options.connect(nats.host_port()).await.unwrap();
        let seen = Seen { storing: true, ..Seen::default() };
        Self { nats, raw, seen: Arc::new(Mutex::new(seen)), tasks: Vec::new() }
    }

    pub async fn start_registry(&mut self) {
        let mut requests = self.raw.subscribe("registry.*").await.unwrap();
        self.raw.flush().await.unwrap();
        let (raw, seen) = (self.raw.clone(), Arc::clone(&self.seen));
        self.tasks.push(tokio::spawn(async move {
            while let Some(message) = requests.next().await {
                let answer = registry(&message, &mut seen.lock().unwrap());
                if let (Some(answer), Some(reply)) = (answer, message.reply) {
                    raw.publish(reply, answer.to_string().into()).await.unwrap();
                }
            }
        }));
    }

    pub async fn start_persister(&mut self) {
        for subject in agentnet::proto::subject::CAPTURED {
            let mut captured = self.raw.subscribe(subject).await.unwrap();
            let (raw, seen) = (self.raw.clone(), Arc::clone(&self.seen));
            self.tasks.push(tokio::spawn(async move {
                while let Some(message) = captured.next().await {
                    let notice = persister(&message, &mut seen.lock().unwrap());
                    if let Some((account, notice)) = notice {
                        let subject = format!("account.{account}.stored");
                        raw.publish(subject, notice.to_string().into()).await.unwrap();
                    }
                }
            }));
        }
        self.raw.flush().await.unwrap();
    }

    pub fn node(&self, agent_id: &str) -> AgentNodeBuilder {
        AgentNode::builder(agent_id).nats_url(self.nats.url()).flush_timeout(SECOND)
    }

    pub fn with<T>(&self, f: impl FnOnce(&mut Seen) -> T) -> T {
        f(&mut self.seen.lock().unwrap())
    }

    pub fn set_storing(&self, on: bool) {
        self.with(|seen| seen.storing = on);
    }

    /// Subscribes as an original SDK does, and waits until the server knows.
    pub async fn listen(&self, subject: &str) -> Subscriber {
        let subscription = self.raw.subscribe(subject.to_owned()).await.unwrap();
        round_trip(&self.raw).await;
        subscription
    }

    pub async fn publish(&self, subject: &str, body: &Value) {
        self.raw.publish(subject.to_owned(), body.to_string().into()).await.unwrap();
    }

    /// How many copies of a message the stream captured on subjects that end so.
    pub fn copies(&self, message_id: &str, subject_end: &str) -> usize {
        self.with(|seen| {
            seen.captured
                .iter()
                .filter(|(subject, body, _)| {
                    subject.ends_with(subject_end) && body["message_id"] == message_id
                })
                .count()
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Until the server has handled everything sent before.
pub async fn round_trip(client: &Client) {
    let inbox = client.new_inbox();
    let mut subscription = client.subscribe(inbox.clone()).await.unwrap();
    client.publish(inbox, "".into()).await.unwrap();
    next(&mut subscription).await;
}

pub async fn next(subscription: &mut Subscriber) -> Message {
    tokio::time::timeout(SOON, subscription.next()).await.expect("nothing came").unwrap()
}

pub async fn next_json(subscription: &mut Subscriber) -> Value {
    serde_json::from_slice(&next(subscription).await.payload).unwrap()
}

/// The next receipt with that status.
pub async fn next_status(receipts: &mut Subscriber, status: &str) -> Value {
    loop {
        let receipt = next_json(receipts).await;
        if receipt["status"] == status {
            return receipt;
        }
    }
}

/// Waits for a condition.
pub async fn until(mut condition: impl FnMut() -> bool) {
    eventually(SOON, || std::future::ready(condition())).await;
}

fn registry(message: &Message, seen: &mut Seen) -> Option<Value> {
    let method = message.subject.strip_prefix("registry.").unwrap();
    let body: Value = serde_json::from_slice(&message.payload).unwrap();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let now = "2026-02-21T08:00:00Z";
    match method {
        "register" => {
            seen.registers.push(body.clone());
            let account = match text("account_id") {
                id if id.is_empty() => format!("acct_{}", text("agent_id")),
                id => id,
            };
            let tag = format!("registry_{}", seen.registers.len());
            seen.online.insert(account.clone());
            Some(json!({
                "account_id": account, "username": text("agent_id"), "session_tag": tag,
                "heartbeat_interval": seen.heartbeat.unwrap_or(12.0), "ttl_seconds": 40.0, "registered_at": now,
            }))
        }
        "hello" => {
            seen.hellos.push(body);
            None
        }
        "goodbye" => {
            seen.goodbyes.push(body);
            None
        }
        "resolve_account" => {
            let account = format!("acct_{}", text("username"));
            Some(if seen.online.contains(&account) {
                json!({"account_id": account, "username": text("username"), "resolved_at": now})
            } else {
                json!({"error": "not_found"})
            })
        }
        "resolve_key" => Some(match seen.keys.get(&text("account_id")) {
            Some(key) => json!({"account_id": text("account_id"), "public_key": key, "resolved_at": now}),
            None => json!({"error": "not_found"}),
        }),
        "profile" => {
            let online = seen.online.contains(&text("account_id"));
            Some(json!({"generated_at": now, "profile": {
                "account_id": text("account_id"), "username": "x", "display_name": "X", "bio": "", "capabilities": [],
                "metadata": {}, "visibility": "public", "status": "active", "created_at": now, "updated_at": now,
                "online_sessions": [], "online": online,
            }}))
        }
        "list" => {
            let sessions =
                seen.hellos.iter().filter(|h| seen.online.contains(h["account_id"].as_str().unwrap()));
            let mut agents: Vec<Value> = sessions.cloned().collect();
            agents.dedup_by_key(|a| a["session_tag"].clone());
            Some(json!({"generated_at": now, "agents": agents}))
        }
        _ => match seen.answers.get(method) {
            Some(Value::Null) => None,
            Some(answer) => Some(answer.clone()),
            None => Some(json!({"error": "unknown_method"})),
        },
    }
}

fn persister(message: &Message, seen: &mut Seen) -> Option<(String, Value)> {
    let body: Value = serde_json::from_slice(&message.payload).unwrap_or(Value::Null);
    seen.captured.push((message.subject.to_string(), body.clone(), message.payload.to_vec()));
    let account = body["from_account_id"].as_str()?.to_owned();
    if !seen.storing {
        return None;
    }
    let id = body["message_id"].as_str()?;
    let mut notice = json!({"status": "stored", "message_ids": [], "event_at": "2026-02-21T08:00:00Z"});
    if message.subject.ends_with(".receipts") {
        body["schema_version"].as_str()?;
        notice["receipts"] = json!([{"message_id": id, "status": body["status"]}]);
    } else if let Some(code) = seen.refuse.get(id) {
        notice["failed"] = json!([{"message_id": id, "state": "rejected", "code": code}]);
    } else {
        notice["message_ids"] = json!([id]);
    }
    Some((account, notice))
}

/// An envelope as the original Python SDK writes it.
pub fn original(from: &str, to: &str, message_id: &str, payload: Value) -> Value {
    let now = agentnet::proto::SystemClock;
    let sent_at = agentnet::proto::Clock::now(&now).to_string();
    json!({
        "message_id": message_id, "from_agent": from, "to_agent": to, "payload": payload, "sent_at": sent_at,
        "kind": "direct", "schema_version": "1.1", "from_session_tag": format!("registry_{from}"),
        "from_account_id": from, "to_account_id": to, "ttl_ms": 30000, "trace_id": message_id,
        "thread_id": format!("thread_{message_id}"),
    })
}
