//! `registry.ws_ticket_create` and `.ws_ticket_redeem`: browsers can't put a token into the head of a WebSocket's request,
//! and one in its URL ends up in logs. A ticket there is good once, for half a minute, at any gateway.

use std::sync::Arc;

use agentnet_proto::rpc::{
    UserSessionResponse, WsTicketCreateRequest, WsTicketCreateResponse, WsTicketRedeemRequest,
};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::{StoreError, logins};

use super::user_session::join;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::users::session::{self, TICKET_LIFE};
use crate::{access, enrolment, users};

const PREFIX: &str = "anw_";

pub(in crate::rpc) async fn create(
    app: Arc<App>,
    call: Call,
    request: WsTicketCreateRequest,
) -> Result<WsTicketCreateResponse, RpcError> {
    let ticket = users::secret(PREFIX, &*app.ids);
    let work = async {
        access::gateway(&app, &call, request.account_id.as_deref()).await?;
        let claims = app.users.tokens.verify(&app, &request.access_token).await?;
        let failed = StoreError::query("ws_ticket_create.transaction");
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let login = session::live(&app, &mut tx, &claims.sid).await?;
        let until = app.now().saturating_add(TICKET_LIFE);
        logins::add_ticket(&mut tx, &enrolment::hash(ticket.expose()), &login.sid, until).await?;
        tx.commit().await.map_err(&failed)?;
        Ok(())
    };
    app.within("db.ws_ticket_create", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let expires_in = i64::try_from(TICKET_LIFE.as_secs()).unwrap_or(0);
    Ok(WsTicketCreateResponse { ticket, expires_in })
}

pub(in crate::rpc) async fn redeem(
    app: Arc<App>,
    call: Call,
    request: WsTicketRedeemRequest,
) -> Result<UserSessionResponse, RpcError> {
    let key = session::perhaps_key_of(request.session_key.as_deref())?;
    let work = async {
        let via = access::gateway(&app, &call, request.account_id.as_deref()).await?;
        let issuer = app.users.tokens.issuer(&app).await?;
        let failed = StoreError::query("ws_ticket_redeem.transaction");
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let hash = enrolment::hash(request.ticket.expose());
        let sid = logins::take_ticket(&mut tx, &hash, app.now()).await?;
        let sid = sid.ok_or_else(|| RpcError::from(ErrorCode::TicketInvalid))?;
        let login = session::live(&app, &mut tx, &sid).await?;
        let (mut answer, news) = join(&app, &mut tx, &login, key.as_ref(), via.as_ref()).await?;
        answer.access_token = Some(issuer.issue(&app, &login)?.0);
        tx.commit().await.map_err(&failed)?;
        Ok((answer, news))
    };
    let (answer, news) =
        app.within("db.ws_ticket_redeem", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    news.tell(&app).await;
    Ok(answer)
}
