//! `registry.online`: which of some accounts are online.

use std::collections::HashMap;
use std::sync::Arc;

use agentnet_proto::rpc::{MAX_ONLINE, OnlineAccount, OnlineRequest, OnlineResponse};
use agentnet_proto::username::normalize_username;
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::accounts;

use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::validate;

pub(super) async fn online(
    app: Arc<App>,
    _: Call,
    request: OnlineRequest,
) -> Result<OnlineResponse, RpcError> {
    if request.accounts.len() > MAX_ONLINE {
        let detail = format!("accounts names more than {MAX_ONLINE}; ask in parts");
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    request.accounts.iter().try_for_each(|text| validate::query("accounts", text))?;
    let names: Vec<String> =
        request.accounts.iter().map(|text| normalize_username(text.trim_start_matches('@'))).collect();
    let work = async {
        let ids: Vec<&str> = request.accounts.iter().map(String::as_str).collect();
        let usernames: Vec<&str> = names.iter().map(String::as_str).collect();
        Ok(accounts::named(app.store.pool(), &ids, &usernames).await?)
    };
    let found = app.within("db.online", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let by_id: HashMap<&str, &(String, String)> = found.iter().map(|pair| (pair.0.as_str(), pair)).collect();
    let by_name: HashMap<&str, &(String, String)> =
        found.iter().map(|pair| (pair.1.as_str(), pair)).collect();
    let accounts = request.accounts.iter().zip(&names).map(|(asked, name)| {
        let known = by_id.get(asked.as_str()).or_else(|| by_name.get(name.as_str()));
        let (sessions, last_seen) = known.map_or((0, None), |(id, _)| app.presence.account(id));
        OnlineAccount {
            asked: asked.clone(),
            account_id: known.map(|(id, _)| id.clone()),
            username: known.map(|(_, username)| username.clone()),
            online: sessions > 0,
            sessions: i64::try_from(sessions).unwrap_or(i64::MAX),
            last_seen: last_seen.map(|at| at.to_string()),
        }
    });
    Ok(OnlineResponse { accounts: accounts.collect(), generated_at: app.now().to_string() })
}
