//! Callers of secure mode, without the callout: the registry believes the subject, which NATS' permissions prove.

use std::sync::LazyLock;

use agentnet_local::testing::{TEST_TOKEN, TestNats};
use agentnet_registry::callout::NetworkSeeds;
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

/// An account that asks on the subjects of secure mode.
pub struct Asking {
    pub id: String,
    pub client: async_nats::Client,
}

impl Asking {
    pub async fn new(world: &World, letter: char) -> Self {
        let id = id(letter);
        sqlx::query(
            "INSERT INTO agent_accounts (account_id, username, display_name, created_at, updated_at) \
             VALUES ($1, $2, $2, now(), now())",
        )
        .bind(&id)
        .bind(letter.to_string())
        .execute(&world.pool)
        .await
        .unwrap();
        Self { client: connect(&world.nats, &id).await, id }
    }

    /// The error's code.
    pub async fn error(&self, method: &str, body: Value) -> String {
        let answer = self.call(method, body).await;
        answer["error"].as_str().unwrap_or_else(|| panic!("no error in {answer}")).to_owned()
    }

    pub async fn call(&self, method: &str, body: Value) -> Value {
        let subject = format!("registry.{method}.{}", self.id);
        let request = self.client.request(subject, body.to_string().into());
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

async fn connect(nats: &TestNats, id: &str) -> async_nats::Client {
    async_nats::ConnectOptions::with_token(TEST_TOKEN.to_owned())
        .custom_inbox_prefix(format!("_INBOX.{id}"))
        .connect(nats.url())
        .await
        .unwrap()
}

pub fn texts(answer: &Value, list: &str, name: &str) -> Vec<String> {
    let rows = answer[list].as_array().unwrap_or_else(|| panic!("{answer}"));
    rows.iter().map(|row| row[name].as_str().unwrap().to_owned()).collect()
}
