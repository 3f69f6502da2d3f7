//! What is wrong with one environment variable.

/// A bad or missing variable. Its text is one line and never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A required variable is unset or empty.
    #[error("{variable} is not set; expected {expected}")]
    Missing {
        /// Name of the variable.
        variable: String,
        /// What to put there.
        expected: String,
    },
    /// A value that doesn't parse or is out of range.
    #[error("{variable}={value:?} is not valid; expected {expected}")]
    Invalid {
        /// Name of the variable.
        variable: String,
        /// The value as found.
        value: String,
        /// What is accepted.
        expected: String,
    },
    /// As [`ConfigError::Invalid`], for values that may hold a secret.
    #[error(
        "{variable} is not valid (value not shown, it may hold a secret): {problem}; expected {expected}"
    )]
    InvalidSecret {
        /// Name of the variable.
        variable: String,
        /// What is wrong, without the value.
        problem: String,
        /// What is accepted.
        expected: String,
    },
}

impl ConfigError {
    /// Exit code of a process whose configuration is bad (`EX_USAGE` of sysexits).
    pub const EXIT_CODE: u8 = 64;

    /// Name of the variable at fault.
    pub fn variable(&self) -> &str {
        match self {
            Self::Missing { variable, .. }
            | Self::Invalid { variable, .. }
            | Self::InvalidSecret { variable, .. } => variable,
        }
    }
}
