//! What is known about one message on its way.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use agentnet_proto::{AccountId, ErrorCode, Receipt, ReceiptStatus, envelope::body_hash};
use tokio::{sync::Notify, time::Instant};

use crate::{
    inbox::hex,
    send::{Refusal, Stage},
};

/// Codes after which the network tries again by itself.
pub(crate) fn is_transient(code: &str) -> bool {
    ErrorCode::parse(code).is_some_and(ErrorCode::is_temporary_refusal)
}

/// How far a message got. Only ever moves forward.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub(crate) stored: bool,
    pub(crate) accepted: bool,
    pub(crate) processed: bool,
    /// What a recipient answered last instead of accepting or processing it.
    pub(crate) refusal: Option<Refusal>,
    /// What the network answered instead of storing or delivering it: final.
    pub(crate) failed: Option<Refusal>,
    /// The outbox gave it up: its time to live passed without a confirmation.
    pub(crate) given_up: bool,
    /// How often it was published over a standing connection.
    pub(crate) attempts: u32,
    pub(crate) last_attempt: Instant,
    /// It is for whoever has a capability.
    any_holder: bool,
    /// Of a message to a thread: what each member it went to said.
    pub(crate) members: BTreeMap<String, MemberProgress>,
}

/// How far a message got with one member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemberProgress {
    pub(crate) accepted: bool,
    pub(crate) processed: bool,
    /// What the member answered instead.
    pub(crate) refusal: Option<Refusal>,
    /// Whether the registry said that a session of it is online.
    pub(crate) online: Option<bool>,
}

impl MemberProgress {
    fn knows(&self, status: &ReceiptStatus) -> bool {
        match status {
            ReceiptStatus::Accepted => self.accepted,
            ReceiptStatus::Processed => self.processed,
            ReceiptStatus::Rejected => self.processed || self.refusal.is_some(),
            ReceiptStatus::Other(_) => true,
        }
    }

    fn receipt<S: AsRef<str>>(&mut self, receipt: &Receipt<S>) {
        match receipt.status {
            ReceiptStatus::Accepted => self.accepted = true,
            ReceiptStatus::Processed => (self.accepted, self.processed) = (true, true),
            ReceiptStatus::Rejected if receipt.code() == Some(ErrorCode::Duplicate) => self.accepted = true,
            ReceiptStatus::Rejected if !self.processed => self.refusal = Some(refusal_of(receipt)),
            ReceiptStatus::Rejected | ReceiptStatus::Other(_) => return,
        }
        if self.accepted && self.refusal.as_ref().is_some_and(|r| is_transient(&r.code)) {
            self.refusal = None;
        }
    }
}

/// What a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Stored, and accepted unless the recipient is absent.
    Delivered,
    /// At least this stage, however long it takes.
    Stage(Stage),
}

/// What the progress means for a goal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// Reached.
    Reached,
    /// Stored; whether that is enough is a question of time.
    Stored,
    /// Nothing decisive yet.
    Waiting,
    /// It won't be reached.
    Refused(Refusal),
}

impl Progress {
    fn new(any_holder: bool, now: Instant) -> Self {
        Self {
            any_holder,
            stored: false,
            accepted: false,
            processed: false,
            refusal: None,
            failed: None,
            given_up: false,
            attempts: 0,
            last_attempt: now,
            members: BTreeMap::new(),
        }
    }

    /// Members that said nothing, and may be there.
    pub(crate) fn silent(&self) -> Vec<String> {
        let is_silent = |member: &MemberProgress| {
            !member.accepted && member.refusal.is_none() && member.online != Some(false)
        };
        self.members.iter().filter(|(_, member)| is_silent(member)).map(|(id, _)| id.clone()).collect()
    }

    /// The registry says whether a member is online.
    pub(crate) fn is_there(&mut self, account_id: &str, online: bool) {
        if let Some(member) = self.members.get_mut(account_id) {
            member.online = Some(online);
        }
    }

    pub(crate) fn stage(&self) -> Option<Stage> {
        match self {
            Self { processed: true, .. } => Some(Stage::Processed),
            Self { accepted: true, .. } => Some(Stage::Accepted),
            Self { stored: true, .. } => Some(Stage::Stored),
            _ => None,
        }
    }

    /// A permanent refusal ends every wait, except that once a recipient has accepted, only those who wait for the
    /// handler hear that it failed: whether the failure or the confirmation comes first must not decide.
    pub(crate) fn verdict(&self, goal: Goal) -> Verdict {
        if let Some(failed) = &self.failed
            && !(self.stored && goal == Goal::Stage(Stage::Stored))
        {
            return Verdict::Refused(failed.clone());
        }
        let reached = match goal {
            Goal::Delivered => self.stored && self.accepted,
            Goal::Stage(Stage::Stored) => self.stored,
            Goal::Stage(Stage::Accepted) => self.accepted,
            Goal::Stage(Stage::Processed) => self.processed,
        };
        if reached {
            return Verdict::Reached;
        }
        if let Some(refusal) = &self.refusal
            && !self.may_pass(&refusal.code)
            && (!self.accepted || goal == Goal::Stage(Stage::Processed))
        {
            return Verdict::Refused(refusal.clone());
        }
        if self.stored { Verdict::Stored } else { Verdict::Waiting }
    }

    /// Applies a recipient's receipt.
    fn receipt<S: AsRef<str>>(&mut self, receipt: &Receipt<S>) {
        match receipt.status {
            ReceiptStatus::Accepted => self.accepted = true,
            ReceiptStatus::Processed => (self.accepted, self.processed) = (true, true),
            ReceiptStatus::Rejected if receipt.code() == Some(ErrorCode::Duplicate) => self.accepted = true,
            ReceiptStatus::Rejected if !self.processed => {
                self.refusal = Some(refusal_of(receipt));
            }
            ReceiptStatus::Rejected | ReceiptStatus::Other(_) => return,
        }
        if self.accepted && self.refusal.as_ref().is_some_and(|r| self.may_pass(&r.code)) {
            self.refusal = None;
        }
    }

    /// Whether the network goes on with the message after a refusal with this code.
    pub(crate) fn may_pass(&self, code: &str) -> bool {
        is_transient(code) || (self.any_holder && is_one_holders(code))
    }
}

/// Codes with which one holder of a capability refuses for itself alone.
pub(crate) fn is_one_holders(code: &str) -> bool {
    ErrorCode::parse(code).is_some_and(ErrorCode::is_one_holders_refusal)
}

fn refusal_of<S: AsRef<str>>(receipt: &Receipt<S>) -> Refusal {
    Refusal {
        code: text(receipt.code.as_ref()).unwrap_or(ErrorCode::Internal.as_str()).to_owned(),
        detail: text(receipt.detail.as_ref()).unwrap_or_default().to_owned(),
    }
}

fn text<S: AsRef<str>>(field: Option<&S>) -> Option<&str> {
    field.map(AsRef::as_ref)
}

/// The progress of one message, and who waits for it.
#[derive(Debug)]
pub(crate) struct Track {
    progress: Mutex<Progress>,
    changed: Notify,
    /// Whose receipts count; `None` for capabilities and threads, where any recipient's do.
    recipient: Option<Box<str>>,
    /// The capability it is for: whoever serves it answers.
    capability: Option<Box<str>>,
    /// A group's members answer each for themselves: the refusal of one doesn't fail the message.
    group: bool,
    /// SHA-256 of the message, where receipts must name it.
    body_sha256: Option<[u8; 32]>,
}

impl Track {
    pub(crate) fn new(recipient: Option<&str>, group: bool, now: Instant) -> Self {
        Self {
            progress: Mutex::new(Progress::new(recipient.is_none() && !group, now)),
            changed: Notify::new(),
            recipient: recipient.map(Into::into),
            capability: None,
            group,
            body_sha256: None,
        }
    }

    /// Receipts that name another body than this don't count.
    pub(crate) fn of_body(mut self, body: &[u8]) -> Self {
        self.body_sha256 = Some(body_hash(body));
        self
    }

    /// Only those who serve the capability answer, where the network wants that proved.
    pub(crate) fn for_capability(mut self, name: Option<&str>) -> Self {
        self.capability = name.map(Into::into);
        self
    }

    pub(crate) fn capability(&self) -> Option<&str> {
        self.capability.as_deref()
    }

    /// Keeps apart what each of these members says.
    pub(crate) fn for_members(self, members: &[AccountId]) -> Self {
        self.progress().members =
            members.iter().map(|id| (id.to_string(), MemberProgress::default())).collect();
        self
    }

    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress());
        self.changed.notify_waiters();
    }

    pub(crate) fn attempted(&self, now: Instant) {
        self.update(|p| (p.attempts, p.last_attempt) = (p.attempts.saturating_add(1), now));
    }

    /// Applies a receipt if it comes from whom the message was for.
    pub(crate) fn receipt<S: AsRef<str>>(&self, receipt: &Receipt<S>) -> bool {
        if !self.may_be_from(receipt) {
            return false;
        }
        let is_members = self.group && receipt.status == ReceiptStatus::Rejected;
        let mut counts = !is_members;
        self.update(|p| {
            let member = text(receipt.from_account_id.as_ref()).and_then(|from| p.members.get_mut(from));
            if let Some(member) = member {
                member.receipt(receipt);
                counts = true;
            }
            if !is_members {
                p.receipt(receipt);
            }
        });
        counts
    }

    /// Whether the receipt would say something new.
    pub(crate) fn wants<S: AsRef<str>>(&self, receipt: &Receipt<S>) -> bool {
        let progress = self.progress();
        let member = text(receipt.from_account_id.as_ref()).and_then(|from| progress.members.get(from));
        if let Some(member) = member {
            return !member.knows(&receipt.status) && self.may_be_from(receipt);
        }
        if self.group && receipt.status == ReceiptStatus::Rejected {
            return false;
        }
        let is_known = match receipt.status {
            ReceiptStatus::Accepted => progress.accepted,
            ReceiptStatus::Processed => progress.processed,
            ReceiptStatus::Rejected => progress.processed,
            ReceiptStatus::Other(_) => true,
        };
        !is_known && self.may_be_from(receipt)
    }

    fn may_be_from<S: AsRef<str>>(&self, receipt: &Receipt<S>) -> bool {
        let from = text(receipt.from_account_id.as_ref());
        let other = self.recipient.as_deref().zip(from).is_some_and(|(a, b)| a != b);
        let body = self.body_sha256.as_ref().zip(text(receipt.body_sha256.as_ref()));
        let of_another_body = body.is_some_and(|(sent, named)| hex(sent) != named);
        !(other || of_another_body)
    }

    pub(crate) fn is_group(&self) -> bool {
        self.group
    }

    /// A future that completes at the next change after this call.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(status: &str, code: Option<&str>, from: &str) -> Receipt {
        let mut value =
            serde_json::json!({"message_id": "m", "status": status, "event_at": "", "from_account_id": from});
        if let Some(code) = code {
            value["code"] = code.into();
        }
        serde_json::from_value(value).unwrap()
    }

    fn after(receipts: &[(&str, Option<&str>)], stored: bool) -> Progress {
        let track = Track::new(Some("acct_b"), false, Instant::now());
        for (status, code) in receipts {
            track.receipt(&receipt(status, *code, "acct_b"));
        }
        track.update(|p| p.stored = stored);
        track.progress().clone()
    }

    const ALL: [Goal; 4] = [
        Goal::Delivered,
        Goal::Stage(Stage::Stored),
        Goal::Stage(Stage::Accepted),
        Goal::Stage(Stage::Processed),
    ];

    fn verdicts(receipts: &[(&str, Option<&str>)], stored: bool) -> [&'static str; 4] {
        ALL.map(|goal| match after(receipts, stored).verdict(goal) {
            Verdict::Reached => "reached",
            Verdict::Stored => "stored",
            Verdict::Waiting => "waiting",
            Verdict::Refused(_) => "refused",
        })
    }

    #[test]
    fn stages_satisfy_goals() {
        assert_eq!(verdicts(&[], false), ["waiting"; 4]);
        assert_eq!(verdicts(&[], true), ["stored", "reached", "stored", "stored"]);
        assert_eq!(verdicts(&[("accepted", None)], false), ["waiting", "waiting", "reached", "waiting"]);
        assert_eq!(verdicts(&[("accepted", None)], true), ["reached", "reached", "reached", "stored"]);
        assert_eq!(verdicts(&[("processed", None)], true), ["reached"; 4]);
    }

    #[test]
    fn refusals() {
        let refused = ("rejected", Some("unsupported_schema_version"));
        assert_eq!(verdicts(&[refused], false), ["refused"; 4]);
        // Not by itself an error: the network tries again.
        for code in ["busy", "rate_limited", "service_degraded", "shutting_down"] {
            assert_eq!(
                verdicts(&[("rejected", Some(code))], true),
                ["stored", "reached", "stored", "stored"]
            );
        }
        // The original's answer to a redelivery.
        let duplicate = ("rejected", Some("duplicate"));
        assert_eq!(verdicts(&[duplicate], true), ["reached", "reached", "reached", "stored"]);
        let failed = [("accepted", None), ("rejected", Some("handler_error"))];
        assert_eq!(verdicts(&failed, true), ["reached", "reached", "reached", "refused"]);
        // Nothing moves backwards.
        assert_eq!(verdicts(&[("processed", None), refused], true), ["reached"; 4]);
        // A status of a newer version says nothing.
        assert_eq!(verdicts(&[("pondered", None)], false), ["waiting"; 4]);
    }

    #[test]
    fn one_holders_refusal_isnt_that_of_all() {
        for code in ["blocked", "no_handler"] {
            let refused = receipt("rejected", Some(code), "acct_b");
            let named = Track::new(Some("acct_b"), false, Instant::now());
            named.receipt(&refused);
            let verdict = named.progress().verdict(Goal::Delivered);
            assert!(matches!(verdict, Verdict::Refused(_)), "{code}: {verdict:?}");
            let capability = Track::new(None, false, Instant::now());
            capability.receipt(&refused);
            capability.update(|p| p.stored = true);
            assert_eq!(capability.progress().verdict(Goal::Delivered), Verdict::Stored, "{code}");
            assert!(capability.progress().refusal.is_some());
            capability.receipt(&receipt("accepted", None, "acct_c"));
            let progress = capability.progress();
            assert_eq!((progress.verdict(Goal::Delivered), &progress.refusal), (Verdict::Reached, &None));
        }
    }

    #[test]
    fn only_the_recipients_receipts_count() {
        let track = Track::new(Some("acct_b"), false, Instant::now());
        assert!(!track.receipt(&receipt("accepted", None, "acct_mallory")));
        assert!(!track.progress().accepted);
        assert!(track.receipt(&receipt("accepted", None, "acct_b")));
        let group = Track::new(None, true, Instant::now());
        assert!(!group.receipt(&receipt("rejected", Some("handler_error"), "acct_c")));
        assert!(group.receipt(&receipt("accepted", None, "acct_d")));
    }

    #[test]
    fn each_member_answers_for_itself() {
        let id = |id: &str| AccountId::new(id).unwrap();
        let group = Track::new(None, true, Instant::now()).for_members(&[id("a"), id("b"), id("c")]);
        assert!(group.wants(&receipt("rejected", Some("blocked"), "a")));
        assert!(group.receipt(&receipt("rejected", Some("blocked"), "a")));
        assert!(!group.wants(&receipt("rejected", Some("blocked"), "a")));
        assert!(group.receipt(&receipt("accepted", None, "b")));
        assert!(group.wants(&receipt("processed", None, "b")));
        assert!(!group.wants(&receipt("rejected", Some("blocked"), "stranger")));
        assert_eq!(group.progress().silent(), ["c"]);
        group.update(|progress| progress.is_there("c", false));
        let progress = group.progress();
        assert!(progress.silent().is_empty() && progress.refusal.is_none() && progress.accepted);
        assert_eq!(progress.members["a"].refusal.as_ref().unwrap().code, "blocked");
    }
}
