//! `registry.user_set_password`: another password, for oneself with the old one, or by an operator. Every login ends.

use std::sync::Arc;

use agentnet_proto::rpc::{UserResponse, UserSetPasswordRequest};
use agentnet_proto::{AccountId, ErrorCode, RpcError, SecretText};
use agentnet_store::StoreError;
use agentnet_store::logins::{self, Ended, Which};
use agentnet_store::users::{self, Person};

use super::{name_of, target, user_response};
use crate::access;
use crate::app::{App, Failed, LOGIN_DEADLINE};
use crate::caller::Call;
use crate::users::password::{self, Verdict};
use crate::users::session::News;
use crate::users::throttle::Attempt;

pub(in crate::rpc) async fn user_set_password(
    app: Arc<App>,
    call: Call,
    request: UserSetPasswordRequest,
) -> Result<UserResponse, RpcError> {
    password::check(&request.new_password)?;
    let work = allowed(&app, &call, &request);
    let (by, person, is_own) =
        app.within("db.user_password", LOGIN_DEADLINE, ErrorCode::AccountFailed, work).await?;
    if is_own {
        confirm(&app, &person, request.old_password.as_ref()).await?;
    }
    let phc = app.users.passwords.hash(&request.new_password).await?;
    let work = set(&app, &person.account_id, &phc);
    let (person, news) =
        app.within("db.user_password", LOGIN_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let ended_keys = news.ended_keys();
    news.tell(&app).await;
    let by = name_of(by.as_ref());
    tracing::info!(by, account = person.account_id, ended_keys, "a person's password was changed");
    Ok(user_response(&app, person))
}

/// Who asks, whose password it is, and whether it is the asker's own.
async fn allowed(
    app: &App,
    call: &Call,
    request: &UserSetPasswordRequest,
) -> Result<(Option<AccountId>, Person, bool), Failed> {
    let by = access::operator_or_other(app, call, request.account_id.as_deref()).await?;
    let account_id = match (&request.target, &by) {
        (Some(text), _) => target(app, text).await?.account_id,
        (None, Some((by, _))) => by.to_string(),
        (None, None) => {
            let detail = "target is required: an account id or username";
            return Err(RpcError::with_detail(ErrorCode::InvalidField, detail).into());
        }
    };
    let is_own = by.as_ref().is_some_and(|(by, _)| by.as_str() == account_id);
    if !is_own && matches!(by, Some((_, false))) {
        return Err(access::only_operators().into());
    }
    let person = users::by_id(app.store.pool(), &account_id).await?.ok_or(Failed::NotFound)?;
    Ok((by.map(|(by, _)| by), person, is_own))
}

/// Whether the asker knows the old password; guesses are slowed down as at logging in.
async fn confirm(app: &App, person: &Person, old: Option<&SecretText>) -> Result<(), RpcError> {
    let Some(old) = old else {
        return Err(RpcError::with_detail(ErrorCode::InvalidCredentials, "old_password is required"));
    };
    let begin = async {
        let attempt = Attempt::begin(app, Some(&person.username), None).await?;
        Ok((attempt, users::credential_of_username(app.store.pool(), &person.username).await?))
    };
    let (attempt, kept) =
        app.within("db.login_attempt", LOGIN_DEADLINE, ErrorCode::AccountFailed, begin).await?;
    let phc = kept.as_ref().map(|kept| kept.password_phc.as_str());
    match app.users.passwords.verify(old, phc).await? {
        Verdict::Wrong => Err(ErrorCode::InvalidCredentials.into()),
        Verdict::Right { .. } => {
            attempt.succeeded(app).await;
            Ok(())
        }
    }
}

async fn set(app: &App, account_id: &str, phc: &str) -> Result<(Person, News), Failed> {
    let failed = StoreError::query("user_set_password.transaction");
    let mut tx = app.store.pool().begin().await.map_err(&failed)?;
    users::set_password(&mut tx, account_id, phc, app.now()).await?;
    let keys = logins::end(&mut tx, Which::Account(account_id), Ended::Password, app.now()).await?;
    let person = users::by_id(&mut *tx, account_id).await?.ok_or(Failed::NotFound)?;
    tx.commit().await.map_err(&failed)?;
    Ok((person, News::ended(keys)))
}
