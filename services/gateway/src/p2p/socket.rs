//! Many questions at once over one WebSocket. Answers come in any order; each names its question.

use std::{sync::Arc, time::Duration};

use agentnet::P2pCall;
use agentnet_proto::{ErrorCode, Payload};
use axum::{
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, Uri},
    response::Response,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};

use super::ask::{ask, meant, tell};
use crate::{
    app::App,
    caller::Caller,
    http::{Problem, check_origin, json},
    rates::Class,
    sockets::{self, End, Heard, Socket, close},
};

/// Questions under way over one socket.
const UNDER_WAY: usize = 32;

/// A question of a client.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct P2pFrame {
    /// Told again in the answer.
    id: Value,
    /// The agent: a username, an account id, or `capability:<name>`. At a listener of the P2P module it may be left out: the
    /// agent that its address means.
    #[serde(default)]
    to: Option<String>,
    /// `send_recv` waits for the agent's answer; `send` doesn't. `send_recv` unless given.
    #[serde(default, rename = "type")]
    kind: Kind,
    /// What the agent gets; its `handler` names one of the agent's handlers.
    message: Value,
    /// How long to wait, in seconds; 30 unless given, at most 600.
    #[serde(default)]
    timeout: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    SendRecv,
    Send,
}

/// An answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct P2pReply {
    /// The question's; null where it couldn't be read.
    id: Value,
    /// Whether the agent answered.
    ok: bool,
    /// What it answered; for `send` the id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Payload>,
    /// Why it didn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<P2pError>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct P2pError {
    /// Stable code.
    code: String,
    /// The same for people.
    message: String,
}

impl P2pReply {
    fn of(id: Value, answer: Result<Payload, Problem>) -> String {
        let reply = match answer {
            Ok(data) => Self { id, ok: true, data: Some(data), error: None },
            Err(problem) => Self {
                id,
                ok: false,
                data: None,
                error: Some(P2pError { code: problem.code.into_owned(), message: problem.detail }),
            },
        };
        serde_json::to_string(&reply).unwrap_or_default()
    }
}

/// Ask agents over one WebSocket
///
/// Clients send `P2pFrame`, and get one `P2pReply` for each.
#[utoipa::path(get, path = "/p2p/ws", tag = "p2p",
    responses((status = 101, description = "Frames of the client: `P2pFrame`.",
            body = ref("#/components/schemas/P2pFrame")),
        (status = "1XX", description = "Frames of the gateway.", body = ref("#/components/schemas/P2pReply"))))]
pub(crate) async fn chat(
    State(app): State<App>,
    caller: Result<Caller, Problem>,
    uri: Uri,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let socket =
        socket.map_err(|_| Problem::new(ErrorCode::ValidationFailed, "this route takes WebSockets only"))?;
    open(&app, caller, &uri, &headers, socket)
}

/// Takes a client over, here or on an upgrade at `/` of a listener of this face, where the seed's clients look.
pub(crate) fn open(
    app: &App,
    caller: Result<Caller, Problem>,
    uri: &Uri,
    headers: &HeaderMap,
    socket: WebSocketUpgrade,
) -> Result<Response, Problem> {
    check_origin(headers, uri, &app.config.http.origins)?;
    let ready = caller.and_then(|caller| {
        caller.pass(app, Class::Read)?;
        caller.may("send")?;
        Ok(caller)
    });
    match ready {
        Ok(caller) => {
            let (work, agent) = (app.clone(), meant(app, uri, headers));
            Ok(sockets::upgrade(app, socket, async move |socket| run(work, caller, agent, socket).await))
        }
        Err(problem) => Ok(sockets::refuse(app, socket, &problem, close::POLICY)),
    }
}

async fn run(app: App, caller: Caller, agent: Option<String>, mut socket: Socket) -> (Socket, End) {
    let (answers, mut answered) = mpsc::channel::<String>(UNDER_WAY);
    let under_way = Arc::new(Semaphore::new(UNDER_WAY));
    let (closing, ended) = (app.closing.clone(), caller.seat.ended.clone());
    let end = loop {
        tokio::select! {
            biased;
            () = closing.cancelled() => break End::Say(close::GOING_AWAY, "the gateway stops; come back"),
            () = ended.cancelled() => break caller.seat.goodbye(close::POLICY),
            // We hold a sender ourselves.
            Some(answer) = answered.recv() => {
                if let Err(end) = socket.send(answer).await {
                    break end;
                }
            }
            heard = socket.hear() => {
                let heard = match heard {
                    Ok(heard) => heard,
                    Err(end) => break end,
                };
                if let Err(refused) = begin(&app, &caller, agent.as_deref(), heard, &under_way, &answers)
                    && let Err(end) = socket.send(P2pReply::of(refused.0, Err(refused.1))).await
                {
                    break end;
                }
            }
        }
    };
    (socket, end)
}

/// Begins to ask; what can't even begin is answered at once.
fn begin(
    app: &App,
    caller: &Caller,
    agent: Option<&str>,
    heard: Heard,
    under_way: &Arc<Semaphore>,
    answers: &mpsc::Sender<String>,
) -> Result<(), Box<(Value, Problem)>> {
    let Heard::Text(text) = heard else {
        return Err(Box::new((Value::Null, Problem::new(ErrorCode::InvalidMessage, "send text frames"))));
    };
    let frame: P2pFrame = json(text.as_bytes()).map_err(|problem| {
        let id = serde_json::from_str::<Value>(&text).ok().and_then(|frame| frame.get("id").cloned());
        Box::new((id.unwrap_or_default(), problem))
    })?;
    let id = frame.id.clone();
    let refused = |problem: Problem| Box::new((frame.id.clone(), problem));
    app.limits.check(Class::Message, &caller.who).map_err(refused)?;
    let permit = Arc::clone(under_way).try_acquire_owned().map_err(|_| {
        refused(Problem::new(ErrorCode::Busy, "32 questions are under way; wait for their answers"))
    })?;
    let within = match frame.timeout.map(Duration::try_from_secs_f64) {
        Some(Ok(within)) => Some(within),
        Some(Err(_)) => return Err(refused(Problem::field("timeout", "seconds such as 30 or 0.5"))),
        None => None,
    };
    let to = frame.to.as_deref().or(agent).map(str::to_owned);
    let to = to.ok_or_else(|| refused(Problem::field("to", "the field is required")))?;
    let (app, seat, answers) = (app.clone(), Arc::clone(&caller.seat), answers.clone());
    app.clone().streams.spawn(async move {
        let answer = match frame.kind {
            Kind::SendRecv => ask(&app, &seat, &to, P2pCall::Message, &frame.message, within).await,
            Kind::Send => tell(&seat, &to, &frame.message)
                .await
                .map(|message_id| Payload::from(serde_json::json!({"message_id": message_id}))),
        };
        // The socket may have gone.
        let _ = answers.send(P2pReply::of(id, answer)).await;
        drop(permit);
    });
    Ok(())
}
