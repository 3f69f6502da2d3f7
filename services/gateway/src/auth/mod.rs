//! Logging in, tokens, tickets for WebSockets, and keys for machines. The registry decides; the gateway passes on, and has
//! its own keys bound to the accounts it acts for.

mod keys;
mod login;
mod logout;
mod ticket;
mod verify;

use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use keys::{ApiKeyList, NewApiKey, NewApiKeyMade};
pub(crate) use login::{LoginForm, RefreshBody, SignupBody, Token};
pub(crate) use logout::{LoggedOut, LogoutBody};
pub(crate) use ticket::Ticket;
pub(crate) use verify::TokenVerification;

use crate::app::App;

/// Its routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(login::login))
        .routes(routes!(login::signup))
        .routes(routes!(login::refresh))
        .routes(routes!(logout::logout))
        .routes(routes!(verify::verify))
        .routes(routes!(ticket::ticket))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
}
