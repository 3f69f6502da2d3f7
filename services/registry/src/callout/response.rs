//! What the server is told: a user with permissions and an end, or a refusal.

use std::fmt;
use std::time::Duration;

use agentnet_proto::signature::PublicKey;
use agentnet_proto::{IdGen, Timestamp};
use nkeys::{KeyPair, KeyPairType};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::jwt;
use super::permissions::Permissions;
use super::request::Request;

/// Version of NATS' claims.
const VERSION: u32 = 2;
const UNLIMITED: i64 = -1;
/// Longest reason; it goes to the server's log.
const MAX_REASON: usize = 256;

/// Why answers can't be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// The seed is no account key.
    #[error("the callout's issuer must be a NATS account seed (`SA...`)")]
    Seed,
    /// The key didn't sign. Doesn't happen with a key that has its seed.
    #[error("the answer can't be signed")]
    Sign,
}

/// Who writes the answers: the account key that the server's configuration names as `auth_callout.issuer`. `Debug`
/// shows the public half.
pub struct Issuer {
    key: KeyPair,
    account: String,
}

/// What is granted.
#[derive(Debug, Clone)]
pub struct Admission<'a> {
    /// What the connection is called in the server's own reports: an account id or a service's name.
    pub name: &'a str,
    /// The key that was proved.
    pub key: &'a PublicKey,
    /// What it may do.
    pub permissions: &'a Permissions,
    /// How long, from now. The server ends the connection then.
    pub lifetime: Duration,
}

#[derive(Serialize)]
struct Claims<'a, N> {
    jti: String,
    iat: i64,
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    nats: N,
}

#[derive(Serialize)]
struct User<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    version: u32,
    #[serde(rename = "pub")]
    publish: Allow<'a>,
    sub: Allow<'a>,
    subs: i64,
    data: i64,
    payload: i64,
    tags: [String; 1],
}

#[derive(Serialize)]
struct Allow<'a> {
    allow: &'a [String],
    // An empty list of what is allowed would allow all.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    deny: &'static [&'static str],
}

impl<'a> Allow<'a> {
    fn only(allow: &'a [String]) -> Self {
        Self { allow, deny: if allow.is_empty() { &[">"] } else { &[] } }
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl Issuer {
    /// From the account's seed (`SA...`) and the name under which the server's configuration knows the account that
    /// admitted users belong to.
    ///
    /// # Errors
    /// [`IssuerError::Seed`].
    pub fn from_seed(seed: &SecretString, account: impl Into<String>) -> Result<Self, IssuerError> {
        let key = KeyPair::from_seed(seed.expose_secret()).map_err(|_| IssuerError::Seed)?;
        match key.key_pair_type() {
            KeyPairType::Account => Ok(Self { key, account: account.into() }),
            _ => Err(IssuerError::Seed),
        }
    }

    /// The public key, for `auth_callout.issuer`.
    pub fn public_key(&self) -> String {
        self.key.public_key()
    }

    /// The answer that lets the connection in.
    ///
    /// # Errors
    /// [`IssuerError::Sign`].
    pub fn admit(
        &self,
        request: &Request,
        admission: &Admission<'_>,
        now: Timestamp,
        ids: &dyn IdGen,
    ) -> Result<String, IssuerError> {
        let Admission { name, key, permissions, lifetime } = admission;
        let user = User {
            kind: "user",
            version: VERSION,
            publish: Allow::only(&permissions.publish),
            sub: Allow::only(&permissions.subscribe),
            subs: permissions.max_subscriptions,
            data: UNLIMITED,
            payload: permissions.max_payload,
            tags: [format!("key:{key}")],
        };
        let claims = Claims {
            jti: ids.nonce(),
            iat: seconds(now),
            iss: &self.key.public_key(),
            sub: &request.user_nkey,
            aud: &self.account,
            // Rounded up, so that a short life is none of zero.
            exp: Some(seconds(now.saturating_add(*lifetime)).max(seconds(now) + 1)),
            name: Some(name),
            nats: user,
        };
        let jwt = jwt::sign(&self.key, &claims).ok_or(IssuerError::Sign)?;
        self.answer(request, now, ids, Answer { jwt: Some(&jwt), ..Answer::EMPTY })
    }

    /// The answer that refuses the connection. `reason` goes to the server's log; the client hears of an authorization
    /// violation only.
    ///
    /// # Errors
    /// [`IssuerError::Sign`].
    pub fn refuse(
        &self,
        request: &Request,
        reason: &str,
        now: Timestamp,
        ids: &dyn IdGen,
    ) -> Result<String, IssuerError> {
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect();
        // An answer without a reason would be no refusal.
        let reason = if reason.is_empty() { "refused" } else { &reason };
        self.answer(request, now, ids, Answer { error: Some(reason), ..Answer::EMPTY })
    }

    fn answer(
        &self,
        request: &Request,
        now: Timestamp,
        ids: &dyn IdGen,
        answer: Answer<'_>,
    ) -> Result<String, IssuerError> {
        let claims = Claims {
            jti: ids.nonce(),
            iat: seconds(now),
            iss: &self.key.public_key(),
            sub: &request.user_nkey,
            aud: &request.server_id,
            exp: None,
            name: None,
            nats: answer,
        };
        jwt::sign(&self.key, &claims).ok_or(IssuerError::Sign)
    }
}

impl Answer<'_> {
    const EMPTY: Self = Self { kind: "authorization_response", version: VERSION, jwt: None, error: None };
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuer({} for {})", self.public_key(), self.account)
    }
}

fn seconds(at: Timestamp) -> i64 {
    at.unix_millis().div_euclid(1000)
}
