//! The dedupe in a file: what was handled is known after a restart, too.
//!
//! Written when a handler has finished, before its receipt leaves: what a crash interrupts is handled again, as it
//! must be, and what the network was told is never forgotten.

use std::{path::Path, sync::Arc, time::Duration};

use agentnet_proto::{AccountId, Clock, Envelope};
use bytes::Bytes;

use super::guards::{GuardSettings, Handled, message_key, scope};
use crate::{
    error::Error,
    journal::{Entry, Journal, JournalError, Keep, Kind},
};

/// What the keys of entries begin with.
const MESSAGE: &str = "message ";
const KEY: &str = "key ";

/// The file of a recipient's dedupe.
#[derive(Debug)]
pub(crate) struct Remembered {
    journal: Journal,
}

impl Remembered {
    /// Opens the file, and gives what is in it.
    pub(crate) async fn open(
        path: &Path,
        settings: &GuardSettings,
        clock: &dyn Clock,
    ) -> Result<(Self, Vec<Entry>), Error> {
        let entries = Some(settings.dedupe_max.saturating_mul(2));
        let keep = Keep { entries, age: Some(settings.dedupe_ttl) };
        let (journal, entries) = Journal::open(path, Kind::Dedupe, keep, now_ms(clock)).await?;
        Ok((Self { journal }, entries))
    }

    /// What the entries say, oldest first; an error when they are another account's.
    pub(crate) fn handled(
        &self,
        entries: Vec<Entry>,
        me: &AccountId,
        clock: &dyn Clock,
    ) -> Result<Vec<(Handled, Duration)>, Error> {
        let now_ms = now_ms(clock);
        let mut handled = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.head != me.as_str() {
                let owner = String::from_utf8_lossy(&entry.head).into_owned();
                let (path, me) = (self.journal.path().to_owned(), me.to_string());
                return Err(JournalError::NotOurs { path, owner, me }.into());
            }
            let age = Duration::from_millis(now_ms.saturating_sub(entry.at_ms));
            if let Some(id) = entry.key.strip_prefix(MESSAGE) {
                handled.push((Handled::Message(id.to_owned()), age));
            } else if let Some(scope) = entry.key.strip_prefix(KEY) {
                handled.push((Handled::Key(scope.to_owned()), age));
            }
        }
        Ok(handled)
    }

    /// A handler has finished. When that can't be written it is told all the same: the receipt makes the network stop.
    pub(crate) async fn write(&self, envelope: &Envelope, me: &str, clock: &dyn Clock) {
        let at_ms = now_ms(clock);
        let entry = |key: String| Entry {
            key: Arc::from(key),
            at_ms,
            head: Bytes::copy_from_slice(me.as_bytes()),
            body: Bytes::new(),
        };
        let has_id = !envelope.message_id.is_empty();
        let entries: Vec<Entry> = has_id
            .then(|| format!("{MESSAGE}{}", message_key(envelope)))
            .into_iter()
            .chain(scope(envelope, me).map(|scope| format!("{KEY}{scope}")))
            .map(entry)
            .collect();
        if !entries.is_empty()
            && let Err(error) = self.journal.put(entries).await
        {
            tracing::debug!(%error, message_id = envelope.message_id, "a restart will have forgotten that it was handled");
        }
    }

    /// Lets the file go.
    pub(crate) async fn close(&self) {
        self.journal.close().await;
    }
}

fn now_ms(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.now().unix_millis()).unwrap_or(0)
}
