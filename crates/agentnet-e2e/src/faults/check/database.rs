//! What Postgres holds, read past every service.

use std::collections::HashMap;

use anyhow::{Context, Result};
use sqlx::{Connection, PgConnection};

/// A stored message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its thread.
    pub thread_id: String,
    /// What it answers.
    pub parent: Option<String>,
    /// Sender and target account.
    pub accounts: [Option<String>; 2],
    /// `system` messages don't count as pending.
    pub kind: String,
    /// The exact bytes.
    pub envelope: Vec<u8>,
}

/// A delivery record.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Delivery {
    /// The message.
    pub message_id: String,
    /// Its state.
    pub state: String,
    /// How often a recipient took it and never finished.
    pub attempts: i32,
}

/// The counters of a thread.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Thread {
    /// The thread.
    pub thread_id: String,
    /// Messages.
    pub message_count: i64,
    /// Bytes of their payloads.
    pub byte_count: i64,
    /// Tokens of their payloads.
    pub approx_tokens: i64,
    /// Messages since the last checkpoint.
    pub pending_raw_messages: i64,
    /// Accounts ever seen in it, as a JSON list.
    pub participants: serde_json::Value,
}

/// Everything a verdict needs.
#[derive(Debug, Default)]
pub struct Database {
    /// By id.
    pub messages: HashMap<String, Message>,
    /// In no order.
    pub deliveries: Vec<Delivery>,
    /// In no order.
    pub threads: Vec<Thread>,
    /// Bodies of what couldn't be stored as messages.
    pub quarantine: Vec<Vec<u8>>,
}

type MessageColumns = (String, String, Option<String>, Option<String>, Option<String>, String, Vec<u8>);

impl Database {
    /// Reads the whole database.
    ///
    /// # Errors
    /// When Postgres doesn't answer.
    pub async fn read(url: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(url).await.context("can't look into Postgres")?;
        // One moment for all tables, though they may still change.
        sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut connection).await?;
        let rows: Vec<MessageColumns> = sqlx::query_as(
            "SELECT message_id, thread_id, parent_message_id, from_account_id, to_account_id, kind, envelope \
             FROM agent_messages",
        )
        .fetch_all(&mut connection)
        .await?;
        let messages = rows.into_iter().map(|(id, thread_id, parent, from, to, kind, envelope)| {
            (id, Message { thread_id, parent, accounts: [from, to], kind, envelope })
        });
        let read = Self {
            messages: messages.collect(),
            deliveries: sqlx::query_as("SELECT message_id, state, attempts FROM agent_deliveries WHERE has_message")
                .fetch_all(&mut connection)
                .await?,
            threads: sqlx::query_as(
                "SELECT thread_id, message_count, byte_count, approx_tokens, pending_raw_messages, participants \
                 FROM agent_threads",
            )
            .fetch_all(&mut connection)
            .await?,
            quarantine: sqlx::query_scalar("SELECT body FROM agent_quarantine").fetch_all(&mut connection).await?,
        };
        // The server closes it as well.
        let _ = connection.close().await;
        Ok(read)
    }
}
