//! Checking stored messages: who sent them, by their signatures alone.
//!
//! An [`Evidence`] holds messages as the network took them and every key of their senders with its times, as the registry
//! tells them. It can be written to a file and checked anywhere; the check needs no network. What has to be believed is
//! that the keys are those of the accounts: compare them with what you know of the senders otherwise.

use std::collections::BTreeMap;

use agentnet_proto::{
    Envelope, ErrorCode, Security, Timestamp,
    envelope::CLOCK_TOLERANCE,
    rpc::{Evidence as Ask, EvidenceRequest, EvidenceRow, KeyRow},
    signature::{Deployment, MessageProof, PublicKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, ErrorKind},
    registry::RegistryClient,
};

/// What a file of evidence begins with.
const FORMAT: &str = "agentnet-evidence";
const VERSION: u32 = 1;
/// Most messages of one evidence.
const MAX_MESSAGES: usize = 100_000;

/// Stored messages as they came, and the keys to check them with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    format: String,
    version: u32,
    /// The network's name, which every signature covers.
    pub deployment: String,
    /// Newest first.
    pub messages: Vec<EvidenceRow>,
    /// Every key that the senders have and had, by account.
    pub keys: BTreeMap<String, Vec<KeyRow>>,
}

/// What a message's signature says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The message, as its envelope says.
    pub message_id: String,
    /// Its thread.
    pub thread_id: String,
    /// The account that it says it is from.
    pub from_account_id: Option<String>,
    /// When it was sent, as it says.
    pub sent_at: String,
    /// When the network took it, as the network says.
    pub received_at: String,
    /// The key that signed it.
    pub public_key: Option<String>,
    /// `v2` or `dev-ed25519-v1`.
    pub scheme: Option<String>,
    /// Why it isn't proved, a code of the protocol; `None` when it is.
    pub fault: Option<String>,
}

impl Checked {
    /// Whether the account it names sent exactly this message.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.fault.is_none()
    }
}

impl Evidence {
    /// What is stored under a message_id.
    ///
    /// # Errors
    /// As [`RegistryClient::call`]; [`ErrorKind::NotFound`] for what isn't stored, or isn't for the caller to read.
    pub async fn of_message(registry: &RegistryClient, message_id: &str) -> Result<Self, Error> {
        let request = EvidenceRequest { message_id: Some(message_id.to_owned()), ..Default::default() };
        Self::collect(registry, request).await
    }

    /// Everything of a thread that the caller may read.
    ///
    /// # Errors
    /// As [`RegistryClient::call`]; [`ErrorKind::NotFound`] when there is nothing; [`ErrorKind::PayloadTooLarge`] for more
    /// than 100,000 messages.
    pub async fn of_thread(registry: &RegistryClient, thread_id: &str) -> Result<Self, Error> {
        let request =
            EvidenceRequest { thread_id: Some(thread_id.to_owned()), limit: Some(200), ..Default::default() };
        let found = Self::collect(registry, request).await?;
        if found.messages.is_empty() {
            let detail = "no such thread is stored, or nothing of it is for this identity to read";
            return Err(Error::new(ErrorKind::NotFound, detail));
        }
        Ok(found)
    }

    async fn collect(registry: &RegistryClient, mut request: EvidenceRequest) -> Result<Self, Error> {
        let (mut messages, mut keys) = (Vec::new(), BTreeMap::new());
        loop {
            let page = registry.call::<Ask>(&request).await?;
            messages.extend(page.messages);
            keys.extend(page.keys);
            if messages.len() > MAX_MESSAGES {
                let detail =
                    format!("the thread has more than {MAX_MESSAGES} messages; check them one by one");
                return Err(Error::new(ErrorKind::PayloadTooLarge, detail));
            }
            match page.next_cursor {
                Some(cursor) if request.cursor.as_ref() != Some(&cursor) => request.cursor = Some(cursor),
                _ => {
                    let format = FORMAT.to_owned();
                    return Ok(Self {
                        format,
                        version: VERSION,
                        deployment: page.deployment,
                        messages,
                        keys,
                    });
                }
            }
        }
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for anything else.
    pub fn from_json(text: &[u8]) -> Result<Self, Error> {
        let wrong = |detail: &str| Error::new(ErrorKind::InvalidArgument, detail);
        let read: Self =
            serde_json::from_slice(text).map_err(|e| wrong("this is no file of evidence").source_of(e))?;
        if read.format != FORMAT || read.version != VERSION {
            return Err(wrong("this is no file of evidence that this version reads"));
        }
        Ok(read)
    }

    /// The evidence as text, for a file.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and numbers always encode.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Checks every message, without the network.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the evidence names no network.
    pub fn check(&self) -> Result<Vec<Checked>, Error> {
        let deployment: Deployment = self.deployment.parse().map_err(|e| {
            Error::new(ErrorKind::InvalidArgument, "the evidence names no network").source_of(e)
        })?;
        Ok(self.messages.iter().map(|row| self.check_one(row, &deployment)).collect())
    }

    fn check_one(&self, row: &EvidenceRow, deployment: &Deployment) -> Checked {
        let mut checked = Checked {
            message_id: row.message_id.clone(),
            thread_id: String::new(),
            from_account_id: None,
            sent_at: String::new(),
            received_at: row.received_at.clone(),
            public_key: None,
            scheme: None,
            fault: None,
        };
        if let Err(code) = self.prove(row, deployment, &mut checked) {
            checked.fault = Some(code.as_str().to_owned());
        }
        checked
    }

    fn prove(
        &self,
        row: &EvidenceRow,
        deployment: &Deployment,
        checked: &mut Checked,
    ) -> Result<(), ErrorCode> {
        let body = STANDARD.decode(&row.envelope).map_err(|_| ErrorCode::InvalidEnvelope)?;
        let envelope = Envelope::decode(&body).map_err(|_| ErrorCode::InvalidEnvelope)?;
        checked.thread_id = envelope.thread_id_or_default().into_owned();
        checked.from_account_id.clone_from(&envelope.from_account_id);
        checked.sent_at.clone_from(&envelope.sent_at);
        if envelope.message_id != row.message_id {
            return Err(ErrorCode::MessageIdConflict);
        }
        // In secure mode no block is stored without a header; where both are, the header counts.
        let proof = MessageProof::of(&envelope, row.signature.as_deref(), Security::Signed)?;
        let (scheme, text) = match &proof {
            MessageProof::Header(header) => ("v2", header.key.to_string()),
            MessageProof::Block(block) => (agentnet_proto::dev_auth::SCHEME, block.public_key.clone()),
        };
        checked.scheme = Some(scheme.to_owned());
        checked.public_key = Some(text.clone());
        let received_at = Timestamp::parse(&row.received_at).ok_or(ErrorCode::InvalidField)?;
        let account = envelope.from_account_id.as_deref().unwrap_or_default();
        let keys = self.keys.get(account).ok_or(ErrorCode::AuthKeyNotFound)?;
        let counted = keys.iter().any(|key| key.public_key == text && spoke_at(key, received_at));
        let key: PublicKey = text.parse().map_err(|_| ErrorCode::AuthPayloadInvalid)?;
        if !counted {
            return Err(ErrorCode::AuthPublicKeyMismatch);
        }
        proof.check(&key, deployment, &envelope, &body)
    }
}

/// The rule of the persister.
fn spoke_at(key: &KeyRow, at: Timestamp) -> bool {
    let bound = Timestamp::parse(&key.bound_at);
    let ended = key.ended_at.as_deref().map(Timestamp::parse);
    bound.is_some_and(|bound| bound <= at.saturating_add(CLOCK_TOLERANCE))
        && match ended {
            None => true,
            Some(Some(end)) => at < end,
            Some(None) => false,
        }
}
