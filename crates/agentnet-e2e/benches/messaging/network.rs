//! The private network of a run, and whether everything that was sent is where it belongs.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
    time::{Duration, Instant},
};

use agentnet::proto::subject::{PERSISTER_CONSUMER, STREAM};
use agentnet::{AgentNode, AgentNodeBuilder};
use agentnet_local::{PgOptions, PostgresServer, testing::TestNats};
use anyhow::{Context as _, Result, bail, ensure};
use async_nats::{Client, jetstream};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{
    children::{self, HANDLED},
    cpu::Usage,
};

const START: Duration = Duration::from_secs(60);
/// Long after the longest turn's backlog is written.
const SETTLE: Duration = Duration::from_secs(60);

/// Postgres, for every network of the run.
#[derive(Debug)]
pub struct Servers {
    postgres: PostgresServer,
    _dir: TempDir,
}

impl Servers {
    /// Starts it as `agentnet up` does.
    pub async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        // Postgres refuses to run as root, and its user must be able to get in.
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o711))?;
        let options = PgOptions::new(dir.path().join("postgres"), "bench".into());
        let postgres = spawn_blocking(move || PostgresServer::start(options)).await??;
        Ok(Self { postgres, _dir: dir })
    }
}

/// A process that ends when this one does.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// The first line it printed.
    pub line: String,
}

impl Process {
    fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Resident memory in MiB.
    pub fn rss_mib(&self) -> Result<f64> {
        let pid = self.child.id().context("the process has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .context("no VmRSS")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    }
}

/// One nats-server with its services and agents.
#[derive(Debug)]
pub struct Network {
    // Processes before the servers: fields are dropped in order.
    /// The registry's process.
    pub registry: Process,
    /// The persister's process, if the network has one.
    pub persister: Option<Process>,
    responder: Process,
    /// A plain connection.
    pub client: Client,
    pool: PgPool,
    database: String,
    nats: TestNats,
    postgres: Option<u32>,
}

impl Network {
    /// Starts everything but agents; without a persister there is no stream either.
    pub async fn start(servers: &Servers, with_persister: bool) -> Result<Self> {
        let nats = spawn_blocking(TestNats::start).await?;
        let name = if with_persister { "bench_full" } else { "bench_wire" };
        servers.postgres.create_database(name).await?;
        let database = servers.postgres.url(name);
        let services = [("NATS_URL", nats.url()), ("DATABASE_URL", database.clone())];
        let persister = match with_persister {
            true => Some(spawn("persister", &services, false).await?),
            false => None,
        };
        let registry = spawn("registry", &services, false).await?;
        let responder = spawn("responder", &services[..1], true).await?;
        let client = children::connect(&nats.url()).await?;
        let pool = PgPoolOptions::new().max_connections(2).connect(&database).await?;
        let network = Self {
            registry,
            persister,
            responder,
            client,
            pool,
            database,
            nats,
            postgres: servers.postgres.pid(),
        };
        network.ready().await?;
        Ok(network)
    }

    async fn ready(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let answered = self.client.request("registry.metrics", "{}".into()).await.is_ok();
            if answered && (self.persister.is_none() || self.is_pulled().await) {
                return Ok(());
            }
            ensure!(start.elapsed() < START, "the services weren't ready within {START:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn is_pulled(&self) -> bool {
        let jetstream = jetstream::new(self.client.clone());
        let asked = async {
            let stream = jetstream.get_stream_no_info(STREAM).await.ok()?;
            Some(stream.consumer_info(PERSISTER_CONSUMER).await.ok()?.num_waiting > 0)
        };
        asked.await == Some(true)
    }

    /// URL of NATS, with the token in it.
    pub fn url(&self) -> String {
        self.nats.url()
    }

    /// URL of the database, with the password in it.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// A node that sends.
    pub fn sender(&self) -> AgentNodeBuilder {
        children::unlimited("bench-sender", &self.url())
    }

    /// A process with an agent.
    pub async fn agent(&self, role: &str) -> Result<Process> {
        spawn(role, &[("NATS_URL", self.url())], true).await
    }

    /// CPU time so far of everybody who has to do with a message to `recipient`.
    pub fn usage(&self, recipient: Option<&Process>) -> Usage {
        Usage::now([
            ("sender", Some(std::process::id())),
            ("recipient", recipient.unwrap_or(&self.responder).pid()),
            ("nats-server", self.nats.pid()),
            ("persister", self.persister.as_ref().and_then(Process::pid)),
        ])
        .and_family("Postgres", self.persister.as_ref().and(self.postgres))
    }

    /// Empties the tables of messages and lets the disk catch up, so that every turn starts alike.
    pub async fn reset(&self) -> Result<()> {
        sqlx::query("TRUNCATE agent_messages, agent_deliveries, agent_threads").execute(&self.pool).await?;
        sqlx::query("CHECKPOINT").execute(&self.pool).await?;
        Ok(())
    }

    /// How many messages the recipient's handler saw so far.
    pub async fn handled(&self) -> Result<u64> {
        let answer = self.client.request(HANDLED, "".into()).await?;
        Ok(std::str::from_utf8(&answer.payload)?.parse()?)
    }

    /// Waits until nothing is under way any more, then counts: `sent` messages and `replies` stored, each message
    /// processed, and handled once. `before` is what the recipient had handled before.
    pub async fn settle(&self, row: &str, sent: usize, replies: usize, before: u64) -> Result<()> {
        let start = Instant::now();
        let expected = (sent + replies, sent, sent as u64);
        loop {
            let left =
                jetstream::new(self.client.clone()).get_stream(STREAM).await?.cached_info().state.messages;
            let (stored, processed): (i64, i64) = sqlx::query_as(
                "SELECT (SELECT count(*) FROM agent_messages),
                        (SELECT count(*) FROM agent_deliveries WHERE state = 'processed')",
            )
            .fetch_one(&self.pool)
            .await?;
            let seen =
                (usize::try_from(stored)?, usize::try_from(processed)?, self.handled().await? - before);
            if left == 0 && seen == expected {
                return Ok(());
            }
            if seen.0 > expected.0 || seen.1 > expected.1 || seen.2 > expected.2 || start.elapsed() > SETTLE {
                bail!(
                    "{row}: {sent} messages and {replies} replies were sent; {} rows stored, {} processed, {} handled, \
                     {left} left in the stream",
                    seen.0,
                    seen.1,
                    seen.2
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Closes a node in order: an error says that something is unconfirmed.
pub async fn close(node: &AgentNode) -> Result<()> {
    Ok(node.close().await?)
}

async fn spawn(role: &str, env: &[(&str, String)], speaks: bool) -> Result<Process> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(format!("child-{role}"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LOG_LEVEL", "ERROR")
        // Production's choice on two cores, whatever this machine has.
        .env("AGENTNET_WORKER_THREADS", "1")
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(if speaks { Stdio::piped() } else { Stdio::null() })
        .kill_on_drop(true)
        .spawn()?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout);
        let read = timeout(START, lines.read_line(&mut line)).await;
        ensure!(matches!(read, Ok(Ok(1..))), "the {role} didn't start");
    }
    Ok(Process { child, line: line.trim().to_owned() })
}
