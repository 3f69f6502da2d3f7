//! Machines: API keys, exchanged for access tokens, which are remembered for their time.

use std::{net::IpAddr, time::Duration};

use agentnet_proto::{rpc, secret_text::SecretText};
use moka::future::Cache;
use sha2::{Digest as _, Sha256};

use crate::{app::App, http::Problem};

/// Access tokens are good for half an hour; a key that was revoked is noticed earlier, when its seat is checked.
const KEPT: Duration = Duration::from_secs(20 * 60);
const MAX_KEPT: u64 = 10_000;

/// The access tokens of API keys, by the keys' hashes.
#[derive(Debug)]
pub(crate) struct Machines(Cache<[u8; 32], SecretText>);

impl Machines {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(MAX_KEPT).time_to_live(KEPT).build())
    }

    /// The access token of an API key.
    pub(crate) async fn token(
        &self,
        app: &App,
        api_key: SecretText,
        peer: IpAddr,
    ) -> Result<SecretText, Problem> {
        let hash = hash(&api_key);
        // Of many that ask at once with the same key, one exchanges it.
        let exchanged = self.0.try_get_with(hash, async {
            let request = rpc::ApiKeyLoginRequest {
                api_key,
                address: Some(peer.to_string()),
                ..rpc::ApiKeyLoginRequest::default()
            };
            let answer = app.own.registry().call::<rpc::ApiKeyLogin>(&request).await?;
            Ok::<_, Problem>(answer.access_token)
        });
        exchanged.await.map_err(|problem| Problem::clone(&problem))
    }

    /// Whether the key was exchanged before.
    pub(crate) fn knows(&self, api_key: &SecretText) -> bool {
        self.0.contains_key(&hash(api_key))
    }

    /// The key's access token is no good any more; the next one is asked for.
    pub(crate) async fn forget(&self, api_key: &SecretText) {
        self.0.invalidate(&hash(api_key)).await;
    }
}

fn hash(api_key: &SecretText) -> [u8; 32] {
    Sha256::digest(api_key.expose()).into()
}
