//! Running, stopping and restarting a nats-server.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{NatsOptions, config::log_path, ready::greets_as};
use crate::{
    Error, NatsBinary, Result, Search, Server,
    error::io,
    files, lock, ports,
    watchdog::{Guarded, Signal, Spec, poll},
};

/// A predecessor that was killed with its parent has this long to let go of the directory.
const TAKEOVER: Duration = Duration::from_secs(15);

/// A running private nats-server. Dropping it stops it. All methods take `&self`, so that tests can share it.
#[derive(Debug)]
pub struct NatsServer {
    options: NatsOptions,
    binary: NatsBinary,
    dir: PathBuf,
    name: String,
    port: u16,
    monitor_port: u16,
    process: Mutex<Option<Guarded>>,
}

impl NatsServer {
    /// Starts a server and waits until it takes clients. Blocks up to `start_timeout` (and up to 15 s for a
    /// predecessor in the same directory to end).
    ///
    /// # Errors
    /// `Missing`, `Override`, `PortTaken`, `InUse`, `StartFailed` (for example a wrong `extra_config`),
    /// `StartTimeout`, `Io`.
    pub fn start(options: NatsOptions) -> Result<Self> {
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => Search::from_env().nats()?,
        };
        files::create_dir(&options.dir, 0o700)?;
        let dir = fs::canonicalize(&options.dir).map_err(io("find", &options.dir))?;
        let name = format!("agentnet-local-{:016x}", rand::random::<u64>());
        let mut server =
            Self { options, binary, dir, name, port: 0, monitor_port: 0, process: Mutex::new(None) };
        for attempt in 1.. {
            server.port = ports::choose(Server::Nats, server.options.port)?;
            server.monitor_port =
                ports::choose_beside(Server::Nats, server.options.monitor_port, server.port)?;
            match server.launch() {
                Ok(process) => {
                    server.process = Mutex::new(Some(process));
                    break;
                }
                // A fixed port that was taken is reported by the next round's choice.
                Err(Error::StartFailed { .. }) if attempt < ports::ATTEMPTS && server.a_port_is_taken() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(server)
    }

    /// URL for clients, with the token in it, if there is one: do not log it. Note that async-nats ignores
    /// credentials in URLs: give it [`host_port`](Self::host_port) and [`token`](Self::token).
    pub fn url(&self) -> String {
        let mut url = format!("nats://{}", self.host_port());
        if let (Some(token), Ok(mut parsed)) = (&self.options.token, Url::parse(&url))
            && parsed.set_username(token.expose_secret()).is_ok()
        {
            url = parsed.into();
        }
        url
    }

    /// The token that clients must present.
    pub fn token(&self) -> Option<&SecretString> {
        self.options.token.as_ref()
    }

    /// `host:port` for clients.
    pub fn host_port(&self) -> String {
        if self.options.host.contains(':') {
            format!("[{}]:{}", self.options.host, self.port)
        } else {
            format!("{}:{}", self.options.host, self.port)
        }
    }

    /// Client port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Base URL of the HTTP monitoring, on loopback.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor_port)
    }

    /// Pid of the server; `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Guarded::pid)
    }

    /// True while the process lives.
    pub fn is_running(&self) -> bool {
        self.process().as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// Directory of this server.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The server's log.
    pub fn log_path(&self) -> PathBuf {
        log_path(&self.dir)
    }

    /// Stops in order: clients are disconnected, JetStream is flushed. Blocks up to `stop_timeout`, then kills.
    /// Stopping a stopped server does nothing.
    pub fn stop(&self) {
        if let Some(mut process) = self.process().take() {
            process.stop(Signal::Term);
        }
    }

    /// SIGKILL, as a crash would: no flush, no goodbye. The port stays ours for [`restart`](Self::restart).
    pub fn kill(&self) {
        if let Some(mut process) = self.process().take() {
            process.stop(Signal::Kill);
        }
    }

    /// Starts again with the same ports, data and token; stops first if it still runs. Blocks like `start`.
    ///
    /// # Errors
    /// As for [`start`](Self::start); `PortTaken` if someone else took the port meanwhile.
    pub fn restart(&self) -> Result<()> {
        self.stop();
        let mut process = self.process();
        for port in [self.port, self.monitor_port] {
            ports::choose(Server::Nats, Some(port))?;
        }
        *process = Some(self.launch()?);
        Ok(())
    }

    fn process(&self) -> MutexGuard<'_, Option<Guarded>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&self) -> Result<Guarded> {
        let lock = lock::acquire(&self.dir.join("server.lock"), TAKEOVER)?;
        let config = self.dir.join("nats.conf");
        let text = self.options.render(&self.name, self.port, self.monitor_port, &self.dir);
        files::write_private(&config, text.as_bytes())?;
        let stderr = self.dir.join("stderr.log");
        let mut process = Guarded::spawn(Spec {
            program: &self.binary.path,
            args: vec!["-c".into(), config.into()],
            env: Vec::new(),
            dir: &self.dir,
            user: None,
            log: files::open_log(&stderr)?,
            lock,
            temporary: self.options.temporary.then_some(&*self.dir),
            soft: Signal::Term,
            grace: self.options.stop_timeout,
        })?;
        let mut ended = None;
        let ready = poll(self.options.start_timeout, || {
            ended = process.ended();
            (ended.is_some() || greets_as(self.address(), &self.name)).then_some(())
        });
        match (ended, ready) {
            (Some(status), _) => {
                // Errors in the configuration come before the log file is opened.
                let log = if fs::metadata(&stderr).is_ok_and(|meta| meta.len() > 0) {
                    stderr
                } else {
                    self.log_path()
                };
                let log_tail = files::tail(&log);
                Err(Error::StartFailed { server: Server::Nats, status: status.to_string(), log, log_tail })
            }
            (None, Some(())) => Ok(process),
            (None, None) => Err(Error::StartTimeout {
                server: Server::Nats,
                after: self.options.start_timeout,
                log: self.log_path(),
                log_tail: files::tail(&self.log_path()),
            }),
        }
    }

    fn a_port_is_taken(&self) -> bool {
        !ports::is_free(self.port) || !ports::is_free(self.monitor_port)
    }

    /// Where we reach it ourselves: a wildcard address includes loopback.
    fn address(&self) -> SocketAddr {
        let ip = match self.options.host.parse::<IpAddr>() {
            Ok(ip) if !ip.is_unspecified() => ip,
            _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        SocketAddr::new(ip, self.port)
    }
}
