//! `registry.api_key_login`: a machine's API key, shown to a gateway, for the gateway's ephemeral key to speak for its
//! account.

use std::sync::Arc;

use agentnet_proto::rpc::{ApiKeyLoginRequest, LoginResponse};
use agentnet_proto::signature::PublicKey;
use agentnet_proto::{AccountId, ErrorCode, RpcError};
use agentnet_store::logins::NewLogin;
use agentnet_store::{StoreError, api_keys};

use super::api_key_create::key_id_of;
use crate::app::{App, Failed, LOGIN_DEADLINE};
use crate::caller::Call;
use crate::users::session::{self, News};
use crate::users::throttle::{self, Attempt};
use crate::{access, enrolment};

pub(in crate::rpc) async fn api_key_login(
    app: Arc<App>,
    call: Call,
    request: ApiKeyLoginRequest,
) -> Result<LoginResponse, RpcError> {
    throttle::check_address(request.address.as_deref())?;
    let key = session::perhaps_key_of(request.session_key.as_deref())?;
    app.users.tokens.check()?;
    let work = async {
        let via = access::gateway(&app, &call, request.account_id.as_deref()).await?;
        let attempt = Attempt::begin(&app, None, request.address.as_deref()).await?;
        let mut news = News::default();
        let answer = log_in(&app, &request, key.as_ref(), via.as_ref(), &mut news).await?;
        attempt.succeeded(&app).await;
        Ok((answer, news))
    };
    let (answer, news) =
        app.within("db.api_key_login", LOGIN_DEADLINE, ErrorCode::AccountFailed, work).await?;
    news.tell(&app).await;
    Ok(answer)
}

async fn log_in(
    app: &App,
    request: &ApiKeyLoginRequest,
    key: Option<&PublicKey>,
    via: Option<&AccountId>,
    news: &mut News,
) -> Result<LoginResponse, Failed> {
    let invalid = || Failed::from(RpcError::from(ErrorCode::ApiKeyInvalid));
    let key_id = key_id_of(&request.api_key).ok_or_else(invalid)?;
    let failed = StoreError::query("api_key_login.transaction");
    let now = app.now();
    let issuer = app.users.tokens.issuer(app).await?;
    let mut tx = app.store.pool().begin().await.map_err(&failed)?;
    let hash = enrolment::hash(request.api_key.expose());
    let api_key = api_keys::use_once(&mut tx, key_id, &hash, now).await?.ok_or_else(invalid)?;
    let sid = app.ids.nonce();
    let longest = now.saturating_add(session::API_KEY_LOGIN_LIFE);
    let new = NewLogin {
        sid: &sid,
        account_id: &api_key.account_id,
        api_key_id: Some(key_id),
        scopes: &api_key.scopes,
        via: via.map(AccountId::as_str),
        expires_at: api_key.expires_at.map_or(longest, |end| longest.min(end.into())),
    };
    let login = session::create(app, &mut tx, &new, news).await?;
    let until = session::bind(app, &mut tx, &login, key, via, news).await?;
    let answer = session::answer(app, &issuer, &login, None, until)?;
    tx.commit().await.map_err(&failed)?;
    Ok(answer)
}
