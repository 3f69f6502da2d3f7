//! Connections: both versions of HTTP, with limits on how long a client may take and how many there are.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agentnet_service::{CancellationToken, shutdown::Shutdown};
use axum::{Router, body::Body, extract::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::{Tls, forwarded, stalled::Limited};
use crate::{
    config::{Face, HttpRules, Listen},
    error::GatewayError,
};

/// Most bytes of a request's head.
const MAX_HEAD: usize = 64 * 1024;
/// Requests at once over one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// Pause after an error of accepting, such as having no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a request comes from and which door it came in by, in every request's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// The client's address; behind trusted proxies what those say.
    pub(crate) ip: IpAddr,
    pub(crate) face: Face,
}

/// A bound address.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    listen: Listen,
}

/// What all listeners share.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    pub(crate) router: Router,
    pub(crate) rules: Arc<HttpRules>,
    pub(crate) tls: Option<Arc<Tls>>,
    /// Room for connections.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) tracker: TaskTracker,
}

impl Listener {
    pub(crate) async fn bind(listen: Listen) -> Result<Self, GatewayError> {
        let bound = async {
            let socket = TcpListener::bind(listen.addr).await?;
            let addr = socket.local_addr()?;
            Ok(Self { socket, listen: Listen { addr, ..listen } })
        };
        bound.await.map_err(|source| GatewayError::Listen { addr: listen.addr, source })
    }

    pub(crate) fn listen(&self) -> Listen {
        self.listen
    }

    /// Serves until a stop is asked for; connections end by themselves then, and the tracker knows them.
    pub(crate) async fn serve(self, serving: Serving, shutdown: Shutdown) {
        let stop = shutdown.token();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = accept(&self.socket, &serving.room) => accepted,
            };
            let Some((stream, peer, permit)) = accepted else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (shared, stop, face) = (serving.clone(), stop.clone(), self.listen.face);
            serving.tracker.spawn(async move {
                // Answers are small and should leave at once.
                let _ = stream.set_nodelay(true);
                match &shared.tls {
                    None => serve_one(stream, peer, face, &shared, stop).await,
                    Some(tls) => {
                        let shaken = timeout(shared.rules.header_timeout, tls.acceptor().accept(stream));
                        match tokio::select! { shaken = shaken => shaken, () = stop.cancelled() => return } {
                            Ok(Ok(stream)) => serve_one(stream, peer, face, &shared, stop).await,
                            Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                            Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
                        }
                    }
                }
                drop(permit);
            });
        }
    }
}

/// The next connection, once there is room for one.
async fn accept(
    socket: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection couldn't be accepted");
            None
        }
    }
}

async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    face: Face,
    serving: &Serving,
    stop: CancellationToken,
) {
    let rules = &serving.rules;
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(rules.header_timeout).max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(rules.header_timeout * 3)
        .keep_alive_timeout(rules.header_timeout);
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let (asked, rules, router) = (Arc::clone(&asked), Arc::clone(rules), serving.router.clone());
        hyper::service::service_fn(move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let mut request = request.map(Body::new);
            let ip = forwarded::client(peer.ip(), request.headers(), &rules.proxies);
            request.extensions_mut().insert(Peer { ip, face });
            router.clone().oneshot(request)
        })
    };
    let mut connection =
        pin!(builder.serve_connection_with_upgrades(
            TokioIo::new(Limited::new(stream, rules.request_timeout)),
            service
        ));
    // Which version of HTTP it is, nobody limits but us.
    let first = Instant::now() + rules.header_timeout;
    let (mut first_due, mut stopping) = (true, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a connection ended");
                }
                return;
            }
            () = sleep_until(first), if first_due => {
                first_due = false;
                if !asked.load(Ordering::Relaxed) {
                    tracing::debug!(%peer, "a connection asked nothing in time");
                    return;
                }
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
