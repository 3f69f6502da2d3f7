//! What passes on the network's subjects, told apart.

use agentnet::proto::{Envelope, Receipt, StoredNotice, StreamFrame, Subject};
use serde::Serialize;
use serde_json::{Value, json};

/// What a message on a subject is.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An envelope.
    Message {
        /// The envelope.
        envelope: Box<Envelope>,
        /// Whether the registry sent it, because its recipient was away at first.
        redelivered: bool,
    },
    /// A recipient's receipt.
    Receipt(Box<Receipt>),
    /// The network's confirmation that it stored something, or gave it up.
    Stored {
        /// Whom it is for.
        account: String,
        /// What it says.
        notice: StoredNotice,
    },
    /// A piece of a streamed text, or a word of its reader.
    Frame {
        /// Whom it is for.
        account: String,
        /// What it says.
        frame: Box<StreamFrame>,
    },
    /// Anything else.
    Other {
        /// Its body, as far as it is text.
        body: String,
    },
}

impl Event {
    /// Reads what came on `subject`.
    pub fn read(subject: &str, body: &[u8]) -> Self {
        let other = || Self::Other { body: String::from_utf8_lossy(body).into_owned() };
        match subject.parse::<Subject>() {
            Ok(Subject::Receipts(_)) => serde_json::from_slice(body)
                .map_or_else(|_| other(), |receipt| Self::Receipt(Box::new(receipt))),
            Ok(Subject::Stored(account)) => serde_json::from_slice(body)
                .map_or_else(|_| other(), |notice| Self::Stored { account: account.to_string(), notice }),
            Ok(Subject::Stream(account, _)) => StreamFrame::decode(body).map_or_else(
                |_| other(),
                |frame| Self::Frame { account: account.to_string(), frame: Box::new(frame) },
            ),
            parsed => match Envelope::decode(body) {
                // Any JSON object reads as an envelope, the reading being as lenient as it is.
                Ok(envelope) if !envelope.message_id.is_empty() => Self::Message {
                    envelope: Box::new(envelope),
                    redelivered: matches!(parsed, Ok(Subject::Redelivery(_))),
                },
                _ => other(),
            },
        }
    }

    /// Accounts whose names a person wants to see.
    pub fn accounts(&self) -> Vec<&str> {
        match self {
            Self::Message { envelope, .. } => {
                [envelope.from_account_id.as_deref(), envelope.to_account_id.as_deref()]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            Self::Receipt(receipt) => [receipt.from_account_id.as_deref(), receipt.to_account_id.as_deref()]
                .into_iter()
                .flatten()
                .collect(),
            Self::Stored { account, .. } => vec![account],
            Self::Frame { account, frame } => {
                frame.from_account_id().into_iter().chain([account.as_str()]).collect()
            }
            Self::Other { .. } => Vec::new(),
        }
    }

    /// The event as one JSON object, under the names of the wire. `observed_at` is ours.
    pub fn to_json(&self, subject: &str, observed_at: &str, include_payload: bool) -> Line<'_> {
        let body = match self {
            Self::Message { envelope, .. } if include_payload => Body::Message(envelope),
            Self::Message { envelope, .. } => Body::Summary(without_payload(envelope)),
            Self::Receipt(receipt) => Body::Receipt(receipt),
            Self::Stored { notice, .. } => Body::Stored(notice),
            Self::Frame { frame, .. } if include_payload => Body::Frame(json!(frame)),
            Self::Frame { frame, .. } => Body::Frame(without_text(frame)),
            Self::Other { body } => Body::Other(body),
        };
        Line { subject: subject.to_owned(), observed_at: observed_at.to_owned(), body }
    }
}

fn without_payload(envelope: &Envelope) -> Value {
    let mut value = json!(envelope);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("payload");
        fields.insert("payload_bytes".to_owned(), envelope.payload.get().len().into());
    }
    value
}

fn without_text(frame: &StreamFrame) -> Value {
    let mut value = json!(frame);
    if let (Some(fields), StreamFrame::Delta(delta)) = (value.as_object_mut(), frame) {
        let bytes: usize = std::iter::once(&delta.delta).chain(&delta.more).map(String::len).sum();
        fields.remove("delta");
        fields.remove("more");
        fields.insert("delta_bytes".to_owned(), bytes.into());
    }
    value
}

/// A line of `watch --json`.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    subject: String,
    observed_at: String,
    #[serde(flatten)]
    body: Body<'a>,
}

#[derive(Debug, Serialize)]
enum Body<'a> {
    #[serde(rename = "message")]
    Message(&'a Envelope),
    #[serde(rename = "message")]
    Summary(Value),
    #[serde(rename = "receipt")]
    Receipt(&'a Receipt),
    #[serde(rename = "stored")]
    Stored(&'a StoredNotice),
    #[serde(rename = "frame")]
    Frame(Value),
    #[serde(rename = "other")]
    Other(&'a str),
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] =
        br#"{"message_id":"m1","from_agent":"a","to_agent":"acct_b","payload":{"text": "hi"},
        "sent_at":"2026-11-21T10:00:00Z","kind":"direct","schema_version":"1.1"}"#;

    #[test]
    fn tells_events_apart() {
        assert!(matches!(Event::read("account.b.inbox", MESSAGE), Event::Message { redelivered: false, .. }));
        assert!(matches!(
            Event::read("account.b.redelivery", MESSAGE),
            Event::Message { redelivered: true, .. }
        ));
        assert!(matches!(Event::read("anything.else", MESSAGE), Event::Message { .. }));
        let receipt = br#"{"message_id":"m1","status":"accepted","event_at":"x"}"#;
        assert!(matches!(Event::read("account.a.receipts", receipt), Event::Receipt(_)));
        let stored = br#"{"status":"stored","message_ids":["m1"],"event_at":"x"}"#;
        assert!(matches!(Event::read("account.a.stored", stored), Event::Stored { .. }));
        let frame =
            br#"{"type":"stream_delta","stream_id":"s","delta":"hi","seq":0,"from_account_id":"acct_a"}"#;
        let event = Event::read("account.b.stream.s", frame);
        assert!(matches!(&event, Event::Frame { account, .. } if account == "b"));
        assert_eq!(event.accounts(), ["acct_a", "b"]);
        assert!(matches!(Event::read("account.b.stream.s", b"{}"), Event::Other { .. }));
        for odd in [&b"\xff\x1b[2J"[..], b"", b"[]", b"{}"] {
            assert!(matches!(Event::read("account.a.inbox", odd), Event::Other { .. }));
        }
    }

    #[test]
    fn json_leaves_the_payload_out_unless_asked() {
        let event = Event::read("account.b.inbox", MESSAGE);
        let line = |include| serde_json::to_value(event.to_json("account.b.inbox", "now", include)).unwrap();
        assert_eq!(line(true)["message"]["payload"]["text"], "hi");
        assert_eq!(line(false)["message"]["payload"], Value::Null);
        assert_eq!(line(false)["message"]["payload_bytes"], 14);
        assert_eq!(line(false)["subject"], "account.b.inbox");
        let frame = br#"{"type":"stream_delta","stream_id":"s","delta":"hi","more":["you"],"seq":0}"#;
        let event = Event::read("account.b.stream.s", frame);
        let line =
            |include| serde_json::to_value(event.to_json("account.b.stream.s", "now", include)).unwrap();
        assert_eq!(line(true)["frame"]["more"][0], "you");
        assert_eq!(
            (&line(false)["frame"]["delta"], &line(false)["frame"]["delta_bytes"]),
            (&Value::Null, &json!(5))
        );
    }
}
