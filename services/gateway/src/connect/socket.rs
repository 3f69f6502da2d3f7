//! A session's WebSocket.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use agentnet::{Observation, Observed};
use agentnet_proto::{Envelope, ErrorCode, envelope::kind};
use axum::{
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep_until},
};
use utoipa::IntoParams;

use super::{
    frame::{MessageType, WebSocketMessage},
    record::{self, Record, Session, SessionAgent, SessionType},
    relay::{self, Question},
};
use crate::{
    app::App,
    caller::{Caller, Known},
    http::{Parts, Problem, Query, check_origin},
    rates::Class,
    seats::Seat,
    sockets::{self, End, ErrorFrame, Heard, Socket},
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

/// Messages that one socket may have under way.
const UNDER_WAY: usize = 8;
/// Refused messages in a row after which a client is let go.
const MAX_REFUSED: u32 = 10;
/// Messages remembered, so that each is shown once: more than a replay may send.
const REMEMBERED: usize = 4096;
/// Pages of the thread that a replay looks through.
const REPLAY_PAGES: usize = 10;
/// After this a replay is made good: what was published before this socket listened may have been committed after the
/// first look.
const REPLAY_AGAIN: Duration = Duration::from_secs(2);

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
    let observation = caller.seat.node.observe(&[Observed::Mail, Observed::Replies]).await?;
    Ok((session, observation))
}

/// A client in its session.
struct Chat {
    app: App,
    caller: Caller,
    session: Session,
    observation: Observation,
    left_off: Option<String>,
    under_way: Arc<Semaphore>,
    problems: (mpsc::Sender<Heads>, mpsc::Receiver<Heads>),
    shown: VecDeque<String>,
    refused: u32,
    last_traffic: Instant,
    last_speaker: Option<String>,
}

/// What a question under way tells its socket.
enum Heads {
    Longer,
    Failed(Problem),
}

impl Chat {
    fn new(
        app: App,
        caller: Caller,
        session: Session,
        observation: Observation,
        left_off: Option<String>,
    ) -> Self {
        Self {
            app,
            caller,
            session,
            observation,
            left_off,
            under_way: Arc::new(Semaphore::new(UNDER_WAY)),
            problems: mpsc::channel(UNDER_WAY * 2),
            shown: VecDeque::new(),
            refused: 0,
            last_traffic: Instant::now(),
            last_speaker: None,
        }
    }

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
        self.say_own(socket, MessageType::Ping, None).await?;
        let mut left_off = self.left_off.take();
        if let Some(last) = &left_off {
            self.replay(socket, last, true).await?;
        }
        let look_again = Instant::now() + REPLAY_AGAIN;
        let rules = self.app.config.sessions;
        let ping_every = self.app.config.sockets.ping_every;
        let left =
            self.session.expires(&self.app).map_or(0, |end| end.duration_since(self.app.config.clock.now()));
        let expires = Instant::now() + Duration::from_millis(u64::try_from(left).unwrap_or(0));
        let mut next_ping = Instant::now() + ping_every;
        let (closing, ended) = (self.app.closing.clone(), self.seat().ended.clone());
        loop {
            let idle = self.last_traffic + rules.inactivity;
            // Whoever says much must not keep the client from being heard: no order here.
            tokio::select! {
                () = closing.cancelled() => return Err(End::Say(close::GOING_AWAY, "the gateway stops; come back")),
                () = ended.cancelled() => return Err(self.seat().goodbye(close::AUTHENTICATION)),
                () = sleep_until(expires) => return self.over(socket, "expired").await,
                () = sleep_until(idle) => return self.over(socket, "inactivity").await,
                heads = self.problems.1.recv() => match heads {
                    Some(Heads::Longer) => {
                        let text = "The answer is taking longer than expected";
                        self.say_own(socket, MessageType::System, Some(text)).await?;
                    }
                    Some(Heads::Failed(problem)) => self.say_problem(socket, &problem).await?,
                    // We hold a sender ourselves.
                    None => {}
                },
                message = self.observation.next() => {
                    let Some(message) = message else {
                        return Err(End::Say(close::GENERIC, "the account's session ended"));
                    };
                    self.pass_on(socket, &message.payload).await?;
                }
                () = sleep_until(look_again), if left_off.is_some() => {
                    if let Some(last) = left_off.take() {
                        self.replay(socket, &last, false).await?;
                    }
                }
                () = sleep_until(next_ping) => {
                    next_ping = Instant::now() + ping_every;
                    self.say_own(socket, MessageType::Ping, None).await?;
                }
                heard = socket.hear() => match heard? {
                    Heard::Text(text) => self.heard(socket, &text).await?,
                    Heard::Binary => {
                        let problem = Problem::new(ErrorCode::InvalidMessage, "Invalid message format: send text frames");
                        self.say_problem(socket, &problem).await?;
                    }
                },
            }
        }
    }

    /// Something that the client says.
    async fn heard(&mut self, socket: &mut Socket, text: &str) -> Result<(), End> {
        let frame: WebSocketMessage = match serde_json::from_str(text) {
            Ok(frame) => frame,
            Err(error) => {
                let detail = format!("Invalid message format: {error}");
                return self.say_problem(socket, &Problem::new(ErrorCode::InvalidMessage, detail)).await;
            }
        };
        if frame.kind != MessageType::Ping {
            self.last_traffic = Instant::now();
        }
        match frame.kind {
            // An open socket shows by itself that it lives.
            MessageType::Ping => Ok(()),
            MessageType::Stop => self.over(socket, "stopped").await.map(|never| match never {}),
            MessageType::Text | MessageType::Response | MessageType::System => self.ask(socket, frame).await,
            MessageType::Error | MessageType::Info | MessageType::Cooldown => {
                let detail = "Invalid message format: clients send text, ping and stop";
                self.say_problem(socket, &Problem::new(ErrorCode::InvalidMessage, detail)).await
            }
        }
    }

    async fn ask(&mut self, socket: &mut Socket, frame: WebSocketMessage) -> Result<(), End> {
        let Some(content) = frame.content.filter(|content| !content.is_empty()) else {
            let problem = Problem::field("content", "the field is required");
            return self.say_problem(socket, &problem).await;
        };
        if let Err(problem) = self.app.limits.check(Class::Message, &self.caller.who) {
            self.refused += 1;
            self.say_problem(socket, &problem).await?;
            return match self.refused {
                ..MAX_REFUSED => Ok(()),
                _ => Err(End::Say(close::RATE_LIMITED, "too many messages")),
            };
        }
        self.refused = 0;
        let to = match self.receiver(frame.receiver.as_deref()) {
            Ok(agent) => agent,
            Err(problem) => return self.say_problem(socket, &problem).await,
        };
        let Ok(permit) = Arc::clone(&self.under_way).try_acquire_owned() else {
            let problem =
                Problem::new(ErrorCode::Busy, "earlier messages are still being answered; wait for them");
            return self.say_problem(socket, &problem).await;
        };
        let (app, seat, session) = (self.app.clone(), Arc::clone(self.seat()), self.session.clone());
        let heads = self.problems.0.clone();
        self.app.streams.spawn(async move {
            let _permit = permit;
            let answered = async {
                match session.session_type {
                    SessionType::HumanAgent => {
                        let username = seat.username.clone();
                        let question = Question {
                            to: &to,
                            text: &content,
                            role: "user",
                            from: &username,
                            metadata: frame.metadata.as_ref(),
                            parent: None,
                            message_id: None,
                        };
                        relay::ask(&app, &seat, &session, question).await.map(drop)
                    }
                    SessionType::AgentAgent => {
                        relay::relay(app.clone(), seat, session, to, content, frame.metadata).await
                    }
                }
            };
            tokio::pin!(answered);
            let first = tokio::time::timeout(relay::LONGER, &mut answered).await;
            let answer = match first {
                Ok(answer) => answer,
                Err(_) => {
                    // A full queue has said enough already.
                    let _ = heads.try_send(Heads::Longer);
                    tokio::select! {
                        answer = &mut answered => answer,
                        () = app.closing.cancelled() => return,
                    }
                }
            };
            if let Err(problem) = answer {
                let _ = heads.try_send(Heads::Failed(problem));
            }
        });
        Ok(())
    }

    /// Whom a message is for: who is named, else the only agent, else the one that didn't speak last.
    fn receiver(&self, named: Option<&str>) -> Result<SessionAgent, Problem> {
        let found = match named.filter(|name| !name.is_empty()) {
            Some(name) => self.session.named(name),
            None => match &self.last_speaker {
                Some(last) => self.session.other(last).or_else(|| self.session.agents.values().next()),
                None => self.session.agents.values().next(),
            },
        };
        found.cloned().ok_or_else(|| Problem::field("receiver", "no agent of this session has that name"))
    }

    /// What passed in the thread.
    async fn pass_on(&mut self, socket: &mut Socket, body: &[u8]) -> Result<(), End> {
        let Ok(envelope) = Envelope::decode(body) else { return Ok(()) };
        if envelope.thread_id.as_deref() != Some(&self.session.session_id)
            || !self.is_new(&envelope.message_id)
        {
            return Ok(());
        }
        if envelope.kind == record::KIND {
            return self.pass_record(socket, &envelope).await;
        }
        let (Some(from), false) = (envelope.from_account_id.as_deref(), envelope.kind == kind::ERROR) else {
            return Ok(());
        };
        if self.session.agent(from).is_none() {
            return Ok(());
        }
        self.last_traffic = Instant::now();
        let said = Said {
            from,
            message_id: &envelope.message_id,
            parent: envelope.parent_message_id.as_deref(),
            sent_at: &envelope.sent_at,
            payload: &envelope.payload,
        };
        self.show(socket, &said).await
    }

    async fn pass_record(&mut self, socket: &mut Socket, envelope: &Envelope) -> Result<(), End> {
        if envelope.from_account_id.as_deref() != Some(self.seat().account.as_str()) {
            return Ok(());
        }
        match envelope.payload.parse() {
            Ok(Record::Ended { reason, .. }) => {
                self.say_own(socket, MessageType::System, Some("Session ended")).await?;
                Err(match reason.as_str() {
                    "expired" | "inactivity" => End::Say(close::EXPIRED, "the session has ended"),
                    _ => End::Say(close::NORMAL, "the session has ended"),
                })
            }
            Ok(Record::Paused { reason, .. }) => self.say_own(socket, MessageType::Stop, Some(&reason)).await,
            _ => Ok(()),
        }
    }

    async fn show(&mut self, socket: &mut Socket, said: &Said<'_>) -> Result<(), End> {
        let Some((_, agent)) = self.session.agent(said.from) else { return Ok(()) };
        let value = said.payload.value();
        let told = value.get("type").and_then(Value::as_str);
        let kind = match told {
            Some("cooldown") => MessageType::Cooldown,
            Some("info") => MessageType::Info,
            Some("stop") => MessageType::Stop,
            _ => MessageType::Response,
        };
        let mut metadata = match value.get("metadata") {
            Some(Value::Object(own)) => own.clone(),
            _ => Map::new(),
        };
        metadata.insert("role".to_owned(), json!("assistant"));
        metadata.insert("provider".to_owned(), json!(agent.provider));
        metadata.insert("model".to_owned(), json!(agent.model));
        metadata.insert("message_id".to_owned(), json!(said.message_id));
        if let Some(parent) = said.parent {
            metadata.insert("parent_message_id".to_owned(), json!(parent));
        }
        if self.session.session_type == SessionType::AgentAgent {
            metadata.insert("conversation_type".to_owned(), json!("agent_agent"));
            metadata.insert("original_type".to_owned(), json!(told.unwrap_or("text")));
        }
        let receiver = match self.session.session_type {
            SessionType::HumanAgent => self.seat().username.clone(),
            SessionType::AgentAgent => {
                self.session.other(said.from).map_or_else(String::new, |other| other.agent_id.clone())
            }
        };
        let frame = WebSocketMessage {
            kind,
            content: Some(said.payload.as_text().unwrap_or_else(|| said.payload.get().to_owned())),
            sender: Some(said.from.to_owned()),
            receiver: Some(receiver),
            timestamp: said.sent_at.to_owned(),
            metadata: Some(metadata),
        };
        self.last_speaker = Some(said.from.to_owned());
        socket.send(frame.to_text()).await
    }

    /// What was said since the client left off, oldest first; each message once. Only the first time the client hears of
    /// what is missing.
    async fn replay(&mut self, socket: &mut Socket, last: &str, is_first: bool) -> Result<(), End> {
        let mut rows = Vec::new();
        let mut cursor = None;
        let mut reached = false;
        for _ in 0..REPLAY_PAGES {
            let request = agentnet_proto::rpc::ThreadMessagesRequest {
                thread_id: self.session.session_id.clone(),
                limit: Some(200),
                cursor: cursor.take(),
            };
            let page = match self.seat().node.registry().thread_messages(&request).await {
                Ok(page) => page,
                Err(error) => {
                    if is_first {
                        self.say_problem(socket, &error.into()).await?;
                    }
                    break;
                }
            };
            for row in page.messages {
                if row.message_id == last {
                    reached = true;
                    break;
                }
                rows.push(row);
            }
            cursor = page.next_cursor;
            if reached || cursor.is_none() {
                break;
            }
        }
        if !reached && is_first {
            let text = "The message that the client has seen last is not in this session, or too far back: what is \
                        sent now may be more, or less, than what was missed";
            self.say_own(socket, MessageType::Info, Some(text)).await?;
        }
        let agents: HashSet<String> =
            self.session.agents.values().map(|agent| agent.agent_id.clone()).collect();
        for row in rows.into_iter().rev() {
            let Some(from) = row.from_account_id.as_deref().filter(|from| agents.contains(*from)) else {
                continue;
            };
            if row.kind == kind::ERROR || !self.is_new(&row.message_id) {
                continue;
            }
            let said = Said {
                from,
                message_id: &row.message_id,
                parent: row.parent_message_id.as_deref(),
                sent_at: &row.sent_at,
                payload: &row.payload,
            };
            self.show(socket, &said).await?;
        }
        Ok(())
    }

    /// Ends the session, for everybody.
    async fn over(&mut self, socket: &mut Socket, reason: &str) -> Result<std::convert::Infallible, End> {
        let session_id = self.session.session_id.clone();
        let record = Record::Ended { session_id: session_id.clone(), reason: reason.to_owned() };
        if let Err(problem) = record::write(self.seat(), &session_id, &record).await {
            self.say_problem(socket, &problem).await?;
        }
        self.say_own(socket, MessageType::System, Some("Session ended")).await?;
        Err(match reason {
            "stopped" => End::Say(close::NORMAL, "the session was stopped"),
            "inactivity" => End::Say(close::EXPIRED, "nothing was said for too long"),
            _ => End::Say(close::EXPIRED, "the session's time is over"),
        })
    }

    async fn say_own(&self, socket: &mut Socket, kind: MessageType, text: Option<&str>) -> Result<(), End> {
        socket.send(WebSocketMessage::own(kind, text, self.app.now()).to_text()).await
    }

    async fn say_problem(&self, socket: &mut Socket, problem: &Problem) -> Result<(), End> {
        socket.send(ErrorFrame::of(problem, self.app.now())).await
    }

    fn is_new(&mut self, id: &str) -> bool {
        if self.shown.iter().any(|shown| shown == id) {
            return false;
        }
        if self.shown.len() == REMEMBERED {
            self.shown.pop_front();
        }
        self.shown.push_back(id.to_owned());
        true
    }
}

/// Something that was said in the thread, live or before.
struct Said<'a> {
    from: &'a str,
    message_id: &'a str,
    parent: Option<&'a str>,
    sent_at: &'a str,
    payload: &'a agentnet_proto::Payload,
}
