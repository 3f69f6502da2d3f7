//! What services and agents hear on `agentnet.events.accounts` and `agentnet.events.keys`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Body of `agentnet.events.accounts` and `agentnet.events.keys`: whoever remembers something of the account drops it.
///
/// Events are news, not proof: they make others look again, and are never believed by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountEvent {
    /// The account.
    pub account_id: String,
    /// The usernames it has and had.
    #[serde(default)]
    pub usernames: Vec<String>,
    /// What happened to its key or its standing; absent for changes of its profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<AccountChange>,
    /// The key that the change is about, base64url: the one that was bound, or the one that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// What happened to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccountChange {
    /// The key speaks for the account from now on.
    Bound,
    /// Another key took the key's place.
    Rotated,
    /// The key was taken out of use.
    Revoked,
    /// The account is locked out.
    Suspended,
    /// The account is let in again.
    Resumed,
    /// What the account may do has changed: its connections end, and come back with other permissions.
    Permissions,
    /// Something that this version doesn't know.
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_newer_versions_are_still_events() {
        let event: AccountEvent =
            serde_json::from_str(r#"{"account_id":"acct_a","change":"merged","more":1}"#).unwrap();
        assert_eq!(event.change, Some(AccountChange::Other));
        let bound = AccountEvent {
            account_id: "acct_a".into(),
            change: Some(AccountChange::Bound),
            public_key: Some("k".into()),
            ..AccountEvent::default()
        };
        let text = serde_json::to_string(&bound).unwrap();
        assert_eq!(text, r#"{"account_id":"acct_a","usernames":[],"change":"bound","public_key":"k"}"#);
        let plain = AccountEvent { account_id: "acct_a".into(), ..AccountEvent::default() };
        assert_eq!(serde_json::to_string(&plain).unwrap(), r#"{"account_id":"acct_a","usernames":[]}"#);
    }
}
