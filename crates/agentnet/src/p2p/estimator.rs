//! Asking for estimates over HTTP, without joining the network.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind};

/// How long an answer may take unless set.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// Asks what work would take, over HTTP: an agent that serves its own ports (`http://agent_123.local:6666`), or one behind a
/// gateway (`http://gateway:8000/p2p/agent_123`). Plain HTTP: where the way isn't trusted, ask over the network with
/// [`P2p::estimate`](super::P2p::estimate).
#[derive(Debug, Clone)]
pub struct AgentEstimator {
    base_url: String,
    client: reqwest::Client,
    token: Option<SecretString>,
    timeout: Duration,
}

impl AgentEstimator {
    /// Asks at `base_url`, to which `/estimate` is added; an answer may take 30 s.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        let base_url = base_url.into().trim_end_matches('/').to_owned();
        Self { base_url, client: reqwest::Client::new(), token: None, timeout: TIMEOUT }
    }

    /// Shows a token, or an API key of a gateway.
    #[must_use]
    pub fn token(mut self, token: impl Into<SecretString>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Another time for answers.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What the agent says that work like the query's would take.
    ///
    /// # Errors
    /// [`ErrorKind::NoResponder`] when nobody listens there, [`ErrorKind::Timeout`]; what the agent or the gateway answered;
    /// [`ErrorKind::Rejected`] for an answer that isn't one.
    pub async fn estimate<T: Serialize>(&self, query: T) -> Result<Value, Error> {
        let mut request = self
            .client
            .post(format!("{}/estimate", self.base_url))
            .timeout(self.timeout)
            .json(&json!({"query": query}));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let mut answer = request.send().await.map_err(|error| self.failed(error))?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.failed(error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Error::new(ErrorKind::PayloadTooLarge, "the estimate is larger than 16 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        let status = answer.status();
        match serde_json::from_slice::<Value>(&body) {
            Ok(Value::Object(mut said)) if said.get("success") == Some(&Value::Bool(true)) => {
                Ok(said.remove("data").unwrap_or_default())
            }
            // `message` is the seed's, `detail` a gateway's.
            Ok(Value::Object(said)) => {
                let text = |name: &str| said.get(name).and_then(Value::as_str);
                let detail = text("message").or_else(|| text("detail")).unwrap_or_default();
                Err(Error::of_code(text("code").unwrap_or("handler_error"), detail))
            }
            _ => {
                let detail = format!("{} answered {status} and nothing that is an estimate", self.base_url);
                Err(Error::new(ErrorKind::Rejected, detail))
            }
        }
    }

    fn failed(&self, error: reqwest::Error) -> Error {
        let (kind, what) = if error.is_timeout() {
            (ErrorKind::Timeout, "gave no estimate in time")
        } else if error.is_builder() {
            (ErrorKind::InvalidArgument, "is no http URL that can be asked")
        } else {
            (ErrorKind::NoResponder, "can't be asked")
        };
        Error::new(kind, format!("{} {what}", self.base_url)).source_of(error.without_url())
    }
}
