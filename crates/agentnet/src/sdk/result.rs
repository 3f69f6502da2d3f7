//! What the SDK's calls return.

use serde::Serialize;
use serde_json::Value;

use crate::{
    error::Error,
    request::Reply,
    send::{Delivery, Stage},
};

/// The outcome of a send or an ask, with the original's fields. Tools can hand it on as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SdkResult {
    /// Whether the network stored the message at least, or the recipient answered.
    pub ok: bool,
    /// The thread it belongs to.
    pub thread_id: String,
    /// The message sent; of an ask, the reply.
    pub message_id: String,
    /// What it answers or follows.
    pub parent_message_id: Option<String>,
    /// The answer's text; empty for a send.
    pub text: String,
    /// The answer's payload; null for a send.
    pub data: Value,
    /// Why `ok` is false: a code and what to do; null when `ok` is true.
    pub error: Option<String>,
    /// New here, and absent unless set: a send that is stored and that nobody has accepted yet says so, with the code
    /// of whoever held it back. The network goes on delivering it for its time to live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
}

impl SdkResult {
    pub(super) fn sent(delivery: Delivery, parent: Option<String>) -> Self {
        let Delivery { message_id, thread_id, stage, refusal, .. } = delivery;
        let because = refusal.map(|refusal| format!("{}: {}", refusal.code, refusal.detail));
        let (error, note) = match (stage, because) {
            (None, because) => {
                (Some(because.unwrap_or_else(|| "unconfirmed: not stored yet".to_owned())), None)
            }
            (Some(Stage::Stored), Some(because)) => {
                (None, Some(format!("stored, not yet accepted ({because})")))
            }
            (Some(Stage::Stored), None) => (None, Some("stored, not yet accepted".to_owned())),
            (Some(_), _) => (None, None),
        };
        Self {
            ok: error.is_none(),
            thread_id,
            trace_id: Some(message_id.clone()),
            message_id,
            parent_message_id: parent,
            text: String::new(),
            data: Value::Null,
            error,
            note,
        }
    }

    pub(super) fn answered(reply: Reply) -> Self {
        let text = reply.text().unwrap_or_default();
        let envelope = reply.into_envelope();
        Self {
            ok: true,
            thread_id: envelope.thread_id.unwrap_or_default(),
            message_id: envelope.message_id,
            parent_message_id: envelope.parent_message_id,
            text,
            data: envelope.payload.value(),
            error: None,
            note: None,
            trace_id: envelope.trace_id,
        }
    }

    /// The result of a call that failed, for tools that want one shape for everything.
    pub fn failed(error: &Error, thread_id: Option<&str>) -> Self {
        Self {
            ok: false,
            thread_id: thread_id.unwrap_or_default().to_owned(),
            message_id: error.message_id().unwrap_or_default().to_owned(),
            parent_message_id: None,
            text: String::new(),
            data: Value::Null,
            error: Some(error.to_string()),
            note: None,
            trace_id: error.trace_id().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::ErrorKind, send::Refusal};

    fn delivery(stage: Option<Stage>, refusal: Option<Refusal>) -> Delivery {
        Delivery {
            message_id: "m".into(),
            thread_id: "t".into(),
            stage,
            stored: true,
            refusal,
            members: Vec::new(),
        }
    }

    #[test]
    fn a_send_says_how_far_it_got() {
        let accepted = SdkResult::sent(delivery(Some(Stage::Accepted), None), None);
        assert_eq!((accepted.ok, accepted.error, accepted.note), (true, None, None));
        let busy = Refusal { code: "busy".into(), detail: "full".into() };
        let stored = SdkResult::sent(delivery(Some(Stage::Stored), Some(busy)), Some("p".into()));
        assert_eq!((stored.ok, stored.error.as_deref()), (true, None));
        assert_eq!(stored.note.as_deref(), Some("stored, not yet accepted (busy: full)"));
        let nothing = SdkResult::sent(delivery(None, None), None);
        assert!(!nothing.ok && nothing.error.is_some() && nothing.note.is_none());
        assert_eq!(stored.parent_message_id.as_deref(), Some("p"));
    }

    #[test]
    fn the_keys_are_the_originals() {
        let error = Error::new(ErrorKind::Timeout, "late").message("m");
        let json = serde_json::to_value(SdkResult::failed(&error, Some("t"))).unwrap();
        let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        let expected =
            ["data", "error", "message_id", "ok", "parent_message_id", "text", "thread_id", "trace_id"];
        assert_eq!(keys, expected);
    }
}
