//! The node's tasks: a fixed number, whatever the load.

use std::{borrow::Cow, panic::AssertUnwindSafe, sync::Arc};

use agentnet_proto::{AccountEvent, Capability, EventType, StoredNotice, Subject, rpc::ThreadEvent};
use async_nats::Subscriber;
use futures_util::{FutureExt as _, StreamExt as _, stream::SelectAll};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Inner, maintain};
use crate::{
    connect::Connection,
    error::Error,
    inbox::{Handler, Source, panic_text, work},
};

/// Handles of the tasks, by what they do.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// Reads the inbox; ends by itself once `stop_intake` is cancelled and what had arrived is answered.
    pub(super) intake: Option<JoinHandle<()>>,
    pub(super) stop_intake: CancellationToken,
    pub(super) workers: Vec<JoinHandle<()>>,
}

/// The subscriptions of a node. Made before its first hello, so that nothing is delivered to nobody.
pub(super) struct Subscriptions {
    receipts: Subscriber,
    threads: Subscriber,
    stored: Subscriber,
    replies: Subscriber,
    keys: Option<Subscriber>,
    intake: Option<Intake>,
}

struct Intake {
    inbox: Subscriber,
    redelivery: Subscriber,
    capabilities: Vec<Subscriber>,
}

async fn subscribe(connection: &Connection, subject: &Subject) -> Result<Subscriber, Error> {
    let client = connection.client();
    let subscribed = match subject.queue_group() {
        Some(group) => client.queue_subscribe(subject.to_string(), group).await,
        None => client.subscribe(subject.to_string()).await,
    };
    subscribed.map_err(|e| connection.unavailable().source_of(e))
}

impl Subscriptions {
    /// Subscribes to what concerns the account as a sender, and with a handler as a recipient; to news of keys where
    /// signatures are checked.
    pub(super) async fn open(
        connection: &Connection,
        account: &agentnet_proto::AccountId,
        capabilities: Option<&[Capability]>,
        checks: bool,
    ) -> Result<Self, Error> {
        let id = || account.clone();
        let replies = connection
            .client()
            .subscribe(Subject::all_replies(account))
            .await
            .map_err(|e| connection.unavailable().source_of(e))?;
        let keys = match checks {
            true => Some(subscribe(connection, &Subject::Event(EventType::Keys)).await?),
            false => None,
        };
        let intake = match capabilities {
            None => None,
            Some(names) => {
                let mut capabilities = Vec::with_capacity(names.len());
                for name in names {
                    capabilities.push(subscribe(connection, &Subject::Capability(name.clone())).await?);
                }
                Some(Intake {
                    inbox: subscribe(connection, &Subject::Inbox(id())).await?,
                    redelivery: subscribe(connection, &Subject::Redelivery(id())).await?,
                    capabilities,
                })
            }
        };
        Ok(Self {
            receipts: subscribe(connection, &Subject::Receipts(id())).await?,
            threads: subscribe(connection, &Subject::Threads(id())).await?,
            stored: subscribe(connection, &Subject::Stored(id())).await?,
            replies,
            keys,
            intake,
        })
    }
}

/// Starts everything.
pub(super) fn spawn(inner: &Arc<Inner>, subscriptions: Subscriptions, handler: Option<&Handler>) -> Tasks {
    let Subscriptions { receipts, threads, stored, replies, keys, intake } = subscriptions;
    run(
        inner,
        "reader of receipts",
        receipts,
        |inner, message| async move { inner.take_receipt(&message).await },
    );
    run(inner, "reader of confirmations", stored, |inner, message| async move {
        match serde_json::from_slice::<StoredNotice<Cow<'_, str>>>(&message.payload) {
            Ok(notice) => {
                inner.outbox.stored(notice.message_ids.iter().map(|id| &**id));
                inner.receipts.confirmed(&notice.receipts);
                for failed in &notice.failed {
                    inner.outbox.failed(failed);
                }
            }
            Err(error) => tracing::warn!(%error, "confirmation ignored: can't be read"),
        }
    });
    run(inner, "reader of threads", threads, |inner, message| async move {
        match serde_json::from_slice::<ThreadEvent>(&message.payload) {
            Ok(event) => inner.members_changed(&event),
            Err(error) => tracing::debug!(%error, "news of a thread ignored: can't be read"),
        }
    });
    run(
        inner,
        "reader of replies",
        replies,
        |inner, message| async move { inner.take_reply(&message).await },
    );
    if let Some(keys) = keys {
        run(inner, "reader of news of keys", keys, |inner, message| async move {
            if let Ok(event) = serde_json::from_slice::<AccountEvent>(&message.payload) {
                inner.auth.keys().changed(&event);
            }
        });
    }
    let maintenance = maintain::run(Arc::clone(inner));
    spawn_watched(inner, "maintenance", maintenance);
    let mut tasks = Tasks::default();
    if let (Some(intake), Some(handler)) = (intake, handler) {
        tasks.intake =
            Some(spawn_watched(inner, "intake", read(Arc::clone(inner), intake, tasks.stop_intake.clone())));
        let workers = inner.config.max_concurrency.max(1);
        tasks.workers = (0..workers)
            .map(|_| spawn_watched(inner, "worker", work(Arc::clone(inner), Arc::clone(handler))))
            .collect();
    }
    tasks
}

/// Runs the task until the node stops; a panic in it stops the node.
fn spawn_watched(
    inner: &Arc<Inner>,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        let ended = inner.cancel.run_until_cancelled(AssertUnwindSafe(task).catch_unwind()).await;
        if let Some(Err(panic)) = ended {
            inner.broke(name, panic_text(&*panic)).await;
        }
    })
}

/// Reads a subscription, one message after the other. None waits for long: for a key to check with at most.
fn run<F>(
    inner: &Arc<Inner>,
    name: &'static str,
    mut subscription: Subscriber,
    take: impl Fn(Arc<Inner>, async_nats::Message) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let node = Arc::clone(inner);
    spawn_watched(inner, name, async move {
        while let Some(message) = subscription.next().await {
            take(Arc::clone(&node), message).await;
        }
    });
}

/// Reads everything that is for the handler, one message at a time: what comes in twice at once, live and delivered
/// again, is still seen once.
async fn read(inner: Arc<Inner>, intake: Intake, stop: CancellationToken) {
    let Intake { mut inbox, mut redelivery, capabilities } = intake;
    let mut capabilities: SelectAll<Subscriber> = capabilities.into_iter().collect();
    let stopped = stop.cancelled();
    tokio::pin!(stopped);
    loop {
        let (message, source) = tokio::select! {
            () = &mut stopped => break,
            Some(message) = inbox.next() => (message, Source::Inbox),
            Some(message) = redelivery.next() => (message, Source::Redelivery),
            Some(message) = capabilities.next() => (message, Source::Inbox),
            else => return,
        };
        inner.admit(message, source).await;
    }
    // Other sessions of the queue groups get what comes from now on; what is here already is answered.
    let _ = inbox.drain().await;
    let _ = redelivery.drain().await;
    for capability in capabilities.iter_mut() {
        let _ = capability.drain().await;
    }
    let mut rest = futures_util::stream::select_all([
        inbox.map(|m| (m, Source::Inbox)).boxed(),
        redelivery.map(|m| (m, Source::Redelivery)).boxed(),
        capabilities.map(|m| (m, Source::Inbox)).boxed(),
    ]);
    while let Some((message, source)) = rest.next().await {
        inner.admit(message, source).await;
    }
}
