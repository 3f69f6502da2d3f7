//! Why NATS can't be used.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Kinds of [`NatsError`], told apart because the operator does different things about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatsErrorKind {
    /// No server answers at the address.
    Unavailable,
    /// A server answers and refuses the credentials.
    Refused,
    /// The connection stands but an answer didn't come in time.
    TimedOut,
}

/// NATS can't be used. Its text names servers and never credentials.
#[derive(Debug)]
pub struct NatsError {
    kind: NatsErrorKind,
    target: String,
    waited: Option<Duration>,
    source: Box<dyn Error + Send + Sync>,
}

impl NatsError {
    pub(super) fn new(
        kind: NatsErrorKind,
        target: &str,
        waited: Option<Duration>,
        source: Box<dyn Error + Send + Sync>,
    ) -> Self {
        Self { kind, target: target.to_owned(), waited, source }
    }

    /// The kind.
    pub fn kind(&self) -> NatsErrorKind {
        self.kind
    }

    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self.kind {
            NatsErrorKind::Unavailable => "nats_unavailable",
            NatsErrorKind::Refused => "nats_refused",
            NatsErrorKind::TimedOut => "nats_timeout",
        }
    }
}

impl fmt::Display for NatsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, target) = (self.code(), &self.target);
        match (self.kind, self.waited) {
            (NatsErrorKind::Unavailable, Some(waited)) => write!(
                f,
                "{code}: no NATS server answered at {target} within {} s; start nats-server there or set NATS_URL",
                waited.as_secs_f64()
            ),
            (NatsErrorKind::Unavailable, None) => {
                write!(f, "{code}: the connection to NATS at {target} can't be used; check the server")
            }
            (NatsErrorKind::Refused, _) => write!(
                f,
                "{code}: the NATS server at {target} refused the credentials; check the user part of NATS_URL"
            ),
            (NatsErrorKind::TimedOut, _) => {
                write!(
                    f,
                    "{code}: the NATS server at {target} didn't answer in time; check its load and the network"
                )
            }
        }
    }
}

impl Error for NatsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}
