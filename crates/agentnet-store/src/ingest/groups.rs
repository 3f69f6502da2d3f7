//! Threads with members, as a batch meets them: who may post, and who gets what is posted.
//!
//! Read after the thread's row was locked by its upsert, in the same transaction, so a change of the members comes before
//! the whole batch or after it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use agentnet_proto::ErrorCode;
use agentnet_proto::envelope::THREAD_PREFIX;
use sqlx::PgConnection;

use super::item::{Effect, MessageRow, ReceiptRow, Recipient, Verdict};
use crate::{StoreError, members};

/// Each member of a thread with those of the batch's senders whom it blocks.
type Members = BTreeMap<String, BTreeSet<String>>;

/// The members of the batch's threads that have some, and what goes to them.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// With whether the thread is closed.
    threads: BTreeMap<String, (bool, Members)>,
    /// Recipients of messages to whole threads.
    expanded: HashMap<String, Vec<Recipient>>,
    /// What members who block its sender say to a message, without being asked.
    refusals: Vec<ReceiptRow>,
}

impl Groups {
    /// Looks the members of these threads up, which are closed or not. Costs nothing where there are none.
    pub(super) async fn load<'a>(
        conn: &mut PgConnection,
        threads: HashMap<String, bool>,
        fresh: impl Iterator<Item = &'a MessageRow> + Clone,
    ) -> Result<Self, StoreError> {
        let mut groups = Self::default();
        if !threads.is_empty() {
            let ids: Vec<&str> = threads.keys().map(String::as_str).collect();
            let senders = fresh.clone().filter(|row| threads.contains_key(&row.thread_id));
            let senders: BTreeSet<&str> = senders.filter_map(|row| row.from_account_id.as_deref()).collect();
            let senders: Vec<&str> = senders.into_iter().collect();
            let joined = members::joined(conn, &ids, &senders).await?;
            groups.threads = threads.into_iter().map(|(id, closed)| (id, (closed, Members::new()))).collect();
            for (thread, account, blocks) in joined {
                let (_, members) = groups.threads.entry(thread).or_default();
                members.insert(account, blocks.into_iter().collect());
            }
        }
        for row in fresh {
            groups.expand(row);
        }
        Ok(groups)
    }

    /// Notes who gets a message to a whole thread or some of its members, and whether it is delivered again.
    fn expand(&mut self, row: &MessageRow) {
        let is_thread = |recipient: &&Recipient| recipient.name.starts_with(THREAD_PREFIX);
        let Some(to) = row.recipients.iter().find(is_thread) else { return };
        let Some((_, members)) = self.threads.get(&row.thread_id) else { return };
        let is_meant = |id: &String| {
            row.from_account_id.as_ref() != Some(id)
                && (row.to_members.is_empty() || row.to_members.contains(id))
        };
        let mut recipients = Vec::with_capacity(members.len());
        for (member, blocks) in members.iter().filter(|(id, _)| is_meant(id)) {
            recipients.push(Recipient { name: member.clone(), redeliver: to.redeliver });
            if row.from_account_id.as_ref().is_some_and(|from| blocks.contains(from)) {
                self.refusals.push(refusal(row, member));
            }
        }
        self.expanded.insert(row.message_id.clone(), recipients);
    }

    /// Why its sender may not post the message where it says. To a whole thread only where that has members.
    pub(super) fn refuse(&self, row: &MessageRow) -> Option<Verdict> {
        let Some((closed, members)) = self.threads.get(&row.thread_id) else {
            let to_thread = row.recipients.iter().any(|recipient| recipient.name.starts_with(THREAD_PREFIX));
            return to_thread.then_some(Verdict::Forbidden);
        };
        if !row.from_account_id.as_ref().is_some_and(|from| members.contains_key(from)) {
            return Some(Verdict::Forbidden);
        }
        if *closed {
            return Some(Verdict::Closed);
        }
        let unknown = row.to_members.iter().any(|id| !members.contains_key(id));
        unknown.then_some(Verdict::NotAMember)
    }

    /// How many of these messages each member posted, by thread and account.
    pub(super) fn posted<'a>(
        &self,
        fresh: impl Iterator<Item = &'a MessageRow>,
    ) -> Vec<(&'a str, &'a str, i64)> {
        let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for row in fresh.filter(|row| self.threads.contains_key(&row.thread_id)) {
            if let Some(from) = &row.from_account_id {
                *counts.entry((&row.thread_id, from)).or_default() += 1;
            }
        }
        counts.into_iter().map(|((thread, account), n)| (thread, account, n)).collect()
    }

    /// Who must get the message.
    pub(super) fn recipients<'a>(&'a self, row: &'a MessageRow) -> &'a [Recipient] {
        self.expanded.get(&row.message_id).map_or(&row.recipients, Vec::as_slice)
    }

    /// The refusals of members who block a sender.
    pub(super) fn refusals(&self) -> &[ReceiptRow] {
        &self.refusals
    }
}

/// The word of a member that blocks the sender; what its own agents say later is the same.
fn refusal(row: &MessageRow, member: &str) -> ReceiptRow {
    ReceiptRow {
        needs_holder: false,
        message_id: row.message_id.clone(),
        account_id: member.to_owned(),
        session_tag: None,
        recipient: Some(member.to_owned()),
        body_sha256: None,
        effect: Effect::Rejected,
        code: Some(ErrorCode::Blocked.as_str().to_owned()),
        detail: None,
        received_at: row.received_at,
    }
}
