//! One item's proof, held against what is known of its account.

use std::{collections::HashMap, sync::Arc};

use agentnet_proto::{
    Envelope, ErrorCode, Security, Timestamp,
    envelope::{CLOCK_TOLERANCE, SIGNATURE_HEADER},
    schema_version,
    signature::{Deployment, MessageProof, PublicKey, Purpose, check_header, read_header},
};
use agentnet_store::ingest::Item;
use bytes::Bytes;

use crate::{decode::About, work::Work};

/// A key of an account and when it spoke for it, ready to check with.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) key: PublicKey,
    /// As it stands in headers.
    pub(super) text: Box<str>,
    pub(super) bound_at: Timestamp,
    /// What ended it, or when its time is over.
    pub(super) ended_at: Option<Timestamp>,
    /// Whether a login bound it.
    pub(super) is_session: bool,
}

impl Span {
    /// Whether it spoke for the account when the network took something. The registry's clock says when a key was bound,
    /// the stream's when something was taken; a key that is only just bound was its owner's a moment before, too.
    fn counted_at(&self, at: Timestamp) -> bool {
        self.bound_at <= at.saturating_add(CLOCK_TOLERANCE) && self.ended_at.is_none_or(|end| at < end)
    }
}

/// What the checks of some items need to know.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Keys by account.
    pub(super) keys: HashMap<String, Arc<[Span]>>,
    /// Account and schema version of sessions, where something unsigned says that it comes from one.
    pub(super) sessions: HashMap<String, (String, String)>,
}

/// What an item says about its sender, and how it proves that.
#[derive(Debug)]
pub(super) struct Claim {
    what: What,
    account: Option<String>,
    session: Option<String>,
    header: Option<String>,
    /// Whether there is more than one header, of which somebody else might take another one.
    is_ambiguous: bool,
    body: Bytes,
    at: Timestamp,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    /// A message; in signed mode sessions before 1.2 may leave a reply unsigned.
    Message {
        is_reply: bool,
    },
    Receipt,
    /// What can't be stored, and whose sender would be told why.
    Refused,
    /// What nobody would be told about.
    Nothing,
}

impl Claim {
    pub(super) fn of(work: &Work) -> Self {
        let (what, account, session) = match &work.item {
            Item::Message(row) => {
                let is_reply = agentnet_proto::envelope::is_reply_kind(&row.kind);
                (What::Message { is_reply }, row.from_account_id.clone(), row.from_session_tag.clone())
            }
            Item::Receipt(row) => (What::Receipt, Some(row.account_id.clone()), row.session_tag.clone()),
            Item::Quarantine(_) => {
                let told =
                    work.meta.answer.as_ref().filter(|answer| matches!(answer.about, About::Refused { .. }));
                match told {
                    Some(answer) => (What::Refused, Some(answer.account.to_string()), None),
                    None => (What::Nothing, None, None),
                }
            }
        };
        let raw = work.raw.as_ref();
        let headers: Vec<&str> = raw
            .and_then(|raw| raw.headers.as_ref())
            .into_iter()
            .flat_map(|headers| headers.get_all(SIGNATURE_HEADER))
            .map(|value| value.as_str())
            .collect();
        Self {
            what,
            account: account.filter(|account| !account.is_empty()),
            session,
            header: headers.first().map(|text| (*text).to_owned()),
            is_ambiguous: headers.len() > 1,
            body: raw.map(|raw| raw.body.clone()).unwrap_or_default(),
            at: raw.map_or(Timestamp::UNIX_EPOCH, |raw| raw.received_at),
        }
    }

    /// The account whose keys the check needs.
    pub(super) fn account(&self) -> Option<&str> {
        self.account.as_deref().filter(|_| self.what != What::Nothing)
    }

    /// The key that its header names.
    pub(super) fn key_text(&self) -> Option<&str> {
        self.header.as_deref()?.split(' ').nth(1)
    }

    /// Whether one of the spans lets the key count for this.
    pub(super) fn counts(&self, spans: &[Span], key: &str) -> bool {
        spans.iter().any(|span| *span.text == *key && span.counted_at(self.at))
    }

    /// The session that decides whether this may be unsigned.
    pub(super) fn unsigned_session(&self, security: Security) -> Option<&str> {
        let may_be = matches!(self.what, What::Receipt | What::Message { is_reply: true });
        let session = self.session.as_deref().filter(|_| may_be && self.header.is_none());
        session.filter(|_| security == Security::Signed)
    }

    pub(super) fn check(
        &self,
        known: &Known,
        security: Security,
        deployment: &Deployment,
    ) -> Result<(), ErrorCode> {
        if self.what == What::Nothing {
            return Ok(());
        }
        let account = self.account.as_deref().ok_or(ErrorCode::AuthMissingFromAccount)?;
        if self.is_ambiguous {
            return Err(ErrorCode::AuthPayloadInvalid);
        }
        if self.header.is_none() {
            return self.check_unsigned(account, known, security, deployment);
        }
        let header = read_header(self.header.as_deref())?;
        let key = self.key(account, known, &header.key)?;
        let purpose = match self.what {
            What::Receipt => Purpose::Receipt,
            _ => Purpose::Message,
        };
        check_header(&header, key, &purpose, deployment, &self.body)
    }

    fn check_unsigned(
        &self,
        account: &str,
        known: &Known,
        security: Security,
        deployment: &Deployment,
    ) -> Result<(), ErrorCode> {
        let is_message = matches!(self.what, What::Message { .. });
        // It was read before.
        if let (true, Security::Signed, Ok(envelope)) = (is_message, security, Envelope::decode(&self.body))
            && envelope.auth.is_some()
        {
            let proof = MessageProof::of(&envelope, None, security)?;
            let spans = known.keys.get(account).ok_or(ErrorCode::AuthKeyNotFound)?;
            // Logins' keys belong to nobody who writes blocks.
            let counted = spans.iter().find(|span| !span.is_session && span.counted_at(self.at));
            let key = counted.ok_or(ErrorCode::AuthKeyNotFound)?.key;
            return proof.check(&key, deployment, &envelope, &self.body);
        }
        let session = self.unsigned_session(security).and_then(|tag| known.sessions.get(tag));
        match session {
            Some((owner, version)) if owner == account && !schema_version::is_at_least_1_2(version) => Ok(()),
            _ => Err(ErrorCode::AuthMissing),
        }
    }

    /// The account's key that equals `key`, if it spoke for the account then.
    fn key<'a>(&self, account: &str, known: &'a Known, key: &PublicKey) -> Result<&'a PublicKey, ErrorCode> {
        let spans = known.keys.get(account).filter(|spans| !spans.is_empty());
        let mut spans = spans.ok_or(ErrorCode::AuthKeyNotFound)?.iter();
        let found = spans.find(|span| span.key == *key && span.counted_at(self.at));
        found.map(|span| &span.key).ok_or(ErrorCode::AuthPublicKeyMismatch)
    }
}
