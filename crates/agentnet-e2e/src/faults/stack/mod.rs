//! A private network of separate processes: nats-server, Postgres, registries, persisters, recipients.

mod disk;
mod servers;
mod service;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentnet_local::{NatsServer, PostgresServer};
use anyhow::{Context, Result};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

pub use self::{
    disk::{Disk, reason_disks_are_impossible, unshare_mounts},
    service::Service,
};
use super::{
    child::{Child, Plan},
    proxy::Proxy,
    service::CLOCK_OFFSET,
};

/// How long a service may take from its start to its first yes.
const READY: Duration = Duration::from_secs(60);

/// What the stack consists of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything is kept here.
    pub dir: PathBuf,
    /// The harness binary.
    pub program: PathBuf,
    /// nats-servers: 1, or 3 as a cluster.
    pub nats_nodes: usize,
    /// Registry replicas.
    pub registries: usize,
    /// Persister replicas.
    pub persisters: usize,
    /// Clients and services reach NATS, and services Postgres, through proxies.
    pub proxied: bool,
    /// How wrong the clocks of the first replica of each service are, in milliseconds.
    pub clock_offset_ms: i64,
    /// A small disk for one of the servers.
    pub small_disk: Option<SmallDisk>,
    /// More environment for the services.
    pub service_env: BTreeMap<String, String>,
}

/// Which server gets a small disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmallDisk {
    /// nats-server, for JetStream.
    Nats,
    /// Postgres.
    Postgres,
}

/// A running stack. Dropping it ends every process of it.
#[derive(Debug)]
pub struct Stack {
    /// Registry replicas.
    pub registries: Vec<Mutex<Service>>,
    /// Persister replicas.
    pub persisters: Vec<Mutex<Service>>,
    /// nats-servers.
    pub nats: Vec<Arc<NatsServer>>,
    /// Postgres.
    pub postgres: Arc<PostgresServer>,
    /// In front of each nats-server, when proxied.
    pub nats_proxies: Vec<Proxy>,
    /// In front of Postgres, when proxied.
    pub postgres_proxy: Option<Proxy>,
    /// The small disk, when there is one.
    pub disk: Option<Disk>,
    token: SecretString,
    options: Options,
}

impl Stack {
    /// Starts everything but the agents and waits until the services are ready.
    ///
    /// # Errors
    /// Says which process failed, and where its log is.
    pub async fn start(options: Options) -> Result<Self> {
        let token: SecretString = random_secret().into();
        for sub in ["logs", "journals"] {
            let dir = options.dir.join(sub);
            std::fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
        }
        let disk =
            options.small_disk.map(|which| Disk::mount(&servers::dir(&options.dir, which))).transpose()?;
        let nats = servers::nats(&options, &token).await?;
        let postgres = servers::postgres(&options).await?;
        let mut stack = Self {
            registries: Vec::new(),
            persisters: Vec::new(),
            nats,
            postgres,
            nats_proxies: Vec::new(),
            postgres_proxy: None,
            disk,
            token,
            options,
        };
        if stack.options.proxied {
            for server in &stack.nats {
                stack.nats_proxies.push(Proxy::start(loopback(server.port())).await?);
            }
            stack.postgres_proxy = Some(Proxy::start(loopback(stack.postgres.port())).await?);
        }
        stack.start_services().await?;
        Ok(stack)
    }

    async fn start_services(&mut self) -> Result<()> {
        // The persister first: it makes the stream.
        for (kind, count) in [("persister", self.options.persisters), ("registry", self.options.registries)] {
            for index in 0..count {
                let name = format!("{kind}-{index}");
                let offset = if index == 0 { self.options.clock_offset_ms } else { 0 };
                let mut env = self.options.service_env.clone();
                env.extend([
                    ("NATS_URL".to_owned(), self.nats_url()),
                    ("DATABASE_URL".to_owned(), self.database_url()),
                    ("REGISTRY_SERVER_ID".to_owned(), name.clone()),
                    (CLOCK_OFFSET.to_owned(), offset.to_string()),
                ]);
                if self.nats.len() > 1 {
                    env.insert("AGENTNET_STREAM_REPLICAS".to_owned(), self.nats.len().to_string());
                }
                let mut service = Service::new(self.plan(&name, vec![kind.to_owned()], env));
                service.start().await?;
                let replicas = if kind == "persister" { &mut self.persisters } else { &mut self.registries };
                replicas.push(Mutex::new(service));
            }
            let replicas = if kind == "persister" { &self.persisters } else { &self.registries };
            for service in replicas {
                service.lock().await.wait_ready(READY).await?;
            }
        }
        Ok(())
    }

    /// A process of this stack: the harness binary with these arguments.
    pub fn child(&self, name: &str, args: Vec<String>, env: BTreeMap<String, String>) -> Child {
        Child::new(self.plan(name, args, env))
    }

    fn plan(&self, name: &str, args: Vec<String>, env: BTreeMap<String, String>) -> Plan {
        Plan {
            name: name.to_owned(),
            program: self.options.program.clone(),
            args,
            env,
            log: self.dir().join("logs").join(format!("{name}.log")),
        }
    }

    /// What the stack was made of.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Where everything is.
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// URL of NATS for clients and services, with the token in it.
    pub fn nats_url(&self) -> String {
        let token = self.token.expose_secret();
        let servers: Vec<SocketAddr> = match &self.nats_proxies[..] {
            [] => self.servers().collect(),
            proxies => proxies.iter().map(Proxy::address).collect(),
        };
        let urls: Vec<String> = servers.iter().map(|server| format!("nats://{token}@{server}")).collect();
        urls.join(",")
    }

    fn servers(&self) -> impl Iterator<Item = SocketAddr> {
        self.nats.iter().map(|server| loopback(server.port()))
    }

    /// Addresses and token of NATS past any proxy.
    pub fn nats_login(&self) -> (Vec<SocketAddr>, SecretString) {
        (self.servers().collect(), self.token.clone())
    }

    /// URL of the database past any proxy, with the password in it.
    pub fn direct_database_url(&self) -> String {
        self.postgres.url(servers::DATABASE)
    }

    fn database_url(&self) -> String {
        let direct = self.direct_database_url();
        match &self.postgres_proxy {
            Some(proxy) => direct.replace(&self.postgres.host_port(), &proxy.address().to_string()),
            None => direct,
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn random_secret() -> String {
    format!("{:032x}", rand::random::<u128>())
}
