//! A persister, and agents that speak raw NATS.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentnet_local::testing::eventually;
use agentnet_persister::Persister;
use agentnet_proto::{Clock as _, SystemClock};
use agentnet_service::config::Env;
use agentnet_service::service::{FullConfig, start};
use agentnet_service::shutdown::Shutdown;
use async_nats::{Message, Subscriber};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::{PATIENCE, World};

/// Settings that make redelivery quick to watch.
pub const QUICK: [(&str, &str); 2] =
    [("AGENTNET_REDELIVERY_INTERVAL_SECONDS", "0.1"), ("GC_INTERVAL_SECONDS", "0.2")];

/// A persister of this world; it ends with the test.
pub struct Persisting {
    shutdown: Shutdown,
}

impl Drop for Persisting {
    fn drop(&mut self) {
        self.shutdown.force();
    }
}

pub async fn persister(world: &World) -> Persisting {
    let (url, db) = (world.nats.url(), world.db.url().to_owned());
    let pairs: BTreeMap<&str, &str> =
        BTreeMap::from([("NATS_URL", url.as_str()), ("DATABASE_URL", db.as_str())]);
    let config = FullConfig::read::<Persister>(&Env::from_pairs(pairs)).unwrap();
    let shutdown = Shutdown::new(config.chassis.shutdown);
    start::<Persister>(config, &shutdown).await.unwrap();
    Persisting { shutdown }
}

/// A session of an account, and what it hears.
pub struct Agent {
    pub account: String,
    pub tag: String,
    pub hello: Value,
    pub redelivery: Subscriber,
    pub inbox: Subscriber,
}

/// How an agent registers.
pub fn joining(name: &str, version: Option<&str>, capabilities: &[&str]) -> Value {
    json!({"agent_id": name, "username": name, "capabilities": capabilities, "schema_version": version})
}

impl World {
    /// Registers and subscribes; says hello when told to.
    pub async fn agent(&self, joining: Value) -> Agent {
        let answer = self.register(joining.clone()).await;
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        let (account, tag) = (text("account_id"), text("session_tag"));
        let redelivery = self.client.subscribe(format!("account.{account}.redelivery")).await.unwrap();
        let inbox = self.client.subscribe(format!("account.{account}.inbox")).await.unwrap();
        self.client.flush().await.unwrap();
        let mut hello = joining;
        hello["account_id"] = json!(account);
        hello["session_tag"] = json!(tag);
        Agent { account, tag, hello, redelivery, inbox }
    }

    /// Makes an account that nobody is online for.
    pub async fn account(&self, name: &str) -> String {
        let answer = self.register(joining(name, Some("1.2"), &[])).await;
        let tag = answer["session_tag"].as_str().unwrap();
        self.publish("goodbye", &json!({"agent_id": name, "session_tag": tag})).await;
        eventually(PATIENCE, || async { !self.listed().await.contains(&tag.to_owned()) }).await;
        answer["account_id"].as_str().unwrap().to_owned()
    }

    pub async fn hello(&self, agent: &Agent) {
        self.publish("hello", &agent.hello).await;
    }

    /// Publishes a message of `sender` to an account or `capability:<name>`; its body.
    pub async fn send(&self, id: &str, sender: &str, to: &str, extra: Value) -> Vec<u8> {
        let subject = match to.strip_prefix("capability:") {
            Some(name) => format!("agent.capability.{name}"),
            None => format!("account.{to}.inbox"),
        };
        self.send_on(&subject, id, sender, to, extra).await
    }

    /// The same on another subject.
    pub async fn send_on(&self, subject: &str, id: &str, sender: &str, to: &str, extra: Value) -> Vec<u8> {
        let mut envelope = json!({
            "message_id": id, "from_agent": sender, "from_account_id": sender, "to_agent": to,
            "payload": {"text": id}, "sent_at": SystemClock.now().to_string(), "ttl_ms": 600_000, "thread_id": "t1",
            "kind": "direct", "schema_version": "1.2",
        });
        if !to.starts_with("capability:") {
            envelope["to_account_id"] = json!(to);
        }
        for (name, value) in extra.as_object().unwrap() {
            envelope[name] = value.clone();
        }
        let body = envelope.to_string().into_bytes();
        self.client.publish(subject.to_owned(), body.clone().into()).await.unwrap();
        self.client.flush().await.unwrap();
        body
    }

    /// Says something about a message of `sender`, as `agent`.
    pub async fn answer(
        &self,
        agent: &Agent,
        sender: &str,
        message: &Value,
        status: &str,
        code: Option<&str>,
    ) {
        let receipt = json!({
            "message_id": message["message_id"], "status": status, "event_at": SystemClock.now().to_string(),
            "from_account_id": agent.account, "from_session_tag": agent.tag, "to_account_id": sender,
            "to_agent": message["to_agent"], "code": code, "schema_version": "1.2",
        });
        self.client.publish(format!("account.{sender}.receipts"), receipt.to_string().into()).await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// Waits until the delivery is in that state; the row.
    pub async fn delivery(&self, id: &str, state: &str) -> Value {
        eventually(PATIENCE, || async {
            let answer = self.call("deliveries", json!({"message_id": id, "state": state})).await;
            answer["deliveries"].as_array().unwrap().first().cloned()
        })
        .await
    }

    /// Waits until a query answers `true`.
    pub async fn holds(&self, sql: &'static str) {
        eventually(PATIENCE, || async {
            sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap_or(false)
        })
        .await;
    }

    /// Lets time pass for every open delivery.
    pub async fn age(&self, seconds: f64) {
        sqlx::query(
            "UPDATE agent_deliveries SET created_at = created_at - make_interval(secs => $1), \
             next_attempt_at = next_attempt_at - make_interval(secs => $1), \
             lease_until = lease_until - make_interval(secs => $1), \
             redelivered_at = redelivered_at - make_interval(secs => $1), \
             receipt_at = receipt_at - make_interval(secs => $1), \
             expires_at = expires_at - make_interval(secs => $1) WHERE state IN ('pending', 'accepted')",
        )
        .bind(seconds)
        .execute(&self.pool)
        .await
        .unwrap();
    }
}

/// The next message as JSON, with its attempt.
pub async fn next(subscriber: &mut Subscriber) -> (Value, u32) {
    let message = next_message(subscriber).await;
    let attempt = message.headers.as_ref().and_then(|h| h.get("Agentnet-Attempt"));
    let attempt = attempt.map_or(0, |text| text.as_str().parse().unwrap());
    (serde_json::from_slice(&message.payload).unwrap(), attempt)
}

pub async fn next_message(subscriber: &mut Subscriber) -> Message {
    tokio::time::timeout(PATIENCE, subscriber.next()).await.expect("nothing came").unwrap()
}

/// Whether something is there already.
pub async fn is_silent(world: &World, subscriber: &mut Subscriber) -> bool {
    // What was published before has been delivered when this round trip is over.
    world.client.flush().await.unwrap();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let subject = format!("test.trip.{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut trip = world.client.subscribe(subject.clone()).await.unwrap();
    world.client.publish(subject, "".into()).await.unwrap();
    next_message(&mut trip).await;
    tokio::time::timeout(Duration::from_millis(1), subscriber.next()).await.is_err()
}
