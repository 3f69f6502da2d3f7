//! `dev-ed25519-v1`, the original's signatures.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use agentnet_proto::{
    Clock, Envelope, ErrorCode, IdGen,
    dev_auth::{AuthBlock, MessageClaims, RegisterClaims, SecretKey, check_message, check_message_signature},
    pyjson::payload_sha256,
};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind},
    identity::original::load_or_create,
    registry::RegistryClient,
    ttl_map::TtlMap,
};

/// How long an account's key is remembered, as in the original. Failures are not.
const KEY_CACHE: Duration = Duration::from_secs(300);
const MAX_KEYS: usize = 10_000;

/// Signs what this node sends and verifies what it receives.
#[derive(Debug)]
pub(crate) struct DevAuth {
    key: SecretKey,
    keys: Mutex<TtlMap<String>>,
}

/// The signed fields of an envelope, as they stand.
fn claims<'a>(envelope: &'a Envelope, payload_sha256: &'a str) -> MessageClaims<'a> {
    let text = |field: &'a Option<String>| field.as_deref().unwrap_or_default();
    MessageClaims {
        message_id: &envelope.message_id,
        from_account_id: text(&envelope.from_account_id),
        to_account_id: text(&envelope.to_account_id),
        to_agent: &envelope.to_agent,
        sent_at: &envelope.sent_at,
        ttl_ms: envelope.ttl_ms,
        expires_at: text(&envelope.expires_at),
        trace_id: text(&envelope.trace_id),
        thread_id: text(&envelope.thread_id),
        parent_message_id: text(&envelope.parent_message_id),
        kind: &envelope.kind,
        schema_version: &envelope.schema_version,
        idempotency_key: text(&envelope.idempotency_key),
        payload_sha256,
    }
}

impl DevAuth {
    pub(crate) fn open(dir: &Path, name: &str) -> Result<Self, Error> {
        let key = load_or_create(dir, name)?;
        Ok(Self { key, keys: Mutex::new(TtlMap::new(KEY_CACHE, MAX_KEYS)) })
    }

    pub(crate) fn sign(&self, envelope: &mut Envelope) -> Result<(), Error> {
        let hash = payload_sha256(envelope.payload.get()).map_err(|e| {
            Error::new(ErrorKind::InvalidArgument, "the payload can't be signed: it has no canonical form")
                .source_of(e)
        })?;
        envelope.auth = Some(AuthBlock::sign(&self.key, claims(envelope, &hash).to_claims()).to_map());
        Ok(())
    }

    /// The `auth` block of a register request. A username that wasn't asked for isn't claimed.
    pub(crate) fn register(
        &self,
        agent_id: &str,
        name: &str,
        username: Option<&str>,
        account_id: Option<&str>,
        clock: &dyn Clock,
        ids: &dyn IdGen,
    ) -> Map<String, Value> {
        let claims = RegisterClaims {
            agent_id,
            name,
            username: username.unwrap_or_default(),
            account_id: account_id.unwrap_or_default(),
            timestamp: &clock.now().to_string(),
            nonce: &ids.nonce(),
        };
        AuthBlock::sign(&self.key, claims.to_claims()).to_map()
    }

    /// The original's checks of a received message, in its order.
    pub(crate) async fn verify(
        &self,
        envelope: &Envelope,
        registry: &RegistryClient,
    ) -> Result<(), ErrorCode> {
        let block = envelope.auth.as_ref().map(AuthBlock::from);
        let auth = check_message(envelope.from_account_id.as_deref(), block.as_ref())?;
        let account = envelope.from_account_id.as_deref().unwrap_or_default();
        let bound = self.key_of(account, registry).await.ok_or(ErrorCode::AuthKeyNotFound)?;
        // What has no canonical form has no hash that the signed one could equal.
        let hash = payload_sha256(envelope.payload.get()).map_err(|_| ErrorCode::AuthClaimsMismatch)?;
        check_message_signature(auth, &bound, &claims(envelope, &hash))
    }

    async fn key_of(&self, account: &str, registry: &RegistryClient) -> Option<String> {
        let cached = |keys: &Mutex<TtlMap<String>>| {
            keys.lock().unwrap_or_else(PoisonError::into_inner).get(account, Instant::now()).cloned()
        };
        if let Some(key) = cached(&self.keys) {
            return Some(key);
        }
        match registry.resolve_key(account).await {
            Ok(found) => {
                let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
                keys.insert(account, found.public_key.clone(), Instant::now());
                Some(found.public_key)
            }
            Err(error) => {
                tracing::debug!(%error, account, "sender's key not found");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_verifies_and_what_is_changed_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let auth = DevAuth::open(dir.path(), "bot").unwrap();
        let mut envelope: Envelope = serde_json::from_value(serde_json::json!({
            "message_id": "m", "from_agent": "a", "from_account_id": "acct_a", "to_agent": "acct_b",
            "to_account_id": "acct_b", "payload": {"text": "hé", "n": 1.0}, "sent_at": "2026-02-21T08:00:00Z",
            "ttl_ms": 30000, "kind": "direct", "schema_version": "1.2",
        }))
        .unwrap();
        auth.sign(&mut envelope).unwrap();
        let check = |envelope: &Envelope| {
            let block = envelope.auth.as_ref().map(AuthBlock::from).unwrap();
            let hash = payload_sha256(envelope.payload.get()).unwrap();
            check_message_signature(&block, &auth.key.public_key(), &claims(envelope, &hash))
        };
        // Over the wire and back.
        let envelope = Envelope::decode(&envelope.encode().unwrap()).unwrap();
        assert_eq!(check(&envelope), Ok(()));
        let changed = Envelope { to_account_id: Some("acct_c".into()), ..envelope.clone() };
        assert_eq!(check(&changed), Err(ErrorCode::AuthClaimsMismatch));
        let changed = Envelope { payload: agentnet_proto::Payload::text("x"), ..envelope };
        assert_eq!(check(&changed), Err(ErrorCode::AuthClaimsMismatch));
    }
}
