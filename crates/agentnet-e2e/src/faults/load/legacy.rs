//! What senders without our client do: publish and hope.

use agentnet::AgentNode;
use agentnet_proto::{AccountId, Clock, Subject, SystemClock};
use serde_json::json;

use super::{TTL, Target};
use crate::faults::{agent::Content, ledger::Entry};

/// Publishes the message so many times to the inbox, as an SDK of schema 1.1 does that hears no receipt in time.
///
/// # Errors
/// Why it never left this process.
pub(super) async fn publish(
    node: &AgentNode,
    target: &Target,
    entry: &Entry,
    content: &Content,
    copies: u32,
) -> Result<(), String> {
    let inbox = AccountId::new(target.account_id.clone()).map_err(|code| code.to_string())?;
    let envelope = json!({
        "message_id": entry.message_id,
        "from_agent": node.agent_id(),
        "from_account_id": node.account_id(),
        "from_session_tag": node.session_tag(),
        "to_agent": target.account_id,
        "to_account_id": target.account_id,
        "payload": content,
        "sent_at": SystemClock.now().to_string(),
        "ttl_ms": u64::try_from(TTL.as_millis()).unwrap_or(u64::MAX),
        "trace_id": entry.message_id,
        "thread_id": entry.thread_id,
        "kind": "direct",
        "schema_version": "1.1",
    });
    let body: Vec<u8> = envelope.to_string().into_bytes();
    let subject = Subject::Inbox(inbox).to_string();
    for _ in 0..copies {
        let published = node.connection().client().publish(subject.clone(), body.clone().into()).await;
        published.map_err(|error| error.to_string())?;
    }
    Ok(())
}
