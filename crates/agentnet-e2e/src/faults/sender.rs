//! A sender in a process of its own, whose outbox is a file: what it queued must arrive, however it dies.

use std::{io::Write as _, path::PathBuf, time::Duration};

use agentnet::AgentNode;
use agentnet_proto::{Clock as _, SystemClock};
use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until};

use super::{agent::Content, child::die_with_parent};

/// How long it tries to join.
const JOIN: Duration = Duration::from_secs(120);
/// Longer than any run, so that its end excuses nothing.
const TTL: Duration = Duration::from_secs(1800);

/// What a sender is told.
#[derive(Debug, Clone, Args)]
pub struct SenderArgs {
    /// Username.
    #[arg(long)]
    pub username: String,
    /// Where its outbox is; in memory unless given: the negative control.
    #[arg(long)]
    pub outbox: Option<PathBuf>,
    /// Whom to send to, as `username=account`.
    #[arg(long, value_parser = target)]
    pub target: Vec<(String, String)>,
    /// Messages per second.
    #[arg(long)]
    pub rate: f64,
    /// When to stop sending, in milliseconds since 1970. It stays until its standard input closes.
    #[arg(long)]
    pub until_ms: u64,
}

/// What a sender says about a message, a line each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Said {
    /// It is about to be sent.
    Sending {
        /// The message.
        message_id: String,
        /// To whom.
        recipient: String,
        /// The sender's count.
        seq: u64,
    },
    /// It was taken: from now on it must arrive.
    Queued {
        /// The message.
        message_id: String,
    },
    /// It was not taken.
    Failed {
        /// The message.
        message_id: String,
        /// Why.
        code: String,
    },
}

/// The thread of all messages between the two.
pub fn thread(sender: &str, recipient: &str) -> String {
    format!("{sender}-{recipient}")
}

/// Joins, and sends until the time is over; then only what is left.
///
/// # Errors
/// When it can't join within two minutes, or open its outbox.
pub async fn run(args: SenderArgs) -> Result<()> {
    die_with_parent();
    let node = join(&args).await?;
    let mut next = Instant::now();
    let mut count: usize = 0;
    while now_ms() < args.until_ms {
        sleep_until(next).await;
        next += Duration::from_secs_f64(1.0 / args.rate);
        let (recipient, account) = &args.target[count % args.target.len()];
        count += 1;
        send(&node, &args.username, recipient, account, count as u64).await?;
    }
    std::future::pending().await
}

async fn send(node: &AgentNode, sender: &str, recipient: &str, account: &str, count: u64) -> Result<()> {
    // A later process counts on, without having to know how far the earlier one came.
    let seq = now_ms() * 1000 + count % 1000;
    let message_id = format!("{:032x}", rand::random::<u128>());
    say(&Said::Sending { message_id: message_id.clone(), recipient: recipient.to_owned(), seq })?;
    let content = Content { sender: sender.to_owned(), seq, text: "kept in a file".to_owned() };
    let send = node.send_to_account(account, content).thread(thread(sender, recipient));
    say(&match send.message_id(&message_id).ttl(TTL).queued().await {
        Ok(_) => Said::Queued { message_id },
        Err(error) => Said::Failed { message_id, code: error.code().to_owned() },
    })
}

/// In one write each, so that whoever kills us cuts at most the last line.
fn say(said: &Said) -> Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}

async fn join(args: &SenderArgs) -> Result<AgentNode> {
    let start = Instant::now();
    loop {
        let mut builder = AgentNode::builder(&args.username).username(&args.username);
        if let Some(path) = &args.outbox {
            builder = builder.outbox_file(path);
        }
        match builder.start().await {
            Ok(node) => return Ok(node),
            Err(error) if start.elapsed() >= JOIN => return Err(error).context("can't join"),
            Err(error) => tracing::info!(%error, "trying to join"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn now_ms() -> u64 {
    u64::try_from(SystemClock.now().unix_millis()).unwrap_or(0)
}

fn target(text: &str) -> Result<(String, String), String> {
    let (name, account) = text.split_once('=').ok_or("expected USERNAME=ACCOUNT")?;
    Ok((name.to_owned(), account.to_owned()))
}
