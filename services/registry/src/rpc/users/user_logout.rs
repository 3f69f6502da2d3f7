//! `registry.user_logout`: a login ends, with its tokens and keys.

use std::sync::Arc;

use agentnet_proto::rpc::{UserLogoutRequest, UserLogoutResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::StoreError;
use agentnet_store::logins::{self, Ended, Which};

use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::users::session::News;
use crate::{access, enrolment};

pub(in crate::rpc) async fn user_logout(
    app: Arc<App>,
    call: Call,
    request: UserLogoutRequest,
) -> Result<UserLogoutResponse, RpcError> {
    let work = async {
        access::gateway(&app, &call, request.account_id.as_deref()).await?;
        let sid = sid(&app, &request).await?;
        let account = logins::account_of(app.store.pool(), &sid).await?;
        let account = account.ok_or_else(|| RpcError::from(ErrorCode::LoginEnded))?;
        let failed = StoreError::query("user_logout.transaction");
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let keys = logins::end(&mut tx, Which::Sid(&sid), Ended::Logout, app.now()).await?;
        tx.commit().await.map_err(&failed)?;
        Ok((account, sid, News::ended(keys)))
    };
    let (account_id, sid, news) =
        app.within("db.logout", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let ended_keys = i64::try_from(news.ended_keys()).unwrap_or(i64::MAX);
    news.tell(&app).await;
    tracing::info!(account = account_id, ended_keys, "a login ended");
    Ok(UserLogoutResponse { account_id, sid, ended_keys, generated_at: app.now().to_string() })
}

/// The login that the token belongs to. A token whose time is over names it, too.
async fn sid(app: &App, request: &UserLogoutRequest) -> Result<String, Failed> {
    match (&request.refresh_token, &request.access_token) {
        (Some(refresh), access) => {
            let hash = enrolment::hash(refresh.expose());
            let found = logins::sid_of_refresh(app.store.pool(), &hash).await?;
            let sid = found.ok_or_else(|| RpcError::from(ErrorCode::RefreshInvalid))?;
            if let Some(access) = access
                && app.users.tokens.verify_ever(app, access).await?.sid != sid
            {
                let detail = "refresh_token and access_token belong to different logins; give one of them";
                return Err(RpcError::with_detail(ErrorCode::InvalidField, detail).into());
            }
            Ok(sid)
        }
        (None, Some(access)) => Ok(app.users.tokens.verify_ever(app, access).await?.sid),
        (None, None) => {
            let detail = "give the refresh_token or the access_token of the login";
            Err(RpcError::with_detail(ErrorCode::InvalidField, detail).into())
        }
    }
}
