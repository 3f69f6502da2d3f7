//! The chat server's WebSocket.

use std::{collections::VecDeque, sync::Arc};

use agentnet::{ChatManager, Observation};
use agentnet_proto::{
    ErrorCode,
    chat::{ChatMessage, ChatRole},
};
use axum::{
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, Uri},
    response::Response,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    app::App,
    caller::Caller,
    http::{Problem, check_origin},
    rates::Class,
    seats::Seat,
    sockets::{self, End, ErrorFrame, Heard, Socket, close},
};

/// Messages remembered, so that each is shown once.
const REMEMBERED: usize = 1024;
/// Most messages that are replayed.
const MAX_REPLAY: usize = 1000;

/// A frame of a client. The first one names the session, and so does every other one.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct ChatFrame {
    /// The session.
    session_id: String,
    /// As whom; `user` unless given.
    #[serde(default)]
    role: Option<ChatRole>,
    /// What is said; a frame without only comes in.
    #[serde(default)]
    content: Option<String>,
    /// In the first frame: how many of the latest messages to send first.
    #[serde(default)]
    replay: Option<usize>,
    /// Passed on with what is said.
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
}

/// The chat server
///
/// The first frame comes into its session; whatever is said there comes to every client of it, at every gateway, the one who
/// says it included: `ChatMessage`. Clients send `ChatFrame`.
#[utoipa::path(get, path = "/chat", tag = "chat",
    responses((status = 101, body = ref("#/components/schemas/ChatFrame"))))]
pub(crate) async fn chat(
    State(app): State<App>,
    caller: Result<Caller, Problem>,
    uri: Uri,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let socket =
        socket.map_err(|_| Problem::new(ErrorCode::ValidationFailed, "this route takes WebSockets only"))?;
    open(&app, caller, &uri, &headers, socket).await
}

/// Takes a client over, here or on an upgrade at `/`, where the seed's clients look.
pub(crate) async fn open(
    app: &App,
    caller: Result<Caller, Problem>,
    uri: &Uri,
    headers: &HeaderMap,
    socket: WebSocketUpgrade,
) -> Result<Response, Problem> {
    check_origin(headers, uri, &app.config.http.origins)?;
    let ready = async {
        let caller = caller?;
        caller.may("send")?;
        app.limits.check(Class::Read, &caller.who)?;
        let manager = ChatManager::new(&caller.seat.node);
        let observation = manager.listen().await?;
        Ok::<_, Problem>((caller, manager, observation))
    };
    match ready.await {
        Ok((caller, manager, observation)) => {
            let (session, shown) = (None, VecDeque::new());
            let client = Client { app: app.clone(), caller, manager, observation, session, shown };
            Ok(sockets::upgrade(app, socket, async move |socket| client.run(socket).await))
        }
        Err(problem) => Ok(sockets::refuse(app, socket, &problem, close::POLICY)),
    }
}

/// A client.
struct Client {
    app: App,
    caller: Caller,
    manager: ChatManager,
    observation: Observation,
    /// Once the client has come in.
    session: Option<String>,
    shown: VecDeque<String>,
}

impl Client {
    fn seat(&self) -> &Arc<Seat> {
        &self.caller.seat
    }

    async fn run(mut self, mut socket: Socket) -> (Socket, End) {
        let end = match self.talk(&mut socket).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        (socket, end)
    }

    async fn talk(&mut self, socket: &mut Socket) -> Result<std::convert::Infallible, End> {
        let (closing, ended) = (self.app.closing.clone(), self.seat().ended.clone());
        loop {
            // Whoever says much must not keep the client from being heard: no order here.
            tokio::select! {
                () = closing.cancelled() => return Err(End::Say(close::GOING_AWAY, "the gateway stops; come back")),
                () = ended.cancelled() => return Err(self.seat().goodbye(close::POLICY)),
                message = self.observation.next() => {
                    let Some(message) = message else {
                        return Err(End::Say(close::GOING_AWAY, "the account's session ended"));
                    };
                    if let Some(message) = self.of_session(&message).await {
                        socket.send(text(&message)).await?;
                    }
                }
                heard = socket.hear() => {
                    let heard = heard?;
                    if let Err(problem) = self.heard(socket, heard).await? {
                        socket.send(ErrorFrame::of(&problem, self.app.now())).await?;
                    }
                }
            }
        }
    }

    /// What the client says. A problem leaves the socket as it is.
    async fn heard(&mut self, socket: &mut Socket, heard: Heard) -> Result<Result<(), Problem>, End> {
        let frame: ChatFrame = match heard {
            Heard::Text(text) => match crate::http::json(text.as_bytes()) {
                Ok(frame) => frame,
                Err(problem) => return Ok(Err(problem)),
            },
            Heard::Binary => return Ok(Err(Problem::new(ErrorCode::InvalidMessage, "send text frames"))),
        };
        if let Some(session_id) = &self.session
            && *session_id != frame.session_id
        {
            let detail = "a socket is in one session; open another one for another session";
            return Ok(Err(Problem::field("session_id", detail)));
        }
        if self.session.is_none() {
            match self.join(&frame).await {
                Ok(missed) => {
                    for message in missed {
                        self.shown.push_back(message.message_id.clone());
                        socket.send(text(&message)).await?;
                    }
                }
                Err(problem) => return Ok(Err(problem)),
            }
        }
        Ok(self.say(frame).await)
    }

    async fn join(&mut self, frame: &ChatFrame) -> Result<Vec<ChatMessage>, Problem> {
        let manager = &self.manager;
        manager.join(&frame.session_id).await?;
        let mut missed = match frame.replay {
            Some(limit) if limit > 0 => manager.list_messages(&frame.session_id).await?,
            _ => Vec::new(),
        };
        let limit = frame.replay.unwrap_or(0).min(MAX_REPLAY);
        missed.drain(..missed.len().saturating_sub(limit));
        self.session = Some(frame.session_id.clone());
        Ok(missed)
    }

    async fn say(&mut self, frame: ChatFrame) -> Result<(), Problem> {
        let Some(content) = frame.content else { return Ok(()) };
        self.app.limits.check(Class::Message, &self.caller.who)?;
        let role = frame.role.unwrap_or(ChatRole::User);
        self.manager.add_message(&frame.session_id, role, &content, frame.metadata).await?;
        Ok(())
    }

    /// A message of the session that wasn't shown yet.
    async fn of_session(&mut self, message: &async_nats::Message) -> Option<ChatMessage> {
        let message = self.manager.heard(self.session.as_deref()?, message).await?;
        if self.shown.contains(&message.message_id) {
            return None;
        }
        if self.shown.len() >= REMEMBERED {
            self.shown.pop_front();
        }
        self.shown.push_back(message.message_id.clone());
        Some(message)
    }
}

fn text(message: &ChatMessage) -> String {
    serde_json::to_string(message).unwrap_or_default()
}
