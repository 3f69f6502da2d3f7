//! Listening beside the inbox: what passes on the account's own subjects, seen by whoever observes and taken by nobody.
//!
//! Anybody may publish to anybody's inbox; so what is shown has passed the same questions as what is taken: whether it is
//! its sender's, and for this account.

use std::{borrow::Cow, sync::Arc, time::Duration};

use agentnet_proto::{Envelope, ErrorCode, Receipt, Subject, signature::Purpose, subject};
use async_nats::{Client, Message, Subscriber};
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use super::{
    AgentNode, Inner,
    feed::{Feed, Renewed},
};
use crate::{
    auth::{Unproved, headers},
    connect::Connection,
    error::Error,
    groups::Post,
    inbox::{Source, check_time},
};

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
///
/// Where the network wants signatures, what isn't its sender's is left out and counted, as in the inbox; and so is, in
/// every mode, what the account wouldn't take: mail of those it blocks, and of strangers in its threads.
#[derive(Debug)]
pub struct Observation {
    feed: Feed,
    ended: CancellationToken,
    inner: Arc<Inner>,
    /// Being looked at: kept here, so that a caller that stops waiting loses nothing.
    at_hand: Option<Message>,
}

impl Observation {
    /// The next message; `None` once the node is closed. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            let message = match &self.at_hand {
                Some(message) => message.clone(),
                None => {
                    let message = tokio::select! {
                        message = self.feed.next() => message?,
                        () = self.ended.cancelled() => return None,
                    };
                    self.at_hand.insert(message).clone()
                }
            };
            let shown = self.inner.shows(&message).await;
            self.at_hand = None;
            if shown {
                return Some(message);
            }
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
        let ended = self.inner.cancel.clone();
        Ok(Observation { feed, ended, inner: Arc::clone(&self.inner), at_hand: None })
    }

    /// Tells the other sessions of this account, those that observe [`Observed::Told`] of `name` now. Nothing of it is
    /// stored or repeated.
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    pub async fn tell(&self, name: &str, body: Vec<u8>) -> Result<(), Error> {
        let subject = self.told(name)?;
        let connection = &self.inner.connection;
        let client = connection.client();
        let published = match self.inner.auth.signature(&Purpose::Stream, &body) {
            Some(signature) => client.publish_with_headers(subject, headers(&signature), body.into()).await,
            None => client.publish(subject, body.into()).await,
        };
        published.map_err(|e| connection.unavailable().source_of(e))
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

impl Inner {
    /// Whether an observer gets to see the message.
    async fn shows(&self, message: &Message) -> bool {
        match message.subject.parse::<Subject>() {
            Ok(Subject::Inbox(to)) => self.shows_mail(message, Source::Inbox, to == self.account).await,
            Ok(Subject::Redelivery(_)) => self.shows_mail(message, Source::Redelivery, true).await,
            Ok(Subject::Capability(_)) => self.shows_mail(message, Source::Inbox, false).await,
            Ok(Subject::Replies(..)) => self.shows_reply(message).await,
            Ok(Subject::Receipts(to)) => self.shows_receipt(message, to == self.account).await,
            Ok(Subject::Stream(..)) if !self.auth.checks() => true,
            // Only sessions of this account tell each other.
            Ok(Subject::Stream(..)) => {
                let checked =
                    self.auth.check_frame(self.account.as_str(), None, message, &self.registry).await;
                self.is_proved(checked.map(drop), "told", "")
            }
            // Nobody but the network's services may publish these in secure mode; elsewhere nothing proves them.
            Ok(Subject::Stored(_)) => true,
            _ => false,
        }
    }

    async fn shows_mail(&self, message: &Message, source: Source, is_own: bool) -> bool {
        let Some(envelope) = self.read(message) else { return false };
        let is_live = source == Source::Inbox;
        let proved = self.auth.check_message(&envelope, message, is_live, &self.registry).await;
        if !self.is_proved(proved, &envelope.kind, &envelope.message_id) {
            return false;
        }
        if !is_own {
            return true;
        }
        // What is for a capability, only the network brings to an account.
        if self.auth.checks() && !self.is_addressee(&envelope, |_| !is_live) {
            return self.is_proved(
                Err(ErrorCode::WrongRecipient.into()),
                &envelope.kind,
                &envelope.message_id,
            );
        }
        !self.blocks.refuse(&envelope)
            && check_time(&envelope, source, self.clock.as_ref()).is_ok()
            // What the network delivers again it has checked.
            && (!is_live || matches!(self.check_post(&envelope).await, Post::Fine))
    }

    async fn shows_reply(&self, message: &Message) -> bool {
        let Some(reply) = self.read(message) else { return false };
        let to = reply.to_account_id.as_deref();
        if self.auth.checks() && to.is_some_and(|to| to != self.account.as_str()) {
            return false;
        }
        // Whom what was asked of a capability is asked of, the one who waits knows.
        let proved = self.auth.check_reply(&reply, None, message, &self.registry).await;
        self.is_proved(proved, &reply.kind, &reply.message_id)
    }

    async fn shows_receipt(&self, message: &Message, is_own: bool) -> bool {
        let Ok(receipt) = serde_json::from_slice::<Receipt<Cow<'_, str>>>(&message.payload) else {
            return false;
        };
        let to = receipt.to_account_id.as_deref();
        if self.auth.checks() && is_own && to.is_some_and(|to| to != self.account.as_str()) {
            return false;
        }
        // Of what this node sends it knows which capability it was for.
        let track = self.outbox.wanting(&receipt).filter(|_| is_own);
        let capability = track.as_ref().and_then(|track| track.capability());
        let proved = self.auth.check_receipt(&receipt, capability, message, &self.registry).await;
        self.is_proved(proved, "receipt", &receipt.message_id)
    }

    fn read(&self, message: &Message) -> Option<Envelope> {
        if message.payload.len() > self.config.max_payload_bytes {
            return None;
        }
        Envelope::decode(&message.payload).ok()
    }

    fn is_proved(&self, checked: Result<(), Unproved>, what: &str, message_id: &str) -> bool {
        let Err(unproved) = checked else { return true };
        self.metrics.unproved_shown(&unproved, what, message_id);
        false
    }
}
