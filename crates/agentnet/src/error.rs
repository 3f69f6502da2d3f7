//! What can go wrong for an agent, as kinds that programs match on.

use std::{fmt, time::Duration};

use agentnet_proto::{ErrorCode, RpcError};

/// The cause inside, for logs.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Kinds of [`Error`], told apart because callers do different things about them.
///
/// The kinds follow the original SDK's error classes; what has no kind of its own is [`Rejected`](Self::Rejected),
/// and [`Error::code`] says which code it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The recipient is full or shutting down; try later.
    Busy,
    /// The recipient takes fewer messages per second from this sender.
    RateLimited,
    /// No answer in time: from the registry, from the agent asked, or from its handler.
    Timeout,
    /// The message's time to live passed, or it had none.
    Expired,
    /// The recipient handled this message or idempotency key before.
    Duplicate,
    /// The recipient's circuit breaker is open.
    ServiceDegraded,
    /// The recipient's handler failed.
    HandlerError,
    /// Nothing of that name or id exists.
    NotFound,
    /// Nobody accepted the request and no session of the target is online.
    NoResponder,
    /// The network didn't confirm that it stored the message; it may still arrive.
    Unconfirmed,
    /// Refused for good with a code that has no kind of its own.
    Rejected,
    /// A signature, key or permission was refused.
    Auth,
    /// The registry doesn't run or doesn't listen.
    RegistryUnavailable,
    /// The registry answered that it failed, or what it answered can't be read.
    RegistryFailed,
    /// NATS can't be reached.
    NatsUnavailable,
    /// The encoded message exceeds the limit.
    PayloadTooLarge,
    /// The target can't be understood.
    InvalidTarget,
    /// The capability can't be addressed.
    InvalidCapability,
    /// A streamed text broke off, grew too long, was cancelled, or isn't what was announced: the code says which.
    Stream,
    /// Another argument or setting can't be used.
    InvalidArgument,
    /// The outbox is full and its policy is to fail.
    OutboxFull,
    /// The file of the outbox or of the dedupe can't be used: the code says why.
    File,
    /// The node is closed.
    Closed,
    /// The request's reply subject isn't one this node may answer.
    ReplySubjectForbidden,
}

impl ErrorKind {
    /// The kind of an error that another process reports with `code`.
    pub fn of_code(code: &str) -> Self {
        use ErrorCode as C;
        let Some(known) = ErrorCode::parse(code) else { return Self::Rejected };
        match known {
            C::Busy | C::ShuttingDown => Self::Busy,
            C::RateLimited => Self::RateLimited,
            C::Timeout => Self::Timeout,
            C::Expired | C::MissingTtl => Self::Expired,
            C::Duplicate => Self::Duplicate,
            C::ServiceDegraded => Self::ServiceDegraded,
            C::HandlerError => Self::HandlerError,
            C::NotFound | C::BlobGone => Self::NotFound,
            C::NoResponder => Self::NoResponder,
            C::Unconfirmed => Self::Unconfirmed,
            C::RegistryUnavailable => Self::RegistryUnavailable,
            C::NatsUnavailable => Self::NatsUnavailable,
            C::PayloadTooLarge | C::BlobTooLarge => Self::PayloadTooLarge,
            C::InvalidTarget | C::InvalidAccountId => Self::InvalidTarget,
            C::InvalidCapability => Self::InvalidCapability,
            C::BlobBadName
            | C::BlobBadRange
            | C::InvalidPriority
            | C::InvalidState
            | C::InvalidStrategy
            | C::InvalidStatus
            | C::DeadlineInvalid => Self::InvalidArgument,
            C::TaskQueueFull => Self::Busy,
            C::OutboxFull => Self::OutboxFull,
            C::FileInUse | C::FileOfAnother | C::FileDamaged | C::FileUnavailable => Self::File,
            C::Closed => Self::Closed,
            C::StreamTooLong | C::StreamBroken | C::StreamMismatch | C::StreamCancelled => Self::Stream,
            C::ReplySubjectForbidden => Self::ReplySubjectForbidden,
            C::StoreUnavailable | C::Internal => Self::RegistryFailed,
            C::LoginThrottled => Self::RateLimited,
            C::Forbidden
            | C::Suspended
            | C::ThreadForbidden
            | C::BlobForbidden
            | C::InvalidCredentials
            | C::SignupDisabled
            | C::RefreshInvalid
            | C::RefreshReused
            | C::LoginEnded
            | C::ApiKeyInvalid
            | C::TicketInvalid
            | C::SessionKeyForbidden => Self::Auth,
            other if other.as_str().ends_with("_failed") => Self::RegistryFailed,
            other if other.as_str().starts_with("auth_") || other.as_str().starts_with("token_") => {
                Self::Auth
            }
            _ => Self::Rejected,
        }
    }

    /// The code of an error of this kind that the client itself finds.
    fn default_code(self) -> ErrorCode {
        match self {
            Self::Busy => ErrorCode::Busy,
            Self::RateLimited => ErrorCode::RateLimited,
            Self::Timeout => ErrorCode::Timeout,
            Self::Expired => ErrorCode::Expired,
            Self::Duplicate => ErrorCode::Duplicate,
            Self::ServiceDegraded => ErrorCode::ServiceDegraded,
            Self::HandlerError => ErrorCode::HandlerError,
            Self::NotFound => ErrorCode::NotFound,
            Self::NoResponder => ErrorCode::NoResponder,
            Self::Unconfirmed => ErrorCode::Unconfirmed,
            Self::Rejected | Self::RegistryFailed => ErrorCode::Internal,
            Self::Auth => ErrorCode::Forbidden,
            Self::RegistryUnavailable => ErrorCode::RegistryUnavailable,
            Self::NatsUnavailable => ErrorCode::NatsUnavailable,
            Self::PayloadTooLarge => ErrorCode::PayloadTooLarge,
            Self::InvalidTarget => ErrorCode::InvalidTarget,
            Self::InvalidCapability => ErrorCode::InvalidCapability,
            Self::InvalidArgument => ErrorCode::InvalidField,
            Self::Stream => ErrorCode::StreamBroken,
            Self::OutboxFull => ErrorCode::OutboxFull,
            Self::File => ErrorCode::FileUnavailable,
            Self::Closed => ErrorCode::Closed,
            Self::ReplySubjectForbidden => ErrorCode::ReplySubjectForbidden,
        }
    }
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    code: String,
    detail: String,
    message_id: Option<String>,
    trace_id: Option<String>,
    retry_after: Option<Duration>,
    source: Option<Source>,
}

/// Something failed. Prints as `<code>: <what happened and what to do>`; the cause inside is its `source()`.
#[derive(Debug)]
pub struct Error(Box<Inner>);

impl Error {
    pub(crate) fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self::with_code(kind, kind.default_code().as_str(), detail)
    }

    fn with_code(kind: ErrorKind, code: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            code: code.to_owned(),
            detail: detail.into(),
            message_id: None,
            trace_id: None,
            retry_after: None,
            source: None,
        }))
    }

    /// An error of a code, with the code's own meaning when the other side gave no detail.
    pub(crate) fn of_code(code: &str, detail: &str) -> Self {
        let meaning = || ErrorCode::parse(code).map_or("no detail was given", |c| c.meaning().trim());
        let detail = if detail.is_empty() { meaning() } else { detail };
        Self::with_code(ErrorKind::of_code(code), code, detail)
    }

    pub(crate) fn of(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self::with_code(ErrorKind::of_code(code.as_str()), code.as_str(), detail)
    }

    pub(crate) fn source_of(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn message(mut self, message_id: &str) -> Self {
        self.0.message_id = Some(message_id.to_owned());
        self
    }

    pub(crate) fn trace(mut self, trace_id: Option<&str>) -> Self {
        self.0.trace_id = trace_id.map(str::to_owned);
        self
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the node is closed; start a new one")
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable code, as it stands on the wire; also codes that this version doesn't know.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The code, if this version knows it.
    pub fn error_code(&self) -> Option<ErrorCode> {
        ErrorCode::parse(&self.0.code)
    }

    /// What happened and what to do about it, without the code.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The message the error is about, when it is about one.
    pub fn message_id(&self) -> Option<&str> {
        self.0.message_id.as_deref()
    }

    /// The trace of the request that an error reply answered.
    pub fn trace_id(&self) -> Option<&str> {
        self.0.trace_id.as_deref()
    }

    /// In how long the same call may succeed, where the other side said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.error_code().is_some_and(ErrorCode::retryable)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)?;
        match &self.0.message_id {
            Some(id) => write!(f, " (message {id})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| s.as_ref() as _)
    }
}

impl From<RpcError> for Error {
    fn from(error: RpcError) -> Self {
        let mut made = Self::of_code(&error.error, &error.detail);
        made.0.retry_after = error.retry_after_s.map(|seconds| Duration::from_secs(seconds.into()));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_a_refusal_has_the_originals_class() {
        for (code, kind) in [
            ("busy", ErrorKind::Busy),
            ("shutting_down", ErrorKind::Busy),
            ("rate_limited", ErrorKind::RateLimited),
            ("timeout", ErrorKind::Timeout),
            ("service_degraded", ErrorKind::ServiceDegraded),
            ("duplicate", ErrorKind::Duplicate),
            ("expired", ErrorKind::Expired),
            ("missing_ttl", ErrorKind::Expired),
            ("handler_error", ErrorKind::HandlerError),
            ("auth_signature_invalid", ErrorKind::Auth),
            ("unsupported_schema_version", ErrorKind::Rejected),
            ("a_code_of_2030", ErrorKind::Rejected),
        ] {
            assert_eq!(ErrorKind::of_code(code), kind, "{code}");
            assert_eq!(Error::of_code(code, "").code(), code);
        }
    }

    #[test]
    fn what_a_service_failed_at_is_the_services_failure() {
        for code in ErrorCode::ALL.iter().filter(|code| code.as_str().ends_with("_failed")) {
            assert_eq!(ErrorKind::of_code(code.as_str()), ErrorKind::RegistryFailed, "{code}");
        }
    }

    #[test]
    fn text_names_the_code_and_never_ends_empty() {
        let error = Error::of_code("busy", "").message("m1");
        assert_eq!(
            error.to_string(),
            "busy: The recipient's backlog, or the service's, is full; try again. (message m1)"
        );
        assert!(error.is_retryable());
        assert!(Error::from(RpcError::new(ErrorCode::NotFound)).to_string().starts_with("not_found: "));
    }
}
