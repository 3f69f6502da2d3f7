//! Checking who sent what came in.

use std::{borrow::Cow, sync::PoisonError, time::Duration};

use agentnet_proto::{
    Envelope, ErrorCode, Receipt, Security,
    rpc::ListRequest,
    schema_version,
    signature::{Deployment, HEADER, MessageProof, PublicKey, Purpose, check_header, read_header},
};
use async_nats::Message;
use tokio::time::Instant;

use super::{Auth, keys::Known};
use crate::{error::Error, registry::RegistryClient};

/// How long it is remembered whether a session is older than 1.2, and of how many.
pub(super) const OLD_SESSION_LIFE: Duration = Duration::from_secs(30);
pub(super) const MAX_OLD_SESSIONS: usize = 10_000;

/// Why something doesn't count.
#[derive(Debug)]
pub(crate) enum Unproved {
    /// It isn't what its sender signed, or not from whom it says.
    Refused(ErrorCode),
    /// It couldn't be found out. The network delivers again.
    Unknown(Error),
}

impl Unproved {
    pub(super) fn key_not_found() -> Self {
        Self::Refused(ErrorCode::AuthKeyNotFound)
    }

    /// The code under which it is counted.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(code) => *code,
            Self::Unknown(_) => ErrorCode::AuthValidationFailed,
        }
    }
}

impl From<ErrorCode> for Unproved {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code)
    }
}

/// The signature header of something received.
pub(crate) fn header_of(message: &Message) -> Option<&str> {
    message.headers.as_ref()?.get(HEADER).map(|value| value.as_str())
}

impl Auth {
    fn deployment(&self) -> Result<&Deployment, Unproved> {
        // A registry that doesn't say the network's name knows no signature v2.
        self.deployment.as_ref().ok_or(Unproved::Refused(ErrorCode::AuthSchemeInvalid))
    }

    /// Whether the envelope is its sender's, where the network wants that proved. What comes live from an account that
    /// is locked out doesn't count; what the network delivers was sent before.
    pub(crate) async fn check_message(
        &self,
        envelope: &Envelope,
        message: &Message,
        is_live: bool,
        registry: &RegistryClient,
    ) -> Result<(), Unproved> {
        if !self.checks() {
            return Ok(());
        }
        let proof = MessageProof::of(envelope, header_of(message), self.security)?;
        let account = envelope.from_account_id.as_deref().unwrap_or_default();
        let signed_by = match &proof {
            MessageProof::Header(header) => Some(&header.key),
            // Logins' keys belong to nobody who writes blocks.
            MessageProof::Block(_) => None,
        };
        let Known { key, is_suspended } = self.keys.key_of(account, signed_by, registry).await?;
        if is_live && is_suspended {
            return Err(ErrorCode::Suspended.into());
        }
        let unnamed = Deployment::default();
        let deployment = match &proof {
            MessageProof::Header(_) => self.deployment()?,
            // The block covers no network's name.
            MessageProof::Block(_) => self.deployment.as_ref().unwrap_or(&unnamed),
        };
        Ok(proof.check(&key, deployment, envelope, &message.payload)?)
    }

    /// As [`Self::check_message`], for a reply: in signed mode sessions before 1.2 don't sign theirs. What a capability was
    /// asked is answered by whoever serves it.
    pub(crate) async fn check_reply(
        &self,
        reply: &Envelope,
        capability: Option<&str>,
        message: &Message,
        registry: &RegistryClient,
    ) -> Result<(), Unproved> {
        self.check_author_of(reply, message, registry).await?;
        self.check_holder(reply.from_account_id.as_deref().unwrap_or_default(), capability, registry).await
    }

    async fn check_author_of(
        &self,
        reply: &Envelope,
        message: &Message,
        registry: &RegistryClient,
    ) -> Result<(), Unproved> {
        let checked = self.check_message(reply, message, true, registry).await;
        if let Err(Unproved::Refused(ErrorCode::AuthMissing)) = checked
            && self
                .is_old(reply.from_account_id.as_deref(), reply.from_session_tag.as_deref(), registry)
                .await
        {
            return Ok(());
        }
        checked
    }

    /// Whether the receipt is from the account that it names, where the network wants that proved; of a message to a
    /// capability, whether that account serves it.
    pub(crate) async fn check_receipt(
        &self,
        receipt: &Receipt<Cow<'_, str>>,
        capability: Option<&str>,
        message: &Message,
        registry: &RegistryClient,
    ) -> Result<(), Unproved> {
        if !self.checks() {
            return Ok(());
        }
        let account = receipt.from_account_id.as_deref().filter(|account| !account.is_empty());
        let account = account.ok_or(ErrorCode::AuthMissingFromAccount)?;
        self.check_signer_of(receipt, account, message, registry).await?;
        self.check_holder(account, capability, registry).await
    }

    /// Whether the account may answer for the capability, in any way (rule 17): everybody who has heard of the message
    /// could else.
    pub(crate) async fn check_holder(
        &self,
        account: &str,
        capability: Option<&str>,
        registry: &RegistryClient,
    ) -> Result<(), Unproved> {
        let Some(capability) = capability.filter(|_| self.checks()) else { return Ok(()) };
        if self.holders.serves(account, capability, registry).await? {
            return Ok(());
        }
        Err(ErrorCode::WrongRecipient.into())
    }

    async fn check_signer_of(
        &self,
        receipt: &Receipt<Cow<'_, str>>,
        account: &str,
        message: &Message,
        registry: &RegistryClient,
    ) -> Result<(), Unproved> {
        let header = match read_header(header_of(message)) {
            Ok(header) => header,
            Err(ErrorCode::AuthMissing)
                if self.is_old(Some(account), receipt.from_session_tag.as_deref(), registry).await =>
            {
                return Ok(());
            }
            Err(code) => return Err(code.into()),
        };
        let key = self.keys.key_of(account, Some(&header.key), registry).await?.key;
        Ok(check_header(&header, &key, &Purpose::Receipt, self.deployment()?, &message.payload)?)
    }

    /// Whether the frame of a stream is from the account that it names, where the network wants that proved. No session
    /// before 1.2 sends any. Gives the key, which the caller may know for a moment: the keys of new accounts would be
    /// asked for with every frame.
    pub(crate) async fn check_frame(
        &self,
        from: &str,
        known: Option<PublicKey>,
        message: &Message,
        registry: &RegistryClient,
    ) -> Result<Option<PublicKey>, Unproved> {
        if !self.checks() {
            return Ok(None);
        }
        let header = read_header(header_of(message))?;
        let key = match known.filter(|key| *key == header.key) {
            Some(key) => key,
            None => {
                let found = self.keys.key_of(from, Some(&header.key), registry).await?;
                if found.is_suspended {
                    return Err(ErrorCode::Suspended.into());
                }
                found.key
            }
        };
        check_header(&header, &key, &Purpose::Stream, self.deployment()?, &message.payload)?;
        Ok(Some(key))
    }

    /// Whether the session can't sign receipts and replies, as the registry knows it. Only in signed mode that excuses
    /// it.
    async fn is_old(&self, account: Option<&str>, tag: Option<&str>, registry: &RegistryClient) -> bool {
        let (Security::Signed, Some(account), Some(tag)) = (self.security, account, tag) else {
            return false;
        };
        // Nobody can sign them in a network that has no name.
        if self.deployment.is_none() {
            return true;
        }
        let name = format!("{account} {tag}");
        if let Some(is_old) = self.old_sessions().get(&name, Instant::now()) {
            return *is_old;
        }
        let request =
            ListRequest { account_id: Some(account.to_owned()), limit: Some(1000), ..Default::default() };
        let Ok(answer) = registry.list(&request).await else { return false };
        let is_old = answer.agents.iter().any(|agent| {
            agent.session_tag.as_deref() == Some(tag)
                && agent.account_id.as_deref() == Some(account)
                && !agent.schema_version.as_deref().is_some_and(schema_version::is_at_least_1_2)
        });
        self.old_sessions().insert(&name, is_old, Instant::now());
        is_old
    }

    fn old_sessions(&self) -> std::sync::MutexGuard<'_, crate::ttl_map::TtlMap<bool>> {
        self.old_sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
