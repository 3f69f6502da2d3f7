//! Whether a key that the network doesn't know may register: enrolment, in secure mode.

use std::num::NonZeroU32;

use agentnet_proto::rpc::EnrolmentToken;
use agentnet_proto::signature::PublicKey;
use agentnet_proto::{ErrorCode, RpcError, Security};
use agentnet_store::accounts::Plan;
use agentnet_store::{Connection, enrolment, keys};
use governor::{DefaultDirectRateLimiter, Quota};
use secrecy::ExposeSecret as _;

use crate::app::{App, Failed};

/// Unknown keys that this registry looks at in a second, and at once.
const RATE: (u32, u32) = (500, 2_000);

/// What a key needs that the network doesn't know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrolment {
    /// The network's token, or one that an operator made.
    Token,
    /// A token that an operator made.
    Operator,
    /// Nothing.
    Open,
}

impl Enrolment {
    /// The words of the setting.
    pub const WORDS: [(&'static str, Self); 3] =
        [("token", Self::Token), ("operator", Self::Operator), ("open", Self::Open)];
}

/// How fast unknown keys are looked at: so many that all agents of a network may come at once, and so few that trying
/// keys and tokens keeps nobody else waiting.
#[derive(Debug)]
pub(crate) struct Enrolling(DefaultDirectRateLimiter);

impl Default for Enrolling {
    fn default() -> Self {
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self(DefaultDirectRateLimiter::direct(Quota::per_second(number(RATE.0)).allow_burst(number(RATE.1))))
    }
}

/// Whether a key that speaks for no account yet may have this one: a new one with leave, an existing one that has no key
/// with the token made for it. Gives the key that was bound now. All of it is undone with the transaction.
///
/// # Errors
/// [`ErrorCode::EnrolmentRequired`], [`ErrorCode::EnrolmentTokenInvalid`], [`ErrorCode::RateLimited`];
/// [`ErrorCode::AuthPublicKeyMismatch`] for an account that is somebody else's; Postgres.
pub(crate) async fn enrol(
    app: &App,
    tx: &mut Connection,
    plan: &Plan,
    key: Option<&PublicKey>,
    token: Option<&EnrolmentToken>,
) -> Result<Option<String>, Failed> {
    let (Security::Secure, Some(key)) = (app.config.security, key) else { return Ok(None) };
    let key = key.to_string();
    if plan.is_new() {
        return admit(app, tx, &key, token).await.map(|()| None);
    }
    let spans = keys::spans_of(&mut *tx, &key).await?;
    // It was bound since it connected, or a login bound it.
    if spans.iter().any(|span| span.account_id == plan.account_id && span.is_active(app.now())) {
        return Ok(None);
    }
    if keys::active_key(&mut *tx, &plan.account_id).await?.is_some() {
        return Err(RpcError::from(ErrorCode::AuthPublicKeyMismatch).into());
    }
    let Some(token) = token else {
        let detail = format!(
            "no key speaks for the account of {}; an operator has to enrol one, or choose another username",
            plan.username
        );
        return Err(RpcError::with_detail(ErrorCode::AuthPublicKeyMismatch, detail).into());
    };
    slow_down(app)?;
    if !enrolment::redeem(tx, &hash(token.expose()), Some(&plan.account_id), app.now()).await? {
        return Err(RpcError::from(ErrorCode::EnrolmentTokenInvalid).into());
    }
    keys::bind(tx, &plan.account_id, &key, app.now()).await?;
    Ok(Some(key))
}

/// Whether the key may have a new account.
async fn admit(
    app: &App,
    tx: &mut Connection,
    key: &str,
    token: Option<&EnrolmentToken>,
) -> Result<(), Failed> {
    let config = &app.config;
    if config.enrolment == Enrolment::Open || config.operator_keys.iter().any(|named| named == key) {
        return Ok(());
    }
    let Some(token) = token else { return Err(RpcError::from(ErrorCode::EnrolmentRequired).into()) };
    slow_down(app)?;
    let hash = hash(token.expose());
    let is_networks = config.enrolment == Enrolment::Token
        // Hashes, so that how long the comparison takes tells nothing of the token.
        && config.enrolment_token.as_ref().is_some_and(|own| self::hash(own.expose_secret()) == hash);
    if is_networks || enrolment::redeem(tx, &hash, None, app.now()).await? {
        return Ok(());
    }
    Err(RpcError::from(ErrorCode::EnrolmentTokenInvalid).into())
}

fn slow_down(app: &App) -> Result<(), RpcError> {
    let detail = "too many unknown keys come at once; try again";
    app.enrolling.0.check().map_err(|_| RpcError::with_detail(ErrorCode::RateLimited, detail))
}

/// What is kept of a token.
pub(crate) fn hash(token: &str) -> [u8; 32] {
    agentnet_proto::envelope::body_hash(token.as_bytes())
}
