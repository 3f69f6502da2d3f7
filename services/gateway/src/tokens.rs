//! Access tokens, verified here with the network's keys.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use agentnet_proto::{
    SharedClock,
    access_token::{AccessClaims, TokenError, verify},
    rpc,
};
use tokio::{sync::Mutex, time::Instant};

use crate::{http::Problem, own::Own};

/// How long the keys are taken for the current ones.
const KEPT: Duration = Duration::from_secs(600);
/// Tokens of unknown keys make the gateway ask at most this often.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Verifies access tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    own: Arc<Own>,
    clock: SharedClock,
    known: RwLock<Option<Known>>,
    asking: Mutex<()>,
}

#[derive(Debug, Clone)]
struct Known {
    answer: Arc<rpc::TokenKeysResponse>,
    since: Instant,
}

impl Tokens {
    pub(crate) fn new(own: Arc<Own>, clock: SharedClock) -> Self {
        Self { own, clock, known: RwLock::default(), asking: Mutex::default() }
    }

    /// What a good token says.
    ///
    /// # Errors
    /// 401 with the code of what is wrong with it; 503 without keys.
    pub(crate) async fn verify(&self, token: &str) -> Result<AccessClaims, Problem> {
        let known = self.keys(KEPT).await?;
        let check = |known: &Known| verify(token, &known.answer.keys, &known.answer.issuer, self.clock.now());
        let checked = match check(&known) {
            // Perhaps a key that was made since.
            Err(TokenError::UnknownKey) => check(&self.keys(ASK_AGAIN).await?),
            checked => checked,
        };
        checked
            .map_err(|error| Problem::new(error.code(), format!("Could not validate credentials: {error}")))
    }

    /// The network's keys, not older than `age`.
    async fn keys(&self, age: Duration) -> Result<Known, Problem> {
        if let Some(known) = self.current(age) {
            return Ok(known);
        }
        let _one_asks = self.asking.lock().await;
        if let Some(known) = self.current(age) {
            return Ok(known);
        }
        let answer = Arc::new(self.own.registry().call::<rpc::TokenKeys>(&rpc::TokenKeysRequest {}).await?);
        let known = Known { answer, since: Instant::now() };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
        Ok(known)
    }

    fn current(&self, age: Duration) -> Option<Known> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.clone().filter(|known| known.since.elapsed() < age)
    }
}
