//! The envelope: what every message of every front door looks like on the wire.
//!
//! Reading is as lenient as the original (numbers where strings belong, null for absent, unknown fields kept);
//! writing is strict: required fields always, optional ones only when set. The payload keeps the exact text it came
//! with, so hashes and signatures over it hold, whatever numbers or escapes are in it.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};
use sha2::{Digest, Sha256};

use crate::{
    block::text_of,
    error::ErrorCode,
    lenient::{Accounts, Extra, OptInt, OptObject, OptString, Text},
    rpc::MOST_MEMBERS,
    schema_version,
    subject::{AccountId, Capability},
    timestamp::Timestamp,
};

/// Largest encoded envelope a node takes or sends unless configured otherwise, in bytes.
pub const DEFAULT_MAX_PAYLOAD_BYTES: usize = 256_000;
/// Time to live of a message whose sender names none, in milliseconds.
pub const DEFAULT_TTL_MS: i64 = 30_000;
/// Longest time to live.
pub const MAX_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// [`MAX_TTL`] in milliseconds.
pub const MAX_TTL_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// How far a sender's clock may be ahead of a recipient's.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(30);
/// Longest text in a field that names something (ids, kinds, versions, keys), in bytes.
pub const MAX_FIELD_LEN: usize = 512;

/// What a target starts with, before the capability's name, when any one agent with it is meant.
pub const CAPABILITY_PREFIX: &str = "capability:";
/// What a target starts with, before the thread's id, when every member of it is meant.
pub const THREAD_PREFIX: &str = "thread:";

/// A field of envelopes beside the known ones: the coordinator's protocol under which a message was sent.
pub const PROTOCOL_FIELD: &str = "protocol";

/// How deep lists and objects may nest in an envelope, the limit of common JSON readers.
pub const MAX_DEPTH: usize = 127;

/// NATS header that carries signature v2.
pub const SIGNATURE_HEADER: &str = "Agentnet-Signature";
/// NATS header in which a redelivery says which attempt it is, counted from 1.
pub const ATTEMPT_HEADER: &str = "Agentnet-Attempt";
/// NATS header of a copy on `agentnet.resend` whose sender says that its time to live is over and somebody has seen it:
/// the network stores it, and delivers it to nobody. Its value is `1`.
pub const LATE_HEADER: &str = "Agentnet-Late";

/// The kinds of messages the network itself knows; any other text is allowed.
pub mod kind {
    /// A message that expects no reply.
    pub const DIRECT: &str = "direct";
    /// A message that expects a reply.
    pub const REQUEST: &str = "request";
    /// An answer.
    pub const REPLY: &str = "reply";
    /// An answer that says why there is no other.
    pub const ERROR: &str = "error";
    /// Bookkeeping of a thread, such as checkpoints.
    pub const SYSTEM: &str = "system";
    /// A part of a streamed reply.
    pub const STREAM: &str = "stream";
}

/// How urgent a message is; defined from 1.2 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// May wait.
    Low,
    /// The default.
    Normal,
    /// Before others.
    High,
    /// Before all others.
    Critical,
}

/// A JSON value with the exact text it was written in.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Payload(#[schemars(with = "Value")] Box<RawValue>);

impl Payload {
    /// The payload's JSON text.
    ///
    /// # Errors
    /// What serde_json says when `value` can't be written as JSON.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// A payload from its JSON text.
    ///
    /// # Errors
    /// What serde_json says when `text` isn't one JSON value.
    pub fn from_text(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(Self)
    }

    /// `{"text": text}`, the shape of chat messages.
    pub fn text(text: &str) -> Self {
        Self::from(Value::Object(Map::from_iter([("text".to_owned(), Value::from(text))])))
    }

    /// The JSON text as written by the sender.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// The payload read as a type.
    ///
    /// # Errors
    /// What serde_json says when the payload has another shape.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }

    /// The payload as a JSON value; text that JSON allows but a string can't hold (lone surrogates) reads as null.
    pub fn value(&self) -> Value {
        self.parse().unwrap_or(Value::Null)
    }

    /// The payload's `text` member, or the payload itself if it is a string, or the text of its [blocks](Self::blocks).
    pub fn as_text(&self) -> Option<String> {
        match self.value() {
            Value::String(s) => Some(s),
            Value::Object(mut map) => match map.remove("text") {
                Some(Value::String(s)) => Some(s),
                _ => text_of(&self.blocks()?),
            },
            Value::Array(_) => text_of(&self.blocks()?),
            _ => None,
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::from(Value::Object(Map::new()))
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        // A Value always prints as JSON: its keys are strings and its numbers finite.
        Self(RawValue::from_string(value.to_string()).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

/// Where a message goes, logically: what the envelope's `to_agent` says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Addressee {
    /// One account.
    Account(AccountId),
    /// Any one agent with the capability.
    Capability(Capability),
    /// Every member of a thread.
    Thread(String),
}

/// As `to_agent` and the rows of deliveries name it.
impl fmt::Display for Addressee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "{id}"),
            Self::Capability(name) => write!(f, "{CAPABILITY_PREFIX}{name}"),
            Self::Thread(id) => write!(f, "{THREAD_PREFIX}{id}"),
        }
    }
}

/// Whether messages of this kind are answers, see [`Envelope::is_reply`].
#[must_use]
pub fn is_reply_kind(kind: &str) -> bool {
    matches!(kind, kind::REPLY | kind::ERROR)
}

/// One message. See `docs/PROTOCOL.md` for what each field means.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Envelope {
    /// Unique for ever; 32 hex characters when made here.
    pub message_id: String,
    /// The sender's `agent_id`, a label.
    pub from_agent: String,
    /// The sender's account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_account_id: Option<String>,
    /// The sender's session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_session_tag: Option<String>,
    /// The logical target: an account id, `capability:<name>` or `thread:<id>`.
    pub to_agent: String,
    /// The target account, when there is exactly one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_account_id: Option<String>,
    /// Of a message to a thread: the members it is for, by account id; everybody else there only reads it. From 1.2 on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub to_members: Vec<String>,
    /// The content, any JSON value.
    pub payload: Payload,
    /// When it was sent, ISO 8601, as the sender wrote it.
    pub sent_at: String,
    /// Time to live in milliseconds from `sent_at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<i64>,
    /// When the time to live ends, ISO 8601, as the sender wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Groups what belongs to one piece of work; the first message's id unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The thread the message belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// The message this one answers or follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_message_id: Option<String>,
    /// See [`kind`].
    pub kind: String,
    /// See [`schema_version`].
    pub schema_version: String,
    /// Two messages of one sender with the same key are the same operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Where the reply goes; a NATS reply subject wins over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// The stream on which the sender of a request reads the reply while it is written, from 1.2 on: one subject token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_stream: Option<String>,
    /// The original's signature block, `dev-ed25519-v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Map<String, Value>>,
    /// Urgency, from 1.2 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// How often the message was relayed, from 1.2 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hops: Option<i64>,
    /// Media type of the payload, from 1.2 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Fields of newer versions, kept as they came.
    #[serde(flatten)]
    #[schemars(with = "Map<String, Value>")]
    pub extra: Extra,
}

impl Envelope {
    /// Reads an envelope.
    ///
    /// # Errors
    /// [`EnvelopeError`] when the bytes aren't a JSON object, a field has a type that can't be understood, or a field
    /// stands twice.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if is_too_deep(bytes) {
            return Err(EnvelopeError::TooDeep);
        }
        serde_json::from_slice(bytes).map_err(EnvelopeError::Json)
    }

    /// The bytes to publish.
    ///
    /// # Errors
    /// What serde_json says; it can't happen for an envelope whose extra fields are JSON.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut out = Vec::with_capacity(512 + self.payload.get().len());
        serde_json::to_writer(&mut out, self)?;
        Ok(out)
    }

    /// The thread, made from trace or message id when the sender named none.
    pub fn thread_id_or_default(&self) -> Cow<'_, str> {
        match &self.thread_id {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(default_thread_id(self.trace_id.as_deref().unwrap_or(&self.message_id))),
        }
    }

    /// When the message was sent, if the sender wrote a time that can be read.
    pub fn sent_at(&self) -> Option<Timestamp> {
        Timestamp::parse(&self.sent_at)
    }

    /// The earlier of `expires_at` and `sent_at + ttl_ms`, over those that can be read; `None` is `missing_ttl`.
    pub fn effective_expiry(&self) -> Option<Timestamp> {
        let explicit = self.expires_at.as_deref().and_then(Timestamp::parse);
        let relative = self.ttl_ms.zip(self.sent_at()).map(|(ttl, sent)| sent.saturating_add_millis(ttl));
        match (explicit, relative) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// How long the network keeps trying, counted from when it took the message: `ttl_ms`, else the span from
    /// `sent_at` to `expires_at`; at most [`MAX_TTL`].
    pub fn ttl(&self) -> Option<Duration> {
        let span = || {
            let end = self.expires_at.as_deref().and_then(Timestamp::parse)?;
            Some(end.duration_since(self.sent_at()?))
        };
        let ms = self.ttl_ms.or_else(span)?;
        Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(MAX_TTL))
    }

    /// The logical target.
    ///
    /// # Errors
    /// The code that says what is wrong with `to_agent` / `to_account_id`.
    pub fn addressee(&self) -> Result<Addressee, ErrorCode> {
        if let Some(name) = self.to_agent.strip_prefix(CAPABILITY_PREFIX) {
            return Capability::new(name).map(Addressee::Capability);
        }
        if let Some(id) = self.to_agent.strip_prefix(THREAD_PREFIX) {
            return if id.is_empty() {
                Err(ErrorCode::InvalidTarget)
            } else {
                Ok(Addressee::Thread(id.into()))
            };
        }
        AccountId::new(self.to_account_id.as_deref().unwrap_or(&self.to_agent)).map(Addressee::Account)
    }

    /// The first of the short fields that can't be stored, because it is longer than [`MAX_FIELD_LEN`] or holds NUL.
    /// Recipients refuse what the network would refuse, and keep no such text.
    pub fn unfit_field(&self) -> Option<&'static str> {
        if self.to_members.len() > MOST_MEMBERS || !self.to_members.iter().all(|id| is_fit(id)) {
            return Some("to_members");
        }
        [
            ("message_id", Some(&self.message_id)),
            ("from_agent", Some(&self.from_agent)),
            ("to_agent", Some(&self.to_agent)),
            ("kind", Some(&self.kind)),
            ("schema_version", Some(&self.schema_version)),
            ("from_account_id", self.from_account_id.as_ref()),
            ("from_session_tag", self.from_session_tag.as_ref()),
            ("to_account_id", self.to_account_id.as_ref()),
            ("thread_id", self.thread_id.as_ref()),
            ("parent_message_id", self.parent_message_id.as_ref()),
            ("trace_id", self.trace_id.as_ref()),
            ("idempotency_key", self.idempotency_key.as_ref()),
        ]
        .into_iter()
        .find(|(_, text)| text.is_some_and(|text| !is_fit(text)))
        .map(|(name, _)| name)
    }

    /// Whether the message is an answer: stored and confirmed, never redelivered.
    pub fn is_reply(&self) -> bool {
        is_reply_kind(&self.kind)
    }
}

/// Whether a short field may hold `text`: at most [`MAX_FIELD_LEN`] bytes, no NUL.
pub fn is_fit(text: &str) -> bool {
    text.len() <= MAX_FIELD_LEN && !text.contains('\0')
}

/// The thread of a message whose sender named none.
pub fn default_thread_id(trace_or_message_id: &str) -> String {
    format!("thread_{}", trace_or_message_id.to_lowercase())
}

/// SHA-256 of the exact body bytes: what tells a repeated copy from other content under the same id.
pub fn body_hash(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

/// Whether lists and objects nest deeper than [`MAX_DEPTH`]. The payload isn't parsed on the way, so that no reader
/// behind us meets nesting that overflows its stack.
fn is_too_deep(bytes: &[u8]) -> bool {
    // Hardly any message has that many brackets at all, and counting them is cheap.
    if bytes.iter().filter(|b| matches!(b, b'[' | b'{')).count() <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// The bytes are not an envelope.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not a JSON object, a field of the wrong type, or a field that stands twice.
    #[error("not an envelope: {0}")]
    Json(#[source] serde_json::Error),
    /// Lists and objects nest deeper than [`MAX_DEPTH`].
    #[error("lists and objects nest deeper than {MAX_DEPTH}")]
    TooDeep,
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

macro_rules! once {
    ($slot:ident, $map:ident, $reader:ty, $name:literal) => {{
        if $slot.is_some() {
            return Err(A::Error::custom(concat!("field `", $name, "` stands twice")));
        }
        $slot = Some($map.next_value::<$reader>()?.0);
    }};
}

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let (mut message_id, mut from_agent, mut to_agent) = (None, None, None);
        let (mut from_account_id, mut from_session_tag, mut to_account_id) = (None, None, None);
        let (mut sent_at, mut ttl_ms, mut expires_at) = (None, None, None);
        let (mut trace_id, mut thread_id, mut parent_message_id) = (None, None, None);
        let (mut kind, mut schema_version, mut idempotency_key) = (None, None, None);
        let (mut reply_to, mut reply_stream, mut auth) = (None, None, None);
        let (mut hops, mut content_type) = (None, None);
        let mut priority: Option<Option<String>> = None;
        let mut to_members = None;
        let mut payload: Option<Payload> = None;
        let mut extra = Extra::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match key.as_ref() {
                "message_id" => once!(message_id, map, Text, "message_id"),
                "from_agent" => once!(from_agent, map, Text, "from_agent"),
                "to_agent" => once!(to_agent, map, Text, "to_agent"),
                "from_account_id" => once!(from_account_id, map, OptString, "from_account_id"),
                "from_session_tag" => once!(from_session_tag, map, OptString, "from_session_tag"),
                "to_account_id" => once!(to_account_id, map, OptString, "to_account_id"),
                "to_members" => once!(to_members, map, Accounts, "to_members"),
                "sent_at" => once!(sent_at, map, Text, "sent_at"),
                "ttl_ms" => once!(ttl_ms, map, OptInt, "ttl_ms"),
                "expires_at" => once!(expires_at, map, OptString, "expires_at"),
                "trace_id" => once!(trace_id, map, OptString, "trace_id"),
                "thread_id" => once!(thread_id, map, OptString, "thread_id"),
                "parent_message_id" => once!(parent_message_id, map, OptString, "parent_message_id"),
                "kind" => once!(kind, map, OptString, "kind"),
                "schema_version" => once!(schema_version, map, OptString, "schema_version"),
                "idempotency_key" => once!(idempotency_key, map, OptString, "idempotency_key"),
                "reply_to" => once!(reply_to, map, OptString, "reply_to"),
                "reply_stream" => once!(reply_stream, map, OptString, "reply_stream"),
                "auth" => once!(auth, map, OptObject, "auth"),
                "priority" => once!(priority, map, OptString, "priority"),
                "hops" => once!(hops, map, OptInt, "hops"),
                "content_type" => once!(content_type, map, OptString, "content_type"),
                "payload" => {
                    if payload.is_some() {
                        return Err(A::Error::custom("field `payload` stands twice"));
                    }
                    payload = Some(map.next_value()?);
                }
                _ => {
                    let value = map.next_value()?;
                    if extra.insert(key.into_owned(), value).is_some() {
                        return Err(A::Error::custom("an unknown field stands twice"));
                    }
                }
            }
        }
        let priority = priority.flatten().and_then(|text| match text.as_str() {
            "low" => Some(Priority::Low),
            "normal" => Some(Priority::Normal),
            "high" => Some(Priority::High),
            "critical" => Some(Priority::Critical),
            _ => None,
        });
        Ok(Envelope {
            message_id: message_id.unwrap_or_default(),
            from_agent: from_agent.unwrap_or_default(),
            from_account_id: from_account_id.flatten(),
            from_session_tag: from_session_tag.flatten(),
            to_agent: to_agent.unwrap_or_default(),
            to_account_id: to_account_id.flatten(),
            to_members: to_members.unwrap_or_default(),
            payload: payload.unwrap_or_default(),
            sent_at: sent_at.unwrap_or_default(),
            ttl_ms: ttl_ms.flatten(),
            expires_at: expires_at.flatten(),
            trace_id: trace_id.flatten(),
            thread_id: thread_id.flatten(),
            parent_message_id: parent_message_id.flatten(),
            kind: kind.flatten().unwrap_or_else(|| kind::DIRECT.to_owned()),
            schema_version: schema_version.flatten().unwrap_or_else(|| schema_version::DEFAULT.to_owned()),
            idempotency_key: idempotency_key.flatten(),
            reply_to: reply_to.flatten(),
            reply_stream: reply_stream.flatten(),
            auth: auth.flatten(),
            priority,
            hops: hops.flatten(),
            content_type: content_type.flatten(),
            extra,
        })
    }
}
