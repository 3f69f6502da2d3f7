//! `registry.user_create`: an operator makes a person's account, or a person does who signs up at a gateway.

use std::sync::Arc;

use agentnet_proto::rpc::{UserCreateRequest, UserResponse};
use agentnet_proto::username::{is_guest, normalize_username};
use agentnet_proto::{AccountEvent, AccountId, ErrorCode, RpcError, Security};
use agentnet_store::StoreError;
use agentnet_store::users::{self, NewPerson, Person};

use super::{name_of, user_response};
use crate::access;
use crate::app::{App, Failed, LOGIN_DEADLINE};
use crate::caller::Call;
use crate::users::{gateways, password};
use crate::{events, validate};

pub(in crate::rpc) async fn user_create(
    app: Arc<App>,
    call: Call,
    request: UserCreateRequest,
) -> Result<UserResponse, RpcError> {
    validate::name("username", &request.username, validate::MAX_TITLE)?;
    let username = normalize_username(&request.username);
    if username.is_empty() {
        return Err(ErrorCode::UsernameRequired.into());
    }
    if is_guest(&username) {
        return Err(ErrorCode::UsernameReserved.into());
    }
    let display_name = request.display_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&username);
    validate::name("display_name", display_name, validate::MAX_TITLE)?;
    password::check(&request.password)?;
    let role = role(request.role.as_deref())?;
    let allowed = allowed(&app, &call, &request, role);
    let by = app.within("db.user_create", LOGIN_DEADLINE, ErrorCode::AccountFailed, allowed).await?;
    let phc = app.users.passwords.hash(&request.password).await?;
    let account_id = app.ids.account_id();
    let new = NewPerson { account_id: &account_id, username: &username, display_name, role };
    let work = make(&app, &new, &phc);
    let person = app.within("db.user_create", LOGIN_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let event = AccountEvent {
        account_id: person.account_id.clone(),
        usernames: vec![person.username.clone()],
        ..AccountEvent::default()
    };
    events::take_account(&app, &event).await;
    events::announce_account(&app, &event).await;
    tracing::info!(
        by = name_of(by.as_ref()),
        account = person.account_id,
        role,
        "a person's account was made"
    );
    Ok(user_response(&app, person))
}

/// The role as the table has it.
fn role(wanted: Option<&str>) -> Result<&'static str, RpcError> {
    match wanted {
        None | Some("user") => Ok("agent"),
        Some("operator") => Ok(access::OPERATOR),
        Some(_) => Err(RpcError::with_detail(ErrorCode::InvalidField, "role is user or operator")),
    }
}

/// Who makes the account.
async fn allowed(
    app: &App,
    call: &Call,
    request: &UserCreateRequest,
    role: &str,
) -> Result<Option<AccountId>, Failed> {
    let by = access::operator_or_other(app, call, request.account_id.as_deref()).await?;
    let signs_up = match &by {
        Some((account, false)) if gateways::is_gateway(app, account.as_str()).await? => true,
        Some((_, false)) if app.config.security != Security::Open => {
            return Err(access::only_operators().into());
        }
        _ => request.signup,
    };
    if signs_up && !app.config.signup {
        return Err(RpcError::from(ErrorCode::SignupDisabled).into());
    }
    if signs_up && role == access::OPERATOR {
        return Err(access::only_operators().into());
    }
    Ok(by.map(|(account, _)| account))
}

async fn make(app: &App, new: &NewPerson<'_>, phc: &str) -> Result<Person, Failed> {
    let failed = StoreError::query("user_create.transaction");
    let mut tx = app.store.pool().begin().await.map_err(&failed)?;
    if !users::create(&mut tx, new, app.now()).await? {
        return Err(RpcError::from(ErrorCode::UsernameTaken).into());
    }
    users::set_password(&mut tx, new.account_id, phc, app.now()).await?;
    let person = users::by_id(&mut *tx, new.account_id).await?.ok_or(Failed::NotFound)?;
    tx.commit().await.map_err(&failed)?;
    Ok(person)
}
