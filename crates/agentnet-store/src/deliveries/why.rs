//! The whole path of one message.

use agentnet_proto::Timestamp;
use sqlx::{AssertSqlSafe, FromRow, PgPool, Postgres, QueryBuilder};
use time::OffsetDateTime;

use super::{
    DeliveryEvent,
    events::of_message,
    read::{COLUMNS, Columns, Delivery},
};
use crate::StoreError;
use crate::access::{Reader, push_sight, sight};

/// Most deliveries that are told of one message.
const MOST: i64 = 500;

/// What is known about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The message.
    pub message_id: String,
    /// Its thread.
    pub thread_id: String,
    /// Sender's account.
    pub from_account_id: Option<String>,
    /// Sender's session.
    pub from_session_tag: Option<String>,
    /// Logical target.
    pub to_agent: String,
    /// Kind of message.
    pub kind: String,
    /// When it was sent, by the sender's clock.
    pub sent_at: Timestamp,
    /// When the network took it.
    pub received_at: Timestamp,
    /// When the network stops trying.
    pub expires_at: Option<Timestamp>,
    /// Its deliveries, by recipient.
    pub deliveries: Vec<Delivery>,
    /// What happened to them beyond the straight way, oldest first.
    pub events: Vec<DeliveryEvent>,
}

#[derive(FromRow)]
struct MessageColumns {
    thread_id: String,
    from_account_id: Option<String>,
    from_session_tag: Option<String>,
    to_agent: String,
    kind: String,
    sent_at: OffsetDateTime,
    received_at: OffsetDateTime,
    expires_at: Option<OffsetDateTime>,
}

/// Everything about a message; `None` when it isn't stored or the reader may not read it. Who only received it learns
/// what became of its own delivery.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn why(pool: &PgPool, reader: &Reader, message_id: &str) -> Result<Option<Path>, StoreError> {
    let failed = StoreError::query("agent_deliveries.why");
    let thread: Option<String> =
        sqlx::query_scalar("SELECT thread_id FROM agent_messages WHERE message_id = $1")
            .bind(message_id)
            .fetch_optional(pool)
            .await
            .map_err(&failed)?;
    let Some(thread) = thread else { return Ok(None) };
    let sight = sight(pool, reader, &thread).await?;
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(
        "SELECT thread_id, from_account_id, from_session_tag, to_agent, kind, sent_at, received_at, expires_at \
         FROM agent_messages m WHERE message_id = ",
    );
    sql.push_bind(message_id);
    push_sight(&mut sql, "m", &sight);
    let message: Option<MessageColumns> = sql.build_query_as().fetch_optional(pool).await.map_err(&failed)?;
    let Some(message) = message else { return Ok(None) };
    let is_own = |recipient: &str, handler: Option<&str>| match reader {
        Reader::Own(account) => {
            let me = account.as_str();
            message.from_account_id.as_deref() == Some(me) || recipient == me || handler == Some(me)
        }
        Reader::Everything | Reader::Open(_) => true,
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM agent_deliveries d JOIN agent_messages m ON m.message_id = d.message_id \
         WHERE d.message_id = $1 ORDER BY d.recipient LIMIT $2"
    );
    // Only constants went into the text.
    let rows: Vec<Columns> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(message_id)
        .bind(MOST)
        .fetch_all(pool)
        .await
        .map_err(&failed)?;
    let mut deliveries: Vec<Delivery> = rows.into_iter().map(Delivery::from).collect();
    deliveries.retain(|d| is_own(&d.recipient, d.handler_account_id.as_deref()));
    let mut events = of_message(pool, message_id).await?;
    events.retain(|event| deliveries.iter().any(|d| d.recipient == event.recipient));
    Ok(Some(Path {
        message_id: message_id.to_owned(),
        thread_id: message.thread_id,
        from_account_id: message.from_account_id,
        from_session_tag: message.from_session_tag,
        to_agent: message.to_agent,
        kind: message.kind,
        sent_at: message.sent_at.into(),
        received_at: message.received_at.into(),
        expires_at: message.expires_at.map(Timestamp::from),
        deliveries,
        events,
    }))
}
