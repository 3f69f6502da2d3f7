//! The methods about people, logins and API keys, and what they share.

pub(super) mod api_key_create;
pub(super) mod api_key_list;
pub(super) mod api_key_login;
pub(super) mod api_key_revoke;
pub(super) mod token_keys;
pub(super) mod user_create;
pub(super) mod user_list;
pub(super) mod user_login;
pub(super) mod user_logout;
pub(super) mod user_refresh;
pub(super) mod user_session;
pub(super) mod user_set_password;
pub(super) mod user_standing;
pub(super) mod ws_tickets;

pub(super) use api_key_create::PREFIX as API_KEY_PREFIX;

use agentnet_proto::rpc::{ApiKeyRow, UserResponse, UserRow};
use agentnet_proto::{AccountId, Timestamp};
use agentnet_store::api_keys::ApiKey;
use agentnet_store::users::Person;

use super::standing::target;
use crate::access;
use crate::app::{App, Failed};
use crate::caller::Call;
use crate::users::role_name;

fn iso(at: time::OffsetDateTime) -> String {
    Timestamp::from(at).to_string()
}

fn user_row(person: Person) -> UserRow {
    UserRow {
        account_id: person.account_id,
        username: person.username,
        display_name: person.display_name,
        role: role_name(&person.role, "human"),
        status: person.status,
        created_at: iso(person.created_at),
        password_set_at: person.set_at.map(iso),
        last_login_at: person.last_login_at.map(iso),
    }
}

fn user_response(app: &App, person: Person) -> UserResponse {
    UserResponse { user: user_row(person), generated_at: app.now().to_string() }
}

fn api_key_row(key: ApiKey) -> ApiKeyRow {
    ApiKeyRow {
        key_id: key.key_id,
        account_id: key.account_id,
        name: key.name,
        scopes: key.scopes,
        created_at: iso(key.created_at),
        expires_at: key.expires_at.map(iso),
        last_used_at: key.last_used_at.map(iso),
        revoked_at: key.revoked_at.map(iso),
    }
}

/// The account that a request is about: the one that asks, or for an operator any.
async fn whose(
    app: &App,
    call: &Call,
    claimed: Option<&str>,
    wanted: Option<&str>,
) -> Result<String, Failed> {
    let Some(wanted) = wanted else { return Ok(access::actor(app, call, claimed).await?.to_string()) };
    let by = access::operator_or_other(app, call, claimed).await?;
    let found = target(app, wanted).await?.account_id;
    match by {
        None => Ok(found),
        Some((by, _)) if by.as_str() == found => Ok(found),
        Some((_, true)) => Ok(found),
        Some(_) => Err(access::only_operators().into()),
    }
}

/// As text for a log line.
fn name_of(account: Option<&AccountId>) -> &str {
    account.map_or("anyone", AccountId::as_str)
}
