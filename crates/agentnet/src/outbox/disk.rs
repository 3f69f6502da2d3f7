//! The outbox in a file: what was sent outlives the process that sent it.

use std::{path::Path, sync::Arc, time::Duration};

use agentnet_proto::{AccountId, Clock};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::{LATE_MAX, Outbox, Outgoing, Track};
use crate::{
    deadline::after,
    error::{Error, ErrorKind},
    journal::{Entry, Journal, JournalError, Keep, Kind},
};

/// What is known of a message besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Who sent it: only this account hears that it is stored.
    pub(crate) account: String,
    pub(crate) thread_id: String,
    /// Whose receipts count; none for capabilities, threads and replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recipient: Option<String>,
    /// The capability it is for, if it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) capability: Option<String>,
    /// Whether several answer it, or nobody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) group: bool,
    /// Its signature header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signature: Option<String>,
    /// When its time to live is over, in milliseconds since 1970 by this agent's clock.
    pub(crate) expires_at_ms: i64,
}

/// What an earlier process left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    messages: Vec<(Arc<str>, Head, Bytes)>,
}

impl Left {
    /// Messages, and bytes of their bodies.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.messages.len(), self.messages.iter().map(|(_, _, body)| body.len()).sum())
    }
}

/// A message that an earlier process sent, kept again.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) message_id: String,
    pub(crate) thread_id: String,
    pub(crate) track: Arc<Track>,
    pub(crate) expires: Instant,
}

/// Opens the file, and gives what is in it.
pub(crate) async fn open(path: &Path, clock: &dyn Clock) -> Result<(Journal, Left), Error> {
    let (journal, entries) = Journal::open(path, Kind::Outbox, Keep::default(), now_ms(clock)).await?;
    let mut messages = Vec::with_capacity(entries.len());
    for entry in entries {
        let head = serde_json::from_slice(&entry.head)
            .map_err(|_| JournalError::Foreign { path: path.to_owned() })?;
        messages.push((entry.key, head, entry.body));
    }
    Ok((journal, Left { messages }))
}

impl Outbox {
    /// Waits until the message is on the disk, if the outbox has a file.
    pub(crate) async fn write(
        &self,
        id: &str,
        head: &Head,
        body: &Bytes,
        clock: &dyn Clock,
        deadline: Instant,
    ) -> Result<(), Error> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let head = serde_json::to_vec(head)
            .map_err(|e| Error::new(ErrorKind::InvalidArgument, "the message can't be kept").source_of(e))?;
        let entry = Entry { key: id.into(), at_ms: now_ms(clock), head: head.into(), body: body.clone() };
        self.written(journal.put(vec![entry]), deadline).await
    }

    /// Waits until what was sent before this call is on the disk.
    pub(crate) async fn flush(&self, deadline: Instant) -> Result<(), Error> {
        match &self.journal {
            Some(journal) => self.written(journal.put(Vec::new()), deadline).await,
            None => Ok(()),
        }
    }

    async fn written(
        &self,
        put: impl Future<Output = Result<(), Error>>,
        deadline: Instant,
    ) -> Result<(), Error> {
        timeout_at(deadline, put).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::File, "the disk didn't take the message in time; it is not sent"))
        })
    }

    /// Takes in what an earlier process left: each message is due for a copy at once.
    pub(crate) fn restore(
        &self,
        left: Left,
        account: &AccountId,
        pause: Duration,
        clock: &dyn Clock,
        now: Instant,
    ) -> Result<Vec<Restored>, Error> {
        if let Some((journal, head)) = self
            .journal
            .as_ref()
            .zip(left.messages.iter().map(|(_, head, _)| head).find(|h| h.account != account.as_str()))
        {
            return Err(JournalError::NotOurs {
                path: journal.path().to_owned(),
                owner: head.account.clone(),
                me: account.to_string(),
            }
            .into());
        }
        let now_ms = i64::try_from(self::now_ms(clock)).unwrap_or(i64::MAX);
        let mut restored = Vec::new();
        for (id, head, body) in left.messages {
            let left_ms = head.expires_at_ms.saturating_sub(now_ms);
            let late = Duration::from_millis(left_ms.min(0).unsigned_abs());
            // Nobody knows any more whether somebody has seen it.
            if late >= LATE_MAX {
                self.forget(id);
                continue;
            }
            let room = self.try_reserve(body.len()).map_err(|_| Error::closed())?;
            let expires = if late.is_zero() {
                after(now, Duration::from_millis(left_ms.unsigned_abs()))
            } else {
                now.checked_sub(late).unwrap_or(now)
            };
            let track = Track::new(head.recipient.as_deref(), head.group, now)
                .for_capability(head.capability.as_deref())
                .of_body(&body);
            let outgoing = Outgoing {
                body,
                signature: head.signature.map(Into::into),
                pause,
                expires,
                must_confirm: true,
                seen: true,
                content: None,
                _room: room,
            };
            let (track, _) = self.insert(&id, track, outgoing, now)?;
            restored.push(Restored { message_id: id.to_string(), thread_id: head.thread_id, track, expires });
        }
        self.all_due(now);
        Ok(restored)
    }

    /// The message needs no copy any more.
    pub(super) fn forget(&self, id: Arc<str>) {
        if let Some(journal) = &self.journal {
            journal.remove(id);
        }
    }

    /// Lets the file go. What isn't confirmed stays in it.
    pub(crate) async fn close_file(&self) {
        if let Some(journal) = &self.journal {
            journal.close().await;
        }
    }

    /// Where the outbox has its file, if it has one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.journal.as_ref().map(Journal::path)
    }
}

fn now_ms(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.now().unix_millis()).unwrap_or(0)
}
