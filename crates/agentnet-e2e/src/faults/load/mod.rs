//! The load: messages at a fixed rate, whatever becomes of them.
//!
//! Open loop: a message is due when the clock says so, not when the last one is done, and its waiting time counts from
//! then. What is under way is bounded by the senders' outboxes and queues; a sender that falls behind sends late, and
//! that shows in its figures.

mod legacy;
mod poison;
mod sender;

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use agentnet::{AgentNode, IdentityStore};
use agentnet_proto::SharedClock;
use anyhow::{Context, Result};
use tokio::{sync::mpsc, time::sleep_until};

pub use self::poison::Poison;
use self::sender::{Order, Sender};
use super::{agents::CAPABILITY, ledger::Form, ledger::Ledger};

/// Messages that wait for their sender's turn; at 500 a second this is over a minute of outage.
const QUEUE: usize = 10_000;
/// How long a message is worth delivering: longer than any run, so that its end excuses nothing.
const TTL: Duration = Duration::from_secs(1800);

/// One to whom messages go.
#[derive(Debug, Clone)]
pub struct Target {
    /// Username, and name of the journal.
    pub username: String,
    /// Account.
    pub account_id: String,
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Plan {
    /// URL of NATS.
    pub nats_url: String,
    /// Messages per second in all.
    pub rate: f64,
    /// For how long.
    pub lasts: Duration,
    /// Accounts that send.
    pub senders: usize,
    /// Accounts that receive, in equal parts.
    pub targets: Vec<Target>,
    /// One more account, and how many further messages it gets, spread over the run.
    pub backlog: Option<(Target, u64)>,
    /// One in so many messages is poison; 0 for none.
    pub poison_every: u64,
    /// How wrong the clocks of every second sender are, in milliseconds.
    pub clock_offset_ms: i64,
    /// Every second sender signs; the others too, when the network asks for it.
    pub signed: bool,
    /// Where signing keys are.
    pub key_dir: PathBuf,
    /// A publish counts as an acknowledgement: the negative control.
    pub no_outbox: bool,
}

/// What the load did.
#[derive(Debug, Default)]
pub struct Sent {
    /// Messages that found their sender's queue full, and were not sent.
    pub skipped: u64,
    /// Bodies that must end in the quarantine.
    pub poison: HashSet<Vec<u8>>,
}

/// The senders, joined and ready.
#[derive(Debug)]
pub struct Load {
    plan: Plan,
    ledger: Arc<Ledger>,
    senders: Vec<Sender>,
    poison: Poison,
}

impl Load {
    /// Joins the senders.
    ///
    /// # Errors
    /// When one can't join.
    pub async fn prepare(plan: Plan, ledger: Arc<Ledger>) -> Result<Self> {
        let mut senders = Vec::new();
        for index in 0..plan.senders.max(1) {
            let node = join(&plan, index).await.with_context(|| format!("sender-{index} can't join"))?;
            senders.push(Sender::new(node, ledger.clone(), plan.no_outbox));
        }
        let poison = Poison::new(senders[0].node.connection().client().as_ref().clone());
        Ok(Self { plan, ledger, senders, poison })
    }

    /// Messages in the senders' outboxes.
    pub fn unconfirmed(&self) -> usize {
        self.senders.iter().map(|sender| sender.node.metrics_snapshot().outbox_count).sum()
    }

    /// A registry client for whoever looks at the outcome.
    pub fn registry(&self) -> agentnet::RegistryClient {
        self.senders[0].node.registry().clone().with_timeout(Duration::from_secs(10))
    }

    /// Sends until the time is over. When it returns, everything was handed to its sender; the ledger says which
    /// senders still wait.
    pub async fn run(&mut self, start: Instant) -> Sent {
        let queues: Vec<mpsc::Sender<Order>> =
            self.senders.iter().map(|sender| sender.start(QUEUE)).collect();
        let total = (self.plan.rate * self.plan.lasts.as_secs_f64()) as u64;
        let (backlog_target, backlog) = self.plan.backlog.clone().map_or((None, 0), |(t, n)| (Some(t), n));
        let mut sent = Sent::default();
        let began = self.ledger.at(start);
        for count in 0..total {
            let due = Duration::from_secs_f64(count as f64 / self.plan.rate);
            sleep_until((start + due).into()).await;
            if self.plan.poison_every > 0 && count % self.plan.poison_every == self.plan.poison_every - 1 {
                let target = &self.plan.targets[count as usize % self.plan.targets.len()];
                if let Some(body) = self.poison.publish(target).await {
                    sent.poison.insert(body);
                }
                continue;
            }
            let due = began + due;
            let mut orders = vec![self.order(count, due)];
            // Spread evenly: as many of the backlog have gone as the run has.
            if let Some(target) = &backlog_target {
                let portion = count * backlog / total..(count + 1) * backlog / total;
                orders.extend(portion.map(|_| Order { due, target: target.clone(), form: Form::Direct }));
            }
            for order in orders {
                let queue = &queues[count as usize % queues.len()];
                sent.skipped += u64::from(queue.try_send(order).is_err());
            }
        }
        sent
    }

    /// Closes the senders.
    pub async fn close(&self) {
        for sender in &self.senders {
            if let Err(error) = sender.node.close().await {
                tracing::warn!(sender = sender.name, %error, "closing");
            }
        }
    }

    /// Three in four directly, the rest as requests, to a capability, and as old SDKs send.
    fn order(&self, count: u64, due: Duration) -> Order {
        let form = match count % 20 {
            3 | 9 | 15 => Form::Request,
            6 | 13 => Form::Capability,
            // When a publish is all there is, only what is published can be judged.
            19 if !self.plan.no_outbox => Form::Legacy,
            _ => Form::Direct,
        };
        let form = if self.plan.no_outbox { Form::Direct } else { form };
        let target = if form == Form::Capability {
            Target { username: CAPABILITY.to_owned(), account_id: String::new() }
        } else {
            // Not in step with the senders' turns, so that every sender reaches every target.
            self.plan.targets[(count / self.senders.len() as u64) as usize % self.plan.targets.len()].clone()
        };
        Order { due, target, form }
    }

    /// The ledger the senders write.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }
}

async fn join(plan: &Plan, index: usize) -> Result<AgentNode> {
    let odd = index % 2 == 1;
    let offset = if odd { plan.clock_offset_ms } else { 0 };
    let clock: SharedClock = super::service::clock(Some(&offset.to_string()));
    let name = format!("sender-{index}");
    let mut sender = AgentNode::builder(&name)
        .username(&name)
        .nats_url(&plan.nats_url)
        .dev_auth(plan.signed)
        .key_dir(&plan.key_dir)
        .clock(clock);
    // An open network asks for no signature, and takes one.
    if odd && !plan.signed {
        let identity = IdentityStore::new(&plan.key_dir).open_or_create(&name, None)?;
        sender = sender.identity(identity);
    }
    Ok(sender.start().await?)
}
