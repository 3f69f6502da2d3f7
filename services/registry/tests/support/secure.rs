//! Callers of secure mode, without the callout: the registry believes the subject, which NATS' permissions prove.

use std::sync::LazyLock;

use agentnet_local::testing::{TEST_TOKEN, TestNats};
use agentnet_proto::SystemClock;
use agentnet_proto::ids::SystemIds;
use agentnet_proto::rpc::RpcMethod;
use agentnet_proto::signature::{
    Deployment, HEADER, NONCE_HEADER, Nonce, Purpose, SecretKey, SignatureHeader,
};
use agentnet_registry::callout::NetworkSeeds;
use async_nats::HeaderMap;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{PATIENCE, World};

/// Settings of secure mode.
pub fn secure() -> [(&'static str, &'static str); 4] {
    static SEEDS: LazyLock<NetworkSeeds> = LazyLock::new(|| {
        NetworkSeeds::from_parts(NetworkSeeds::NAMES.map(|name| NetworkSeeds::generate(name).unwrap()))
    });
    [
        ("AGENTNET_SECURITY", "secure"),
        ("AGENTNET_DEPLOYMENT", "test"),
        ("AGENTNET_CALLOUT_SEED", SEEDS.issuer.expose_secret()),
        ("AGENTNET_CALLOUT_XKEY_SEED", SEEDS.xkey.expose_secret()),
    ]
}

pub fn id(letter: char) -> String {
    format!("acct_{}{letter}", "0".repeat(25))
}

/// The key of the account of that letter.
pub fn key_of(letter: char) -> SecretKey {
    SecretKey::from_seed(&[u8::try_from(letter).unwrap(); 32])
}

/// The headers of a request signed for the network of [`secure`].
pub fn signed(key: &SecretKey, body: &[u8], purpose: impl Fn(&Nonce) -> Purpose<'_>) -> HeaderMap {
    let deployment: Deployment = "test".parse().unwrap();
    let nonce = Nonce::new(&SystemClock, &SystemIds::new(SystemClock::shared()));
    let mut headers = HeaderMap::new();
    let signature = SignatureHeader::sign(key, &purpose(&nonce), &deployment, body).to_string();
    headers.insert(HEADER, signature.as_str());
    headers.insert(NONCE_HEADER, nonce.as_str());
    headers
}

/// An account that asks on the subjects of secure mode, and signs what it asks.
pub struct Asking {
    pub id: String,
    pub client: async_nats::Client,
    pub key: SecretKey,
}

impl Asking {
    pub async fn new(world: &World, letter: char) -> Self {
        let (id, key) = (id(letter), key_of(letter));
        for sql in [
            "INSERT INTO agent_accounts (account_id, username, display_name, created_at, updated_at) \
             VALUES ($1, $2, $2, now(), now())",
            "INSERT INTO agent_keys (account_id, public_key, bound_at) VALUES ($1, $2, now())",
        ] {
            let is_key = sql.contains("agent_keys");
            let second = if is_key { key.verifying().to_string() } else { letter.to_string() };
            sqlx::query(sql).bind(&id).bind(second).execute(&world.pool).await.unwrap();
        }
        Self { client: connect(&world.nats, &id).await, id, key }
    }

    /// Makes it an operator, and says so.
    pub async fn is_operator(&self, world: &World) {
        sqlx::query("UPDATE agent_accounts SET role = 'operator' WHERE account_id = $1")
            .bind(&self.id)
            .execute(&world.pool)
            .await
            .unwrap();
        let body = json!({"account_id": self.id}).to_string();
        world.client.publish("agentnet.events.keys", body.into()).await.unwrap();
        world.client.flush().await.unwrap();
    }

    /// The error's code.
    pub async fn error(&self, method: &str, body: Value) -> String {
        let answer = self.call(method, body).await;
        answer["error"].as_str().unwrap_or_else(|| panic!("no error in {answer}")).to_owned()
    }

    pub async fn call(&self, method: &str, body: Value) -> Value {
        let subject = format!("registry.{method}.{}", self.id);
        let body = body.to_string().into_bytes();
        let method = RpcMethod::parse(method).unwrap();
        let headers = signed(&self.key, &body, |nonce| Purpose::Rpc { method, nonce });
        let request = self.client.request_with_headers(subject, headers, body.into());
        let answer = tokio::time::timeout(PATIENCE, request).await.expect("no answer in time").unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }

    pub async fn messages(&self, method: &str, body: Value) -> Vec<String> {
        texts(&self.call(method, body).await, "messages", "message_id")
    }

    pub async fn thread(&self, thread: &str) -> Vec<String> {
        self.messages("thread_messages", json!({"thread_id": thread})).await
    }
}

pub async fn connect(nats: &TestNats, id: &str) -> async_nats::Client {
    async_nats::ConnectOptions::with_token(TEST_TOKEN.to_owned())
        .custom_inbox_prefix(format!("_INBOX.{id}"))
        .request_timeout(Some(PATIENCE))
        .connect(nats.url())
        .await
        .unwrap()
}

pub fn texts(answer: &Value, list: &str, name: &str) -> Vec<String> {
    let rows = answer[list].as_array().unwrap_or_else(|| panic!("{answer}"));
    rows.iter().map(|row| row[name].as_str().unwrap().to_owned()).collect()
}
