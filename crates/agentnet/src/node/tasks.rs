//! The node's tasks: a fixed number, whatever the load.

use std::{borrow::Cow, panic::AssertUnwindSafe, sync::Arc};

use agentnet_proto::{
    AccountEvent, Capability, EventType, StoredNotice, Subject, rpc::ThreadEvent, task::TaskEvent,
};
use async_nats::{Client, Subscriber};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    Inner,
    feed::{Feed, Renewed},
    maintain,
};
use crate::{
    connect::Connection,
    error::Error,
    groups::answer_invitations,
    inbox::{Source, panic_text, work},
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
    streams: Subscriber,
    keys: Option<Subscriber>,
    /// News of whom the account blocks, for those who take messages.
    blocks: Option<Subscriber>,
    /// What happens to tasks.
    tasks: Subscriber,
    intake: Option<Intake>,
}

/// The subscriptions of a node as a recipient.
pub(super) struct Intake {
    inbox: Subscriber,
    redelivery: Subscriber,
    capabilities: Vec<Subscriber>,
}

impl Intake {
    pub(super) async fn open_on(
        connection: &Connection,
        client: &Client,
        account: &agentnet_proto::AccountId,
        names: &[Capability],
    ) -> Result<Self, Error> {
        let mut capabilities = Vec::with_capacity(names.len());
        for name in names {
            capabilities.push(subscribe(connection, client, &Subject::Capability(name.clone())).await?);
        }
        Ok(Self {
            inbox: subscribe(connection, client, &Subject::Inbox(account.clone())).await?,
            redelivery: subscribe(connection, client, &Subject::Redelivery(account.clone())).await?,
            capabilities,
        })
    }
}

async fn subscribe(connection: &Connection, client: &Client, subject: &Subject) -> Result<Subscriber, Error> {
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
        Self::open_on(connection, &connection.client(), account, capabilities, true, checks).await
    }

    /// The same on a client that is to take the connection over; as a recipient only while the node is online.
    pub(super) async fn open_on(
        connection: &Connection,
        client: &Client,
        account: &agentnet_proto::AccountId,
        capabilities: Option<&[Capability]>,
        is_online: bool,
        checks: bool,
    ) -> Result<Self, Error> {
        let id = || account.clone();
        let replies = client
            .subscribe(Subject::all_replies(account))
            .await
            .map_err(|e| connection.unavailable().source_of(e))?;
        let streams = client
            .subscribe(Subject::all_streams(account))
            .await
            .map_err(|e| connection.unavailable().source_of(e))?;
        let keys = match checks {
            true => Some(subscribe(connection, client, &Subject::Event(EventType::Keys)).await?),
            false => None,
        };
        let blocks = match capabilities {
            None => None,
            Some(_) => Some(subscribe(connection, client, &Subject::Blocks(id())).await?),
        };
        let intake = match capabilities.filter(|_| is_online) {
            None => None,
            Some(names) => Some(Intake::open_on(connection, client, account, names).await?),
        };
        Ok(Self {
            receipts: subscribe(connection, client, &Subject::Receipts(id())).await?,
            threads: subscribe(connection, client, &Subject::Threads(id())).await?,
            stored: subscribe(connection, client, &Subject::Stored(id())).await?,
            replies,
            streams,
            keys,
            blocks,
            tasks: subscribe(connection, client, &Subject::Tasks(id())).await?,
            intake,
        })
    }
}

/// Where the subscriptions of a renewed connection go.
pub(super) struct Feeds {
    receipts: Renewed,
    threads: Renewed,
    stored: Renewed,
    replies: Renewed,
    streams: Renewed,
    keys: Option<Renewed>,
    blocks: Option<Renewed>,
    tasks: Renewed,
    intake: Option<IntakeFeeds>,
}

struct IntakeFeeds {
    /// What is heard beside the inbox.
    names: Vec<Capability>,
    inbox: Renewed,
    redelivery: Renewed,
    capabilities: Renewed,
}

impl Feeds {
    /// The capabilities that are heard; `None` for a node that takes no messages.
    pub(super) fn heard(&self) -> Option<&[Capability]> {
        self.intake.as_ref().map(|intake| intake.names.as_slice())
    }

    /// Hands over the subscriptions of a node that is online again.
    pub(super) async fn resumed(&self, intake: Intake) {
        let Some(feeds) = &self.intake else { return };
        for (feed, subscription) in feeds.pairs(intake) {
            let _ = feed.send(subscription).await;
        }
    }

    /// Hands over the subscriptions of a renewed connection.
    pub(super) async fn renewed(&self, subscriptions: Subscriptions) {
        let Subscriptions { receipts, threads, stored, replies, streams, keys, blocks, tasks, intake } =
            subscriptions;
        let mut pairs = vec![
            (&self.receipts, receipts),
            (&self.threads, threads),
            (&self.stored, stored),
            (&self.replies, replies),
            (&self.streams, streams),
            (&self.tasks, tasks),
        ];
        pairs.extend(self.keys.as_ref().zip(keys));
        pairs.extend(self.blocks.as_ref().zip(blocks));
        if let (Some(feeds), Some(intake)) = (&self.intake, intake) {
            pairs.extend(feeds.pairs(intake));
        }
        for (feed, subscription) in pairs {
            // Its reader has ended when the node is closing.
            let _ = feed.send(subscription).await;
        }
    }
}

impl IntakeFeeds {
    fn pairs(&self, intake: Intake) -> impl Iterator<Item = (&Renewed, Subscriber)> {
        let Intake { inbox, redelivery, capabilities } = intake;
        [(&self.inbox, inbox), (&self.redelivery, redelivery)]
            .into_iter()
            .chain(capabilities.into_iter().map(|one| (&self.capabilities, one)))
    }
}

/// Starts everything; with where the subscriptions of a renewed connection go.
pub(super) fn spawn(
    inner: &Arc<Inner>,
    subscriptions: Subscriptions,
    names: Vec<Capability>,
) -> (Tasks, Feeds) {
    let Subscriptions { receipts, threads, stored, replies, streams, keys, blocks, tasks: news, intake } =
        subscriptions;
    let receipts = run(inner, "reader of receipts", receipts, |inner, message| async move {
        inner.take_receipt(&message).await;
    });
    let stored = run(inner, "reader of confirmations", stored, |inner, message| async move {
        match serde_json::from_slice::<StoredNotice<Cow<'_, str>>>(&message.payload) {
            Ok(notice) => {
                inner.outbox.stored(notice.message_ids.iter().map(|id| &**id));
                inner.receipts.confirmed(&notice.receipts);
                for failed in &notice.failed {
                    inner.outbox.failed(failed);
                }
                for handled in &notice.handled {
                    inner.outbox.handled(handled);
                }
            }
            Err(error) => tracing::warn!(%error, "confirmation ignored: can't be read"),
        }
    });
    let threads = run(inner, "reader of threads", threads, |inner, message| async move {
        match serde_json::from_slice::<ThreadEvent>(&message.payload) {
            Ok(event) => inner.thread_changed(event),
            Err(error) => tracing::debug!(%error, "news of a thread ignored: can't be read"),
        }
    });
    let replies = run(inner, "reader of replies", replies, |inner, message| async move {
        inner.take_reply(&message).await;
    });
    let keys = keys.map(|keys| {
        run(inner, "reader of news of keys", keys, |inner, message| async move {
            if let Ok(event) = serde_json::from_slice::<AccountEvent>(&message.payload) {
                inner.auth.changed(&event);
            }
        })
    });
    let streams = run(inner, "reader of streams", streams, |inner, message| async move {
        inner.take_frame(&message).await;
    });
    spawn_watched(inner, "streams", crate::streams::serve(Arc::clone(inner)));
    let blocks = blocks.map(|blocks| {
        run(inner, "reader of news of blocks", blocks, |inner, _| async move {
            inner.blocks.changed();
            if let Err(error) = inner.refresh_blocks().await {
                tracing::debug!(%error, "whom the account blocks couldn't be read; trying on");
            }
        })
    });
    let news = run(inner, "reader of news of tasks", news, |inner, message| async move {
        match serde_json::from_slice::<TaskEvent>(&message.payload) {
            Ok(event) => inner.tasks.heard(event),
            Err(error) => tracing::debug!(%error, "news of a task ignored: can't be read"),
        }
    });
    let maintenance = maintain::run(Arc::clone(inner));
    spawn_watched(inner, "maintenance", maintenance);
    spawn_watched(inner, "answers to invitations", answer_invitations(Arc::clone(inner)));
    let (mut tasks, mut feeds) = (
        Tasks::default(),
        Feeds { receipts, threads, stored, replies, streams, keys, blocks, tasks: news, intake: None },
    );
    if let Some(intake) = intake {
        let (inbox, inbox_feed) = Feed::new([intake.inbox]);
        let (redelivery, redelivery_feed) = Feed::new([intake.redelivery]);
        let (capabilities, capabilities_feed) = Feed::new(intake.capabilities);
        feeds.intake = Some(IntakeFeeds { names, inbox, redelivery, capabilities });
        let heard = [inbox_feed, redelivery_feed, capabilities_feed];
        tasks.intake =
            Some(spawn_watched(inner, "intake", read(Arc::clone(inner), heard, tasks.stop_intake.clone())));
        let workers = inner.config.max_concurrency.max(1);
        tasks.workers =
            (0..workers).map(|_| spawn_watched(inner, "worker", work(Arc::clone(inner)))).collect();
    }
    (tasks, feeds)
}

/// Runs the task until the node stops; a panic in it stops the node.
pub(super) fn spawn_watched(
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
    subscription: Subscriber,
    take: impl Fn(Arc<Inner>, async_nats::Message) -> F + Send + 'static,
) -> Renewed
where
    F: Future<Output = ()> + Send,
{
    let node = Arc::clone(inner);
    let (renewed, mut feed) = Feed::new([subscription]);
    spawn_watched(inner, name, async move {
        while let Some(message) = feed.next().await {
            take(Arc::clone(&node), message).await;
        }
    });
    renewed
}

/// Reads everything that is for the handler, one message at a time: what comes in twice at once, live and delivered
/// again, is still seen once.
async fn read(inner: Arc<Inner>, heard: [Feed; 3], stop: CancellationToken) {
    let [mut inbox, mut redelivery, mut capabilities] = heard;
    let stopped = stop.cancelled();
    tokio::pin!(stopped);
    let mut wanted = inner.intake_wanted.subscribe();
    loop {
        let (message, source) = tokio::select! {
            () = &mut stopped => break,
            Ok(()) = wanted.changed() => {
                if !*wanted.borrow_and_update() {
                    pause(&inner, [&mut inbox, &mut redelivery, &mut capabilities]).await;
                }
                continue;
            }
            Some(message) = inbox.next() => (message, Source::Inbox),
            Some(message) = redelivery.next() => (message, Source::Redelivery),
            Some(message) = capabilities.next() => (message, Source::Inbox),
            else => return,
        };
        inner.admit(message, source).await;
    }
    // Other sessions of the queue groups get what comes from now on; what is here already is answered.
    let (inbox, redelivery) = (inbox.drain().await, redelivery.drain().await);
    let capabilities = capabilities.drain().await;
    let mut rest = futures_util::stream::select_all([
        inbox.map(|m| (m, Source::Inbox)).boxed(),
        redelivery.map(|m| (m, Source::Redelivery)).boxed(),
        capabilities.map(|m| (m, Source::Inbox)).boxed(),
    ]);
    while let Some((message, source)) = rest.next().await {
        inner.admit(message, source).await;
    }
}

/// Other sessions of the queue groups get what comes from now on; what is here already is admitted.
async fn pause(inner: &Arc<Inner>, [inbox, redelivery, capabilities]: [&mut Feed; 3]) {
    for feed in [&mut *inbox, &mut *redelivery, &mut *capabilities] {
        feed.end_current().await;
    }
    for (feed, source) in
        [(inbox, Source::Inbox), (redelivery, Source::Redelivery), (capabilities, Source::Inbox)]
    {
        while let Some(message) = feed.next_of_current().await {
            inner.admit(message, source).await;
        }
    }
    inner.intake_paused.notify_one();
}
