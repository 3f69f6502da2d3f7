//! Many questions over one WebSocket; each answer names its question.

use std::sync::Arc;

use agentnet_proto::ErrorCode;
use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket},
    },
    http::{HeaderMap, Uri, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::{
    super::P2pCall,
    Served,
    http::{Refused, bearer},
};
use crate::error::Error;

/// Largest frame, in bytes: the seed's.
const MAX_FRAME: usize = 2 << 20;
/// Questions under way over one socket.
const UNDER_WAY: usize = 32;
/// RFC 6455: the server goes.
const GOING_AWAY: u16 = 1001;
/// RFC 6455: the client broke a rule.
const POLICY: u16 = 1008;

pub(super) async fn open(
    State(served): State<Served>,
    uri: Uri,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let Ok(socket) = socket else {
        return Refused(Error::of(ErrorCode::ValidationFailed, "this port takes WebSockets only"))
            .into_response();
    };
    // A page in a browser says where it is from; programs don't. The ports know no accounts, so no page may use them unasked.
    let shown = bearer(&headers).or_else(|| token(uri.query().unwrap_or_default()));
    let is_page = headers.contains_key(header::ORIGIN) && shown.is_none();
    let let_in = served.gate.lets_in(shown) && !is_page;
    let track = served.sockets.token();
    socket.max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME).on_upgrade(async move |socket| {
        if let_in {
            talk(served, socket).await;
        } else {
            refuse(socket).await;
        }
        drop(track);
    })
}

/// The token of a query; tokens are plain words there.
fn token(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("token="))
}

async fn refuse(mut socket: WebSocket) {
    let error = Error::of(ErrorCode::Unauthenticated, "show the agent's token");
    let _ = socket.send(Message::text(reply(&Value::Null, Err(error)))).await;
    goodbye(socket, POLICY, "unauthorized").await;
}

async fn goodbye(mut socket: WebSocket, code: u16, reason: &'static str) {
    let _ =
        socket.send(Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }))).await;
}

async fn talk(served: Served, mut socket: WebSocket) {
    let (answers, mut answered) = mpsc::channel::<String>(UNDER_WAY);
    let under_way = Arc::new(Semaphore::new(UNDER_WAY));
    loop {
        tokio::select! {
            () = served.stop.cancelled() => return goodbye(socket, GOING_AWAY, "the agent stops").await,
            // We hold a sender ourselves.
            Some(answer) = answered.recv() => {
                if socket.send(Message::text(answer)).await.is_err() {
                    return;
                }
            }
            heard = socket.recv() => {
                let text = match heard {
                    Some(Ok(Message::Text(text))) => text,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Binary(_))) => Utf8Bytes::from_static(""),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                };
                if let Err(refused) = begin(&served, &text, &under_way, &answers)
                    && socket.send(Message::text(refused)).await.is_err()
                {
                    return;
                }
            }
        }
    }
}

/// Begins to answer; what can't even begin is answered at once.
fn begin(
    served: &Served,
    text: &str,
    under_way: &Arc<Semaphore>,
    answers: &mpsc::Sender<String>,
) -> Result<(), String> {
    let Ok(Value::Object(mut frame)) = serde_json::from_str(text) else {
        let error = Error::of(ErrorCode::InvalidJson, "send JSON objects as text frames");
        return Err(reply(&Value::Null, Err(error)));
    };
    let id = frame.get("id").cloned().unwrap_or_default();
    let permit = Arc::clone(under_way).try_acquire_owned().map_err(|_| {
        let error = Error::of(ErrorCode::Busy, "32 questions are under way; wait for their answers");
        reply(&id, Err(error))
    })?;
    // A frame with a `message` is an envelope; any other object is the message itself.
    let only_send =
        frame.contains_key("message") && frame.get("type").and_then(Value::as_str) == Some("send");
    let content = match frame.remove("message") {
        Some(message) => message,
        None => {
            frame.remove("id");
            Value::Object(frame)
        }
    };
    let (served, answers) = (served.clone(), answers.clone());
    if only_send {
        // As many as there is room for.
        let _ = answers.try_send(reply(&id, Ok(json!({"accepted": true}))));
    }
    let track = served.sockets.token();
    tokio::spawn(async move {
        let answer = served.gate.ask(P2pCall::Message, content, served.blobs.clone()).await;
        if !only_send {
            // The socket may have gone.
            let _ = answers.send(reply(&id, answer)).await;
        }
        drop((permit, track));
    });
    Ok(())
}

fn reply(id: &Value, answer: Result<Value, Error>) -> String {
    let reply = match answer {
        Ok(data) => json!({"id": id, "ok": true, "data": data}),
        Err(error) => {
            json!({"id": id, "ok": false, "error": {"code": error.code(), "message": error.detail()}})
        }
    };
    reply.to_string()
}
