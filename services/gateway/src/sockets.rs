//! What all WebSockets have in common: pings, bounded writing, an end with a code.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentnet_proto::ErrorCode;
use axum::{
    extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until, timeout},
};

use crate::{app::App, config::SocketRules, http::Problem};

/// Longest message taken from a client, in bytes: the limit of agents.
const MAX_MESSAGE: usize = 256_000;
/// Buffers of a socket, each way: kept as long as it lives, so small. Longer messages take what they need, and give it back.
const BUFFER: usize = 4 * 1024;
/// What may wait to be written: one message, however long an agent's may be.
const MAX_OUT: usize = MAX_MESSAGE + 128 * 1024;
/// How long a client that is being told why may take to hear it.
const LAST_WORD: Duration = Duration::from_secs(30);
/// The same for one that never was let in.
const REFUSAL: Duration = Duration::from_secs(2);

/// Codes of RFC 6455 that the gateway closes with.
pub(crate) mod close {
    /// The gateway stops; come back, to another one.
    pub(crate) const GOING_AWAY: u16 = 1001;
    /// The client broke a rule: it isn't who it must be, or doesn't read.
    pub(crate) const POLICY: u16 = 1008;
}

/// How a socket ended, or is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client went.
    Gone,
    /// Say this code and reason.
    Say(u16, &'static str),
}

/// What came in.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Text of the client.
    Text(Utf8Bytes),
    /// Bytes of the client.
    Binary,
}

/// A socket under the rules.
pub(crate) struct Socket {
    inner: WebSocket,
    rules: SocketRules,
    next_ping: Instant,
    /// When the oldest unanswered ping was sent.
    unanswered: Option<Instant>,
    slow: Arc<AtomicU64>,
}

/// Takes a WebSocket over and runs `work` with it, unless there are too many.
pub(crate) fn upgrade<F, Fut>(app: &App, socket: WebSocketUpgrade, work: F) -> Response
where
    F: FnOnce(Socket) -> Fut + Send + 'static,
    Fut: Future<Output = (Socket, End)> + Send,
{
    let Ok(permit) = Arc::clone(&app.room).try_acquire_owned() else {
        return Problem::new(
            ErrorCode::Busy,
            "the gateway has as many live connections as it takes; try again",
        )
        .into_response();
    };
    take_over(app, socket, permit, LAST_WORD, work)
}

fn take_over<F, Fut>(
    app: &App,
    socket: WebSocketUpgrade,
    permit: OwnedSemaphorePermit,
    last_word: Duration,
    work: F,
) -> Response
where
    F: FnOnce(Socket) -> Fut + Send + 'static,
    Fut: Future<Output = (Socket, End)> + Send,
{
    let (rules, slow, track) = (app.config.sockets, Arc::clone(&app.slow), app.streams.token());
    socket
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .max_write_buffer_size(MAX_OUT)
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .on_upgrade(async move |socket| {
            let (socket, end) = work(Socket::new(socket, rules, slow)).await;
            if let End::Say(code, reason) = end {
                socket.say_goodbye(code, reason, last_word).await;
            }
            drop((permit, track));
        })
}

/// Takes a WebSocket over only to say why not: browsers can't read the answer to a refused handshake.
pub(crate) fn refuse(app: &App, socket: WebSocketUpgrade, problem: &Problem, code: u16) -> Response {
    // Room of their own, or strangers could take everybody's.
    let Ok(permit) = Arc::clone(&app.refusals).try_acquire_owned() else {
        return problem.clone().into_response();
    };
    let frame = ErrorFrame::of(problem, app.now());
    take_over(app, socket, permit, REFUSAL, async move |mut socket: Socket| {
        let end = match socket.send(frame).await {
            Ok(()) => End::Say(code, "refused: see the frame before"),
            Err(end) => end,
        };
        (socket, end)
    })
}

/// What a client is told about a problem over a socket, in the seed's shape.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorFrame<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    content: &'a str,
    timestamp: String,
    metadata: ErrorDetails<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorDetails<'a> {
    code: &'a str,
    details: serde_json::Map<String, serde_json::Value>,
}

impl ErrorFrame<'_> {
    pub(crate) fn of(problem: &Problem, timestamp: String) -> String {
        let mut details = serde_json::Map::new();
        details.insert("status".to_owned(), problem.status.as_u16().into());
        if let Some(field) = &problem.field {
            details.insert("field".to_owned(), field.as_str().into());
        }
        if let Some(wait) = problem.retry_after {
            details.insert("retry_after".to_owned(), crate::http::whole_seconds(wait).into());
        }
        let frame = ErrorFrame {
            kind: "error",
            content: &problem.detail,
            timestamp,
            metadata: ErrorDetails { code: &problem.code, details },
        };
        serde_json::to_string(&frame).unwrap_or_default()
    }
}

impl Socket {
    fn new(inner: WebSocket, rules: SocketRules, slow: Arc<AtomicU64>) -> Self {
        Self { inner, rules, next_ping: Instant::now() + rules.ping_every, unanswered: None, slow }
    }

    /// Sends a text.
    ///
    /// # Errors
    /// How the socket is to end: the client went, or doesn't read.
    pub(crate) async fn send(&mut self, text: impl Into<Utf8Bytes>) -> Result<(), End> {
        self.write(Message::Text(text.into())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        match timeout(self.rules.write_within, self.inner.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => {
                self.slow.fetch_add(1, Ordering::Relaxed);
                metrics::counter!("gateway_slow_clients_total").increment(1);
                Err(End::Say(close::POLICY, "the client does not read"))
            }
        }
    }

    /// The next text of the client; pings meanwhile. Safe to drop and call again.
    ///
    /// # Errors
    /// How the socket is to end: the client went, or doesn't answer pings.
    pub(crate) async fn hear(&mut self) -> Result<Heard, End> {
        loop {
            let overdue = self.unanswered.map(|since| since + self.rules.pong_within);
            let wake = overdue.map_or(self.next_ping, |overdue| overdue.min(self.next_ping));
            let message = tokio::select! {
                message = self.inner.recv() => message,
                () = sleep_until(wake) => {
                    self.keep_alive().await?;
                    continue;
                }
            };
            match message {
                Some(Ok(Message::Text(text))) => return Ok(Heard::Text(text)),
                Some(Ok(Message::Binary(_))) => return Ok(Heard::Binary),
                Some(Ok(Message::Pong(_))) => self.unanswered = None,
                Some(Ok(Message::Ping(_))) => {}
                Some(Ok(Message::Close(_))) => {
                    // The answer to it is sent while reading on: without it a browser takes the end for a failure.
                    let _ = timeout(REFUSAL, self.inner.recv()).await;
                    return Err(End::Gone);
                }
                Some(Err(_)) | None => return Err(End::Gone),
            }
        }
    }

    async fn keep_alive(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.unanswered.is_some_and(|since| now >= since + self.rules.pong_within) {
            return Err(End::Say(close::POLICY, "no answer to a ping"));
        }
        if now >= self.next_ping {
            self.next_ping = now + self.rules.ping_every;
            self.unanswered.get_or_insert(now);
            self.write(Message::Ping(bytes::Bytes::new())).await?;
        }
        Ok(())
    }

    /// Closes with a code. A client that doesn't read hears it when it reads again, for a while.
    async fn say_goodbye(mut self, code: u16, reason: &'static str, last_word: Duration) {
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        let goodbye = async {
            let _ = self.inner.send(Message::Close(Some(frame))).await;
            // Until the client has answered, so that the frame isn't cut off by the end of the connection.
            while let Some(Ok(message)) = self.inner.recv().await {
                if matches!(message, Message::Close(_)) {
                    break;
                }
            }
        };
        let _ = timeout(last_word.min(self.rules.write_within * 3), goodbye).await;
    }
}
