//! From what the stream carried to what the database takes, or to the reason why not. No I/O.

mod fields;
mod message;
mod payload;
mod receipt;
mod refuse;
mod reply;

use agentnet_proto::{AccountId, ErrorCode, ReceiptStatus, Subject, Timestamp};
use agentnet_store::ingest::Item;
use async_nats::HeaderMap;
use bytes::Bytes;

pub(crate) use self::refuse::{refused_by_database, unproved};
pub use self::reply::decode_tapped;

/// What to check against and to count with.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Largest envelope, in bytes.
    pub max_message_bytes: usize,
    /// Bytes of payload that count as a token, at least 1.
    pub chars_per_token: u32,
    /// Whether senders are proved by what they signed: then only what the body says counts.
    pub is_signed: bool,
}

/// One thing as it came.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Where it was published.
    pub subject: String,
    /// Headers, if any.
    pub headers: Option<HeaderMap>,
    /// The body.
    pub body: Bytes,
    /// When the network took it.
    pub received_at: Timestamp,
    /// Its place in the stream; `None` for what the tap heard.
    pub stream_seq: Option<u64>,
    /// Which delivery by the stream this is, counted from 1.
    pub delivered: i64,
}

/// What to write, and whom to tell.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// For the database.
    pub item: Item,
    /// Who hears what became of it, if they can be addressed.
    pub answer: Option<Answer>,
}

/// Whom to tell about an item.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The account.
    pub account: AccountId,
    /// The message the item is or is about; empty if it could not be read.
    pub message_id: String,
    /// What the account sent.
    pub about: About,
}

/// What an account sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// A message.
    Message,
    /// A receipt, which peers from 1.2 on want confirmed.
    Receipt(ReceiptStatus),
    /// Something that was refused.
    Refused {
        /// Why.
        code: ErrorCode,
        /// The same for people.
        detail: String,
    },
}

/// Why something isn't stored.
#[derive(Debug)]
struct Refusal {
    code: ErrorCode,
    detail: String,
}

impl Refusal {
    fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// Decodes and checks. Never fails: what can't be stored becomes a row of the quarantine.
pub fn decode(raw: &Raw, rules: &Rules) -> Decoded {
    let decoded = check_headers(raw).and_then(|()| match parse_subject(&raw.subject)? {
        Subject::Receipts(_) => receipt::decode(raw, rules),
        subject => message::decode(raw, &subject, rules),
    });
    decoded.unwrap_or_else(|refusal| refuse::quarantine(raw, &refusal))
}

/// Headers of that prefix command the server: to drop a message as a duplicate, to roll up a subject, to expire it.
fn check_headers(raw: &Raw) -> Result<(), Refusal> {
    let Some(headers) = &raw.headers else { return Ok(()) };
    for (name, _) in headers.iter() {
        let name: &str = name.as_ref();
        if name.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("Nats-")) {
            return Err(Refusal::new(ErrorCode::HeaderForbidden, format!("header {name} is refused")));
        }
    }
    Ok(())
}

fn parse_subject(text: &str) -> Result<Subject, Refusal> {
    text.parse().map_err(|_| {
        let code = if text.starts_with("account.") {
            ErrorCode::InvalidAccountId
        } else {
            ErrorCode::InvalidCapability
        };
        Refusal::new(code, "the subject names no valid account or capability")
    })
}
