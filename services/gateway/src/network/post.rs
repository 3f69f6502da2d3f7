//! Saying something in a thread.

use std::time::Duration;

use agentnet::{Delivery, Stage, Target};
use agentnet_proto::{ErrorCode, Payload};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    caller::Caller,
    connect,
    http::{Body, Parts, Problem},
    rates::Class,
};

/// A message to send.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NewMessage {
    /// Whom it is for: an account id, `@username`, `capability:<name>`; the thread's members unless given.
    #[serde(default)]
    to: Option<String>,
    /// The content, any JSON value.
    #[serde(default)]
    payload: Option<Payload>,
    /// Or the content as a text, which becomes `{"text": ...}`.
    #[serde(default)]
    text: Option<String>,
    /// The kind; `direct` unless given.
    #[serde(default)]
    kind: Option<String>,
    /// The message that it answers or follows.
    #[serde(default)]
    parent_message_id: Option<String>,
    /// Its id; made unless given. Posted again it is 409 `message_id_conflict`: it is stored already.
    #[serde(default)]
    message_id: Option<String>,
    /// Messages of one account with the same key are one operation.
    #[serde(default)]
    idempotency_key: Option<String>,
    /// How long the network keeps trying, in milliseconds; a day unless given, at most 30 days.
    #[serde(default)]
    #[schemars(range(min = 1, max = 2_592_000_000_u64))]
    ttl_ms: Option<u64>,
    /// What to wait for; `stored` and a moment for the recipient unless given.
    #[serde(default)]
    wait: Option<Wait>,
}

/// What the answer waits for.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wait {
    /// Committed.
    Stored,
    /// Admitted by a recipient.
    Accepted,
    /// Handled by a recipient.
    Processed,
}

/// What became of it so far.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PostedMessage {
    /// The message.
    message_id: String,
    /// Its thread.
    thread_id: String,
    /// `stored`, `accepted` or `processed`.
    stage: Option<&'static str>,
    /// Whether the network holds it for good.
    stored: bool,
    /// Why the recipient didn't take it yet, when it said so; the network keeps trying.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<RefusalOfRecipient>,
    /// When this was true, ISO 8601.
    timestamp: String,
}

/// Why a recipient didn't take a message.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RefusalOfRecipient {
    /// Stable code.
    code: String,
    /// The same for people.
    detail: String,
}

/// Send a message in a thread
///
/// The sender is the caller's account. The answer comes once the message is stored for good, and accepted by the recipient
/// unless it stays silent for a moment.
#[utoipa::path(post, path = "/api/threads/{thread_id}/messages", tag = "network",
    params(("thread_id" = String, Path, description = "The thread; it begins with its first message.")),
    request_body = ref("#/components/schemas/NewMessage"),
    responses((status = 200, body = ref("#/components/schemas/PostedMessage"))))]
pub(crate) async fn post(
    State(app): State<App>,
    caller: Caller,
    Parts(thread_id): Parts<String>,
    Body(new): Body<NewMessage>,
) -> Result<Json<PostedMessage>, Problem> {
    caller.pass(&app, Class::Message)?;
    let thread = Target::thread(&thread_id).map_err(|error| Problem::field("thread_id", error.detail()))?;
    let target = match new.to.as_deref() {
        None => thread,
        Some(to) => Target::parse(to).map_err(|error| Problem::field("to", error.detail()))?,
    };
    let payload = match (new.payload, new.text) {
        (Some(payload), None) => payload,
        (None, Some(text)) => Payload::text(&text),
        (None, None) => return Err(Problem::field("payload", "give payload or text")),
        (Some(_), Some(_)) => return Err(Problem::field("text", "give payload or text, not both")),
    };
    let mut message = caller.seat.node.send(target, payload).thread(thread_id);
    if let Some(kind) = new.kind {
        if connect::is_reserved(&kind) {
            return Err(Problem::field("kind", "the gateway writes messages of this kind itself"));
        }
        message = message.kind(kind);
    }
    if let Some(parent) = new.parent_message_id {
        message = message.parent(parent);
    }
    if let Some(id) = new.message_id {
        message = message.message_id(id);
    }
    if let Some(key) = new.idempotency_key {
        message = message.idempotency_key(key);
    }
    if let Some(ttl) = new.ttl_ms {
        let ttl = Duration::from_millis(ttl);
        if ttl.is_zero() || ttl > agentnet_proto::envelope::MAX_TTL {
            return Err(Problem::field("ttl_ms", ErrorCode::TtlTooLong.meaning().trim()));
        }
        message = message.ttl(ttl);
    }
    let sent = match new.wait {
        None => message.await?,
        Some(Wait::Stored) => message.until(Stage::Stored).await?,
        Some(wait) => {
            let handle = message.queued().await?;
            let stage = if matches!(wait, Wait::Accepted) { Stage::Accepted } else { Stage::Processed };
            handle.until(stage).await?;
            // A recipient may be quicker than the commit, and what is answered here is stored.
            handle.delivered().await?
        }
    };
    Ok(Json(PostedMessage::of(sent, app.now())))
}

impl PostedMessage {
    fn of(sent: Delivery, timestamp: String) -> Self {
        Self {
            message_id: sent.message_id,
            thread_id: sent.thread_id,
            stage: sent.stage.map(Stage::as_str),
            stored: sent.stored,
            refusal: sent
                .refusal
                .map(|refusal| RefusalOfRecipient { code: refusal.code, detail: refusal.detail }),
            timestamp,
        }
    }
}
