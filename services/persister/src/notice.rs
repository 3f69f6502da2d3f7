//! Who hears what about a committed batch.

use std::collections::BTreeMap;

use agentnet_proto::{AccountId, ErrorCode, FailedMessage, StoredNotice, StoredReceipt, Subject, Timestamp};
use agentnet_store::ingest::Verdict;

use crate::{
    decode::{About, Answer},
    work::Outcome,
};

/// Largest notice in bytes, well below what NATS carries.
const MAX_NOTICE: usize = 512 * 1_024;

/// The notices of a batch, at most one for each account unless they grow too large.
#[derive(Debug)]
pub(crate) struct Notices {
    at: Timestamp,
    open: BTreeMap<AccountId, (StoredNotice, usize)>,
    full: Vec<(AccountId, StoredNotice)>,
}

impl Notices {
    pub(crate) fn at(at: Timestamp) -> Self {
        Self { at, open: BTreeMap::new(), full: Vec::new() }
    }

    /// Adds what became of one item. Every copy is answered, the first or a repeated one.
    pub(crate) fn add(&mut self, answer: &Answer, outcome: &Outcome) {
        let refused = |code: ErrorCode, detail: &str| FailedMessage {
            message_id: answer.message_id.clone(),
            state: "rejected".to_owned(),
            code: code.as_str().to_owned(),
            detail: detail.to_owned(),
            recipient: None,
        };
        match (outcome, &answer.about) {
            (Outcome::Written(Verdict::Inserted | Verdict::Repeated), About::Message) => {
                self.notice(answer, 0).message_ids.push(answer.message_id.clone());
            }
            (Outcome::Written(Verdict::Conflict), About::Message) => {
                let failed =
                    refused(ErrorCode::MessageIdConflict, ErrorCode::MessageIdConflict.meaning().trim());
                self.notice(answer, failed.detail.len()).failed.push(failed);
            }
            (Outcome::Written(Verdict::Forbidden), About::Message) => {
                let failed = refused(ErrorCode::ThreadForbidden, ErrorCode::ThreadForbidden.meaning().trim());
                self.notice(answer, failed.detail.len()).failed.push(failed);
            }
            (Outcome::Written(Verdict::Suspended), About::Message) => {
                let failed = refused(ErrorCode::Suspended, ErrorCode::Suspended.meaning().trim());
                self.notice(answer, failed.detail.len()).failed.push(failed);
            }
            (Outcome::Written(Verdict::Noted), About::Receipt(status)) => {
                let receipt = StoredReceipt { message_id: answer.message_id.clone(), status: status.clone() };
                self.notice(answer, status.as_str().len()).receipts.push(receipt);
            }
            (Outcome::Written(Verdict::Quarantined), About::Refused { code, detail }) => {
                self.notice(answer, detail.len()).failed.push(refused(*code, detail));
            }
            (Outcome::Refused { code, detail }, About::Message) => {
                self.notice(answer, detail.len()).failed.push(refused(*code, detail));
            }
            _ => {}
        }
    }

    /// Every notice with the subject it goes to.
    pub(crate) fn finish(self) -> impl Iterator<Item = (String, StoredNotice)> {
        let open = self.open.into_iter().map(|(account, (notice, _))| (account, notice));
        self.full
            .into_iter()
            .chain(open)
            .map(|(account, notice)| (Subject::Stored(account).to_string(), notice))
    }

    /// The account's notice, a new one when an entry with that much text may not fit any more.
    fn notice(&mut self, answer: &Answer, text: usize) -> &mut StoredNotice {
        // A byte takes at most six in JSON.
        let size = 128 + 6 * (answer.message_id.len() + text);
        let (notice, used) =
            self.open.entry(answer.account.clone()).or_insert_with(|| (StoredNotice::at(self.at), 256));
        if *used + size > MAX_NOTICE {
            self.full.push((answer.account.clone(), std::mem::replace(notice, StoredNotice::at(self.at))));
            *used = 256;
        }
        *used += size;
        notice
    }
}

#[cfg(test)]
mod tests {
    use agentnet_proto::ReceiptStatus;

    use super::*;

    fn answer(account: &str, message_id: &str, about: About) -> Answer {
        Answer { account: AccountId::new(account).unwrap(), message_id: message_id.to_owned(), about }
    }

    fn finish(notices: Notices) -> Vec<(String, StoredNotice)> {
        notices.finish().collect()
    }

    #[test]
    fn one_notice_for_each_account() {
        let mut notices = Notices::at(Timestamp::UNIX_EPOCH);
        let stored = |verdict| Outcome::Written(verdict);
        notices.add(&answer("b", "m1", About::Message), &stored(Verdict::Inserted));
        notices.add(&answer("a", "m2", About::Message), &stored(Verdict::Repeated));
        notices.add(&answer("b", "m3", About::Message), &stored(Verdict::Conflict));
        notices.add(&answer("b", "m4", About::Receipt(ReceiptStatus::Accepted)), &stored(Verdict::Noted));
        notices.add(&answer("a", "m5", About::Message), &stored(Verdict::Vanished));
        notices
            .add(&answer("a", "m6", About::Receipt(ReceiptStatus::Accepted)), &stored(Verdict::Unresolved));
        let done = finish(notices);
        let subjects: Vec<&str> = done.iter().map(|(subject, _)| subject.as_str()).collect();
        assert_eq!(subjects, ["account.a.stored", "account.b.stored"]);
        assert_eq!(done[0].1.message_ids, ["m2"]);
        assert_eq!(done[1].1.message_ids, ["m1"]);
        assert_eq!(done[1].1.failed[0].code, "message_id_conflict");
        assert_eq!(done[1].1.receipts[0].message_id, "m4");
    }

    #[test]
    fn large_notices_are_split_and_lose_nothing() {
        let mut notices = Notices::at(Timestamp::UNIX_EPOCH);
        let ids: Vec<String> = (0..2_000).map(|n| format!("{n:0>500}\u{1}")).collect();
        for id in &ids {
            notices.add(&answer("a", id, About::Message), &Outcome::Written(Verdict::Inserted));
        }
        let done = finish(notices);
        assert!(done.len() > 1);
        let sizes = done.iter().map(|(_, notice)| serde_json::to_vec(notice).unwrap().len());
        assert!(sizes.max().unwrap() <= MAX_NOTICE);
        let mut named: Vec<String> = done.into_iter().flat_map(|(_, notice)| notice.message_ids).collect();
        named.sort();
        assert_eq!(named, ids);
    }
}
