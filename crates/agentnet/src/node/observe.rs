//! Listening beside the inbox: what passes on the account's own subjects, seen by whoever observes and taken by nobody.

use std::time::Duration;

use agentnet_proto::{Subject, subject};
use async_nats::{Client, Message, Subscriber};
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use super::{
    AgentNode,
    feed::{Feed, Renewed},
};
use crate::{connect::Connection, error::Error};

/// How long the server may take to confirm the subscriptions.
const CONFIRM: Duration = Duration::from_secs(5);

/// What to observe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// Messages to this account, delivered again or not.
    Mail,
    /// Answers to what any session of this account asked.
    Replies,
    /// What recipients and the network say about messages of this account.
    Receipts,
    /// What sessions of this account tell each other about `name`, with [`AgentNode::tell`].
    Told(String),
    /// Messages to any account and capability: operators, and everybody in open mode.
    AllMail,
    /// Receipts for any account: operators, and everybody in open mode.
    AllReceipts,
}

/// What is observed, until it is dropped. Goes on over reconnects and renewals of the connection; around those a message
/// may come twice, and what comes faster than it is read for long is dropped.
#[derive(Debug)]
pub struct Observation {
    feed: Feed,
    ended: CancellationToken,
}

impl Observation {
    /// The next message; `None` once the node is closed.
    pub async fn next(&mut self) -> Option<Message> {
        tokio::select! {
            message = self.feed.next() => message,
            () = self.ended.cancelled() => None,
        }
    }
}

/// The observations of a node, for the renewal of its connection.
#[derive(Debug, Default)]
pub(crate) struct Observers(Mutex<Vec<(String, Renewed)>>);

/// Holds off new observations while the connection changes.
pub(super) type Held<'a> = MutexGuard<'a, Vec<(String, Renewed)>>;

impl Observers {
    /// Subscribes everything that is observed on a client that is to take over. Nobody begins to observe before the result
    /// is dropped, which is after the client took over.
    pub(super) async fn renew(&self, connection: &Connection, client: &Client) -> Result<Held<'_>, Error> {
        let mut held = self.0.lock().await;
        held.retain(|(_, renewed)| !renewed.is_closed());
        for (subject, renewed) in held.iter() {
            // Full only if the reader is stuck for many renewals; it then hears what it has.
            let _ = renewed.try_send(subscribe(connection, client, subject).await?);
        }
        Ok(held)
    }
}

async fn subscribe(connection: &Connection, client: &Client, subject: &str) -> Result<Subscriber, Error> {
    client.subscribe(subject.to_owned()).await.map_err(|e| connection.unavailable().source_of(e))
}

impl AgentNode {
    /// Observes. Messages stay as they are: they are accepted by the account's sessions that have a handler, or wait.
    ///
    /// When this returns, the server knows. In secure mode a server ignores what the account may not observe.
    ///
    /// # Errors
    /// [`ErrorKind::NatsUnavailable`](crate::ErrorKind::NatsUnavailable),
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a name that is no subject token.
    pub async fn observe(&self, what: &[Observed]) -> Result<Observation, Error> {
        let mut subjects = Vec::new();
        for one in what {
            subjects.extend(self.subjects(one)?);
        }
        let connection = &self.inner.connection;
        let mut held = self.inner.observers.0.lock().await;
        let client = connection.client();
        let mut subscriptions = Vec::with_capacity(subjects.len());
        for subject in &subjects {
            subscriptions.push(subscribe(connection, &client, subject).await?);
        }
        connection.round_trip(CONFIRM).await?;
        let (renewed, feed) = Feed::new(subscriptions);
        held.retain(|(_, renewed)| !renewed.is_closed());
        held.extend(subjects.into_iter().map(|subject| (subject, renewed.clone())));
        Ok(Observation { feed, ended: self.inner.cancel.clone() })
    }

    /// Tells the other sessions of this account, those that observe [`Observed::Told`] of `name` now. Nothing of it is
    /// stored or repeated.
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    pub async fn tell(&self, name: &str, body: Vec<u8>) -> Result<(), Error> {
        let subject = self.told(name)?;
        let connection = &self.inner.connection;
        connection
            .client()
            .publish(subject, body.into())
            .await
            .map_err(|e| connection.unavailable().source_of(e))
    }

    fn told(&self, name: &str) -> Result<String, Error> {
        let token = subject::Token::new(name)
            .map_err(|code| Error::of(code, format!("{name:?} is no subject token")))?;
        Ok(Subject::Stream(self.inner.account.clone(), token).to_string())
    }

    fn subjects(&self, what: &Observed) -> Result<Vec<String>, Error> {
        let account = || self.inner.account.clone();
        let own = |subjects: [Subject; 2]| subjects.map(|subject| subject.to_string()).to_vec();
        Ok(match what {
            Observed::Mail => own([Subject::Inbox(account()), Subject::Redelivery(account())]),
            Observed::Replies => vec![Subject::all_replies(&self.inner.account)],
            Observed::Receipts => own([Subject::Receipts(account()), Subject::Stored(account())]),
            Observed::Told(name) => vec![self.told(name)?],
            Observed::AllMail => vec![subject::ALL_INBOXES.to_owned(), subject::ALL_CAPABILITIES.to_owned()],
            Observed::AllReceipts => vec![subject::ALL_RECEIPTS.to_owned()],
        })
    }
}
