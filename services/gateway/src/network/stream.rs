//! Live streams of an account's messages and receipts, over WebSocket or as server-sent events.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use agentnet::{Observation, Observed};
use agentnet_proto::{ErrorCode, subject::Subject};
use axum::{
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, Uri},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::{sync::mpsc, time::timeout};
use utoipa::IntoParams;

use crate::{
    app::App,
    caller::Caller,
    http::{Problem, Query, check_origin},
    rates::Class,
    seats::Seat,
    sockets::{self, End, Socket, close},
};

/// Messages remembered so that what comes twice, around a renewal of the connection, is passed on once.
const REMEMBERED: usize = 1024;
/// Events that may wait for a client.
const WAITING: usize = 16;
/// How often an idle event stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What to stream.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct What {
    /// Everybody's, instead of the own account's: operators only.
    all: bool,
    /// Only this thread's; items of type `stored` name no thread, and come anyway.
    thread_id: Option<String>,
}

/// One item of a stream.
#[derive(Serialize)]
struct Item<'a> {
    /// `message`, `receipt` or `stored`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// When the gateway passed it on, ISO 8601.
    at: String,
    /// What it is for.
    subject: &'a str,
    /// The envelope, receipt or notice, as it passed.
    data: &'a RawValue,
}

/// What items are told apart and filtered by.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Key {
    message_id: String,
    thread_id: Option<String>,
}

/// Messages to the account as they pass
///
/// As server-sent events, or over a WebSocket with the same JSON objects as text frames. Watching takes nothing: messages
/// are accepted by the account's sessions, or wait.
#[utoipa::path(get, path = "/api/stream/inbox", tag = "network", params(What),
    responses((status = 200, description = "Events of type `message`.", content_type = "text/event-stream"),
        (status = 101, description = "Over a WebSocket.")))]
pub(crate) async fn inbox(
    State(app): State<App>,
    caller: Result<Caller, Problem>,
    query: Query<What>,
    uri: Uri,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    open(app, caller, query, &uri, &headers, socket, Observed::Mail, Observed::AllMail).await
}

/// What recipients and the network say about the account's messages
///
/// As the inbox stream: events of type `receipt` and `stored`.
#[utoipa::path(get, path = "/api/stream/receipts", tag = "network", params(What),
    responses((status = 200, description = "Events of type `receipt` and `stored`.",
            content_type = "text/event-stream"),
        (status = 101, description = "Over a WebSocket.")))]
pub(crate) async fn receipts(
    State(app): State<App>,
    caller: Result<Caller, Problem>,
    query: Query<What>,
    uri: Uri,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    open(app, caller, query, &uri, &headers, socket, Observed::Receipts, Observed::AllReceipts).await
}

#[expect(clippy::too_many_arguments, reason = "what two routes have in common")]
async fn open(
    app: App,
    caller: Result<Caller, Problem>,
    Query(what): Query<What>,
    uri: &Uri,
    headers: &HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    own: Observed,
    all: Observed,
) -> Result<Response, Problem> {
    let socket = match socket {
        Ok(socket) => {
            check_origin(headers, uri, &app.config.http.origins)?;
            Some(socket)
        }
        Err(_) => None,
    };
    let ready = async {
        let caller = caller?;
        caller.pass(&app, Class::Read)?;
        if what.all && !caller.is_operator(&app) {
            return Err(Problem::new(ErrorCode::Forbidden, "only operators may watch everybody's messages"));
        }
        let observation = caller.seat.node.observe(&[if what.all { all } else { own }]).await?;
        Ok((caller.seat, observation))
    };
    let thread_id = what.thread_id;
    match (socket, ready.await) {
        (Some(socket), Ok((seat, observation))) => {
            let passed = Passed::new(app.clone(), seat, observation, thread_id);
            Ok(sockets::upgrade(&app, socket, async move |socket| over_socket(socket, passed).await))
        }
        (Some(socket), Err(problem)) => Ok(sockets::refuse(&app, socket, &problem, close::POLICY)),
        (None, Ok((seat, observation))) => {
            let Ok(permit) = Arc::clone(&app.room).try_acquire_owned() else {
                return Err(Problem::new(
                    ErrorCode::Busy,
                    "the gateway has as many live connections as it takes",
                ));
            };
            let events =
                events(Passed::new(app.clone(), seat, observation, thread_id), (permit, app.streams.token()));
            Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
        }
        (None, Err(problem)) => Err(problem),
    }
}

async fn over_socket(mut socket: Socket, mut passed: Passed) -> (Socket, End) {
    let end = loop {
        let item = tokio::select! {
            item = passed.next() => item,
            heard = socket.hear() => match heard {
                // Nothing is expected of the client.
                Ok(_) => continue,
                Err(end) => break end,
            },
        };
        let Some((_, _, text)) = item else {
            break match passed.app.closing.is_cancelled() {
                true => End::Say(close::GOING_AWAY, "the gateway stops; come back"),
                false => passed.seat.goodbye(close::POLICY),
            };
        };
        if let Err(end) = socket.send(text).await {
            break end;
        }
    };
    (socket, end)
}

/// Read on by a task of its own, so that a client that doesn't read is noticed, and let go.
fn events<T: Send + 'static>(
    mut passed: Passed,
    kept: T,
) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(WAITING);
    let (app, write_within) = (passed.app.clone(), passed.app.config.sockets.write_within);
    tokio::spawn(async move {
        let _kept = kept;
        loop {
            let item = tokio::select! {
                item = passed.next() => item,
                () = sender.closed() => return,
            };
            let Some((kind, id, text)) = item else { return };
            let event = Event::default().event(kind).id(id).data(text);
            match timeout(write_within, sender.send(event)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    app.slow.fetch_add(1, Ordering::Relaxed);
                    metrics::counter!("gateway_slow_clients_total").increment(1);
                    return;
                }
            }
        }
    });
    stream::unfold(receiver, async |mut receiver| Some((Ok(receiver.recv().await?), receiver)))
}

/// What passes, once each, until the gateway stops.
struct Passed {
    app: App,
    /// Kept from being closed as idle.
    seat: Arc<Seat>,
    observation: Observation,
    thread_id: Option<String>,
    seen: VecDeque<String>,
}

impl Passed {
    fn new(app: App, seat: Arc<Seat>, observation: Observation, thread_id: Option<String>) -> Self {
        Self { app, seat, observation, thread_id, seen: VecDeque::new() }
    }

    /// Kind, id and text of the next item.
    async fn next(&mut self) -> Option<(&'static str, String, String)> {
        let (closing, ended) = (self.app.closing.clone(), self.seat.ended.clone());
        loop {
            let message = tokio::select! {
                biased;
                () = closing.cancelled() => return None,
                () = ended.cancelled() => return None,
                message = self.observation.next() => message?,
            };
            let Ok(data) = serde_json::from_slice::<&RawValue>(&message.payload) else { continue };
            let key: Key = serde_json::from_str(data.get()).unwrap_or_default();
            let kind = kind_of(&message.subject);
            // What the network says about messages names no thread: it passes.
            if kind != "stored" && self.thread_id.is_some() && key.thread_id != self.thread_id {
                continue;
            }
            // A message comes once, however often it is delivered; of receipts, each that says something else.
            let what = match kind {
                "message" => key.message_id.clone(),
                _ => agentnet_proto::envelope::body_hash(data.get().as_bytes())
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect(),
            };
            if !self.is_new(what) {
                continue;
            }
            let id = plain(&key.message_id);
            let item = Item { kind, at: self.app.now(), subject: &message.subject, data };
            let Ok(text) = serde_json::to_string(&item) else { continue };
            return Some((kind, id, text));
        }
    }

    fn is_new(&mut self, id: String) -> bool {
        if self.seen.contains(&id) {
            return false;
        }
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(id);
        true
    }
}

fn kind_of(subject: &str) -> &'static str {
    match subject.parse::<Subject>() {
        Ok(Subject::Receipts(_)) => "receipt",
        Ok(Subject::Stored(_)) => "stored",
        _ => "message",
    }
}

/// An id may hold anything; an event's id may not hold what ends its line.
fn plain(id: &str) -> String {
    id.chars().filter(|c| !c.is_control()).collect()
}
