//! `registry.user_login`: a person's username and password, shown to a gateway, for the gateway's ephemeral key to speak
//! for their account.

use std::sync::Arc;

use agentnet_proto::rpc::{LoginResponse, UserLoginRequest};
use agentnet_proto::signature::PublicKey;
use agentnet_proto::username::normalize_username;
use agentnet_proto::{AccountId, ErrorCode, RpcError};
use agentnet_store::StoreError;
use agentnet_store::logins::NewLogin;
use agentnet_store::users::{self, Credential};

use crate::access;
use crate::app::{App, Failed, LOGIN_DEADLINE};
use crate::caller::Call;
use crate::users::password::Verdict;
use crate::users::session::{self, News};
use crate::users::throttle::{self, Attempt};
use crate::validate;

pub(in crate::rpc) async fn user_login(
    app: Arc<App>,
    call: Call,
    request: UserLoginRequest,
) -> Result<LoginResponse, RpcError> {
    validate::query("username", &request.username)?;
    throttle::check_address(request.address.as_deref())?;
    let key = session::perhaps_key_of(request.session_key.as_deref())?;
    app.users.tokens.check()?;
    let username = normalize_username(&request.username);
    let begin = async {
        let via = access::gateway(&app, &call, request.account_id.as_deref()).await?;
        let attempt = Attempt::begin(&app, Some(&username), request.address.as_deref()).await?;
        Ok((via, attempt, users::credential_of_username(app.store.pool(), &username).await?))
    };
    let (via, attempt, credential) =
        app.within("db.login_attempt", LOGIN_DEADLINE, ErrorCode::AccountFailed, begin).await?;
    let phc = credential.as_ref().map(|credential| credential.password_phc.as_str());
    // Also where there is nobody of that name, so that it takes as long.
    let verdict = app.users.passwords.verify(&request.password, phc).await?;
    let (Some(credential), Verdict::Right { better }) = (credential, verdict) else {
        return Err(ErrorCode::InvalidCredentials.into());
    };
    let work = async {
        let mut news = News::default();
        let done =
            log_in(&app, &credential, better.as_deref(), key.as_ref(), via.as_ref(), &mut news).await?;
        attempt.succeeded(&app).await;
        Ok((done, news))
    };
    let (answer, news) = app.within("db.login", LOGIN_DEADLINE, ErrorCode::AccountFailed, work).await?;
    news.tell(&app).await;
    tracing::info!(account = answer.account_id, via = super::name_of(via.as_ref()), "a person logged in");
    Ok(answer)
}

async fn log_in(
    app: &App,
    credential: &Credential,
    better: Option<&str>,
    key: Option<&PublicKey>,
    via: Option<&AccountId>,
    news: &mut News,
) -> Result<LoginResponse, Failed> {
    let failed = StoreError::query("user_login.transaction");
    let (account_id, now) = (&credential.account_id, app.now());
    let issuer = app.users.tokens.issuer(app).await?;
    let mut tx = app.store.pool().begin().await.map_err(&failed)?;
    if !users::logged_in(&mut tx, account_id, &credential.password_phc, better, now).await? {
        // Changed since it was read.
        return Err(RpcError::from(ErrorCode::InvalidCredentials).into());
    }
    let sid = app.ids.nonce();
    let new = NewLogin {
        sid: &sid,
        account_id,
        api_key_id: None,
        scopes: &[],
        via: via.map(AccountId::as_str),
        expires_at: now.saturating_add(session::LOGIN_LIFE),
    };
    let login = session::create(app, &mut tx, &new, news).await?;
    let refresh = session::refresh_token(app, &mut tx, &login).await?;
    let until = session::bind(app, &mut tx, &login, key, via, news).await?;
    let answer = session::answer(app, &issuer, &login, Some(refresh), until)?;
    tx.commit().await.map_err(&failed)?;
    Ok(answer)
}
