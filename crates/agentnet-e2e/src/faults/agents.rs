//! The recipients of a run, each a process of its own.

use std::{collections::BTreeMap, time::Duration};

use agentnet_proto::{Clock as _, SystemClock};
use anyhow::{Context, Result};
use tokio::sync::Mutex;

use super::{agent::Joined, child::Child, service::CLOCK_OFFSET, stack::Stack};

/// How long the first start of a recipient may take.
const JOIN: Duration = Duration::from_secs(60);
/// How long an orderly goodbye may take.
const GOODBYE: Duration = Duration::from_secs(30);

/// The capability of the run.
pub const CAPABILITY: &str = "faults";

/// What one recipient is like.
#[derive(Debug, Clone, Default)]
pub struct Traits {
    /// Its username; several processes may share one.
    pub username: String,
    /// Whether it has [`CAPABILITY`].
    pub capable: bool,
    /// Work per message, in milliseconds.
    pub effect_ms: u64,
    /// For how long from its first start; for ever unless given.
    pub effect_lasts: Option<Duration>,
    /// Backlog before it refuses as busy.
    pub max_pending: Option<usize>,
    /// Forgets what it handled.
    pub forgetful: bool,
    /// How wrong its clock is, in milliseconds.
    pub clock_offset_ms: i64,
    /// Signs and verifies.
    pub signed: bool,
}

/// A recipient.
#[derive(Debug)]
pub struct Member {
    /// Its username.
    pub username: String,
    /// Its account.
    pub account_id: String,
    child: Mutex<Child>,
    /// False for one that is away on purpose.
    expected: std::sync::atomic::AtomicBool,
}

/// All recipients of a run.
#[derive(Debug)]
pub struct Fleet {
    /// In the order they were asked for.
    pub members: Vec<Member>,
}

impl Fleet {
    /// Starts the recipients and waits until all have joined.
    ///
    /// # Errors
    /// Says which one failed.
    pub async fn start(stack: &Stack, all: &[Traits]) -> Result<Self> {
        let mut started = Vec::new();
        for (index, traits) in all.iter().enumerate() {
            let mut child = child(stack, index, traits);
            child.start().await?;
            started.push((traits, child));
        }
        let mut members = Vec::new();
        for (traits, mut child) in started {
            let line = child.line(JOIN).await?;
            let joined: Joined =
                serde_json::from_str(&line).with_context(|| format!("{} printed {line:?}", child.name()))?;
            members.push(Member {
                username: traits.username.clone(),
                account_id: joined.account_id,
                child: Mutex::new(child),
                expected: true.into(),
            });
        }
        Ok(Self { members })
    }

    /// Number of processes.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// True when there is no recipient.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// kill -9.
    ///
    /// # Errors
    /// When it doesn't die.
    pub async fn kill(&self, index: usize) -> Result<()> {
        self.child(index)?.lock().await.kill().await
    }

    /// Starts one that was killed or left. Doesn't wait until it has joined.
    ///
    /// # Errors
    /// When the system can't start it.
    pub async fn start_again(&self, index: usize) -> Result<()> {
        self.members[index].expected.store(true, std::sync::atomic::Ordering::Relaxed);
        self.child(index)?.lock().await.start().await
    }

    /// Lets one leave in order; it stays away until [`start_again`](Self::start_again).
    ///
    /// # Errors
    /// When it doesn't leave in order.
    pub async fn send_away(&self, index: usize) -> Result<()> {
        self.members[index].expected.store(false, std::sync::atomic::Ordering::Relaxed);
        self.child(index)?.lock().await.stop(GOODBYE).await
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When it isn't running.
    pub async fn freeze(&self, index: usize) -> Result<()> {
        self.child(index)?.lock().await.freeze()
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it isn't running.
    pub async fn thaw(&self, index: usize) -> Result<()> {
        self.child(index)?.lock().await.thaw()
    }

    /// Starts those that ended by themselves; their names.
    ///
    /// # Errors
    /// When the system can't start one.
    pub async fn revive(&self) -> Result<Vec<String>> {
        let mut revived = Vec::new();
        for member in &self.members {
            let mut child = member.child.lock().await;
            if member.expected.load(std::sync::atomic::Ordering::Relaxed) && !child.is_running() {
                revived.push(child.name().to_owned());
                child.start().await?;
            }
        }
        Ok(revived)
    }

    fn child(&self, index: usize) -> Result<&Mutex<Child>> {
        Ok(&self.members.get(index).context("there is no such recipient")?.child)
    }
}

fn child(stack: &Stack, index: usize, traits: &Traits) -> Child {
    let name = format!("agent-{index}-{}", traits.username);
    let journals = stack.dir().join("journals");
    let mut args = vec!["agent".to_owned(), "--username".to_owned(), traits.username.clone()];
    args.extend(["--journals".to_owned(), journals.display().to_string()]);
    args.extend(["--effect-ms".to_owned(), traits.effect_ms.to_string()]);
    if let Some(lasts) = traits.effect_lasts {
        let until = SystemClock.now().saturating_add(lasts).unix_millis();
        args.extend(["--effect-until-ms".to_owned(), until.to_string()]);
    }
    if traits.capable {
        args.extend(["--capability".to_owned(), CAPABILITY.to_owned()]);
    }
    if let Some(max) = traits.max_pending {
        args.extend(["--max-pending".to_owned(), max.to_string()]);
    }
    if traits.forgetful {
        args.push("--forgetful".to_owned());
    }
    let env = BTreeMap::from([
        ("AGENTNET_NATS_URL".to_owned(), stack.nats_url()),
        (CLOCK_OFFSET.to_owned(), traits.clock_offset_ms.to_string()),
        ("DEV_AUTH".to_owned(), traits.signed.to_string()),
        ("DEV_AUTH_KEY_DIR".to_owned(), stack.dir().join("keys").display().to_string()),
        ("LOG_LEVEL".to_owned(), "info".to_owned()),
    ]);
    stack.child(&name, args, env)
}
