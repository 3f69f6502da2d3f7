//! An agent with HTTP and WebSocket ports of its own, as the seed's agents have them, that is on the network all the same: one
//! set of handlers answers wherever it is asked.

mod gate;
mod http;
mod socket;

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use agentnet_proto::{
    SubSystem,
    sub_system::{self, P2P},
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::gate::Gate;
use super::P2pHandlers;
use crate::{
    error::{Error, ErrorKind},
    node::{AgentNode, AgentNodeBuilder},
};

/// Longest time of one handler unless set.
const WORK_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest JSON body, in bytes: the limit of the seed's frames.
const MAX_BODY: usize = 2 << 20;
/// Largest file that comes with a question, in bytes.
const MAX_FILE: usize = 100 << 20;
/// How long a stop waits for questions under way.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// An agent to be that answers on the network and at ports of its own. The defaults are the seed's.
///
/// ```no_run
/// # use agentnet::{AgentNode, P2pHandlers, P2pServer};
/// # async fn run() -> Result<(), agentnet::Error> {
/// let handlers = P2pHandlers::new(|task| async move { Ok(task) });
/// let running = P2pServer::new(handlers)
///     .api_port(6666)
///     .ws_port(8766)
///     .max_threads(4)
///     .advertise("agent_123.local")
///     .start(AgentNode::builder("agent_123"))
///     .await?;
/// println!("{}", running.api_url());
/// running.close().await
/// # }
/// ```
///
/// `POST /api` takes JSON or a multipart form, whose files become files of the network; `POST /estimate` takes
/// `{"query": ...}` or the query itself; both answer `{"success": true, "data"}`, or `{"success": false, "message", "code"}`. The
/// WebSocket takes any number of `{"id", "message"}` (or any object with an `id`) and answers `{"id", "ok", "data" | "error"}` in
/// any order; with `"type": "send"` at once.
///
/// These ports don't know accounts. On a network that isn't open, a [token](Self::token) is wanted from those who ask, or that
/// must be [waived](Self::allow_anonymous).
#[must_use = "nothing happens before `start`"]
pub struct P2pServer {
    handlers: P2pHandlers,
    api_port: u16,
    ws_host: IpAddr,
    ws_port: u16,
    max_threads: usize,
    work_timeout: Duration,
    id: Option<String>,
    host: Option<String>,
    token: Option<SecretString>,
    anonymous: bool,
}

impl fmt::Debug for P2pServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("P2pServer")
            .field("api_port", &self.api_port)
            .field("ws_host", &self.ws_host)
            .field("ws_port", &self.ws_port)
            .finish_non_exhaustive()
    }
}

/// Serves handlers at ports of the agent's own, with the seed's defaults; the same as [`P2pServer::new`].
pub fn serve_p2p(handlers: P2pHandlers) -> P2pServer {
    P2pServer::new(handlers)
}

impl P2pServer {
    /// Serves these handlers: HTTP at port 6666, WebSocket at port 8766, of all addresses, 4 questions at once.
    pub fn new(handlers: P2pHandlers) -> Self {
        Self {
            handlers,
            api_port: 6666,
            ws_host: Ipv4Addr::UNSPECIFIED.into(),
            ws_port: 8766,
            max_threads: 4,
            work_timeout: WORK_TIMEOUT,
            id: None,
            host: None,
            token: None,
            anonymous: false,
        }
    }

    /// The port of HTTP; 0 takes a free one.
    pub fn api_port(mut self, port: u16) -> Self {
        self.api_port = port;
        self
    }

    /// The address of both ports.
    pub fn ws_host(mut self, host: impl Into<IpAddr>) -> Self {
        self.ws_host = host.into();
        self
    }

    /// The port of the WebSocket; 0 takes a free one.
    pub fn ws_port(mut self, port: u16) -> Self {
        self.ws_port = port;
        self
    }

    /// Questions at once, wherever they come from; others wait, and what is too much is `busy`.
    pub fn max_threads(mut self, threads: usize) -> Self {
        self.max_threads = threads.max(1);
        self
    }

    /// Longest time of one handler; 30 s.
    pub fn work_timeout(mut self, timeout: Duration) -> Self {
        self.work_timeout = timeout;
        self
    }

    /// The id under which the agent tells of its ports; `p2p-system-01` unless set.
    pub fn sub_system_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The host name under which others reach the ports; where they are bound to one address, that is told otherwise.
    pub fn advertise(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// What those who ask at the ports must show: `Authorization: Bearer <token>`, or `?token=` for the WebSocket.
    pub fn token(mut self, token: impl Into<SecretString>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Answers whoever reaches the ports, also where the network itself knows who asks.
    pub fn allow_anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// Binds the ports, joins the network, tells it of the ports, and serves.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a port that can't be had, or no token on a network that isn't open; as
    /// [`AgentNodeBuilder::start`].
    pub async fn start(self, builder: AgentNodeBuilder) -> Result<RunningP2p, Error> {
        if self.token.is_none() && !self.anonymous && !builder.is_open() {
            let detail = "the ports of a P2P server don't know accounts: give it a token, or allow_anonymous";
            return Err(Error::new(ErrorKind::InvalidArgument, detail));
        }
        let api = bind(SocketAddr::new(self.ws_host, self.api_port)).await?;
        let ws = bind(SocketAddr::new(self.ws_host, self.ws_port)).await?;
        let (api_addr, ws_addr) = (addr(&api)?, addr(&ws)?);
        let gate = Gate::new(self.handlers, self.max_threads, self.work_timeout, self.token);
        let own = gate.clone();
        let system = SubSystem {
            sub_system_id: self.id.unwrap_or_else(|| "p2p-system-01".to_owned()),
            sub_system_type: P2P.to_owned(),
            sub_system_config: told(api_addr, ws_addr, self.host),
        };
        SubSystem::all_of(&Map::from_iter([(
            sub_system::FIELD.to_owned(),
            Value::Array(serde_json::to_value(&system).into_iter().collect()),
        )]))?;
        let node = builder
            .sub_system(&system)
            .max_concurrency(self.max_threads)
            .work_timeout(self.work_timeout)
            .on_message(move |message| {
                let gate = own.clone();
                async move { gate.answer(message).await }
            })
            .start()
            .await?;
        let stop = CancellationToken::new();
        let served = Served { gate, blobs: node.blobs(), stop: stop.clone(), sockets: TaskTracker::new() };
        let sockets = served.sockets.clone();
        let of_api = Router::new()
            .route("/api", post(http::api))
            .route("/estimate", post(http::estimate))
            .route("/health", get(http::health))
            .route("/", get(http::health))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(served.clone());
        let of_ws = Router::new().fallback(socket::open).with_state(served);
        let servers = vec![serve(api, of_api, stop.clone()), serve(ws, of_ws, stop.clone())];
        Ok(RunningP2p { node, api_addr, ws_addr, stop, servers, sockets })
    }
}

/// What the network is told of the ports.
fn told(api: SocketAddr, ws: SocketAddr, host: Option<String>) -> Map<String, Value> {
    let mut config = Map::new();
    config.insert("api_port".to_owned(), api.port().into());
    config.insert("ws_host".to_owned(), ws.ip().to_string().into());
    config.insert("ws_port".to_owned(), ws.port().into());
    if let Some(host) = host {
        config.insert("host".to_owned(), host.into());
    }
    config
}

async fn bind(addr: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(addr).await.map_err(|error| unbound(addr, error))
}

fn addr(listener: &TcpListener) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(|error| unbound(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0), error))
}

fn unbound(addr: SocketAddr, error: io::Error) -> Error {
    let detail = format!("{addr} can't be listened on; choose a free port of this machine");
    Error::new(ErrorKind::InvalidArgument, detail).source_of(error)
}

fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "a port of the P2P server is served no more");
        }
    })
}

/// What the routes share.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) gate: Gate,
    pub(super) blobs: crate::blobs::Blobs,
    pub(super) stop: CancellationToken,
    pub(super) sockets: TaskTracker,
}

/// An agent that serves its own ports. Dropping it stops it at once.
#[derive(Debug)]
pub struct RunningP2p {
    node: AgentNode,
    api_addr: SocketAddr,
    ws_addr: SocketAddr,
    stop: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    sockets: TaskTracker,
}

impl RunningP2p {
    /// The agent on the network.
    pub fn node(&self) -> &AgentNode {
        &self.node
    }

    /// Where HTTP is served.
    pub fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// Where the WebSocket is served.
    pub fn ws_addr(&self) -> SocketAddr {
        self.ws_addr
    }

    /// The URL of HTTP for clients on this machine, as `AgentEstimator` takes it.
    pub fn api_url(&self) -> String {
        format!("http://{}", here(self.api_addr))
    }

    /// The URL of the WebSocket for clients on this machine.
    pub fn ws_url(&self) -> String {
        format!("ws://{}", here(self.ws_addr))
    }

    /// Ends in order: nothing new is taken, what is under way is answered, WebSockets are closed with 1001, and the agent leaves
    /// the network.
    ///
    /// # Errors
    /// As [`AgentNode::close`].
    pub async fn close(mut self) -> Result<(), Error> {
        self.stop.cancel();
        self.sockets.close();
        let servers = std::mem::take(&mut self.servers);
        let ended = async {
            for server in servers {
                let _ = server.await;
            }
            self.sockets.wait().await;
        };
        if tokio::time::timeout(STOP_WITHIN, ended).await.is_err() {
            tracing::warn!("questions at the agent's own ports are cut off");
        }
        self.node.close().await
    }
}

impl Drop for RunningP2p {
    fn drop(&mut self) {
        self.stop.cancel();
        self.servers.iter().for_each(JoinHandle::abort);
    }
}

fn here(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    addr
}
