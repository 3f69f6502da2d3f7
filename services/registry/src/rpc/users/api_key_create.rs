//! `registry.api_key_create`: a key for a machine that comes in over HTTP.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentnet_proto::rpc::{API_KEY_SCOPES, ApiKeyCreateRequest, ApiKeyCreateResponse};
use agentnet_proto::{ErrorCode, RpcError, SecretText, Timestamp};
use agentnet_store::api_keys::{self, ApiKey, NewApiKey};
use agentnet_store::{StoreError, logins};

use super::{api_key_row, whose};
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::users::gateways;
use crate::{enrolment, users, validate};

/// What a key begins with; its id, and after another underscore its secret, follow.
pub(in crate::rpc) const PREFIX: &str = "ank_";

pub(in crate::rpc) async fn api_key_create(
    app: Arc<App>,
    call: Call,
    request: ApiKeyCreateRequest,
) -> Result<ApiKeyCreateResponse, RpcError> {
    validate::name("name", &request.name, validate::MAX_NAME)?;
    if request.name.is_empty() {
        return Err(RpcError::with_detail(ErrorCode::InvalidField, "name is required"));
    }
    let scopes = scopes(&request.scopes)?;
    let expires_at = expiry(&app, request.expires_at.as_deref())?;
    let key_id = app.ids.ulid_lower();
    let api_key = users::secret(&format!("{PREFIX}{key_id}_"), &*app.ids);
    let work = async {
        let account_id = whose(&app, &call, request.account_id.as_deref(), request.target.as_deref()).await?;
        may_make(&app, &call, &account_id).await?;
        let new = NewApiKey {
            key_id: &key_id,
            account_id: &account_id,
            name: &request.name,
            secret_sha256: enrolment::hash(api_key.expose()),
            scopes: &scopes,
            expires_at,
        };
        keep(&app, &new).await
    };
    let key = app.within("db.api_key_create", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    tracing::info!(account = key.account_id, key_id = key.key_id, "an API key was made");
    Ok(ApiKeyCreateResponse { api_key, key: api_key_row(key), generated_at: app.now().to_string() })
}

/// A key can't make others that outlive it, and gateways have none.
async fn may_make(app: &App, call: &Call, account_id: &str) -> Result<(), Failed> {
    if let (true, Some(signed)) = (call.by_session_key, &call.signed)
        && logins::is_of_api_key(app.store.pool(), &signed.key.to_string()).await?
    {
        return Err(RpcError::from(ErrorCode::SessionKeyForbidden).into());
    }
    if gateways::is_gateway(app, account_id).await? {
        return Err(
            RpcError::with_detail(ErrorCode::Forbidden, "a gateway's account takes no API keys").into()
        );
    }
    Ok(())
}

async fn keep(app: &App, new: &NewApiKey<'_>) -> Result<ApiKey, Failed> {
    let failed = StoreError::query("api_key_create.transaction");
    let mut tx = app.store.pool().begin().await.map_err(&failed)?;
    let made = api_keys::create(&mut tx, new, app.now()).await?;
    tx.commit().await.map_err(&failed)?;
    made.ok_or_else(|| RpcError::from(ErrorCode::ApiKeysFull).into())
}

/// In the order of the list, each once.
fn scopes(wanted: &[String]) -> Result<Vec<String>, RpcError> {
    let set: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
    if let Some(unknown) = set.iter().find(|scope| !API_KEY_SCOPES.contains(scope)) {
        let detail = format!("{unknown:?} is no scope; there are {}", API_KEY_SCOPES.join(", "));
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    Ok(API_KEY_SCOPES.iter().filter(|scope| set.contains(*scope)).map(|scope| (*scope).to_owned()).collect())
}

fn expiry(app: &App, text: Option<&str>) -> Result<Option<Timestamp>, RpcError> {
    let Some(text) = text else { return Ok(None) };
    let wrong =
        || RpcError::with_detail(ErrorCode::InvalidField, "expires_at is an ISO 8601 time in the future");
    let at = Timestamp::parse(text).filter(|at| *at > app.now()).ok_or_else(wrong)?;
    Ok(Some(at))
}

/// The id in the text of a key, if it has the shape of one.
pub(super) fn key_id_of(key: &SecretText) -> Option<&str> {
    let (id, secret) = key.expose().strip_prefix(PREFIX)?.split_once('_')?;
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (id.len() == 26 && secret.len() == 64 && is_plain(id) && is_plain(secret)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shape_of_a_key_names_one() {
        let good = format!("{PREFIX}{}_{}", "a".repeat(26), "0".repeat(64));
        assert_eq!(key_id_of(&SecretText::new(good.clone())), Some("a".repeat(26).as_str()));
        for bad in
            ["", "ank_", &good[1..], &good[..good.len() - 1], &format!("{good}0"), &good.replace('a', "é")]
        {
            assert_eq!(key_id_of(&SecretText::new(bad)), None, "{bad}");
        }
    }

    #[test]
    fn scopes_are_known_ones() {
        let of = |list: &[&str]| scopes(&list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["send", "read", "send"]).unwrap(), ["read", "send"]);
        assert!(of(&[]).unwrap().is_empty());
        assert_eq!(of(&["read", "all"]).unwrap_err().code(), Some(ErrorCode::InvalidField));
    }
}
