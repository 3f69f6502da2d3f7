//! What to do with a row that is due.

use std::collections::{HashMap, HashSet};

use agentnet_proto::AccountId;
use agentnet_store::deliveries::{Candidate, Decision, Unwilling};

use super::{Redelivery, Senders};
use crate::presence::{Owner, Presence, Route};

/// Bytes of messages leased at once.
const MAX_BYTES: i64 = 4 << 20;

impl Redelivery {
    /// One decision for each candidate.
    pub(super) fn decide(
        &self,
        route: &Route,
        candidates: &[Candidate],
        unwilling: &Unwillings,
        legacy: Option<&Senders>,
    ) -> Vec<Decision> {
        let mut bytes = 0;
        let mut blocked: Vec<Option<&str>> = Vec::new();
        candidates
            .iter()
            .map(|candidate| {
                let decision = judge(&self.app.presence, candidate, self.config.max_deliveries);
                // Stored before the block, or tried again since.
                if candidate.blocked && matches!(decision, Decision::Grant | Decision::Bury) {
                    return Decision::Refuse;
                }
                if decision != Decision::Grant {
                    return decision;
                }
                if *route == Route::Nobody {
                    return if candidate.accepted { Decision::TakeBack } else { Decision::Leave };
                }
                if unwilling.all_are(route, &candidate.message_id) {
                    return if candidate.accepted { Decision::TakeBack } else { Decision::Spare };
                }
                bytes += candidate.bytes;
                let fits = bytes <= MAX_BYTES || bytes == candidate.bytes;
                let sender = candidate.sender_account_id.as_deref();
                // Behind one that has to wait, the others of its sender wait too.
                let allowed = !blocked.contains(&sender)
                    && legacy.is_none_or(|limits| {
                        limits.check_key(&sender.unwrap_or_default().to_owned()).is_ok()
                    });
                if fits && allowed {
                    return Decision::Grant;
                }
                blocked.push(sender);
                Decision::Leave
            })
            .collect()
    }
}

/// Which holders of a capability won't take which message.
#[derive(Debug, Default)]
pub(super) struct Unwillings(HashMap<String, HashSet<String>>);

impl Unwillings {
    /// What a session said holds for as long as it lives: its successor may have other handlers.
    pub(super) fn of(presence: &Presence, rows: Vec<Unwilling>) -> Self {
        let mut all: HashMap<String, HashSet<String>> = HashMap::new();
        for row in rows {
            if row.session.is_none_or(|tag| presence.owner(&tag) != Owner::Gone) {
                all.entry(row.message_id).or_default().insert(row.account_id);
            }
        }
        Self(all)
    }

    /// Those of `accounts` that may take the message.
    pub(super) fn willing<'a>(&self, accounts: &'a [AccountId], message_id: &str) -> Vec<&'a AccountId> {
        let unwilling = self.0.get(message_id);
        accounts.iter().filter(|id| unwilling.is_none_or(|ids| !ids.contains(id.as_str()))).collect()
    }

    fn all_are(&self, route: &Route, message_id: &str) -> bool {
        matches!(route, Route::Redelivery(accounts)
            if self.0.contains_key(message_id) && self.willing(accounts, message_id).is_empty())
    }
}

/// Looks at the delivery alone. That nobody was there or held it back counts no attempt; that a session accepted it and
/// was lost does.
fn judge(presence: &Presence, candidate: &Candidate, max_deliveries: i32) -> Decision {
    if !candidate.accepted {
        return if candidate.attempts >= max_deliveries { Decision::Bury } else { Decision::Grant };
    }
    match candidate.owner_session.as_deref().map_or(Owner::Gone, |tag| presence.owner(tag)) {
        Owner::Alive => Decision::Extend,
        Owner::Unknown => Decision::Wait,
        Owner::Gone if candidate.attempts + 1 >= max_deliveries => Decision::Bury,
        Owner::Gone => Decision::Grant,
    }
}
