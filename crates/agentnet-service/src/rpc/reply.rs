//! Sending answers, and the subjects they may go to.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::{Client, Subject};
use bytes::Bytes;
use tokio::time::timeout;

use super::call::{Polled, poll_once};

/// Decides from the request's subject and its reply subject whether to answer there. Without it a requester
/// could make a service, which may publish more than the requester, publish for it.
pub type ReplyGuard = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// Refuses subjects of the server itself (`$JS.`, `$SYS.` and all else under `$`), those that services and agents
/// listen on (`registry`, `agentnet`, `agent`, and of `account` all but an account's replies), and wildcards.
pub fn default_reply_guard() -> ReplyGuard {
    Arc::new(|_subject, reply| {
        let mut tokens = reply.split('.');
        let reserved = match tokens.next().unwrap_or_default() {
            "registry" | "agentnet" | "agent" => true,
            "account" => tokens.nth(1) != Some("replies"),
            first => first.starts_with('$'),
        };
        let wildcard = reply.split('.').any(|token| matches!(token, "" | "*" | ">"));
        !reserved && !wildcard
    })
}

pub(super) enum Sent {
    Yes,
    TooLarge,
    No,
}

/// Hands an answer to the connection. Waits when its queue is full, but no longer than `within`.
pub(super) async fn send(client: &Client, reply: Subject, body: Bytes, within: Duration) -> Sent {
    let mut publish = pin!(client.publish(reply, body));
    let result = match poll_once(publish.as_mut()).await {
        Polled::Ready(result) => result,
        Polled::Pending => match timeout(within, publish).await {
            Ok(result) => result,
            Err(_) => return Sent::No,
        },
    };
    match result {
        Ok(()) => Sent::Yes,
        Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => Sent::TooLarge,
        Err(_) => Sent::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_guard() {
        let guard = default_reply_guard();
        for good in ["_INBOX.abc.1", "account.acct_1.replies.t", "registryx.1"] {
            assert!(guard("registry.list", good), "{good}");
        }
        for bad in [
            "$JS.API.STREAM.DELETE.X",
            "$SYS.REQ",
            "registry.hello",
            "registry",
            "agentnet.events.presence",
            "agent.capability.sum",
            "account.acct_1.stored",
            "account.acct_1.inbox",
            "account.acct_1",
            "account",
            "a.*",
            "a.>",
            "a..b",
            "",
        ] {
            assert!(!guard("registry.list", bad), "{bad}");
        }
    }
}
