//! How a command can fail, and what that means for the exit code.

use std::{fmt, io};

use agentnet::{ErrorKind, proto::ErrorCode};
use serde::Serialize;

/// Exit code of a payload that isn't JSON and of a request that got no answer, as in the original.
const EXIT_PAYLOAD_OR_TIMEOUT: u8 = 1;
/// Exit code of everything that was refused or failed.
const EXIT_FAILED: u8 = 2;
/// Exit code of Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

/// Why a command didn't do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The payload argument is not JSON.
    #[error("Payload must be valid JSON")]
    PayloadNotJson(#[source] serde_json::Error),
    /// Nothing came back within the request's timeout.
    #[error("{detail}")]
    RequestTimeout {
        /// Who was asked and how long was waited.
        detail: String,
    },
    /// Refused or failed; `code` is stable.
    #[error("{code}: {detail}")]
    Refused {
        /// A code of the protocol, or one of this program.
        code: String,
        /// What happened.
        detail: String,
        /// What to do next.
        hint: String,
        /// Whether the same command may succeed later.
        retryable: bool,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// What went wrong has been reported where it happened; only the exit code is left.
    #[error("some lines got no reply")]
    Reported(u8),
    /// Whoever read our output has closed it, as `head` does.
    #[error("the output is closed")]
    OutputClosed,
}

/// What `--json` prints for a failure: the shape of every error of the network, with a hint.
#[derive(Serialize)]
struct Report<'a> {
    error: &'a str,
    detail: String,
    hint: &'a str,
    retryable: bool,
}

impl Failure {
    /// A failure of this program itself.
    pub fn local(code: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { code: code.to_owned(), detail: detail.into(), hint: hint.into(), retryable: false }
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::PayloadNotJson(_) | Self::RequestTimeout { .. } => EXIT_PAYLOAD_OR_TIMEOUT,
            Self::Refused { .. } => EXIT_FAILED,
            Self::Interrupted => EXIT_INTERRUPTED,
            Self::Reported(code) => *code,
            Self::OutputClosed => 0,
        }
    }

    /// The code for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::PayloadNotJson(_) => "invalid_json",
            Self::RequestTimeout { .. } => "timeout",
            Self::Refused { code, .. } => code,
            Self::Interrupted => "interrupted",
            Self::Reported(_) => "reported",
            Self::OutputClosed => "output_closed",
        }
    }

    /// What to do next; empty when there is nothing to say.
    pub fn hint(&self) -> &str {
        match self {
            Self::PayloadNotJson(_) => "quote it for the shell, for example '{\"text\": \"hello\"}'",
            Self::RequestTimeout { .. } => {
                "allow more time with --timeout, or see with `agentnet list` whether the agent is online"
            }
            Self::Refused { hint, .. } => hint,
            Self::Interrupted | Self::Reported(_) | Self::OutputClosed => "",
        }
    }

    /// The failure as one JSON document.
    pub fn to_json(&self) -> String {
        let detail = match self {
            Self::Refused { detail, .. } => detail.clone(),
            Self::PayloadNotJson(cause) => format!("{self}: {cause}"),
            other => other.to_string(),
        };
        let retryable = match self {
            Self::Refused { retryable, .. } => *retryable,
            other => matches!(other, Self::RequestTimeout { .. }),
        };
        let report = Report { error: self.code(), detail, hint: self.hint(), retryable };
        serde_json::to_string_pretty(&report).unwrap_or_default()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::local("io", error.to_string(), "check the disk and the permissions"),
        }
    }
}

impl From<agentnet::Error> for Failure {
    fn from(error: agentnet::Error) -> Self {
        let message = error.message_id().map(|id| format!(" (message {id})")).unwrap_or_default();
        Self::Refused {
            code: error.code().to_owned(),
            detail: format!("{}{message}", error.detail()),
            hint: hint(&error).to_owned(),
            retryable: error.is_retryable(),
        }
    }
}

/// What a person does about the error.
fn hint(error: &agentnet::Error) -> &'static str {
    // Open networks prove nobody: whoever asks has to say who that is.
    if error.code() == ErrorCode::AccountIdRequired.as_str() {
        return "say with --account which account asks";
    }
    next_step(error.kind())
}

/// What a person does about an error of that kind.
fn next_step(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::RegistryUnavailable => {
            "start the network with `agentnet up`, or name another with --nats-url"
        }
        ErrorKind::NatsUnavailable => "start the network with `agentnet up`, or name another with --nats-url",
        ErrorKind::Auth => "check the token or key of this network, and who is allowed to do this",
        ErrorKind::Timeout => {
            "try again with a longer --timeout; `agentnet metrics` shows what the registry does"
        }
        ErrorKind::NotFound => {
            "see what exists with `agentnet search`, `agentnet list` or `agentnet threads`"
        }
        ErrorKind::NoResponder => {
            "see who is online with `agentnet list`; `agentnet send` stores it for later"
        }
        ErrorKind::Busy | ErrorKind::RateLimited | ErrorKind::ServiceDegraded | ErrorKind::OutboxFull => {
            "wait a moment and try again"
        }
        ErrorKind::Unconfirmed => {
            "it may still arrive: look with `agentnet message-search` before sending it again, or use --idempotency-key"
        }
        ErrorKind::HandlerError => "the agent itself failed; its log says why",
        ErrorKind::Duplicate => "nothing: the agent has it already",
        ErrorKind::Expired => "send it again",
        ErrorKind::PayloadTooLarge => "send less, or put it where the agent can fetch it",
        ErrorKind::RegistryFailed => "try again; the registry's log says why",
        ErrorKind::InvalidTarget | ErrorKind::InvalidCapability => {
            "`agentnet list` shows names and capabilities"
        }
        _ => "`agentnet help` shows what each command takes",
    }
}

/// An error with its causes, for `-v`.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> impl fmt::Display {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str("\n  caused by: ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_originals() {
        let bad = serde_json::from_str::<()>("{").unwrap_err();
        assert_eq!(Failure::PayloadNotJson(bad).exit_code(), 1);
        assert_eq!(Failure::RequestTimeout { detail: String::new() }.exit_code(), 1);
        assert_eq!(Failure::local("x", "y", "z").exit_code(), 2);
        assert_eq!(Failure::Interrupted.exit_code(), 130);
        let closed: Failure = io::Error::from(io::ErrorKind::BrokenPipe).into();
        assert_eq!(closed.exit_code(), 0);
    }

    #[test]
    fn every_failure_is_a_document_with_the_same_fields() {
        let text = Failure::local("port_taken", "port 1 is taken", "choose another").to_json();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["error"], "port_taken");
        assert_eq!(value["detail"], "port 1 is taken");
        assert_eq!(value["hint"], "choose another");
        assert_eq!(value["retryable"], false);
    }
}
