//! A recipient: handles every message by writing it into its journal.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentnet::{AgentNode, Error, HandlerResult, Incoming};
use agentnet_proto::{Clock as _, SystemClock};
use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    child::die_with_parent,
    journal::{Journal, Row, What},
    service::{CLOCK_OFFSET, clock},
};

/// How long the agent tries to join: kills of what it needs may follow each other closely.
const JOIN: Duration = Duration::from_secs(120);

/// What a recipient is told.
#[derive(Debug, Clone, Args)]
pub struct AgentArgs {
    /// Username, and name of its journal.
    #[arg(long)]
    pub username: String,
    /// A capability, and name of the journal its holders share.
    #[arg(long)]
    pub capability: Option<String>,
    /// Where journals are.
    #[arg(long)]
    pub journals: PathBuf,
    /// Work before every effect, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pub effect_ms: u64,
    /// Until when, in milliseconds since 1970; for ever unless given.
    #[arg(long)]
    pub effect_until_ms: Option<i64>,
    /// Messages that wait for the handler before others are refused as busy.
    #[arg(long, default_value_t = 1000)]
    pub max_pending: usize,
    /// Flush every effect to the disk.
    #[arg(long)]
    pub sync: bool,
    /// Forget what was handled: the negative control.
    #[arg(long)]
    pub forgetful: bool,
}

/// What senders put into a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Content {
    /// Username of the sender.
    pub sender: String,
    /// Its count of messages to this recipient.
    pub seq: u64,
    /// As much as a chat message has.
    pub text: String,
}

/// What a recipient prints once it has joined.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Joined {
    /// Its account.
    pub account_id: String,
}

struct Recipient {
    args: AgentArgs,
    journals: Mutex<HashMap<String, Journal>>,
    process: u32,
}

/// Joins and handles messages until SIGTERM.
///
/// # Errors
/// When it can't join within two minutes, or open its journals.
pub async fn run(args: AgentArgs) -> Result<()> {
    die_with_parent();
    let mut journals = HashMap::new();
    for name in std::iter::once(&args.username).chain(&args.capability) {
        let path = args.journals.join(format!("{name}.jsonl"));
        let journal = Journal::open(&path, args.sync, !args.forgetful)
            .with_context(|| format!("can't open {}", path.display()))?;
        journals.insert(name.clone(), journal);
    }
    let process = std::process::id();
    let recipient = Arc::new(Recipient { args, journals: Mutex::new(journals), process });
    let node = join(&recipient).await?;
    println!("{}", serde_json::to_string(&Joined { account_id: node.account_id().to_owned() })?);
    node.serve_forever().await?;
    Ok(())
}

async fn join(recipient: &Arc<Recipient>) -> Result<AgentNode> {
    let start = Instant::now();
    loop {
        match builder(recipient).await {
            Ok(node) => return Ok(node),
            Err(error) if start.elapsed() >= JOIN => return Err(error).context("can't join"),
            Err(error) => tracing::info!(%error, "trying to join"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn builder(recipient: &Arc<Recipient>) -> Result<AgentNode, Error> {
    let args = &recipient.args;
    let handler = recipient.clone();
    let mut builder = AgentNode::builder(&args.username)
        .username(&args.username)
        .capabilities(args.capability.clone())
        // The load comes from a few accounts at hundreds of messages a second each.
        .no_rate_limit()
        // One after the other, so that there is an order to keep.
        .max_concurrency(1)
        .max_pending(args.max_pending)
        .clock(clock(std::env::var(CLOCK_OFFSET).ok().as_deref()))
        .on_message(move |message| {
            let handler = handler.clone();
            async move { handler.handle(&message).await }
        });
    if args.forgetful {
        builder = builder.dedupe_ttl(Duration::ZERO);
    }
    builder.start().await
}

impl Recipient {
    async fn handle(&self, message: &Incoming) -> HandlerResult {
        let until = self.args.effect_until_ms.unwrap_or(i64::MAX);
        if self.args.effect_ms > 0 && SystemClock.now().unix_millis() < until {
            sleep(Duration::from_millis(self.args.effect_ms)).await;
        }
        let content: Content = message.payload().parse()?;
        let row = Row {
            what: What::Call,
            message_id: message.message_id().to_owned(),
            sender: content.sender,
            seq: content.seq,
            attempt: message.attempt(),
            redelivered: message.is_redelivery(),
            session: format!("{}/{}", self.args.username, self.process),
        };
        let to_agent = &message.envelope().to_agent;
        let name = to_agent.strip_prefix("capability:").unwrap_or(&self.args.username);
        let first = {
            let mut journals = self.journals.lock().unwrap_or_else(PoisonError::into_inner);
            let journal =
                journals.get_mut(name).ok_or("a message for a capability this agent doesn't have")?;
            journal.handle(&row)?
        };
        if message.wants_reply() {
            message.reply(json!({"seq": row.seq, "first": first})).await?;
        }
        Ok(())
    }
}
