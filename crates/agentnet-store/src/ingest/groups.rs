//! Threads with members, as a batch meets them: who may post, and who gets what is posted.
//!
//! Read after the thread's row was locked by its upsert, in the same transaction, so a change of the members comes before
//! the whole batch or after it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use agentnet_proto::ErrorCode;
use agentnet_proto::envelope::THREAD_PREFIX;
use sqlx::PgConnection;

use super::item::{Effect, MessageRow, ReceiptRow, Recipient};
use crate::{StoreError, members};

/// The members of the batch's threads that have some, and what goes to them.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Each member with those of the batch's senders whom it blocks.
    members: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    /// Recipients of messages to whole threads.
    expanded: HashMap<String, Vec<Recipient>>,
    /// What members who block its sender say to a message, without being asked.
    refusals: Vec<ReceiptRow>,
}

impl Groups {
    /// Looks the members of these threads up. Costs nothing where there are none.
    pub(super) async fn load<'a>(
        conn: &mut PgConnection,
        threads: HashSet<String>,
        fresh: impl Iterator<Item = &'a MessageRow> + Clone,
    ) -> Result<Self, StoreError> {
        let mut groups = Self::default();
        if !threads.is_empty() {
            let ids: Vec<&str> = threads.iter().map(String::as_str).collect();
            let senders = fresh.clone().filter(|row| threads.contains(&row.thread_id));
            let senders: BTreeSet<&str> = senders.filter_map(|row| row.from_account_id.as_deref()).collect();
            let senders: Vec<&str> = senders.into_iter().collect();
            let joined = members::joined(conn, &ids, &senders).await?;
            groups.members = threads.into_iter().map(|id| (id, BTreeMap::new())).collect();
            for (thread, account, blocks) in joined {
                let blocks = blocks.into_iter().collect();
                groups.members.entry(thread).or_default().insert(account, blocks);
            }
        }
        for row in fresh {
            groups.expand(row);
        }
        Ok(groups)
    }

    /// Notes who gets a message to a whole thread, and whether it is delivered again.
    fn expand(&mut self, row: &MessageRow) {
        let is_thread = |recipient: &&Recipient| recipient.name.starts_with(THREAD_PREFIX);
        let Some(to) = row.recipients.iter().find(is_thread) else { return };
        let Some(members) = self.members.get(&row.thread_id) else { return };
        let mut recipients = Vec::with_capacity(members.len());
        for (member, blocks) in members.iter().filter(|(id, _)| row.from_account_id.as_ref() != Some(*id)) {
            recipients.push(Recipient { name: member.clone(), redeliver: to.redeliver });
            if row.from_account_id.as_ref().is_some_and(|from| blocks.contains(from)) {
                self.refusals.push(refusal(row, member));
            }
        }
        self.expanded.insert(row.message_id.clone(), recipients);
    }

    /// Whether its sender may post the message where it says. To a whole thread only where that has members.
    pub(super) fn may_post(&self, row: &MessageRow) -> bool {
        match (self.members.get(&row.thread_id), &row.from_account_id) {
            (Some(members), from) => from.as_ref().is_some_and(|from| members.contains_key(from)),
            (None, _) => !row.recipients.iter().any(|recipient| recipient.name.starts_with(THREAD_PREFIX)),
        }
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
