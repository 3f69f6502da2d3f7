//! `registry.user_session`: a client that came to another gateway; that one's key speaks for the account, too.

use std::sync::Arc;

use agentnet_proto::rpc::{UserSessionRequest, UserSessionResponse};
use agentnet_proto::signature::PublicKey;
use agentnet_proto::{AccountId, ErrorCode, RpcError};
use agentnet_store::logins::Login;
use agentnet_store::{Connection, StoreError};

use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::users::role_name;
use crate::users::session::{self, News};

pub(in crate::rpc) async fn user_session(
    app: Arc<App>,
    call: Call,
    request: UserSessionRequest,
) -> Result<UserSessionResponse, RpcError> {
    let key = session::key_of(&app, request.session_key.as_deref())?;
    let work = async {
        let via = access::gateway(&app, &call, request.account_id.as_deref()).await?;
        let claims = app.users.tokens.verify(&app, &request.access_token).await?;
        let failed = StoreError::query("user_session.transaction");
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let login = session::live(&app, &mut tx, &claims.sid).await?;
        let (answer, news) = join(&app, &mut tx, &login, key.as_ref(), via.as_ref()).await?;
        tx.commit().await.map_err(&failed)?;
        Ok((answer, news))
    };
    let (answer, news) =
        app.within("db.user_session", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    news.tell(&app).await;
    Ok(answer)
}

/// Binds one more key to a login.
pub(super) async fn join(
    app: &App,
    tx: &mut Connection,
    login: &Login,
    key: Option<&PublicKey>,
    via: Option<&AccountId>,
) -> Result<(UserSessionResponse, News), Failed> {
    let mut news = News::default();
    let until = session::bind(app, tx, login, key, via, &mut news).await?;
    let answer = UserSessionResponse {
        account_id: login.account_id.clone(),
        username: login.username.clone(),
        role: role_name(&login.role, &login.kind),
        kind: login.kind.clone(),
        scopes: session::scopes(login),
        session_expires_at: until.map(|until| until.to_string()),
        access_token: None,
    };
    Ok((answer, news))
}
