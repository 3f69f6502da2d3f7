//! A session's WebSocket.

mod replay;
mod show;
mod talk;

use agentnet::{Observation, Observed};
use agentnet_proto::ErrorCode;
use axum::{
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use serde::Deserialize;
use utoipa::IntoParams;

use self::talk::Chat;
use super::{
    record::{self, Session, SessionType},
    relay,
};
use crate::{
    app::App,
    caller::{Caller, Known},
    http::{Parts, Problem, Query, check_origin},
    rates::Class,
    sockets,
};

/// Codes of the seed.
mod close {
    /// Something else.
    pub(super) const GENERIC: u16 = 4000;
    /// There is no such session.
    pub(super) const INVALID_SESSION: u16 = 4001;
    /// The session has ended.
    pub(super) const EXPIRED: u16 = 4002;
    /// Nobody showed who they are, or it is another one's session.
    pub(super) const AUTHENTICATION: u16 = 4003;
    /// Too many messages, again and again.
    pub(super) const RATE_LIMITED: u16 = 4004;
    /// The session was ended in order.
    pub(super) const NORMAL: u16 = 1000;
    /// The gateway stops.
    pub(super) const GOING_AWAY: u16 = 1001;
}

/// Where a client left off.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct LeftOff {
    /// The last `metadata.message_id` the client has seen: what came after it is sent first.
    last_message_id: Option<String>,
}

/// A session's WebSocket
///
/// Frames both ways are `WebSocketMessage`. Close codes: 4000 something else, 4001 no such session, 4002 it has ended, 4003 not
/// authenticated or another account's, 4004 too many messages.
#[utoipa::path(get, path = "/api/chat/ws/{session_id}", tag = "agent-connect",
    params(("session_id" = String, Path, description = "The session."), LeftOff),
    responses((status = 101, body = ref("#/components/schemas/WebSocketMessage"))))]
pub(crate) async fn chat(
    State(app): State<App>,
    Parts(session_id): Parts<String>,
    Query(left_off): Query<LeftOff>,
    known: Result<Known, Problem>,
    uri: Uri,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let socket =
        socket.map_err(|_| Problem::new(ErrorCode::ValidationFailed, "this route takes WebSockets only"))?;
    check_origin(&headers, &uri, &app.config.http.origins)?;
    let known = match known {
        Ok(known) => known,
        Err(problem) => {
            let code = match problem.status {
                StatusCode::TOO_MANY_REQUESTS => close::RATE_LIMITED,
                status if status.is_server_error() => close::GENERIC,
                _ => close::AUTHENTICATION,
            };
            return Ok(sockets::refuse(&app, socket, &problem, code));
        }
    };
    match open(&app, &known.caller, &session_id).await {
        Ok((session, observation)) => {
            let chat = Chat::new(app.clone(), known.caller, session, observation, left_off.last_message_id);
            Ok(sockets::upgrade(&app, socket, async move |socket| chat.run(socket).await))
        }
        Err(problem) => {
            let code = match problem.code.as_ref() {
                "not_found" => close::INVALID_SESSION,
                "session_ended" => close::EXPIRED,
                "rate_limited" => close::RATE_LIMITED,
                _ if problem.status.is_server_error() => close::GENERIC,
                _ => close::AUTHENTICATION,
            };
            Ok(sockets::refuse(&app, socket, &problem, code))
        }
    }
}

async fn open(app: &App, caller: &Caller, session_id: &str) -> Result<(Session, Observation), Problem> {
    caller.may("send")?;
    app.limits.check(Class::Read, &caller.who)?;
    let session = record::load(app, &caller.seat, session_id).await?;
    let mut what = vec![Observed::Mail, Observed::Replies];
    if session.session_type == SessionType::AgentAgent {
        what.push(Observed::Told(relay::TOLD.to_owned()));
    }
    let observation = caller.seat.node.observe(&what).await?;
    Ok((session, observation))
}
