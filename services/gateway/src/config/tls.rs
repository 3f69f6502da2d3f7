//! TLS of the listeners.

use std::path::PathBuf;

use agentnet_service::config::{ConfigError, Env};

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// `GATEWAY_TLS_CERT`: PEM file with the certificate and those between it and a root.
    pub cert: PathBuf,
    /// `GATEWAY_TLS_KEY`: PEM file with the key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Both, or none.
    pub(super) fn from_env(env: &Env) -> Result<Option<Self>, ConfigError> {
        let missing = |variable: &str| ConfigError::Invalid {
            variable: variable.to_owned(),
            value: String::new(),
            expected: "a PEM file: GATEWAY_TLS_CERT and GATEWAY_TLS_KEY are set together, or neither is"
                .to_owned(),
        };
        match (env.get("GATEWAY_TLS_CERT"), env.get("GATEWAY_TLS_KEY")) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => Ok(Some(Self { cert: cert.into(), key: key.into() })),
            (Some(_), None) => Err(missing("GATEWAY_TLS_KEY")),
            (None, Some(_)) => Err(missing("GATEWAY_TLS_CERT")),
        }
    }
}
