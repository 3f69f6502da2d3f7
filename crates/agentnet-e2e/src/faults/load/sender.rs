//! One sending account.

use std::{collections::HashMap, sync::Arc, time::Duration};

use agentnet::{AgentNode, DeliveryHandle, Error, Stage};
use tokio::sync::{Semaphore, mpsc};

use super::{TTL, Target, legacy};
use crate::faults::{
    agent::Content,
    ledger::{Entry, Form, Ledger, Told},
};

/// As much as a chat message has.
const TEXT: &str =
    "Could you look at the report from this morning and tell me whether the figures for last week are final?";
/// Requests of one sender that wait for a reply.
const REQUESTS: usize = 256;
/// How long a reply may take.
const REPLY: Duration = Duration::from_secs(5);
/// Of so many sends, one also asks for the later stages, to compare them with what happened.
const FOLLOW_EVERY: u64 = 4;

/// A message that is due.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) due: Duration,
    pub(super) target: Target,
    pub(super) form: Form,
}

#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) name: String,
    pub(super) node: AgentNode,
    ledger: Arc<Ledger>,
    no_outbox: bool,
    requests: Arc<Semaphore>,
}

impl Sender {
    pub(super) fn new(node: AgentNode, ledger: Arc<Ledger>, no_outbox: bool) -> Self {
        let requests = Arc::new(Semaphore::new(REQUESTS));
        Self { name: node.username(), node, ledger, no_outbox, requests }
    }

    /// Sends what comes through the queue, one after the other, until its other end is dropped.
    pub(super) fn start(&self, capacity: usize) -> mpsc::Sender<Order> {
        let (queue, mut orders) = mpsc::channel::<Order>(capacity);
        let sender = self.clone();
        tokio::spawn(async move {
            let mut counts: HashMap<String, u64> = HashMap::new();
            while let Some(order) = orders.recv().await {
                let seq = counts.entry(order.target.username.clone()).or_default();
                *seq += 1;
                sender.send(order, *seq).await;
            }
        });
        queue
    }

    async fn send(&self, order: Order, seq: u64) {
        let entry = Entry {
            message_id: format!("{:032x}", rand::random::<u128>()),
            sender: self.name.clone(),
            recipient: order.target.username.clone(),
            seq,
            form: order.form,
            thread_id: format!("{}-{}", self.name, order.target.username),
            due: order.due,
            told: None,
        };
        self.ledger.sending(entry.clone());
        let content = Content { sender: self.name.clone(), seq, text: TEXT.to_owned() };
        match order.form {
            Form::Direct if self.no_outbox => {
                let told = match legacy::publish(&self.node, &order.target, &entry, &content, 1).await {
                    Ok(()) => Told::Acknowledged(Stage::Stored),
                    Err(error) => Told::Failed(error),
                };
                self.ledger.told(&entry.message_id, told);
            }
            Form::Direct | Form::Capability => self.deliver(&order.target, entry, content).await,
            Form::Request => self.ask(order.target, entry, content),
            Form::Legacy => {
                let told = match legacy::publish(&self.node, &order.target, &entry, &content, 2).await {
                    Ok(()) => Told::Nothing,
                    Err(error) => Told::Failed(error),
                };
                self.ledger.told(&entry.message_id, told);
            }
        }
    }

    /// Hands the message to the node in its turn, and waits for the rest on the side.
    async fn deliver(&self, target: &Target, entry: Entry, content: Content) {
        let send = match entry.form {
            Form::Capability => self.node.send_to_capability(&target.username, content),
            _ => self.node.send_to_account(&target.account_id, content),
        };
        let send = send
            .thread(&entry.thread_id)
            .message_id(&entry.message_id)
            .ttl(TTL)
            // Until it is confirmed: the waiting time is what is measured.
            .retry_attempts(u32::MAX);
        match send.queued().await {
            Ok(handle) => {
                tokio::spawn(follow(handle, self.ledger.clone(), entry.seq));
            }
            Err(error) => self.ledger.told(&entry.message_id, failed(&error)),
        }
    }

    fn ask(&self, target: Target, entry: Entry, content: Content) {
        let sender = self.clone();
        tokio::spawn(async move {
            let Ok(_turn) = sender.requests.acquire().await else { return };
            let request = sender.node.request_account(&target.account_id, content);
            let told =
                match request.thread(&entry.thread_id).message_id(&entry.message_id).timeout(REPLY).await {
                    Ok(_) => Told::Acknowledged(Stage::Processed),
                    Err(error) => failed(&error),
                };
            sender.ledger.told(&entry.message_id, told);
        });
    }
}

async fn follow(handle: DeliveryHandle, ledger: Arc<Ledger>, seq: u64) {
    let told = match handle.delivered().await {
        Ok(delivery) => Told::Acknowledged(delivery.stage.unwrap_or(Stage::Stored)),
        Err(error) => failed(&error),
    };
    let acknowledged = matches!(told, Told::Acknowledged(_));
    ledger.told(handle.message_id(), told);
    if acknowledged && seq.is_multiple_of(FOLLOW_EVERY) && handle.until(Stage::Processed).await.is_ok() {
        ledger.advanced(handle.message_id(), Stage::Processed);
    }
}

fn failed(error: &Error) -> Told {
    Told::Failed(error.code().to_owned())
}
