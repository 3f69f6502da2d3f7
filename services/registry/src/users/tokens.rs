//! The keys that sign access tokens. They lie in Postgres for all replicas, sealed under `AGENTNET_TOKEN_SECRET`: whoever
//! reads the database can't sign, and whoever writes to it can't bring a key of their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentnet_proto::access_token::{self, AUDIENCE, AccessClaims, LIFETIME, TokenError};
use agentnet_proto::rpc::TokenKey;
use agentnet_proto::signature::SecretKey;
use agentnet_proto::{ErrorCode, RpcError, SecretText, Timestamp};
use agentnet_store::StoreError;
use agentnet_store::logins::Login;
use agentnet_store::token_keys::{self, TokenKeyRow};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::role_name;
use crate::app::{App, Failed};

/// What the sealing key is made for, so that the same secret makes another for anything else.
const DOMAIN: &[u8] = b"agentnet access token keys v1\0";
/// How long the keys are remembered. A new one is made long before an old one ends.
const REMEMBERED: Duration = Duration::from_secs(10);
/// A key verifies so much longer than it signs: a token's life, and clocks that differ.
const VERIFIES_LONGER: Duration = Duration::from_secs(1800 + 300);
const NONCE_BYTES: usize = 24;

/// Signs access tokens.
pub(crate) struct Tokens {
    sealer: Option<XChaCha20Poly1305>,
    key_life: Duration,
    known: Mutex<Option<(Instant, Arc<Keys>)>>,
}

/// The network's keys at a moment.
struct Keys {
    /// All that verify, the latest first.
    public: Vec<TokenKey>,
    /// The one that signs, and until when.
    signing: Option<(SecretKey, Timestamp)>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("enabled", &self.sealer.is_some()).finish_non_exhaustive()
    }
}

impl Tokens {
    pub(crate) fn new(secret: Option<&SecretString>, key_life: Duration) -> Self {
        let sealer = secret.map(|secret| {
            let mut hash = Sha256::new_with_prefix(DOMAIN);
            hash.update(secret.expose_secret().as_bytes());
            let key: Zeroizing<[u8; 32]> = Zeroizing::new(hash.finalize().into());
            XChaCha20Poly1305::new(&Key::from(*key))
        });
        Self { sealer, key_life, known: Mutex::new(None) }
    }

    /// Whether logins are possible at all.
    ///
    /// # Errors
    /// [`ErrorCode::LoginUnavailable`].
    pub(crate) fn check(&self) -> Result<(), RpcError> {
        self.sealer().map(drop)
    }

    fn sealer(&self) -> Result<&XChaCha20Poly1305, RpcError> {
        self.sealer.as_ref().ok_or_else(|| ErrorCode::LoginUnavailable.into())
    }

    /// The keys that verify tokens.
    ///
    /// # Errors
    /// [`ErrorCode::LoginUnavailable`]; Postgres.
    pub(crate) async fn public(&self, app: &App) -> Result<Vec<TokenKey>, Failed> {
        Ok(self.keys(app).await?.public.clone())
    }

    /// What signs a token now. Asked for before a transaction begins, which holds a connection that this may need.
    ///
    /// # Errors
    /// [`ErrorCode::LoginUnavailable`]; Postgres.
    pub(crate) async fn issuer(&self, app: &App) -> Result<Issuer, Failed> {
        Ok(Issuer(self.keys(app).await?))
    }

    /// What a token says, if it is one of this network's and good now.
    ///
    /// # Errors
    /// What is wrong with it; [`ErrorCode::LoginUnavailable`]; Postgres.
    pub(crate) async fn verify(&self, app: &App, token: &SecretText) -> Result<AccessClaims, Failed> {
        self.read(app, token, access_token::verify).await
    }

    /// As [`Self::verify`], also of a token whose time is over.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub(crate) async fn verify_ever(&self, app: &App, token: &SecretText) -> Result<AccessClaims, Failed> {
        self.read(app, token, access_token::verify_ever).await
    }

    async fn read(
        &self,
        app: &App,
        token: &SecretText,
        verify: fn(&str, &[TokenKey], &str, Timestamp) -> Result<AccessClaims, TokenError>,
    ) -> Result<AccessClaims, Failed> {
        let keys = self.keys(app).await?;
        let issuer = app.config.deployment.to_string();
        verify(token.expose(), &keys.public, &issuer, app.now()).map_err(|error| refused(error).into())
    }

    /// The keys, from memory, or from Postgres, where one is made if none signs.
    async fn keys(&self, app: &App) -> Result<Arc<Keys>, Failed> {
        let sealer = self.sealer()?;
        let now = app.now();
        let mut known = self.known.lock().await;
        if let Some((read_at, keys)) = &*known
            && read_at.elapsed() < REMEMBERED
            && keys.signing.as_ref().is_some_and(|(_, until)| *until > now)
        {
            return Ok(Arc::clone(keys));
        }
        let mut keys = open(app, sealer, token_keys::list(app.store.pool(), now).await?, now);
        if keys.signing.is_none() {
            keys = self.make(app, sealer, now).await?;
        }
        let keys = Arc::new(keys);
        *known = Some((Instant::now(), Arc::clone(&keys)));
        Ok(keys)
    }

    /// Makes a key, unless another replica was faster.
    async fn make(&self, app: &App, sealer: &XChaCha20Poly1305, now: Timestamp) -> Result<Keys, Failed> {
        let failed = StoreError::query("agent_token_keys.transaction");
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        token_keys::lock(&mut tx).await?;
        let rows = token_keys::list(&mut *tx, now).await?;
        let there = open(app, sealer, rows, now);
        if there.signing.is_some() {
            return Ok(there);
        }
        let key = SecretKey::generate();
        let public = key.verifying();
        let signs_until = now.saturating_add(self.key_life);
        let kid = access_token::key_id(&public);
        let sealed = seal(sealer, &key, &kid).ok_or_else(|| RpcError::from(ErrorCode::Internal))?;
        let row = TokenKeyRow {
            kid,
            public_key: public.to_string(),
            sealed,
            created_at: now.to_offset(),
            signs_until: signs_until.to_offset(),
            not_after: signs_until.saturating_add(VERIFIES_LONGER).to_offset(),
        };
        token_keys::add(&mut tx, &row).await?;
        let rows = token_keys::list(&mut *tx, now).await?;
        tx.commit().await.map_err(&failed)?;
        tracing::info!(kid = row.kid, "made a key for access tokens");
        Ok(open(app, sealer, rows, now))
    }
}

/// Signs tokens.
pub(crate) struct Issuer(Arc<Keys>);

impl Issuer {
    /// A token for a login, and how many seconds it is good.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`], which doesn't happen: keys sign, and names are short.
    pub(crate) fn issue(&self, app: &App, login: &Login) -> Result<(SecretText, i64), RpcError> {
        let (key, _) = self.0.signing.as_ref().ok_or(ErrorCode::Internal)?;
        let now = app.now();
        let second = |at: Timestamp| at.unix_millis().div_euclid(1000);
        let ends = now.saturating_add(LIFETIME).min(login.expires_at.into());
        let claims = AccessClaims {
            iss: app.config.deployment.to_string(),
            aud: AUDIENCE.to_owned(),
            sub: login.account_id.clone(),
            username: login.username.clone(),
            role: role_name(&login.role, &login.kind),
            sid: login.sid.clone(),
            jti: app.ids.nonce(),
            iat: second(now),
            exp: second(ends),
            scope: (!login.scopes.is_empty()).then(|| login.scopes.join(" ")),
        };
        let lasts = claims.exp - claims.iat;
        let token = access_token::sign(key, &claims).map_err(|_| ErrorCode::Internal)?;
        Ok((token, lasts))
    }
}

fn refused(error: TokenError) -> RpcError {
    RpcError::with_detail(error.code(), error.to_string())
}

/// The rows that this registry's secret opens.
fn open(app: &App, sealer: &XChaCha20Poly1305, rows: Vec<TokenKeyRow>, now: Timestamp) -> Keys {
    let mut keys = Keys { public: Vec::new(), signing: None };
    for row in rows {
        let Some(key) = unseal(sealer, &row) else {
            app.failures.log("token_keys.unseal", "a key was sealed under another AGENTNET_TOKEN_SECRET");
            continue;
        };
        let signs_until = Timestamp::from(row.signs_until);
        keys.public.push(access_token::token_key(&key.verifying(), row.not_after.into()));
        if keys.signing.is_none() && signs_until > now {
            keys.signing = Some((key, signs_until));
        }
    }
    keys
}

fn seal(sealer: &XChaCha20Poly1305, key: &SecretKey, kid: &str) -> Option<Vec<u8>> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let plain = Zeroizing::new(key.expose_base64());
    let payload = Payload { msg: plain.as_bytes(), aad: kid.as_bytes() };
    let sealed = sealer.encrypt(&XNonce::from(nonce), payload).ok()?;
    Some([&nonce[..], &sealed].concat())
}

fn unseal(sealer: &XChaCha20Poly1305, row: &TokenKeyRow) -> Option<SecretKey> {
    let (nonce, sealed) = row.sealed.split_first_chunk::<NONCE_BYTES>()?;
    let payload = Payload { msg: sealed, aad: row.kid.as_bytes() };
    let plain = Zeroizing::new(sealer.decrypt(&XNonce::from(*nonce), payload).ok()?);
    let key = SecretKey::from_base64(std::str::from_utf8(&plain).ok()?).ok()?;
    // The row's own words about the key count for nothing.
    (access_token::key_id(&key.verifying()) == row.kid).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tokens: &Tokens, key: &SecretKey, kid: &str) -> TokenKeyRow {
        TokenKeyRow {
            kid: kid.to_owned(),
            public_key: key.public_key(),
            sealed: seal(tokens.sealer.as_ref().unwrap(), key, kid).unwrap(),
            created_at: Timestamp::UNIX_EPOCH.to_offset(),
            signs_until: Timestamp::UNIX_EPOCH.to_offset(),
            not_after: Timestamp::UNIX_EPOCH.to_offset(),
        }
    }

    #[test]
    fn only_the_own_secret_opens_a_key_under_its_own_name() {
        let tokens = |secret: &str| Tokens::new(Some(&secret.to_owned().into()), LIFETIME);
        let (ours, theirs) = (tokens("ours"), tokens("theirs"));
        let key = SecretKey::generate();
        let kid = access_token::key_id(&key.verifying());
        let sealed = row(&ours, &key, &kid);
        assert!(!sealed.sealed.windows(43).any(|part| part == key.expose_base64().as_bytes()));
        let opened = |tokens: &Tokens, row: &TokenKeyRow| {
            unseal(tokens.sealer.as_ref().unwrap(), row).map(|key| key.public_key())
        };
        assert_eq!(opened(&ours, &sealed), Some(key.public_key()));
        assert_eq!(opened(&theirs, &sealed), None);
        let renamed = TokenKeyRow { kid: "other".to_owned(), ..sealed.clone() };
        assert_eq!(opened(&ours, &renamed), None);
        assert_eq!(opened(&ours, &row(&ours, &key, "other")), None);
        for end in [0, NONCE_BYTES, sealed.sealed.len() - 1] {
            let cut = TokenKeyRow { sealed: sealed.sealed[..end].to_vec(), ..sealed.clone() };
            assert_eq!(opened(&ours, &cut), None);
        }
        assert!(!format!("{ours:?}").contains("ours"));
        let none = Tokens::new(None, LIFETIME);
        assert_eq!(none.check().unwrap_err().code(), Some(ErrorCode::LoginUnavailable));
    }
}
