//! Every error code that crosses the wire, in one table.
//!
//! A code is stable: programs match on it. The codes that the original AgentNet already had keep its exact
//! spelling, sentences included, because its SDKs show or compare them. The HTTP status is what a gateway answers
//! for the code; `retryable` says whether the same request may succeed later without being changed.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal, $http:literal, $retry:literal;)+) => {
        /// A stable error code of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code as it stands on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The HTTP status a gateway answers for this code.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http,)+ }
            }

            /// Whether the unchanged request may succeed later.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => $retry,)+ }
            }

            /// What the code means and what to do about it, one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }

            /// The code spelled `text`, or `None` for one this version doesn't know.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

codes! {
    // Requests to the registry: shape.
    /// The request body is not valid JSON; send one JSON object.
    InvalidJson = "invalid_json", 400, false;
    /// The request body is not a JSON object.
    NotAnObject = "payload must be an object", 400, false;
    /// The register request is not a JSON object.
    RegisterNotObject = "register payload must be an object", 400, false;
    /// The search request is not a JSON object.
    SearchNotObject = "search payload must be an object", 400, false;
    /// The profile request is not a JSON object.
    ProfileNotObject = "profile payload must be an object", 400, false;
    /// The resolve request is not a JSON object.
    ResolveNotObject = "resolve payload must be an object", 400, false;
    /// The thread_list request is not a JSON object.
    ThreadListNotObject = "thread_list payload must be an object", 400, false;
    /// The thread_status request is not a JSON object.
    ThreadStatusNotObject = "thread_status payload must be an object", 400, false;
    /// The thread_messages request is not a JSON object.
    ThreadMessagesNotObject = "thread_messages payload must be an object", 400, false;
    /// The message_search request is not a JSON object.
    MessageSearchNotObject = "message_search payload must be an object", 400, false;
    /// Give the field `agent_id`.
    AgentIdRequired = "agent_id is required", 400, false;
    /// Give the field `username`.
    UsernameRequired = "username is required", 400, false;
    /// Give the field `account_id`.
    AccountIdRequired = "account_id is required", 400, false;
    /// Give the field `thread_id`.
    ThreadIdRequired = "thread_id is required", 400, false;
    /// Give the field `account_id` or the field `username`.
    AccountOrUsernameRequired = "account_id or username is required", 400, false;
    /// A field has the wrong type, is too long, or holds characters that can't be stored.
    InvalidField = "invalid_field", 400, false;
    /// The account id can't be used in a subject: use one token of letters, digits, `_` and `-`.
    InvalidAccountId = "invalid_account_id", 400, false;
    /// The capability can't be used in a subject: it must be one token without `.`, `*`, `>` or spaces.
    InvalidCapability = "invalid_capability", 400, false;
    /// The target is neither an account, a username, a capability nor a thread.
    InvalidTarget = "invalid_target", 400, false;
    /// `from_ts` is not an ISO 8601 time.
    FromTsInvalid = "from_ts_invalid", 400, false;
    /// `to_ts` is not an ISO 8601 time.
    ToTsInvalid = "to_ts_invalid", 400, false;
    /// A thread of that id exists; choose another id.
    ThreadExists = "thread_exists", 409, false;
    /// The thread has as many members as a thread may have.
    ThreadFull = "thread_full", 409, false;
    /// An owner can't be put out of its thread: it leaves by itself, or another owner takes its role first.
    ThreadOwner = "thread_owner", 409, false;
    /// The account has as many peers, blocked accounts or documents as it may have; remove some first.
    LimitReached = "limit_reached", 409, false;
    /// Usernames that begin with `guest` are those of guests; choose another name, or come as a guest.
    UsernameReserved = "username_reserved", 409, false;
    /// Several agents go by that name: one's coordinator id is another's username or account id; use the account id.
    Ambiguous = "ambiguous", 409, false;
    /// The agent takes no message under this protocol from the sender; docs/COORDINATOR.md says from whom it may.
    ProtocolForbidden = "protocol_forbidden", 403, false;
    /// Nothing of that name or id exists.
    NotFound = "not_found", 404, false;
    /// There is no such method.
    UnknownMethod = "unknown_method", 404, false;

    // Blobs.
    /// There is no such blob: it never was, was deleted, or its time is over.
    BlobGone = "blob_gone", 410, false;
    /// The content isn't what its SHA-256 says: put it again.
    BlobAltered = "blob_altered", 409, false;
    /// The account's blobs and uploads would take more than it may have: delete some.
    BlobQuotaFull = "blob_quota_full", 507, false;
    /// The blob is larger than the network takes.
    BlobTooLarge = "blob_too_large", 413, false;
    /// There is no such upload: it was finished, or nothing came for too long; begin anew.
    BlobUploadUnknown = "blob_upload_unknown", 410, false;
    /// Only the owner, and whoever may read a message that refers to the blob, may read it.
    BlobForbidden = "blob_forbidden", 403, false;
    /// The range lies outside of the blob, or the chunk doesn't fit the upload.
    BlobBadRange = "blob_bad_range", 416, false;
    /// No blob may have this file name: give one without directories.
    BlobBadName = "blob_bad_name", 400, false;
    /// The object store is full; try again later, or have it made larger.
    BlobStoreFull = "blob_store_full", 507, true;
    /// The blob or the object store could not be read or changed; try again.
    BlobFailed = "blob_failed", 503, true;

    // Tasks.
    /// There is no such priority: urgent, critical, high, normal or low.
    InvalidPriority = "invalid_priority", 400, false;
    /// There is no such state: queued, assigned, running, completed, failed, cancelled, expired or dead.
    InvalidState = "invalid_state", 400, false;
    /// There is no such strategy; `task_strategy` lists those that there are.
    InvalidStrategy = "invalid_strategy", 400, false;
    /// There is no such status: active, inactive, busy, stale, maintenance or error.
    InvalidStatus = "invalid_status", 400, false;
    /// The deadline is no time, has passed, or lies more than 30 days ahead.
    DeadlineInvalid = "deadline_invalid", 400, false;
    /// Another task has this id; choose another id.
    TaskExists = "task_exists", 409, false;
    /// The submitter used this idempotency key for another task; use a new key.
    IdempotencyKeyReused = "idempotency_key_reused", 409, false;
    /// The submitter has as many open tasks as it may have; wait until some have ended.
    TaskQueueFull = "task_queue_full", 503, true;
    /// The task has ended: stop working at it.
    TaskOver = "task_over", 409, false;
    /// The task isn't assigned to the account, or isn't any more: stop working at it.
    TaskNotAssigned = "task_not_assigned", 403, false;
    /// Another session of the worker has accepted the task: leave it to that one.
    TaskTaken = "task_taken", 409, false;
    /// The lease isn't the one that counts: it has lapsed, and the task was given to somebody else.
    TaskLeaseLost = "task_lease_lost", 409, false;
    /// The worker fell silent for longer than its lease.
    LeaseLapsed = "lease_lapsed", 504, true;
    /// The worker's session ended while it had the task.
    WorkerLost = "worker_lost", 503, true;
    /// The worker didn't accept the task in time.
    NotAccepted = "not_accepted", 504, true;
    /// The task was called off.
    Cancelled = "cancelled", 409, false;
    /// Tasks could not be read or changed; try again.
    TasksFailed = "tasks_failed", 503, true;

    // Requests to the gateway over HTTP.
    /// A field of the body, query or path is missing or can't be used; `field` names it.
    ValidationFailed = "validation_failed", 422, false;
    /// The route takes another method; /docs lists them.
    MethodNotAllowed = "method_not_allowed", 405, false;
    /// The body must be JSON, or what the route says.
    UnsupportedMediaType = "unsupported_media_type", 415, false;
    /// The request shows no token, and this network wants one; log in first.
    Unauthenticated = "unauthenticated", 401, false;
    /// A frame over a WebSocket isn't what it must be; the socket stays open.
    InvalidMessage = "invalid_message", 400, false;
    /// No agent is online that fits what was asked for; start one that says so in its metadata.
    NoAgentAvailable = "no_agent_available", 503, true;
    /// The account has as many sessions or agents as it may have; end one first.
    SessionsFull = "sessions_full", 429, false;
    /// The session has ended; make another one.
    SessionEnded = "session_ended", 404, false;

    // Requests to the registry: failures.
    /// The account could not be resolved or created; try again.
    IdentityFailed = "failed resolving account identity", 503, true;
    /// The search failed inside the registry; try again.
    SearchFailed = "search_failed", 503, true;
    /// The profile query failed inside the registry; try again.
    ProfileFailed = "profile_failed", 503, true;
    /// The resolve query failed inside the registry; try again.
    ResolveFailed = "resolve_failed", 503, true;
    /// The thread_list query failed inside the registry; try again.
    ThreadListFailed = "thread_list_failed", 503, true;
    /// The thread_status query failed inside the registry; try again.
    ThreadStatusFailed = "thread_status_failed", 503, true;
    /// The thread_messages query failed inside the registry; try again.
    ThreadMessagesFailed = "thread_messages_failed", 503, true;
    /// The message_search query failed inside the registry; try again.
    MessageSearchFailed = "message_search_failed", 503, true;
    /// The deliveries could not be read or changed; try again.
    DeliveriesFailed = "deliveries_failed", 503, true;
    /// The account could not be read or changed; try again.
    AccountFailed = "account_failed", 503, true;
    /// The thread's members could not be read or changed; try again.
    ThreadFailed = "thread_failed", 503, true;
    /// The database can't be reached; try again.
    StoreUnavailable = "store_unavailable", 503, true;
    /// The answer would exceed the size NATS carries; ask for fewer rows.
    ResponseTooLarge = "response_too_large", 413, false;
    /// An unexpected failure inside the service; it is in the service's log.
    Internal = "internal", 500, true;

    // Identity: register.
    /// The registry wants a signed register request.
    AuthRequired = "auth_required", 401, false;
    /// The signature scheme is not one this network takes.
    AuthSchemeInvalid = "auth_scheme_invalid", 401, false;
    /// The auth block lacks its key, signature or claims.
    AuthPayloadInvalid = "auth_payload_invalid", 401, false;
    /// The signed claims lack timestamp or nonce.
    AuthClaimsInvalid = "auth_claims_invalid", 401, false;
    /// The signed agent_id differs from the request's.
    AuthClaimsAgentMismatch = "auth_claims_agent_mismatch", 401, false;
    /// The signed name differs from the request's.
    AuthClaimsNameMismatch = "auth_claims_name_mismatch", 401, false;
    /// The signed username differs from the account's.
    AuthClaimsUsernameMismatch = "auth_claims_username_mismatch", 401, false;
    /// The signed account_id differs from the account's.
    AuthClaimsAccountMismatch = "auth_claims_account_mismatch", 401, false;
    /// The signed timestamp is not a time.
    AuthClaimsTimestampInvalid = "auth_claims_timestamp_invalid", 401, false;
    /// The signed timestamp is too far from the registry's clock; check both clocks.
    AuthClaimsTimestampSkew = "auth_claims_timestamp_skew", 401, false;
    /// The signature doesn't verify.
    AuthSignatureInvalid = "auth_signature_invalid", 401, false;
    /// This signed request was used before; sign a new one.
    AuthNonceReplayed = "auth_nonce_replayed", 401, false;
    /// The account is bound to another key.
    AuthPublicKeyMismatch = "auth_public_key_mismatch", 403, false;
    /// The network doesn't know the key, and it needs leave to register: ask an operator for a token (`agentnet enrol`), and give it in AGENTNET_ENROLMENT_TOKEN.
    EnrolmentRequired = "enrolment_required", 401, false;
    /// The enrolment token is none, was used up, is too old, or is for another account.
    EnrolmentTokenInvalid = "enrolment_token_invalid", 403, false;
    /// An operator decides who may serve this capability, and hasn't granted it to the account.
    CapabilityRestricted = "capability_restricted", 403, false;
    /// The identity could not be checked; try again.
    AuthValidationFailed = "auth_validation_failed", 503, true;

    // People and machines that come in over HTTP.
    /// Username or password is wrong.
    InvalidCredentials = "invalid_credentials", 401, false;
    /// Too many logins failed for this username or from this address; try again after `retry_after_s` seconds.
    LoginThrottled = "login_throttled", 429, true;
    /// The registry has no secret to keep the keys of access tokens with; set AGENTNET_TOKEN_SECRET.
    LoginUnavailable = "login_unavailable", 503, false;
    /// The network doesn't let people sign up; an operator makes accounts (`agentnet user create`).
    SignupDisabled = "signup_disabled", 403, false;
    /// The username is taken; choose another one.
    UsernameTaken = "username_taken", 409, false;
    /// A password has at least 8 characters and at most 1024 bytes.
    PasswordUnsuitable = "password_unsuitable", 400, false;
    /// The refresh token is none, or its time is over; log in again.
    RefreshInvalid = "refresh_invalid", 401, false;
    /// The refresh token was used before: somebody else may have it, so the login has ended; log in again.
    RefreshReused = "refresh_reused", 401, false;
    /// The login has ended; log in again.
    LoginEnded = "login_ended", 401, false;
    /// The API key is none, was revoked, or its time is over.
    ApiKeyInvalid = "api_key_invalid", 401, false;
    /// The account has as many API keys as an account may have; revoke one first.
    ApiKeysFull = "api_keys_full", 409, false;
    /// The ticket is none, was used, or its 30 seconds are over; ask for another one.
    TicketInvalid = "ticket_invalid", 401, false;
    /// A key that was bound by a login may not do this; use the account's own key, or ask an operator.
    SessionKeyForbidden = "session_key_forbidden", 403, false;
    /// The text is no access token.
    TokenMalformed = "token_malformed", 401, false;
    /// Access tokens are signed with EdDSA and nothing else.
    TokenAlgorithmInvalid = "token_algorithm_invalid", 401, false;
    /// The access token's key isn't one of this network's (any more).
    TokenKeyUnknown = "token_key_unknown", 401, false;
    /// The access token's signature doesn't verify.
    TokenSignatureInvalid = "token_signature_invalid", 401, false;
    /// The access token is another network's.
    TokenIssuerInvalid = "token_issuer_invalid", 401, false;
    /// The access token is for another audience.
    TokenAudienceInvalid = "token_audience_invalid", 401, false;
    /// The access token is from the future; check both clocks.
    TokenNotYetValid = "token_not_yet_valid", 401, false;
    /// The access token has expired; refresh it or log in again.
    TokenExpired = "token_expired", 401, false;

    // Identity: messages.
    /// A signed message must name its from_account_id.
    AuthMissingFromAccount = "auth_missing_from_account", 401, false;
    /// The recipient takes signed messages only.
    AuthMissing = "auth_missing", 401, false;
    /// The sender's key isn't known to the registry.
    AuthKeyNotFound = "auth_key_not_found", 401, false;
    /// The signed claims differ from the message.
    AuthClaimsMismatch = "auth_claims_mismatch", 401, false;

    // Messages: admission by a recipient.
    /// The body is not a valid envelope.
    InvalidEnvelope = "invalid_envelope", 400, false;
    /// The encoded envelope is larger than the limit.
    PayloadTooLarge = "payload_too_large", 413, false;
    /// schema_version is not `major.minor`.
    SchemaVersionInvalid = "schema_version_invalid", 400, false;
    /// The schema's major version is not 1.
    UnsupportedSchemaVersion = "unsupported_schema_version", 400, false;
    /// The recipient is shutting down; try again.
    ShuttingDown = "shutting_down", 503, true;
    /// The recipient's circuit breaker is open; try again later.
    ServiceDegraded = "service_degraded", 503, true;
    /// The message has neither ttl_ms nor expires_at.
    MissingTtl = "missing_ttl", 400, false;
    /// The message's time to live has passed.
    Expired = "expired", 410, false;
    /// The message's time to live is longer than 30 days.
    TtlTooLong = "ttl_too_long", 400, false;
    /// sent_at lies too far in the future; check the sender's clock.
    SentAtInFuture = "sent_at_in_future", 400, false;
    /// The sender sends faster than the recipient takes; slow down.
    RateLimited = "rate_limited", 429, true;
    /// The recipient handled this message or idempotency key already.
    Duplicate = "duplicate", 409, false;
    /// The recipient's backlog, or the service's, is full; try again.
    Busy = "busy", 503, true;
    /// The handler didn't finish in time.
    Timeout = "timeout", 504, true;
    /// The request's body didn't come in time; send it without pauses.
    RequestTimeout = "request_timeout", 408, true;
    /// The handler failed.
    HandlerError = "handler_error", 502, false;
    /// The recipient has no handler for this kind of message; ask its owner what it takes.
    NoHandler = "no_handler", 501, false;
    /// The streamed text is longer, or takes longer, than allowed; say less, or send it in parts.
    StreamTooLong = "stream_too_long", 413, false;
    /// The streamed text broke off: its sender failed, or is gone.
    StreamBroken = "stream_broken", 502, false;
    /// The streamed text isn't what was announced: hash or finished text differ from the deltas.
    StreamMismatch = "stream_mismatch", 502, false;
    /// The stream was cancelled by its reader.
    StreamCancelled = "stream_cancelled", 409, false;
    /// The message is addressed to somebody else.
    WrongRecipient = "wrong_recipient", 403, false;

    // Messages: admission by the network.
    /// Another message is stored under this message_id; use a new id.
    MessageIdConflict = "message_id_conflict", 409, false;
    /// Only members may post to this thread.
    ThreadForbidden = "thread_forbidden", 403, false;
    /// The thread is closed: its members still read it, nobody posts, joins or is invited any more.
    ThreadClosed = "thread_closed", 410, false;
    /// The message names an account that isn't a member of its thread.
    NotAMember = "not_a_member", 404, false;
    /// The recipient has blocked the sender.
    Blocked = "blocked", 403, false;
    /// The subject isn't one a reply may go to.
    ReplySubjectForbidden = "reply_subject_forbidden", 403, false;
    /// Headers starting with `Nats-` are refused.
    HeaderForbidden = "header_forbidden", 400, false;
    /// The caller may not do or read this.
    Forbidden = "forbidden", 403, false;
    /// The account is suspended.
    Suspended = "suspended", 403, false;

    // What a client finds out by itself.
    /// No confirmation of storage arrived; the message may still be delivered.
    Unconfirmed = "unconfirmed", 504, true;
    /// Nobody accepted the request and no session of the target is online.
    NoResponder = "no_responder", 503, true;
    /// The registry doesn't answer; is it running?
    RegistryUnavailable = "registry_unavailable", 503, true;
    /// NATS can't be reached.
    NatsUnavailable = "nats_unavailable", 503, true;
    /// The outbox is full; wait for confirmations or make it larger.
    OutboxFull = "outbox_full", 503, true;
    /// The file of the outbox or of the dedupe is in use by another process; give each agent one of its own.
    FileInUse = "file_in_use", 503, true;
    /// The file of the outbox or of the dedupe belongs to another account; give each agent one of its own.
    FileOfAnother = "file_of_another", 409, false;
    /// The file of the outbox or of the dedupe is damaged, or something else; put it aside to start without what it held.
    FileDamaged = "file_damaged", 500, false;
    /// The file of the outbox or of the dedupe can't be read or written; make room on the disk, or check its permissions.
    FileUnavailable = "file_unavailable", 503, true;
    /// The node is closed.
    Closed = "closed", 503, false;
    /// Every attempt to deliver was used up.
    DeliveryAttemptsExhausted = "delivery_attempts_exhausted", 504, false;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a service answers instead of a result: `{"error": code, "detail": text, "retryable": bool}`.
///
/// The original sends `error` alone; both of the others are then absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{error}{}{detail}", if detail.is_empty() { "" } else { ": " })]
pub struct RpcError {
    /// A code of [`ErrorCode`], or one of a newer version.
    pub error: String,
    /// What is wrong and what to do about it, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Whether the unchanged request may succeed later.
    #[serde(default)]
    pub retryable: bool,
    /// In how many seconds it may, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
}

impl ErrorCode {
    /// Whether a recipient that refuses with this code may take the same message later, so that the network keeps it and
    /// tries again, without counting an attempt.
    pub const fn is_temporary_refusal(self) -> bool {
        matches!(self, Self::Busy | Self::RateLimited | Self::ServiceDegraded | Self::ShuttingDown)
    }

    /// Whether one holder of a capability refuses with this code for itself alone, so that the network offers the message
    /// to another holder. From an account that a message was sent to by name it is final.
    pub const fn is_one_holders_refusal(self) -> bool {
        matches!(self, Self::Blocked | Self::NoHandler)
    }
}

impl RpcError {
    /// An error with its code's own meaning as detail.
    pub fn new(code: ErrorCode) -> Self {
        Self::with_detail(code, code.meaning().trim())
    }

    /// An error with a detail that names what was wrong.
    pub fn with_detail(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            error: code.as_str().to_owned(),
            detail: detail.into(),
            retryable: code.retryable(),
            retry_after_s: None,
        }
    }

    /// The same, saying in how many seconds the request may succeed.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The code, if this version knows it.
    pub fn code(&self) -> Option<ErrorCode> {
        ErrorCode::parse(&self.error)
    }
}

impl From<ErrorCode> for RpcError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_parse_back() {
        let mut seen = HashSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} stands twice");
            assert_eq!(ErrorCode::parse(code.as_str()), Some(*code));
            assert!((400..600).contains(&code.http_status()));
            assert!(code.meaning().trim().ends_with(['.', '?']), "{code}: {}", code.meaning());
        }
    }

    #[test]
    fn the_originals_bare_error_parses() {
        let e: RpcError = serde_json::from_str(r#"{"error":"not_found"}"#).unwrap();
        assert_eq!(e.code(), Some(ErrorCode::NotFound));
        assert!(!e.retryable);
        assert_eq!(e.to_string(), "not_found");
    }
}
