//! What changes: agents' statuses and loads, tasks. As server-sent events or over a WebSocket, resumable by id at any gateway.
//!
//! The feed lies in Postgres. One task of the gateway asks where it ends, as long as anybody watches; when it has moved, each
//! watcher reads on from where it is, and gets what it may see.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agentnet_proto::{ErrorCode, Payload, rpc};
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
use tokio::{sync::watch, time::sleep};
use utoipa::IntoParams;

use super::answers::refused;
use crate::{
    app::App,
    caller::Caller,
    http::{Problem, Query, check_origin},
    rates::Class,
    seats::Seat,
    sockets::{self, End, Socket, close},
};

/// How often the end of the feed is asked for.
const EVERY: Duration = Duration::from_millis(400);
/// The same after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// How often an idle stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events read at once.
const PAGE: i64 = 200;

/// Where to begin, and what to watch.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct From {
    /// The id of the last event that was seen; the header `Last-Event-ID` says the same. From now on unless given. Events are
    /// kept for 24 hours.
    last_event_id: Option<String>,
    /// Only these kinds, with commas between them: `agent_registered`, `agent_status`, `load_metrics`, `task_submitted`,
    /// `task_assigned`, `task_started`, `task_retried`, `task_completed`, `task_failed`, `task_cancelled`, `task_expired`,
    /// `task_dead`, `webhook_disabled`.
    types: Option<String>,
}

/// What changes, as server-sent events
///
/// Of tasks, what the caller submitted or works at; operators see all.
#[utoipa::path(get, path = "/events", tag = "coordinator", params(From),
    responses((status = 200, description = "Events named by their kind, with ids to resume from.",
        content_type = "text/event-stream")))]
pub(crate) async fn stream(
    State(app): State<App>,
    caller: Caller,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.pass(&app, Class::Read)?;
    let watcher = Watcher::begin(&app, &caller, from, &headers).await?;
    let Ok(permit) = Arc::clone(&app.room).try_acquire_owned() else {
        return Err(Problem::new(ErrorCode::Busy, "the gateway has as many live connections as it takes"));
    };
    let events = events(watcher, (permit, app.streams.token()));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// The same over a WebSocket
///
/// Text frames `{"type", "id", "timestamp", "data"}`; nothing is expected of the client.
#[utoipa::path(get, path = "/events/ws", tag = "coordinator", params(From),
    responses((status = 101, description = "Frames of the gateway.")))]
pub(crate) async fn socket(
    State(app): State<App>,
    caller: Result<Caller, Problem>,
    from: Query<From>,
    uri: Uri,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let socket =
        socket.map_err(|_| Problem::new(ErrorCode::ValidationFailed, "this route takes WebSockets only"))?;
    check_origin(&headers, &uri, &app.config.http.origins)?;
    let ready = async {
        let caller = caller?;
        caller.pass(&app, Class::Read)?;
        Watcher::begin(&app, &caller, from.0, &headers).await
    };
    match ready.await {
        Ok(watcher) => {
            Ok(sockets::upgrade(&app, socket, async move |socket| over_socket(socket, watcher).await))
        }
        Err(problem) => Ok(sockets::refuse(&app, socket, &problem, close::POLICY)),
    }
}

#[derive(Serialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    timestamp: &'a str,
    data: &'a Payload,
}

async fn over_socket(mut socket: Socket, mut watcher: Watcher) -> (Socket, End) {
    let end = loop {
        let event = tokio::select! {
            event = watcher.next() => event,
            heard = socket.hear() => match heard {
                // Nothing is expected of the client.
                Ok(_) => continue,
                Err(end) => break end,
            },
        };
        let Some(event) = event else { break End::Say(close::GOING_AWAY, "the gateway or the login ends") };
        let frame = Frame { kind: &event.kind, id: &event.id, timestamp: &event.at, data: &event.body };
        if let Err(end) = socket.send(serde_json::to_string(&frame).unwrap_or_default()).await {
            break end;
        }
    };
    (socket, end)
}

fn events<T: Send + 'static>(
    watcher: Watcher,
    kept: T,
) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    stream::unfold((watcher, kept), async move |(mut watcher, kept)| {
        let event = watcher.next().await?;
        let frame = Frame { kind: &event.kind, id: &event.id, timestamp: &event.at, data: &event.body };
        let data = serde_json::to_string(&frame).unwrap_or_default();
        Some((Ok(Event::default().event(&event.kind).id(&event.id).data(data)), (watcher, kept)))
    })
}

/// One who watches. Safe to drop [`next`](Self::next) and call it again.
struct Watcher {
    app: App,
    /// Kept from being closed as idle.
    seat: Arc<Seat>,
    request: rpc::FeedRequest,
    ready: VecDeque<rpc::FeedEvent>,
    /// Whether there may be more without waiting.
    more: bool,
    end: watch::Receiver<String>,
}

impl Watcher {
    async fn begin(app: &App, caller: &Caller, from: From, headers: &HeaderMap) -> Result<Self, Problem> {
        let header = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let kinds = from.types.as_deref().unwrap_or_default().split(',').map(str::trim);
        let mut request = rpc::FeedRequest {
            after: from.last_event_id.or(header).filter(|id| !id.is_empty()),
            kinds: kinds.filter(|kind| !kind.is_empty()).map(str::to_owned).collect(),
            limit: Some(PAGE),
        };
        let end = app.feed.follow(app);
        // Asked at once, so that a bad id is refused, and that nothing is missed from here on.
        let page = caller.seat.node.registry().call::<rpc::Feed>(&request).await.map_err(refused)?;
        request.after = Some(page.next);
        Ok(Self {
            app: app.clone(),
            seat: Arc::clone(&caller.seat),
            request,
            ready: page.events.into(),
            more: true,
            end,
        })
    }

    /// The next event; `None` when the gateway or the login ends.
    async fn next(&mut self) -> Option<rpc::FeedEvent> {
        let (closing, ended) = (self.app.closing.clone(), self.seat.ended.clone());
        tokio::select! {
            biased;
            () = closing.cancelled() => None,
            () = ended.cancelled() => None,
            event = self.read() => event,
        }
    }

    async fn read(&mut self) -> Option<rpc::FeedEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if !self.more {
                self.end.changed().await.ok()?;
                self.more = true;
            }
            match self.seat.node.registry().call::<rpc::Feed>(&self.request).await {
                Ok(page) => {
                    self.request.after = Some(page.next);
                    self.ready = page.events.into();
                    self.more = page.more;
                }
                Err(error) if error.is_retryable() => {
                    tracing::debug!(%error, "the feed couldn't be read; trying again");
                    sleep(AFTER_FAILURE).await;
                }
                Err(_) => return None,
            }
        }
    }
}

/// Where the feed ends, asked for as long as somebody watches.
#[derive(Debug)]
pub(crate) struct FeedEnd {
    end: watch::Sender<String>,
    /// Whether somebody asks already.
    asking: AtomicBool,
}

impl FeedEnd {
    pub(crate) fn new() -> Self {
        Self { end: watch::Sender::new(String::new()), asking: AtomicBool::new(false) }
    }

    /// A watcher's view of it; the first one starts the asking.
    fn follow(&self, app: &App) -> watch::Receiver<String> {
        let receiver = self.end.subscribe();
        if !self.asking.swap(true, Ordering::AcqRel) {
            app.streams.spawn(ask(app.clone()));
        }
        receiver
    }
}

async fn ask(app: App) {
    let FeedEnd { end, asking } = &app.feed;
    // One event behind the last known end says that there is something to read.
    let mut request = rpc::FeedRequest { limit: Some(1), ..rpc::FeedRequest::default() };
    loop {
        if end.receiver_count() == 0 {
            asking.store(false, Ordering::Release);
            // Unless somebody came in between and left it to us.
            if end.receiver_count() == 0 || asking.swap(true, Ordering::AcqRel) {
                return;
            }
        }
        let asked = tokio::select! {
            () = app.closing.cancelled() => return,
            asked = async { app.own.registry().call::<rpc::Feed>(&request).await } => asked,
        };
        let pause = match asked {
            Ok(page) => {
                let moved = !page.events.is_empty() || request.after.is_none();
                if page.more {
                    // Far behind: from its end.
                    request.after = None;
                } else {
                    request.after = Some(page.next.clone());
                }
                if moved {
                    end.send_replace(page.next);
                }
                EVERY
            }
            Err(error) => {
                tracing::debug!(%error, "the feed's end couldn't be asked for");
                AFTER_FAILURE
            }
        };
        sleep(pause).await;
    }
}
