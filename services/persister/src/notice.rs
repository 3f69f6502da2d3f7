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
pub(crate) struct Notices<'a> {
    at: Timestamp,
    open: BTreeMap<&'a AccountId, (StoredNotice<&'a str>, usize)>,
    full: Vec<(&'a AccountId, StoredNotice<&'a str>)>,
}

impl<'a> Notices<'a> {
    pub(crate) fn at(at: Timestamp) -> Self {
        Self { at, open: BTreeMap::new(), full: Vec::new() }
    }

    /// Adds what became of one item. Every copy is answered, the first or a repeated one.
    pub(crate) fn add(&mut self, answer: &'a Answer, outcome: &Outcome) {
        let refused = |code: ErrorCode, detail: &str| FailedMessage {
            message_id: answer.message_id.clone(),
            state: "rejected".to_owned(),
            code: code.as_str().to_owned(),
            detail: detail.to_owned(),
            recipient: None,
        };
        match (outcome, &answer.about) {
            (Outcome::Written(Verdict::Inserted | Verdict::Repeated), About::Message) => {
                self.notice(answer, 0).message_ids.push(&answer.message_id);
            }
            (Outcome::Written(verdict), About::Message) if let Some(code) = refusal(*verdict) => {
                let failed = refused(code, code.meaning().trim());
                self.notice(answer, failed.detail.len()).failed.push(failed);
            }
            (Outcome::Written(Verdict::Noted), About::Receipt(status)) => {
                let message_id = answer.message_id.as_str();
                let receipt = StoredReceipt { message_id, status: status.clone() };
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
    pub(crate) fn finish(self) -> impl Iterator<Item = (String, StoredNotice<&'a str>)> {
        let open = self.open.into_iter().map(|(account, (notice, _))| (account, notice));
        self.full
            .into_iter()
            .chain(open)
            .map(|(account, notice)| (Subject::Stored(account.clone()).to_string(), notice))
    }

    /// The account's notice, a new one when an entry with that much text may not fit any more.
    fn notice(&mut self, answer: &'a Answer, text: usize) -> &mut StoredNotice<&'a str> {
        // A byte takes at most six in JSON.
        let size = 128 + 6 * (answer.message_id.len() + text);
        let (notice, used) =
            self.open.entry(&answer.account).or_insert_with(|| (StoredNotice::at(self.at), 256));
        if *used + size > MAX_NOTICE {
            self.full.push((&answer.account, std::mem::replace(notice, StoredNotice::at(self.at))));
            *used = 256;
        }
        *used += size;
        notice
    }
}

/// What a message is refused with that the database doesn't take.
fn refusal(verdict: Verdict) -> Option<ErrorCode> {
    match verdict {
        Verdict::Conflict => Some(ErrorCode::MessageIdConflict),
        Verdict::Forbidden => Some(ErrorCode::ThreadForbidden),
        Verdict::Closed => Some(ErrorCode::ThreadClosed),
        Verdict::NotAMember => Some(ErrorCode::NotAMember),
        Verdict::Suspended => Some(ErrorCode::Suspended),
        Verdict::Blocked => Some(ErrorCode::Blocked),
        Verdict::Inserted
        | Verdict::Repeated
        | Verdict::Noted
        | Verdict::Unresolved
        | Verdict::Foreign
        | Verdict::Vanished
        | Verdict::Quarantined => None,
    }
}

#[cfg(test)]
mod tests {
    use agentnet_proto::ReceiptStatus;

    use super::*;

    fn answer(account: &str, message_id: &str, about: About) -> Answer {
        Answer { account: AccountId::new(account).unwrap(), message_id: message_id.to_owned(), about }
    }

    fn finish(notices: Notices<'_>) -> Vec<(String, StoredNotice<&str>)> {
        notices.finish().collect()
    }

    #[test]
    fn one_notice_for_each_account() {
        let receipt = || About::Receipt(ReceiptStatus::Accepted);
        let items = [
            (answer("b", "m1", About::Message), Verdict::Inserted),
            (answer("a", "m2", About::Message), Verdict::Repeated),
            (answer("b", "m3", About::Message), Verdict::Conflict),
            (answer("b", "m4", receipt()), Verdict::Noted),
            (answer("a", "m5", About::Message), Verdict::Vanished),
            (answer("a", "m6", receipt()), Verdict::Unresolved),
        ];
        let mut notices = Notices::at(Timestamp::UNIX_EPOCH);
        for (answer, verdict) in &items {
            notices.add(answer, &Outcome::Written(*verdict));
        }
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
        let answers: Vec<Answer> = ids.iter().map(|id| answer("a", id, About::Message)).collect();
        for answer in &answers {
            notices.add(answer, &Outcome::Written(Verdict::Inserted));
        }
        let done = finish(notices);
        assert!(done.len() > 1);
        let sizes = done.iter().map(|(_, notice)| serde_json::to_vec(notice).unwrap().len());
        assert!(sizes.max().unwrap() <= MAX_NOTICE);
        let mut named: Vec<&str> = done.into_iter().flat_map(|(_, notice)| notice.message_ids).collect();
        named.sort();
        assert_eq!(named, ids);
    }
}
