//! `Config` -> `build` -> `run`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentnet_proto::rpc::ListRequest;
use agentnet_service::{
    config::{ConfigError, Env},
    service::{ByItself, Deps, Service},
    shutdown::Shutdown,
};
use tokio::{
    sync::Semaphore,
    time::{interval, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    app::App,
    config::{Config, Listen},
    error::GatewayError,
    http::{self, Listener, Serving, Tls},
    openapi,
    own::Own,
    seats::{Entry, Seats},
    webhooks,
};

/// How often full buckets are forgotten, and unused seats closed, unless these may be idle for less.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How long live streams may take to hear that the gateway stops.
const GOODBYE: Duration = Duration::from_secs(3);

/// A gateway that is ready to run.
#[derive(Debug)]
pub struct Gateway {
    app: App,
    listeners: Vec<Listener>,
    tls: Option<Arc<Tls>>,
}

/// Where a running gateway is.
#[derive(Clone, Debug)]
pub struct Handle {
    listens: Arc<[Listen]>,
    addrs: Arc<[SocketAddr]>,
    secure: bool,
    slow: Arc<AtomicU64>,
}

impl Handle {
    /// How many live clients were let go because they didn't read.
    pub fn slow_clients(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }

    /// The addresses it listens on, in the order of the configuration.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The same with their faces, as `GATEWAY_LISTEN` takes them.
    pub fn listens(&self) -> &[Listen] {
        &self.listens
    }

    /// The URL of its first address, for clients on this machine.
    pub fn url(&self) -> Option<String> {
        let mut addr = *self.addrs.first()?;
        if addr.ip().is_unspecified() {
            addr.set_ip(match addr {
                SocketAddr::V4(_) => [127, 0, 0, 1].into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let scheme = if self.secure { "https" } else { "http" };
        Some(format!("{scheme}://{addr}"))
    }
}

impl Service for Gateway {
    const NAME: &'static str = "agentnet-gateway";
    type Link = ByItself;
    type Config = Config;
    type Handle = Handle;
    type Error = GatewayError;

    fn read_config(env: &Env) -> Result<Config, ConfigError> {
        Config::from_env(env)
    }

    /// Binds its addresses and enters the network with its own account.
    async fn build(config: Config, deps: Deps<ByItself>) -> Result<(Self, Handle), GatewayError> {
        let nats = deps.nats.0;
        // First, because nothing is in anybody's way yet if it fails.
        let mut listeners = Vec::with_capacity(config.http.listen.len());
        for listen in &config.http.listen {
            listeners.push(Listener::bind(*listen).await?);
        }
        let tls = match &config.http.tls {
            Some(files) => Some(Tls::load(files).await?),
            None => None,
        };
        let entry = Entry::of(&config, &nats)?;
        let own = Arc::new(Own::enter(&entry, &nats, &config).await?);
        let asked = Arc::clone(&own);
        deps.health.register("network", move || {
            let registry = asked.registry();
            async move {
                let one = ListRequest { limit: Some(1), ..ListRequest::default() };
                registry.list(&one).await.map(drop).map_err(|error| error.to_string())
            }
        });
        let seats = Seats::new(entry, Arc::clone(&own), config.seats);
        let app = App::new(config, own, seats, deps.health);
        let listens: Arc<[Listen]> = listeners.iter().map(Listener::listen).collect();
        for listen in listens.iter() {
            tracing::info!(addr = %listen.addr, face = listen.face.as_str(), tls = tls.is_some(), "the gateway listens");
        }
        let addrs = listens.iter().map(|listen| listen.addr).collect();
        let handle = Handle { listens, addrs, secure: tls.is_some(), slow: Arc::clone(&app.slow) };
        Ok((Self { app, listeners, tls }, handle))
    }

    /// Answers until a stop; then tells live streams, finishes requests, and ends its sessions in order.
    async fn run(self, shutdown: Shutdown) -> Result<(), GatewayError> {
        let Self { app, listeners, tls } = self;
        let rules = Arc::new(app.config.http.clone());
        let connections = TaskTracker::new();
        let serving = Serving {
            router: http::wrap(openapi::router(), &app),
            room: Arc::new(Semaphore::new(rules.max_connections)),
            rules,
            tls: tls.clone(),
            tracker: connections.clone(),
        };
        let accepting = TaskTracker::new();
        for listener in listeners {
            accepting.spawn(listener.serve(serving.clone(), shutdown.clone()));
        }
        drop(serving);
        accepting.close();
        let posting = TaskTracker::new();
        posting.spawn(webhooks::run(app.clone()));
        let mut sweep = interval(SWEEP_EVERY.min(app.config.seats.idle));
        let own = Arc::clone(&app.own);
        let mut renew = std::pin::pin!(own.renew());
        let mut certificates = std::pin::pin!(async {
            match &tls {
                Some(tls) => tls.watch().await,
                None => std::future::pending().await,
            }
        });
        let mut watch = std::pin::pin!(app.seats.watch());
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                () = &mut renew => {}
                () = &mut certificates => {}
                () = &mut watch => {}
                _ = sweep.tick() => {
                    app.limits.sweep();
                    app.seats.sweep();
                    app.strangers.sweep();
                }
            }
        }
        accepting.wait().await;
        app.closing.cancel();
        app.streams.close();
        if timeout(GOODBYE, app.streams.wait()).await.is_err() {
            tracing::debug!(left = app.streams.len(), "live streams are cut off");
        }
        connections.close();
        tokio::select! {
            () = connections.wait() => {}
            () = shutdown.soft_deadline() => tracing::warn!(left = connections.len(), "requests are cut off"),
        }
        app.seats.close().await;
        app.own.close().await;
        Ok(())
    }
}
