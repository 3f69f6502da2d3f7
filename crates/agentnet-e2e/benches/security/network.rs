//! A private network in one mode, and its processes.

use std::{
    fs::Permissions,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use agentnet::{AgentNode, AgentNodeBuilder, IdentityStore, proto::Security};
use agentnet_local::{PgOptions, PostgresServer, testing::TestNats};
use agentnet_persister::Persister;
use agentnet_registry::{Registry, callout::NetworkSeeds};
use agentnet_service::{config::Env, service};
use anyhow::{Context as _, Result, bail, ensure};
use secrecy::ExposeSecret as _;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{cpu::Usage, crypto::Work};

const START: Duration = Duration::from_secs(60);
/// Longer than new keys aren't remembered yet (5 s): until then every message asks the registry for them.
const ACQUAINTANCE: Duration = Duration::from_secs(6);
/// Long after the longest turn's backlog is written.
const SETTLE: Duration = Duration::from_secs(60);
/// More than is ever in flight at once.
const BACKLOG: usize = 8192;
/// What the signatures cover besides.
const DEPLOYMENT: &str = "bench";

/// Which recipient of a network.
#[derive(Debug, Clone, Copy)]
pub enum Recipient {
    /// One that does nothing.
    Plain,
    /// One that verifies a message and signs a receipt by hand.
    Working,
}

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

/// One nats-server with its services and agents. Processes go before the servers.
#[derive(Debug)]
pub struct Network {
    /// The sender.
    pub sender: AgentNode,
    plain: (Child, Arc<str>),
    working: (Child, Arc<str>),
    persister: Child,
    _registry: Child,
    pool: PgPool,
    nats: TestNats,
    postgres: Option<u32>,
    _identities: TempDir,
}

impl Network {
    /// Starts everything.
    pub async fn start(servers: &Servers, mode: Security) -> Result<Self> {
        let seeds = match mode {
            Security::Secure => {
                let parts = NetworkSeeds::NAMES.map(NetworkSeeds::generate);
                let mut made = Vec::new();
                for part in parts {
                    made.push(part?);
                }
                let made = made.try_into().map_err(|_| anyhow::anyhow!("not as many seeds as names"))?;
                Some(NetworkSeeds::from_parts(made))
            }
            _ => None,
        };
        let config = seeds.as_ref().map(NetworkSeeds::server_config).transpose()?;
        let nats = spawn_blocking(move || {
            TestNats::start_with(|options| {
                if let Some(config) = config {
                    options.token = None;
                    options.extra_config = config;
                }
            })
        })
        .await?;
        let database = format!("bench_{mode}");
        servers.postgres.create_database(&database).await?;
        let database = servers.postgres.url(&database);
        let identities = tempfile::tempdir()?;
        let common = vec![
            ("NATS_URL", nats.url()),
            ("AGENTNET_SECURITY", mode.to_string()),
            ("AGENTNET_DEPLOYMENT", DEPLOYMENT.to_owned()),
        ];
        let service = |own: Option<&secrecy::SecretString>| {
            let mut env = common.clone();
            env.push(("DATABASE_URL", database.clone()));
            env.push(("AGENTNET_ENROLMENT", "open".to_owned()));
            env.push(("AGENTNET_TOKEN_SECRET", "a secret of this bench, long enough".to_owned()));
            if let (Some(seeds), Some(own)) = (&seeds, own) {
                let secret = |seed: &secrecy::SecretString| seed.expose_secret().to_owned();
                env.push(("AGENTNET_NKEY_SEED", secret(own)));
                env.push(("AGENTNET_CALLOUT_SEED", secret(&seeds.issuer)));
                env.push(("AGENTNET_CALLOUT_XKEY_SEED", secret(&seeds.xkey)));
                env.push(("AGENTNET_SYSTEM_NKEY_SEED", secret(&seeds.system)));
            }
            env
        };
        let (persister, _) =
            spawn("persister", &service(seeds.as_ref().map(|seeds| &seeds.persister)), false).await?;
        let (registry, _) =
            spawn("registry", &service(seeds.as_ref().map(|seeds| &seeds.registry)), false).await?;
        let mut env = common;
        env.push(("BENCH_IDENTITIES", identities.path().display().to_string()));
        // The first to come waits for the registry.
        let sender = started("bench-sender", &nats.url(), mode, identities.path()).await?;
        let plain = spawn("plain", &env, true).await?;
        let working = spawn("working", &env, true).await?;
        let pool = PgPoolOptions::new().max_connections(2).connect(&database).await?;
        let postgres = servers.postgres.pid();
        Ok(Self {
            sender,
            plain,
            working,
            persister,
            _registry: registry,
            pool,
            nats,
            postgres,
            _identities: identities,
        })
    }

    /// Talks with the recipients until they know each other's keys by heart.
    pub async fn acquaint(&self) -> Result<()> {
        let (start, mut asked) = (Instant::now(), 0);
        while start.elapsed() < ACQUAINTANCE {
            for account in [&self.plain.1, &self.working.1] {
                self.sender.request_account(account, serde_json::json!({"text": "hello"})).await?;
                asked += 1;
            }
        }
        // Nothing of that comes after the first reset.
        self.settle(asked, asked).await
    }

    /// The recipient's account.
    pub fn account(&self, which: Recipient) -> Arc<str> {
        match which {
            Recipient::Plain => Arc::clone(&self.plain.1),
            Recipient::Working => Arc::clone(&self.working.1),
        }
    }

    /// CPU time so far.
    pub fn usage(&self) -> Usage {
        Usage::now([
            ("sender", Some(std::process::id())),
            ("recipient", self.plain.0.id()),
            ("recipient with ed25519", self.working.0.id()),
            ("nats-server", self.nats.pid()),
            ("persister", self.persister.id()),
        ])
        .and_family("Postgres", self.postgres)
    }

    /// Empties the tables of messages, so that every turn starts alike.
    pub async fn reset(&self) -> Result<()> {
        sqlx::query("TRUNCATE agent_messages, agent_deliveries, agent_threads").execute(&self.pool).await?;
        sqlx::query("CHECKPOINT").execute(&self.pool).await?;
        Ok(())
    }

    /// Waits until everything that was sent since the reset is stored, and every message processed; no more than that.
    pub async fn settle(&self, sent: usize, replies: usize) -> Result<()> {
        let start = Instant::now();
        let expected = (i64::try_from(sent + replies)?, i64::try_from(sent)?);
        loop {
            let seen: (i64, i64) = sqlx::query_as(
                "SELECT (SELECT count(*) FROM agent_messages),
                        (SELECT count(*) FROM agent_deliveries WHERE state = 'processed')",
            )
            .fetch_one(&self.pool)
            .await?;
            if seen == expected {
                return Ok(());
            }
            if seen.0 > expected.0 || start.elapsed() > SETTLE {
                bail!(
                    "{sent} messages and {replies} replies were sent; {} stored, {} processed",
                    seen.0,
                    seen.1
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn started(name: &str, url: &str, mode: Security, identities: &Path) -> Result<AgentNode> {
    let start = Instant::now();
    loop {
        match unlimited(name, url, mode, identities)?.start().await {
            Ok(node) => return Ok(node),
            Err(error) if start.elapsed() > START => return Err(error.into()),
            // The services are still starting.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// A node without the limits that would be measured instead of the network.
fn unlimited(name: &str, url: &str, mode: Security, identities: &Path) -> Result<AgentNodeBuilder> {
    let builder = AgentNode::builder(name)
        .nats_url(url)
        .dev_auth(false)
        .no_rate_limit()
        .max_pending(BACKLOG)
        .security(mode);
    Ok(match mode {
        Security::Open => builder,
        _ => builder.identity(IdentityStore::new(identities).open_or_create(name, None)?),
    })
}

async fn spawn(role: &str, env: &[(&str, String)], speaks: bool) -> Result<(Child, Arc<str>)> {
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
        let read = timeout(START, BufReader::new(stdout).read_line(&mut line)).await;
        ensure!(matches!(read, Ok(Ok(1..))), "the {role} didn't start");
    }
    Ok((child, line.trim().into()))
}

/// Runs a child until its standard input ends.
pub fn child(role: &str) -> ExitCode {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match role {
        "registry" => service::run::<Registry>(&Env::process()),
        "persister" => service::run::<Persister>(&Env::process()),
        _ => match recipient(role) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{role}: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn recipient(role: &str) -> Result<()> {
    let read = |name: &str| std::env::var(name).context(name.to_owned());
    let (url, mode, identities) = (read("NATS_URL")?, read("AGENTNET_SECURITY")?, read("BENCH_IDENTITIES")?);
    let mode: Security = mode.parse().map_err(|_| anyhow::anyhow!("no such mode"))?;
    let work = (role == "working").then(|| Arc::new(Work::new()));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let node = unlimited(&format!("bench-{role}"), &url, mode, Path::new(&identities))?
            .on_message(move |message| {
                let work = work.clone();
                async move {
                    if let Some(work) = work {
                        work.verify_message()?;
                        work.sign_receipt();
                    }
                    if message.wants_reply() {
                        message.reply(serde_json::json!({"text": "It says that all is well."})).await?;
                    }
                    Ok(())
                }
            })
            .start()
            .await?;
        println!("{}", node.account_id());
        std::future::pending::<()>().await;
        Ok(())
    })
}
