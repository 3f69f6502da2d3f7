//! The write side: one batch of messages, receipts and quarantined input in one transaction.
//!
//! Nothing here counts or moves twice: counters follow rows that were really inserted, deliveries merge by a rule that
//! order and repetition don't change (`fold.rs`). So a batch that was committed and not acknowledged can be committed
//! again, by any replica, in any company.
//!
//! Rows are written in key order, messages before threads before deliveries, so that replicas wait for each other
//! instead of deadlocking.

mod fold;
mod groups;
mod item;
mod taken;
mod threads;
mod write_deliveries;
mod write_events;
mod write_messages;
mod write_quarantine;
mod write_threads;

use std::collections::{BTreeMap, HashMap, HashSet};

use agentnet_proto::envelope::CAPABILITY_PREFIX;
use sqlx::{Connection, PgConnection};

pub use self::fold::{HELD_BACK_PAUSE, LEASE, RECEIPT_WAIT};
pub use self::item::{Effect, Item, MessageRow, QuarantineRow, ReceiptRow, Recipient, Verdict};
pub use self::taken::Taken;
use self::{fold::Deliveries, groups::Groups, write_messages::Known};
use crate::StoreError;

/// Writes and commits the items; the verdicts come in their order. After an error nothing of the batch is written.
///
/// # Errors
/// Those of the statements, see [`StoreError::is_transient`] and [`is_data_error`].
pub async fn ingest(conn: &mut PgConnection, items: &[Item]) -> Result<Vec<Verdict>, StoreError> {
    ingest_taken(conn, items, None).await
}

/// As [`ingest`], and notes in the same transaction which parts of the stream are committed now.
///
/// # Errors
/// As [`ingest`].
pub async fn ingest_taken(
    conn: &mut PgConnection,
    items: &[Item],
    taken: Option<&Taken<'_>>,
) -> Result<Vec<Verdict>, StoreError> {
    let mut batch = Batch::of(items);
    if batch.messages.is_empty() && batch.quarantine.is_empty() && batch.asks.is_empty() {
        // One statement is its own transaction. What it adds to the history of deliveries comes after it, and comes
        // again with the batch if it was lost.
        return batch.write(conn, taken).await.map(Result::unwrap_or_default);
    }
    loop {
        let mut tx = conn.begin().await.map_err(StoreError::query("ingest.begin"))?;
        match batch.write(&mut tx, taken).await? {
            Ok(verdicts) => {
                tx.commit().await.map_err(StoreError::query("ingest.commit"))?;
                return Ok(verdicts);
            }
            // Once more without them. Rare, and each time there are fewer left.
            Err(forbidden) => {
                tx.rollback().await.map_err(StoreError::query("ingest.rollback"))?;
                batch.forbid(&forbidden);
            }
        }
    }
}

/// Whether Postgres refused the content of a row, so that the same row will be refused again whatever happens:
/// data exceptions, broken constraints, and limits of the server.
pub fn is_data_error(error: &StoreError) -> bool {
    let StoreError::Query { source, .. } = error else { return false };
    match source {
        sqlx::Error::Encode(_) => true,
        sqlx::Error::Database(db) => {
            db.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}

/// Whether Postgres gave up on a statement because it took longer than statements may.
pub fn is_too_slow(error: &StoreError) -> bool {
    let source = match error {
        StoreError::Query { source, .. } | StoreError::Unavailable(source) => source,
        _ => return false,
    };
    source.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == "57014")
}

/// Whose messages weren't written, and why.
#[derive(Debug, Default)]
struct Refused {
    suspended: HashSet<String>,
    /// Sender, and the recipient that blocks it.
    blocked: HashSet<(String, String)>,
}

impl Refused {
    fn blocks(&self, row: &MessageRow) -> bool {
        let pair = row.from_account_id.as_deref().zip(row.mailbox.as_deref());
        pair.is_some_and(|(from, to)| self.blocked.iter().any(|(sender, by)| sender == from && by == to))
    }
}

struct Batch<'a> {
    items: &'a [Item],
    /// The first copy of each message.
    messages: BTreeMap<&'a str, &'a MessageRow>,
    /// The messages in the order they came.
    arrival: Vec<&'a MessageRow>,
    quarantine: Vec<&'a QuarantineRow>,
    /// Messages that turned out to be forbidden, and why; they aren't among `messages` any more.
    forbidden: BTreeMap<&'a str, Verdict>,
    /// Messages that receipts ask about: see [`ReceiptRow::recipient`] and [`ReceiptRow::body_sha256`].
    asks: HashSet<&'a str>,
}

impl<'a> Batch<'a> {
    fn of(items: &'a [Item]) -> Self {
        let mut batch = Self {
            items,
            messages: BTreeMap::new(),
            arrival: Vec::new(),
            quarantine: Vec::new(),
            forbidden: BTreeMap::new(),
            asks: HashSet::new(),
        };
        for item in items {
            match item {
                Item::Message(row) => {
                    batch.messages.entry(&row.message_id).or_insert_with(|| {
                        batch.arrival.push(row);
                        row
                    });
                }
                Item::Receipt(row) if row.recipient.is_none() || row.body_sha256.is_some() => {
                    batch.asks.insert(&row.message_id);
                }
                Item::Receipt(_) => {}
                Item::Quarantine(row) => batch.quarantine.push(row),
            }
        }
        batch
    }

    /// Leaves messages out.
    fn forbid(&mut self, ids: &HashMap<String, Verdict>) {
        for (id, verdict) in ids {
            if let Some((id, _)) = self.messages.remove_entry(id.as_str()) {
                self.forbidden.insert(id, *verdict);
            }
        }
        self.arrival.retain(|row| !ids.contains_key(&row.message_id));
    }

    /// The verdicts; or, with everything written to be rolled back, the messages that their senders may not post.
    async fn write(
        &self,
        conn: &mut PgConnection,
        taken: Option<&Taken<'_>>,
    ) -> Result<Result<Vec<Verdict>, HashMap<String, Verdict>>, StoreError> {
        let mut inserted = HashSet::new();
        if !self.messages.is_empty() {
            let rows: Vec<&MessageRow> = self.messages.values().copied().collect();
            inserted = write_messages::insert(conn, &rows).await?;
        }
        let known = self.look_up(conn, &inserted).await?;
        let refused = self.refused(conn, &inserted, &known).await?;
        let strangers = self.strangers(conn, &inserted, &known).await?;
        let fresh = || self.arrival.iter().copied().filter(|row| inserted.contains(&row.message_id));
        let mut groups = Groups::default();
        if !inserted.is_empty() {
            let closed = write_threads::add(conn, &threads::deltas(fresh())).await?;
            groups = Groups::load(conn, closed, fresh()).await?;
            let refused = |row: &MessageRow| Some((row.message_id.clone(), groups.refuse(row)?));
            let forbidden: HashMap<String, Verdict> = fresh().filter_map(refused).collect();
            if !forbidden.is_empty() {
                return Ok(Err(forbidden));
            }
            let posted = groups.posted(fresh());
            if !posted.is_empty() {
                crate::members::posted(conn, &posted).await?;
            }
        }
        let mut deliveries = Deliveries::default();
        fresh().for_each(|row| deliveries.message(row, groups.recipients(row)));
        groups.refusals().iter().for_each(|receipt| deliveries.receipt(receipt, &receipt.account_id));
        let mut verdicts = Vec::with_capacity(self.items.len());
        let mut first_copies = inserted.clone();
        let mut told = Vec::new();
        for item in self.items {
            verdicts.push(match item {
                Item::Message(row) if first_copies.remove(&row.message_id) => Verdict::Inserted,
                Item::Message(row) => self.repeated(row, &inserted, &known, &refused),
                Item::Receipt(row) if self.is_foreign(row, &inserted, &known) => Verdict::Foreign,
                Item::Receipt(row) => match self.recipient(row, &inserted, &known) {
                    Some(recipient) if strangers.contains(&(row.account_id.as_str(), recipient)) => {
                        Verdict::Foreign
                    }
                    Some(recipient) => {
                        deliveries.receipt(row, recipient);
                        told.push((&**row, recipient));
                        Verdict::Noted
                    }
                    None => Verdict::Unresolved,
                },
                Item::Quarantine(_) => Verdict::Quarantined,
            });
        }
        if !self.quarantine.is_empty() {
            write_quarantine::insert(conn, &self.quarantine).await?;
        }
        let noted = taken.and_then(|taken| taken.noted(&verdicts));
        if !deliveries.is_empty() {
            let redelivered = write_deliveries::merge(conn, &deliveries, noted.as_ref()).await?;
            write_events::add(conn, &told, &redelivered).await?;
        } else if let Some(noted) = &noted {
            noted.write(conn).await?;
        }
        tracing::trace!(
            items = verdicts.len(),
            inserted = inserted.len(),
            deliveries = deliveries.len(),
            "written"
        );
        Ok(Ok(verdicts))
    }

    /// Messages stored by others, that this batch repeats or has receipts for.
    async fn look_up(
        &self,
        conn: &mut PgConnection,
        inserted: &HashSet<String>,
    ) -> Result<HashMap<String, Known>, StoreError> {
        let ids: Vec<&str> = self
            .messages
            .keys()
            .chain(self.forbidden.keys())
            .chain(self.asks.iter().filter(|id| !self.messages.contains_key(*id)))
            .copied()
            .filter(|id| !inserted.contains(*id))
            .collect();
        if ids.is_empty() { Ok(HashMap::new()) } else { write_messages::known(conn, &ids).await }
    }

    /// Why messages are nowhere that nobody else forbade. Asked only where there are such messages.
    async fn refused(
        &self,
        conn: &mut PgConnection,
        inserted: &HashSet<String>,
        known: &HashMap<String, Known>,
    ) -> Result<Refused, StoreError> {
        let nowhere = |row: &&MessageRow| {
            !inserted.contains(&row.message_id) && !known.contains_key(row.message_id.as_str())
        };
        let rows: Vec<&MessageRow> = self.messages.values().copied().filter(nowhere).collect();
        let senders: HashSet<&str> = rows.iter().filter_map(|row| row.from_account_id.as_deref()).collect();
        if senders.is_empty() {
            return Ok(Refused::default());
        }
        let (from, to): (Vec<&str>, Vec<&str>) =
            rows.iter().filter_map(|row| row.from_account_id.as_deref().zip(row.mailbox.as_deref())).unzip();
        let blocked = crate::blocks::among(&mut *conn, &from, &to).await?.into_iter().collect();
        let senders: Vec<&str> = senders.into_iter().collect();
        let suspended = crate::standing::suspended_of(conn, &senders).await?.into_iter().collect();
        Ok(Refused { suspended, blocked })
    }

    /// Of the receipts that speak for a capability, those of accounts that may not serve it: who says so, and for what.
    async fn strangers<'b>(
        &'b self,
        conn: &mut PgConnection,
        inserted: &HashSet<String>,
        known: &'b HashMap<String, Known>,
    ) -> Result<HashSet<(&'b str, &'b str)>, StoreError> {
        let told = self.items.iter().filter_map(|item| match item {
            Item::Receipt(row) if row.needs_holder => {
                let recipient = self.recipient(row, inserted, known)?;
                recipient.starts_with(CAPABILITY_PREFIX).then_some((row.account_id.as_str(), recipient))
            }
            _ => None,
        });
        let mut told: HashSet<(&str, &str)> = told.collect();
        if told.is_empty() {
            return Ok(told);
        }
        let name = |recipient: &'b str| recipient.strip_prefix(CAPABILITY_PREFIX).unwrap_or_default();
        let pairs: Vec<(&str, &str)> = told.iter().map(|(account, to)| (*account, name(to))).collect();
        let holders: HashSet<(String, String)> =
            crate::capabilities::holders(conn, &pairs).await?.into_iter().collect();
        told.retain(|(account, to)| !holders.contains(&((*account).to_owned(), name(to).to_owned())));
        Ok(told)
    }

    fn repeated(
        &self,
        row: &MessageRow,
        inserted: &HashSet<String>,
        known: &HashMap<String, Known>,
        refused: &Refused,
    ) -> Verdict {
        match self.stored(&row.message_id, inserted, known) {
            Some(hash) if hash == row.body_sha256 => Verdict::Repeated,
            Some(_) => Verdict::Conflict,
            None if row.from_account_id.as_ref().is_some_and(|from| refused.suspended.contains(from)) => {
                Verdict::Suspended
            }
            None if refused.blocks(row) => Verdict::Blocked,
            None => self.forbidden.get(row.message_id.as_str()).copied().unwrap_or(Verdict::Vanished),
        }
    }

    /// SHA-256 of what is stored under the id.
    fn stored<'b>(
        &'b self,
        message_id: &str,
        inserted: &HashSet<String>,
        known: &'b HashMap<String, Known>,
    ) -> Option<&'b [u8]> {
        if inserted.contains(message_id) {
            self.messages.get(message_id).map(|first| &first.body_sha256[..])
        } else {
            known.get(message_id).map(|known| &known.body_sha256[..])
        }
    }

    /// Whether a receipt is about other content. Before its message is known there is nothing to hold it against.
    fn is_foreign(
        &self,
        receipt: &ReceiptRow,
        inserted: &HashSet<String>,
        known: &HashMap<String, Known>,
    ) -> bool {
        let stored = self.stored(&receipt.message_id, inserted, known);
        receipt.body_sha256.as_ref().zip(stored).is_some_and(|(told, stored)| told[..] != *stored)
    }

    /// Whose delivery a receipt is about.
    fn recipient<'b>(
        &'b self,
        receipt: &'b ReceiptRow,
        inserted: &HashSet<String>,
        known: &'b HashMap<String, Known>,
    ) -> Option<&'b str> {
        if let Some(recipient) = &receipt.recipient {
            return Some(recipient);
        }
        let to_agent = if inserted.contains(&receipt.message_id) {
            self.messages.get(receipt.message_id.as_str())?.to_agent.as_str()
        } else {
            known.get(&receipt.message_id)?.to_agent.as_str()
        };
        Some(if to_agent.starts_with(CAPABILITY_PREFIX) { to_agent } else { &receipt.account_id })
    }
}
