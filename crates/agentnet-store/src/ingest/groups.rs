//! Threads with members, as a batch meets them: who may post, and who gets what is posted.
//!
//! Read after the thread's row was locked by its upsert, in the same transaction, so a change of the members comes before
//! the whole batch or after it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use agentnet_proto::envelope::THREAD_PREFIX;
use sqlx::PgConnection;

use super::item::{MessageRow, Recipient};
use crate::{StoreError, members};

/// The members of the batch's threads that have some, and what goes to them.
#[derive(Debug, Default)]
pub(super) struct Groups {
    members: BTreeMap<String, BTreeSet<String>>,
    /// Recipients of messages to whole threads.
    expanded: HashMap<String, Vec<Recipient>>,
}

impl Groups {
    /// Looks the members of these threads up. Costs nothing where there are none.
    pub(super) async fn load<'a>(
        conn: &mut PgConnection,
        threads: HashSet<String>,
        fresh: impl Iterator<Item = &'a MessageRow>,
    ) -> Result<Self, StoreError> {
        let mut groups = Self::default();
        if !threads.is_empty() {
            let ids: Vec<&str> = threads.iter().map(String::as_str).collect();
            let joined = members::joined(conn, &ids).await?;
            groups.members = threads.into_iter().map(|id| (id, BTreeSet::new())).collect();
            for (thread, account) in joined {
                groups.members.entry(thread).or_default().insert(account);
            }
        }
        for row in fresh {
            if let Some((members, redeliver)) = groups.addressed(row) {
                let others = members.iter().filter(|id| row.from_account_id.as_ref() != Some(id));
                let recipients = others.map(|id| Recipient { name: id.clone(), redeliver }).collect();
                groups.expanded.insert(row.message_id.clone(), recipients);
            }
        }
        Ok(groups)
    }

    /// The members that a message to a whole thread goes to, and whether it is delivered again.
    fn addressed(&self, row: &MessageRow) -> Option<(&BTreeSet<String>, bool)> {
        let to = row.recipients.iter().find(|recipient| recipient.name.starts_with(THREAD_PREFIX))?;
        Some((self.members.get(&row.thread_id)?, to.redeliver))
    }

    /// Whether its sender may post the message where it says. To a whole thread only where that has members.
    pub(super) fn may_post(&self, row: &MessageRow) -> bool {
        match (self.members.get(&row.thread_id), &row.from_account_id) {
            (Some(members), from) => from.as_ref().is_some_and(|from| members.contains(from)),
            (None, _) => !row.recipients.iter().any(|recipient| recipient.name.starts_with(THREAD_PREFIX)),
        }
    }

    /// Who must get the message.
    pub(super) fn recipients<'a>(&'a self, row: &'a MessageRow) -> &'a [Recipient] {
        self.expanded.get(&row.message_id).map_or(&row.recipients, Vec::as_slice)
    }
}
