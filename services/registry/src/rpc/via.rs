//! Through which gateway messages came: by the key that signed them, which a login bound, or, in open mode, where nobody
//! signs, by what their session said about itself.

use std::collections::HashMap;

use agentnet_proto::Security;
use agentnet_store::messages::Message;
use agentnet_store::{keys, sessions};

use crate::app::{App, Failed};

/// The gateways' accounts, by message.
pub(super) async fn of(app: &App, messages: &[Message]) -> Result<HashMap<String, String>, Failed> {
    let db = app.store.pool();
    let signed: Vec<(&str, &str, &str)> = messages
        .iter()
        .filter_map(|m| Some((m.message_id.as_str(), m.from_account_id.as_deref()?, m.signer()?)))
        .collect();
    let mut found = HashMap::new();
    if !signed.is_empty() {
        let pairs: Vec<(&str, &str)> = signed.iter().map(|(_, account, key)| (*account, *key)).collect();
        let vias = keys::vias(db, &pairs).await?;
        for (message, account, key) in signed {
            if let Some(via) = vias.get(&(account.to_owned(), key.to_owned())) {
                found.insert(message.to_owned(), via.clone());
            }
        }
    }
    if app.config.security != Security::Open {
        return Ok(found);
    }
    let unsigned: Vec<(&str, &str)> = messages
        .iter()
        .filter(|m| m.signature.is_none())
        .filter_map(|m| Some((m.message_id.as_str(), m.from_session_tag.as_deref()?)))
        .collect();
    if !unsigned.is_empty() {
        let tags: Vec<&str> = unsigned.iter().map(|(_, tag)| *tag).collect();
        let vias = sessions::vias(db, &tags).await?;
        for (message, tag) in unsigned {
            if let Some(via) = vias.get(tag) {
                found.insert(message.to_owned(), via.clone());
            }
        }
    }
    Ok(found)
}
