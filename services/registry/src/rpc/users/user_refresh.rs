//! `registry.user_refresh`: another access token for a login, against its refresh token, which is good once.

use std::sync::Arc;

use agentnet_proto::rpc::{LoginResponse, UserRefreshRequest};
use agentnet_proto::signature::PublicKey;
use agentnet_proto::{AccountId, ErrorCode, RpcError};
use agentnet_store::StoreError;
use agentnet_store::logins::{self, Ended, Refresh, Which};

use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::users::session::{self, News};
use crate::{access, enrolment};

pub(in crate::rpc) async fn user_refresh(
    app: Arc<App>,
    call: Call,
    request: UserRefreshRequest,
) -> Result<LoginResponse, RpcError> {
    let key = session::perhaps_key_of(request.session_key.as_deref())?;
    app.users.tokens.check()?;
    let work = async {
        let via = access::gateway(&app, &call, request.account_id.as_deref()).await?;
        let mut news = News::default();
        let hash = enrolment::hash(request.refresh_token.expose());
        let done = refresh(&app, &hash, key.as_ref(), via.as_ref(), &mut news).await?;
        Ok((done, news))
    };
    let (done, news) = app.within("db.refresh", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    if done.is_none() {
        tracing::warn!(ended_keys = news.ended_keys(), "a refresh token was used twice; its login has ended");
    }
    news.tell(&app).await;
    done.ok_or_else(|| ErrorCode::RefreshReused.into())
}

/// `None` for a token that was used before: the login has ended then, and that is committed.
async fn refresh(
    app: &App,
    token_sha256: &[u8; 32],
    key: Option<&PublicKey>,
    via: Option<&AccountId>,
    news: &mut News,
) -> Result<Option<LoginResponse>, Failed> {
    let failed = StoreError::query("user_refresh.transaction");
    let issuer = app.users.tokens.issuer(app).await?;
    let mut tx = app.store.pool().begin().await.map_err(&failed)?;
    let sid = match logins::spend_refresh(&mut tx, token_sha256, app.now()).await? {
        Refresh::Good(sid) => sid,
        Refresh::Unknown => return Err(RpcError::from(ErrorCode::RefreshInvalid).into()),
        Refresh::Spent(sid) => {
            let keys = logins::end(&mut tx, Which::Sid(&sid), Ended::Reused, app.now()).await?;
            tx.commit().await.map_err(&failed)?;
            *news = News::ended(keys);
            return Ok(None);
        }
    };
    let login = session::live(app, &mut tx, &sid).await?;
    let refresh = session::refresh_token(app, &mut tx, &login).await?;
    let until = session::bind(app, &mut tx, &login, key, via, news).await?;
    let answer = session::answer(app, &issuer, &login, Some(refresh), until)?;
    tx.commit().await.map_err(&failed)?;
    Ok(Some(answer))
}
