//! Logins and the keys they bind: making, prolonging, ending, and telling others.

use std::time::Duration;

use agentnet_proto::rpc::LoginResponse;
use agentnet_proto::signature::PublicKey;
use agentnet_proto::{
    AccountChange, AccountEvent, AccountId, ErrorCode, RpcError, SecretText, Security, Timestamp,
};
use agentnet_store::Connection;
use agentnet_store::keys::{self, SessionKey};
use agentnet_store::logins::{self, Login, MAX_SESSION_KEYS, NewLogin, Which};

use super::{Issuer, role_name};
use crate::app::{App, Failed};
use crate::{access, enrolment, events};

/// How long a session key speaks for the account unless its login is shorter. Refreshing prolongs it.
pub(crate) const KEY_LIFE: Duration = Duration::from_secs(12 * 3600);
/// How long a refresh token is good.
pub(crate) const REFRESH_LIFE: Duration = Duration::from_secs(14 * 24 * 3600);
/// How long a login with a password lasts, however often it is refreshed.
pub(crate) const LOGIN_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long one with an API key lasts.
pub(crate) const API_KEY_LOGIN_LIFE: Duration = KEY_LIFE;
/// How long a ticket for a WebSocket is good.
pub(crate) const TICKET_LIFE: Duration = Duration::from_secs(30);

const REFRESH_PREFIX: &str = "anr_";

/// The gateway's key in a request that binds one: an nkey, or base64url. `None` in open mode only.
///
/// # Errors
/// [`ErrorCode::InvalidField`].
pub(crate) fn key_of(app: &App, text: Option<&str>) -> Result<Option<PublicKey>, RpcError> {
    if text.is_none() && app.config.security != Security::Open {
        let detail = "session_key is required: the ephemeral key that the gateway made";
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    perhaps_key_of(text)
}

/// The gateway's key in a request that needs none: a login whose client hasn't asked for anything yet has no use for one,
/// and each counts among the few that a login may have.
///
/// # Errors
/// [`ErrorCode::InvalidField`].
pub(crate) fn perhaps_key_of(text: Option<&str>) -> Result<Option<PublicKey>, RpcError> {
    let Some(text) = text else { return Ok(None) };
    let key = PublicKey::from_nkey(text).ok().or_else(|| text.parse().ok());
    let detail = "session_key must be an ed25519 public key: an nkey (U...), or base64url";
    key.map(Some).ok_or_else(|| RpcError::with_detail(ErrorCode::InvalidField, detail))
}

/// What a transaction changed that others must hear of once it is committed.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct News {
    bound: Option<(String, String)>,
    ended: Vec<(String, String)>,
}

impl News {
    pub(crate) fn ended(keys: Vec<(String, String)>) -> Self {
        Self { bound: None, ended: keys }
    }

    pub(crate) fn ended_keys(&self) -> usize {
        self.ended.len()
    }

    /// Tells: caches drop what they know of the keys, connections of ended ones end.
    pub(crate) async fn tell(self, app: &App) {
        let ended = self.ended.into_iter().map(|key| (AccountChange::Revoked, key));
        let bound = self.bound.into_iter().map(|key| (AccountChange::Bound, key));
        for (change, (account_id, public_key)) in ended.chain(bound) {
            let event = AccountEvent {
                account_id,
                change: Some(change),
                public_key: Some(public_key),
                ..AccountEvent::default()
            };
            // Here at once, so that the next request meets it.
            app.caches.forget_keys(&event).await;
            events::announce_keys(app, &event).await;
        }
    }
}

/// Binds the gateway's key to the login's account; until when it speaks for it.
///
/// # Errors
/// [`ErrorCode::AuthPublicKeyMismatch`] for a key that is or was in use; Postgres.
pub(crate) async fn bind(
    app: &App,
    tx: &mut Connection,
    login: &Login,
    key: Option<&PublicKey>,
    via: Option<&AccountId>,
    news: &mut News,
) -> Result<Option<Timestamp>, Failed> {
    let Some(key) = key else { return Ok(None) };
    let (now, text) = (app.now(), key.to_string());
    let until = now.saturating_add(KEY_LIFE).min(login.expires_at.into());
    keys::lock(tx, &text).await?;
    let session = SessionKey {
        account_id: &login.account_id,
        public_key: &text,
        sid: &login.sid,
        via: via.map(AccountId::as_str),
        expires_at: until,
    };
    if !keys::bind_session(tx, &session, now).await? {
        let detail = "the session key is or was in use; make another one for every login";
        return Err(RpcError::with_detail(ErrorCode::AuthPublicKeyMismatch, detail).into());
    }
    news.ended.extend(keys::end_sessions(tx, std::slice::from_ref(&login.sid), MAX_SESSION_KEYS, now).await?);
    news.bound = Some((login.account_id.clone(), text));
    Ok(Some(until))
}

/// Makes a login for an account, ending the oldest one if it has too many of that kind.
///
/// # Errors
/// [`ErrorCode::Suspended`]; Postgres.
pub(crate) async fn create(
    app: &App,
    tx: &mut Connection,
    new: &NewLogin<'_>,
    news: &mut News,
) -> Result<Login, Failed> {
    access::check_standing(app, new.account_id)?;
    logins::create(tx, new, app.now()).await?;
    let which = Which::Surplus { account_id: new.account_id, api_key_id: new.api_key_id };
    news.ended.extend(logins::end(tx, which, logins::Ended::Replaced, app.now()).await?);
    // Not there when the account was locked out a moment ago, which this replica hasn't heard of yet.
    let login = logins::live(tx, new.sid, app.now()).await?;
    login.ok_or_else(|| RpcError::from(ErrorCode::Suspended).into())
}

/// The login of an access token or ticket, if it is good.
///
/// # Errors
/// [`ErrorCode::LoginEnded`]; Postgres.
pub(crate) async fn live(app: &App, tx: &mut Connection, sid: &str) -> Result<Login, Failed> {
    let login = logins::live(tx, sid, app.now()).await?;
    login.ok_or_else(|| RpcError::from(ErrorCode::LoginEnded).into())
}

/// A new refresh token of a login, and how many seconds it is good.
///
/// # Errors
/// Postgres.
pub(crate) async fn refresh_token(
    app: &App,
    tx: &mut Connection,
    login: &Login,
) -> Result<(SecretText, i64), Failed> {
    let now = app.now();
    let until = now.saturating_add(REFRESH_LIFE).min(login.expires_at.into());
    let token = super::secret(REFRESH_PREFIX, &*app.ids);
    logins::add_refresh(tx, &enrolment::hash(token.expose()), &login.sid, until).await?;
    Ok((token, until.duration_since(now) / 1000))
}

/// The answer to a login.
///
/// # Errors
/// As [`Issuer::issue`].
pub(crate) fn answer(
    app: &App,
    issuer: &Issuer,
    login: &Login,
    refresh: Option<(SecretText, i64)>,
    session_until: Option<Timestamp>,
) -> Result<LoginResponse, RpcError> {
    let (access_token, expires_in) = issuer.issue(app, login)?;
    let (refresh_token, refresh_expires_in) = refresh.unzip();
    Ok(LoginResponse {
        account_id: login.account_id.clone(),
        username: login.username.clone(),
        role: role_name(&login.role, &login.kind),
        access_token,
        expires_in,
        refresh_token,
        refresh_expires_in,
        scopes: scopes(login),
        session_expires_at: session_until.map(|until| until.to_string()),
    })
}

/// What a login may be used for; `None` for everything.
pub(crate) fn scopes(login: &Login) -> Option<Vec<String>> {
    (!login.scopes.is_empty()).then(|| login.scopes.clone())
}
