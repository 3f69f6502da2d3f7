//! A client in its session: what it says, and what becomes of it.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use agentnet::Observation;
use agentnet_proto::ErrorCode;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep_until},
};

use super::{
    super::{
        frame::{MessageType, WebSocketMessage},
        hosting,
        record::{self, Record, Session, SessionAgent, SessionType},
        relay::{self, Question},
    },
    close,
};
use crate::{
    app::App,
    caller::Caller,
    http::Problem,
    rates::Class,
    seats::Seat,
    sockets::{End, ErrorFrame, Heard, Socket},
};

/// Messages that one socket may have under way.
const UNDER_WAY: usize = 8;
/// Refused messages in a row after which a client is let go.
const MAX_REFUSED: u32 = 10;
/// Messages remembered, so that each is shown once: more than a replay may send.
const REMEMBERED: usize = 4096;
/// After this a replay is made good: what was published before this socket listened may have been committed after the
/// first look.
const REPLAY_AGAIN: Duration = Duration::from_secs(2);

/// A client in its session.
pub(super) struct Chat {
    pub(super) app: App,
    caller: Caller,
    pub(super) session: Session,
    observation: Observation,
    left_off: Option<String>,
    under_way: Arc<Semaphore>,
    problems: (mpsc::Sender<Heads>, mpsc::Receiver<Heads>),
    shown: VecDeque<String>,
    refused: u32,
    pub(super) last_traffic: Instant,
    pub(super) last_speaker: Option<String>,
    /// When two agents count as left alone, if nothing is heard of whoever has them talk.
    watch: Option<Instant>,
}

/// What a question under way tells its socket.
enum Heads {
    Longer,
    Failed(Problem),
    /// Two agents that were looked after: whether that is over.
    LookedAfter(bool),
}

impl Chat {
    pub(super) fn new(
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
            watch: None,
        }
    }

    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.caller.seat
    }

    pub(super) async fn run(mut self, mut socket: Socket) -> (Socket, End) {
        let end = match self.talk(&mut socket).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        (socket, end)
    }

    async fn talk(&mut self, socket: &mut Socket) -> Result<Infallible, End> {
        self.say_own(socket, MessageType::Ping, None).await?;
        let mut left_off = self.left_off.take();
        if let Some(last) = &left_off {
            self.replay(socket, last, true).await?;
        }
        let look_again = Instant::now() + REPLAY_AGAIN;
        self.expect_beat();
        let inactivity = self.app.config.sessions.inactivity;
        let ping_every = self.app.config.sockets.ping_every;
        let left =
            self.session.expires(&self.app).map_or(0, |end| end.duration_since(self.app.config.clock.now()));
        let expires = Instant::now() + Duration::from_millis(u64::try_from(left).unwrap_or(0));
        let mut next_ping = Instant::now() + ping_every;
        let (closing, ended) = (self.app.closing.clone(), self.seat().ended.clone());
        loop {
            let idle = self.last_traffic + inactivity;
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
                    Some(Heads::Failed(problem)) => {
                        self.say_problem(socket, &problem).await?;
                        self.expect_beat();
                    }
                    Some(Heads::LookedAfter(true)) => self.watch = None,
                    Some(Heads::LookedAfter(false)) => self.expect_beat(),
                    // We hold a sender ourselves.
                    None => {}
                },
                message = self.observation.next() => {
                    let Some(message) = message else {
                        return Err(End::Say(close::GENERIC, "the account's session ended"));
                    };
                    // Whoever passes on and whoever tells of it: two agents aren't alone.
                    if self.is_of_session(&message.payload) {
                        self.expect_beat();
                    }
                    self.pass_on(socket, &message.payload).await?;
                }
                () = sleep_until(self.watch.unwrap_or(expires)), if self.watch.is_some() => self.look_after(),
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

    /// Waits anew for a sign of whoever has two agents talk. Gateways don't wait equally long, so that one is first.
    fn expect_beat(&mut self) {
        if self.session.session_type == SessionType::AgentAgent {
            let lease = self.app.config.sessions.relay_lease;
            self.watch = Some(Instant::now() + lease.mul_f64(1.0 + rand::random::<f64>() / 2.0));
        }
    }

    fn is_of_session(&self, body: &[u8]) -> bool {
        self.session.session_type == SessionType::AgentAgent && relay::is_of(&self.session.session_id, body)
    }

    /// Takes over what another gateway left: nothing was heard of it for too long.
    fn look_after(&mut self) {
        self.watch = None;
        let (app, seat, session) = (self.app.clone(), Arc::clone(self.seat()), self.session.clone());
        let heads = self.problems.0.clone();
        self.app.streams.spawn(async move {
            let head = match relay::resume(app, seat, session).await {
                Ok(is_over) => Heads::LookedAfter(is_over),
                Err(problem) => Heads::Failed(problem),
            };
            // The socket may have gone.
            let _ = heads.send(head).await;
        });
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

    /// Ends the session, for everybody.
    async fn over(&mut self, socket: &mut Socket, reason: &str) -> Result<Infallible, End> {
        let session_id = self.session.session_id.clone();
        let record = Record::Ended { session_id: session_id.clone(), reason: reason.to_owned() };
        if let Err(problem) = record::write(self.seat(), &session_id, &record).await {
            self.say_problem(socket, &problem).await?;
        }
        hosting::release(self.seat(), &self.session).await;
        self.say_own(socket, MessageType::System, Some("Session ended")).await?;
        Err(match reason {
            "stopped" => End::Say(close::NORMAL, "the session was stopped"),
            "inactivity" => End::Say(close::EXPIRED, "nothing was said for too long"),
            _ => End::Say(close::EXPIRED, "the session's time is over"),
        })
    }

    pub(super) async fn say_own(
        &self,
        socket: &mut Socket,
        kind: MessageType,
        text: Option<&str>,
    ) -> Result<(), End> {
        socket.send(WebSocketMessage::own(kind, text, self.app.now()).to_text()).await
    }

    pub(super) async fn say_problem(&self, socket: &mut Socket, problem: &Problem) -> Result<(), End> {
        socket.send(ErrorFrame::of(problem, self.app.now())).await
    }

    pub(super) fn is_new(&mut self, id: &str) -> bool {
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
