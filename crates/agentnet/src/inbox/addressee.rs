//! Whether a message is for this agent. Its subject says so too, but the sender signed only the body.

use agentnet_proto::{Addressee, Envelope, ErrorCode};

use crate::node::Inner;

impl Inner {
    /// Whether the body names this account, a capability of this agent, or a thread.
    pub(super) fn check_addressee(&self, envelope: &Envelope) -> Result<(), ErrorCode> {
        let has = |name: &str| self.config.capabilities.iter().any(|own| own.trim() == name);
        if self.is_addressee(envelope, has) { Ok(()) } else { Err(ErrorCode::WrongRecipient) }
    }

    /// Whether the body names this account, a thread, or a capability that `has` takes.
    pub(crate) fn is_addressee(&self, envelope: &Envelope, has: impl FnOnce(&str) -> bool) -> bool {
        let me = self.account.as_str();
        let is_other = envelope.to_account_id.as_deref().is_some_and(|id| !id.is_empty() && id != me);
        !is_other
            && match envelope.addressee() {
                Ok(Addressee::Account(id)) => id == self.account,
                Ok(Addressee::Capability(name)) => has(name.as_str()),
                // Whether this account is in it is looked at behind the rate limit.
                Ok(Addressee::Thread(_)) => true,
                Err(_) => false,
            }
    }
}
