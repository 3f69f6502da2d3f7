//! Every NATS subject of the network, built and parsed here and nowhere else.
//!
//! What comes from outside (account ids, capabilities, reply tokens) becomes part of a subject only through the
//! validated token types of this file, so no wildcard, dot or space ever reaches one.

use std::{fmt, str::FromStr};

use crate::{error::ErrorCode, rpc::RpcMethod, signature::PublicKey};

/// The JetStream stream that holds what isn't in Postgres yet.
pub const STREAM: &str = "AGENTNET";
/// The persister's durable consumer on [`STREAM`], shared by its replicas.
pub const PERSISTER_CONSUMER: &str = "persister";
/// Entry of that consumer's metadata: most messages of one transaction.
pub const PERSISTER_BATCH_METADATA: &str = "agentnet_batch_max";
/// What [`STREAM`] captures.
pub const CAPTURED: [&str; 5] = [ALL_INBOXES, ALL_REPLIES, ALL_RECEIPTS, ALL_CAPABILITIES, RESEND];
/// Retransmissions of messages not yet stored.
pub const RESEND: &str = "agentnet.resend";
/// For those who watch: messages to accounts.
pub const ALL_INBOXES: &str = "account.*.inbox";
/// For those who watch: replies to requests.
pub const ALL_REPLIES: &str = "account.*.replies.*";
/// For those who watch: what recipients say.
pub const ALL_RECEIPTS: &str = "account.*.receipts";
/// For those who watch: what the network says.
pub const ALL_STORED: &str = "account.*.stored";
/// For those who watch: messages to capabilities.
pub const ALL_CAPABILITIES: &str = "agent.capability.*";
/// For those who watch: everything that concerns accounts.
pub const ALL_ACCOUNTS: &str = "account.>";
/// Deltas, cancels and resumes of everybody's streamed replies.
pub const ALL_STREAMS: &str = "account.*.stream.*";
/// What the registry delivers again.
pub const ALL_REDELIVERIES: &str = "account.*.redelivery";
/// What the registry says about threads.
pub const ALL_THREADS: &str = "account.*.threads";
/// Every account's news of its blocks.
pub const ALL_BLOCKS: &str = "account.*.blocks";
/// What the registry says about tasks.
pub const ALL_TASKS: &str = "account.*.tasks";
/// For those who watch: every event.
pub const ALL_EVENTS: &str = "agentnet.events.>";
/// What services publish of them: [`EventType`] is one token.
pub const EACH_EVENT: &str = "agentnet.events.*";
/// Every request to the registry, in every mode.
pub const ALL_REQUESTS: &str = "registry.>";
/// The object store's bucket that holds the bytes of blobs; only the registry touches it.
pub const BLOB_BUCKET: &str = "agentnet_blobs";
/// Queue group of the registry's replicas.
pub const REGISTRY_QUEUE: &str = "registry";
/// Queue group of the persister's tap on the reply inboxes of original SDKs.
pub const PERSISTER_QUEUE: &str = "persister";
/// What the persister taps so that replies between original SDKs are stored too (open and signed mode).
pub const LEGACY_REPLY_INBOXES: &str = "_INBOX.>";
/// Prefix of the registry's own reply subjects. Not below `_INBOX.`, where the persister looks for replies between agents.
pub const REGISTRY_INBOX: &str = "_INBOX_registry";
/// Prefix of the persister's own reply subjects: its tap must not hear what the stream delivers to itself.
pub const PERSISTER_INBOX: &str = "_PERSISTER";
/// Prefix of the reply subjects of the connection that ends others.
pub const SYSTEM_INBOX: &str = "_INBOX_system";
/// Where nats-server waits for answers to [`AUTH_CALLOUT`].
pub const AUTH_CALLOUT_REPLIES: &str = "$SYS._INBOX.>";
/// Where nats-server asks who connects (secure mode).
pub const AUTH_CALLOUT: &str = "$SYS.REQ.USER.AUTH";

/// The prefix of the reply subjects of `owner` in secure mode: an account id, or the nkey of a key.
pub fn inbox_prefix(owner: &str) -> String {
    format!("_INBOX.{owner}")
}

/// Whether `subject` is a reply subject that an original SDK's client library made: `_INBOX.` and safe tokens.
pub fn is_legacy_reply_inbox(subject: &str) -> bool {
    subject.strip_prefix("_INBOX.").is_some_and(|rest| rest.split('.').all(is_safe_token))
}

/// Where nats-server `server_id`, or `*` for each, is told to end a connection.
pub fn kick(server_id: &str) -> String {
    format!("$SYS.REQ.SERVER.{server_id}.KICK")
}

/// Everything below a prefix, as a pattern.
pub fn below(prefix: &str) -> String {
    format!("{prefix}.>")
}

/// The chunks of an object in [`BLOB_BUCKET`], by NATS' ADR-20; `*` for those of any.
pub fn blob_chunks(nuid: &str) -> String {
    format!("$O.{BLOB_BUCKET}.C.{nuid}")
}

/// The entry of an object in [`BLOB_BUCKET`], by its base64url name; `*` for any.
pub fn blob_entry(encoded_name: &str) -> String {
    format!("$O.{BLOB_BUCKET}.M.{encoded_name}")
}

/// The stream of [`BLOB_BUCKET`].
pub fn blob_stream() -> String {
    format!("OBJ_{BLOB_BUCKET}")
}

/// A request of JetStream's API about that stream.
pub fn blob_api(verb: &str) -> String {
    format!("$JS.API.{verb}.{}", blob_stream())
}

/// Where JetStream takes requests about [`STREAM`]: `verb` is `CREATE`, `UPDATE`, `INFO`.
pub fn stream_api(verb: &str) -> String {
    format!("$JS.API.STREAM.{verb}.{STREAM}")
}

/// Where JetStream takes requests about [`PERSISTER_CONSUMER`]: `verb` is `CREATE`, `INFO`, `MSG.NEXT`.
pub fn consumer_api(verb: &str) -> String {
    format!("$JS.API.CONSUMER.{verb}.{STREAM}.{PERSISTER_CONSUMER}")
}

/// Where the persister's consumer is told what was stored.
pub fn consumer_acks() -> String {
    below(&format!("$JS.ACK.{STREAM}.{PERSISTER_CONSUMER}"))
}

/// Longest token taken from outside, in bytes.
pub const MAX_TOKEN_LEN: usize = 128;

/// Whether `text` can stand between two dots of a subject.
pub fn is_safe_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_TOKEN_LEN
        && !text.starts_with('$')
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>'))
}

macro_rules! token {
    ($(#[$meta:meta])* $name:ident, $code:ident, $valid:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The token, checked.
            ///
            /// # Errors
            /// The code that says why the text can't be used in a subject.
            pub fn new(text: impl Into<String>) -> Result<Self, ErrorCode> {
                let text = text.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) { Ok(Self(text)) } else { Err(ErrorCode::$code) }
            }

            /// The token's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

token! {
    /// An account's routing identity: `acct_` and a lower-case ULID when the network made it; open mode takes any
    /// token of letters, digits, `_` and `-`.
    AccountId, InvalidAccountId,
    |t| !t.is_empty() && t.len() <= MAX_TOKEN_LEN && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}
token! {
    /// A capability that messages can be addressed to: one subject token.
    Capability, InvalidCapability, is_safe_token
}
token! {
    /// The last token of a reply or stream subject.
    Token, InvalidField, is_safe_token
}

impl AccountId {
    /// Whether the id has the shape the registry gives out: `acct_` and 26 lower-case ULID characters.
    pub fn is_canonical(&self) -> bool {
        self.0.strip_prefix("acct_").is_some_and(|ulid| {
            ulid.len() == 26
                && ulid
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b.is_ascii_lowercase() && !b"ilou".contains(&b)))
        })
    }
}

/// The kinds of events on `agentnet.events.<type>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Sessions that came, changed or went.
    Presence,
    /// Accounts that changed: caches drop them.
    Accounts,
    /// Keys that were bound, rotated or revoked.
    Keys,
    /// Threads that changed.
    Threads,
    /// Deliveries that ended.
    Deliveries,
    /// What happens to tasks.
    Tasks,
    /// How agents say they are.
    Status,
}

impl EventType {
    const ALL: [Self; 7] = [
        Self::Presence,
        Self::Accounts,
        Self::Keys,
        Self::Threads,
        Self::Deliveries,
        Self::Tasks,
        Self::Status,
    ];

    /// The last token of the event's subject.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Accounts => "accounts",
            Self::Keys => "keys",
            Self::Threads => "threads",
            Self::Deliveries => "deliveries",
            Self::Tasks => "tasks",
            Self::Status => "status",
        }
    }
}

/// A subject of the network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// `registry.<method>`: a request to the registry, or its presence publishes.
    Registry(RpcMethod),
    /// `registry.<method>.<account_id>`: the same in secure mode, where the permission on the last token proves the
    /// caller.
    RegistryAs(RpcMethod, AccountId),
    /// `agentnet.resend`: retransmissions of messages not yet stored; no agent subscribes to it.
    Resend,
    /// `agentnet.events.<type>`.
    Event(EventType),
    /// `account.<id>.inbox`: messages to an account.
    Inbox(AccountId),
    /// `account.<id>.replies.<token>`: replies to one session's requests.
    Replies(AccountId, Token),
    /// `account.<id>.receipts`: receipts of recipients to a sender.
    Receipts(AccountId),
    /// `account.<id>.stored`: the network's confirmations to a sender.
    Stored(AccountId),
    /// `account.<id>.redelivery`: the registry's redeliveries to sessions that speak 1.2.
    Redelivery(AccountId),
    /// `account.<id>.stream.<stream_id>`: deltas, cancels and resumes of streamed replies.
    Stream(AccountId, Token),
    /// `account.<id>.threads`: the registry tells whose standing to which thread changed.
    Threads(AccountId),
    /// `account.<id>.blocks`: the registry tells that the account blocked somebody, or takes their messages again.
    Blocks(AccountId),
    /// `account.<id>.tasks`: the registry tells submitter and worker what happens to a task.
    Tasks(AccountId),
    /// `agent.capability.<name>`: messages to any one agent with the capability.
    Capability(Capability),
}

impl Subject {
    /// The queue group that sessions sharing the work of this subject subscribe in; `None` where every session hears
    /// everything.
    pub fn queue_group(&self) -> Option<String> {
        match self {
            Self::Registry(_) | Self::RegistryAs(..) => Some(REGISTRY_QUEUE.to_owned()),
            Self::Inbox(id) => Some(format!("agentnet-account-{id}")),
            Self::Redelivery(id) => Some(format!("agentnet-redelivery-{id}")),
            Self::Capability(name) => Some(format!("agentnet-capability-{name}")),
            Self::Resend
            | Self::Event(_)
            | Self::Replies(..)
            | Self::Receipts(_)
            | Self::Stored(_)
            | Self::Threads(_)
            | Self::Blocks(_)
            | Self::Tasks(_)
            | Self::Stream(..) => None,
        }
    }

    /// Where the registry hears a method from every caller in secure mode.
    pub fn registry_of_any_caller(method: RpcMethod) -> String {
        format!("registry.{method}.*")
    }

    /// Where a key that is not yet an account's asks in secure mode; `nkey` is its NATS form.
    pub fn registry_of_key(method: RpcMethod, key: &PublicKey) -> String {
        format!("registry.{method}.{}", key.to_nkey())
    }

    /// Every request to the registry in an account's name, in secure mode.
    pub fn registry_as(account: &AccountId) -> String {
        format!("registry.*.{account}")
    }

    /// Everything that is for one account.
    pub fn all_of(account: &AccountId) -> String {
        below(&format!("account.{account}"))
    }

    /// Everything published to one of an account's stream subjects.
    pub fn all_streams(account: &AccountId) -> String {
        format!("account.{account}.stream.*")
    }

    /// Every reply subject of an account, of whichever session.
    pub fn all_replies(account: &AccountId) -> String {
        format!("account.{account}.replies.*")
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(method) => write!(f, "registry.{method}"),
            Self::RegistryAs(method, id) => write!(f, "registry.{method}.{id}"),
            Self::Resend => f.write_str(RESEND),
            Self::Event(kind) => write!(f, "agentnet.events.{}", kind.as_str()),
            Self::Inbox(id) => write!(f, "account.{id}.inbox"),
            Self::Replies(id, token) => write!(f, "account.{id}.replies.{token}"),
            Self::Receipts(id) => write!(f, "account.{id}.receipts"),
            Self::Stored(id) => write!(f, "account.{id}.stored"),
            Self::Redelivery(id) => write!(f, "account.{id}.redelivery"),
            Self::Stream(id, stream) => write!(f, "account.{id}.stream.{stream}"),
            Self::Threads(id) => write!(f, "account.{id}.threads"),
            Self::Blocks(id) => write!(f, "account.{id}.blocks"),
            Self::Tasks(id) => write!(f, "account.{id}.tasks"),
            Self::Capability(name) => write!(f, "agent.capability.{name}"),
        }
    }
}

/// The text is not a subject of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a subject of the network")]
pub struct UnknownSubject;

impl FromStr for Subject {
    type Err = UnknownSubject;

    fn from_str(text: &str) -> Result<Self, UnknownSubject> {
        let account = |id: &str| AccountId::new(id).map_err(|_| UnknownSubject);
        let token = |t: &str| Token::new(t).map_err(|_| UnknownSubject);
        let mut tokens = [""; 4];
        let mut len = 0;
        for part in text.split('.') {
            *tokens.get_mut(len).ok_or(UnknownSubject)? = part;
            len += 1;
        }
        match tokens.get(..len).unwrap_or_default() {
            ["registry", method] => RpcMethod::parse(method).map(Self::Registry).ok_or(UnknownSubject),
            ["registry", method, id] => {
                Ok(Self::RegistryAs(RpcMethod::parse(method).ok_or(UnknownSubject)?, account(id)?))
            }
            ["agentnet", "resend"] => Ok(Self::Resend),
            ["agentnet", "events", kind] => EventType::ALL
                .into_iter()
                .find(|e| e.as_str() == *kind)
                .map(Self::Event)
                .ok_or(UnknownSubject),
            ["account", id, "inbox"] => Ok(Self::Inbox(account(id)?)),
            ["account", id, "receipts"] => Ok(Self::Receipts(account(id)?)),
            ["account", id, "stored"] => Ok(Self::Stored(account(id)?)),
            ["account", id, "redelivery"] => Ok(Self::Redelivery(account(id)?)),
            ["account", id, "threads"] => Ok(Self::Threads(account(id)?)),
            ["account", id, "blocks"] => Ok(Self::Blocks(account(id)?)),
            ["account", id, "tasks"] => Ok(Self::Tasks(account(id)?)),
            ["account", id, "replies", t] => Ok(Self::Replies(account(id)?, token(t)?)),
            ["account", id, "stream", s] => Ok(Self::Stream(account(id)?, token(s)?)),
            ["agent", "capability", name] => {
                Ok(Self::Capability(Capability::new(*name).map_err(|_| UnknownSubject)?))
            }
            _ => Err(UnknownSubject),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_dots_and_spaces_never_become_tokens() {
        for bad in ["", "a.b", "*", ">", "a b", "a\tb", "a\0b", "$JS", "a\u{a0}b", &"x".repeat(129)] {
            assert!(Capability::new(bad).is_err(), "{bad:?}");
            assert!(AccountId::new(bad).is_err(), "{bad:?}");
            assert!(Token::new(bad).is_err(), "{bad:?}");
        }
        assert!(AccountId::new("acct_é").is_err());
        assert!(Capability::new("übersetzen").is_ok());
    }

    #[test]
    fn canonical_account_ids() {
        assert!(AccountId::new("acct_01j0000000000000000000000z").unwrap().is_canonical());
        for other in ["acct_01", "acct_01J0000000000000000000000Z", "acct_01i0000000000000000000000z", "x"] {
            assert!(!AccountId::new(other).unwrap().is_canonical(), "{other}");
        }
    }

    fn subject() -> impl Strategy<Value = Subject> {
        let id = || "[A-Za-z0-9_-]{1,40}".prop_map(|t| AccountId::new(t).unwrap());
        let token = || "[A-Za-z0-9_:é-]{1,40}".prop_map(|t| Token::new(t).unwrap());
        prop_oneof![
            proptest::sample::select(RpcMethod::ALL).prop_map(Subject::Registry),
            (proptest::sample::select(RpcMethod::ALL), id()).prop_map(|(m, i)| Subject::RegistryAs(m, i)),
            Just(Subject::Resend),
            proptest::sample::select(&EventType::ALL[..]).prop_map(Subject::Event),
            id().prop_map(Subject::Inbox),
            id().prop_map(Subject::Receipts),
            id().prop_map(Subject::Stored),
            id().prop_map(Subject::Redelivery),
            id().prop_map(Subject::Threads),
            id().prop_map(Subject::Blocks),
            id().prop_map(Subject::Tasks),
            (id(), token()).prop_map(|(i, t)| Subject::Replies(i, t)),
            (id(), token()).prop_map(|(i, t)| Subject::Stream(i, t)),
            "[^\\s.*>$\\x00-\\x1f\\x7f-\\x9f]{1,20}"
                .prop_map(|t| Subject::Capability(Capability::new(t).unwrap())),
        ]
    }

    proptest! {
        #[test]
        fn parse_of_print_is_the_subject(s in subject()) {
            prop_assert_eq!(s.to_string().parse::<Subject>(), Ok(s));
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = text.parse::<Subject>();
        }
    }
}
