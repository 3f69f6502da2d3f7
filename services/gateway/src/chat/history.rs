//! What was said in a session, and saying more over HTTP.

use agentnet::{ChatManager, ChatPage};
use agentnet_proto::{
    Timestamp,
    chat::{ChatMessage, ChatRole},
};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::{
    app::App,
    caller::Caller,
    http::{Body, Parts, Problem, Query},
    rates::Class,
};

/// What was said.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChatHistory {
    /// The session.
    session_id: String,
    /// In the order in which the network took them.
    messages: Vec<ChatMessage>,
    /// How many messages there are that fit.
    total: usize,
    /// `before` of the page before; absent when this one begins with the first message that fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<usize>,
}

/// Filters.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filters {
    /// Only what was said as this: `user`, `assistant` or `system`.
    #[param(value_type = Option<String>)]
    role: Option<ChatRole>,
    /// Only what was said at or after, ISO 8601.
    from: Option<String>,
    /// Only what was said at or before, ISO 8601.
    to: Option<String>,
    /// Only what has a lower number: `next_before` of the page after.
    before: Option<usize>,
    /// The latest so many, 1 to 1,000; 200 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl Filters {
    /// Whether a message fits.
    fn check(&self) -> Result<impl Fn(&ChatMessage) -> bool + use<>, Problem> {
        let time = |field: &str, text: &Option<String>| match text.as_deref().map(Timestamp::parse) {
            Some(None) => Err(Problem::field(field, "no ISO 8601 time")),
            Some(time) => Ok(time),
            None => Ok(None),
        };
        let (role, from, to) = (self.role, time("from", &self.from)?, time("to", &self.to)?);
        Ok(move |message: &ChatMessage| {
            let at = Timestamp::parse(&message.timestamp);
            role.is_none_or(|role| role == message.role)
                && from.is_none_or(|from| at.is_some_and(|at| at >= from))
                && to.is_none_or(|to| at.is_some_and(|at| at <= to))
        })
    }
}

/// What was said in a session
///
/// The account comes into the session, as a client of it does.
#[utoipa::path(get, path = "/chat/sessions/{session_id}/messages", tag = "chat",
    params(("session_id" = String, Path, description = "The session."), Filters),
    responses((status = 200, body = ref("#/components/schemas/ChatHistory"))))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parts(session_id): Parts<String>,
    Query(filters): Query<Filters>,
) -> Result<Json<ChatHistory>, Problem> {
    caller.pass(&app, Class::Read)?;
    let fits = filters.check()?;
    let mut messages = joined(&caller, &session_id).await?.list_messages(&session_id).await?;
    messages.retain(fits);
    let limit = filters.limit.unwrap_or(200).clamp(1, 1000);
    let ChatPage { messages, next_before, total } = ChatPage::of(messages, filters.before, limit);
    Ok(Json(ChatHistory { session_id, messages, total, next_before }))
}

async fn joined(caller: &Caller, session_id: &str) -> Result<ChatManager, Problem> {
    let manager = ChatManager::new(&caller.seat.node);
    manager.join(session_id).await?;
    Ok(manager)
}

/// Something to say.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NewChatMessage {
    /// The text.
    content: String,
    /// As whom; `system` unless given.
    #[serde(default)]
    role: Option<ChatRole>,
}

/// Say something to everybody in a session
#[utoipa::path(post, path = "/chat/sessions/{session_id}/messages", tag = "chat",
    params(("session_id" = String, Path, description = "The session; it begins with whoever comes first.")),
    request_body = ref("#/components/schemas/NewChatMessage"),
    responses((status = 200, body = ref("#/components/schemas/ChatMessage"))))]
pub(crate) async fn say(
    State(app): State<App>,
    caller: Caller,
    Parts(session_id): Parts<String>,
    Body(new): Body<NewChatMessage>,
) -> Result<Json<ChatMessage>, Problem> {
    caller.pass(&app, Class::Message)?;
    let manager = joined(&caller, &session_id).await?;
    let role = new.role.unwrap_or(ChatRole::System);
    Ok(Json(manager.add_message(&session_id, role, &new.content, None).await?))
}

/// One message of a session
#[utoipa::path(get, path = "/chat/sessions/{session_id}/messages/{index}", tag = "chat",
    params(("session_id" = String, Path, description = "The session."),
        ("index" = usize, Path, description = "The message's number, from 0.")),
    responses((status = 200, body = ref("#/components/schemas/ChatMessage"))))]
pub(crate) async fn one(
    State(app): State<App>,
    caller: Caller,
    Parts((session_id, index)): Parts<(String, usize)>,
) -> Result<Json<ChatMessage>, Problem> {
    caller.pass(&app, Class::Read)?;
    Ok(Json(joined(&caller, &session_id).await?.get_message(&session_id, index).await?))
}

/// Take a message back
///
/// Only who said it may. It is shown no more; operators still find it in the thread.
#[utoipa::path(delete, path = "/chat/sessions/{session_id}/messages/{index}", tag = "chat",
    params(("session_id" = String, Path, description = "The session."),
        ("index" = usize, Path, description = "The message's number, from 0.")),
    responses((status = 200, body = ref("#/components/schemas/ChatMessage"))))]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Parts((session_id, index)): Parts<(String, usize)>,
) -> Result<Json<ChatMessage>, Problem> {
    caller.pass(&app, Class::Message)?;
    Ok(Json(joined(&caller, &session_id).await?.delete_message(&session_id, index).await?))
}
