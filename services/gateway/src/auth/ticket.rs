//! Tickets: what a browser shows when it opens a WebSocket, instead of a token in its address.

use agentnet_proto::{rpc, secret_text::SecretText};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    app::App,
    caller::{Known, not_authenticated},
    http::Problem,
    rates::Class,
};

/// A ticket.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Ticket {
    /// Opens one WebSocket or event stream, at any gateway: `?ticket=<ticket>`.
    ticket: SecretText,
    /// How long it is good, in seconds.
    expires_in: i64,
}

/// A ticket that opens one WebSocket
#[utoipa::path(post, path = "/api/auth/ticket", tag = "auth",
    responses((status = 200, body = ref("#/components/schemas/Ticket"))))]
pub(crate) async fn ticket(
    State(app): State<App>,
    Known { caller, user }: Known,
) -> Result<Json<Ticket>, Problem> {
    app.limits.check(Class::Verify, &caller.who)?;
    let (_, token) = user.access.as_ref().ok_or_else(not_authenticated)?;
    let request =
        rpc::WsTicketCreateRequest { access_token: token.clone(), ..rpc::WsTicketCreateRequest::default() };
    let answer = app.own.registry().call::<rpc::WsTicketCreate>(&request).await?;
    Ok(Json(Ticket { ticket: answer.ticket, expires_in: answer.expires_in }))
}
