//! `dev-ed25519-v1`, the original's signature block, for peers that know no other.

use agentnet_proto::{
    Clock, Envelope, IdGen,
    dev_auth::{AuthBlock, MessageClaims, RegisterClaims},
    pyjson::payload_sha256,
    username::normalize_username,
};
use serde_json::{Map, Value};

use super::Auth;
use crate::error::{Error, ErrorKind};

/// What a register request claims.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registrant<'a> {
    pub(crate) agent_id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) username: Option<&'a str>,
    pub(crate) account_id: Option<&'a str>,
}

impl Auth {
    /// Adds the block to an envelope, if this node writes it.
    pub(crate) fn add_block(&self, envelope: &mut Envelope) -> Result<(), Error> {
        let Some(key) = &self.block else { return Ok(()) };
        let hash = payload_sha256(envelope.payload.get()).map_err(|e| {
            Error::new(ErrorKind::InvalidArgument, "the payload can't be signed: it has no canonical form")
                .source_of(e)
        })?;
        let claims = MessageClaims::of(envelope, &hash).to_claims();
        envelope.auth = Some(AuthBlock::sign(key, claims).to_map());
        Ok(())
    }

    /// The block of a register request, if this node writes it. A username that isn't asked for is claimed as the
    /// registry makes it of the agent_id.
    pub(crate) fn register_block(
        &self,
        who: Registrant<'_>,
        clock: &dyn Clock,
        ids: &dyn IdGen,
    ) -> Option<Map<String, Value>> {
        let key = self.block.as_ref()?;
        let made = normalize_username(who.agent_id);
        let claims = RegisterClaims {
            agent_id: who.agent_id,
            name: who.name,
            username: who.username.unwrap_or(&made),
            account_id: who.account_id.unwrap_or_default(),
            timestamp: &clock.now().to_string(),
            nonce: &ids.nonce(),
        };
        Some(AuthBlock::sign(key, claims.to_claims()).to_map())
    }
}
