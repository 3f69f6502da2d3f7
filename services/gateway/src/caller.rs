//! Who asks, and as whom the gateway acts for them.

use std::{net::IpAddr, sync::Arc};

use agentnet_proto::{ErrorCode, access_token::AccessClaims, secret_text::SecretText};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
};

use crate::{
    app::App,
    http::{Peer, Problem},
    rates::{Class, Who},
    seats::{Login, Seat},
};

/// Header for API keys, beside `Authorization: Bearer`.
const API_KEY_HEADER: &str = "x-api-key";
/// How API keys begin.
const API_KEY_PREFIX: &str = "ank_";
/// How tickets begin.
const TICKET_PREFIX: &str = "anw_";

/// As whom callers act who show nothing, where the routes say so; the gateway's own account otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnonymousAs(pub(crate) &'static str);

/// Who asks. In open mode, where whoever reaches the network may be anybody, it may be nobody: the gateway's own account
/// acts then.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) seat: Arc<Seat>,
    /// The account that showed who it is; `None` for nobody in open mode.
    pub(crate) user: Option<Arc<User>>,
    /// Whose bucket requests come out of.
    pub(crate) who: Who,
}

/// An account that showed who it is.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) account_id: String,
    pub(crate) role: String,
    /// What the login may be used for; `None` for everything.
    scopes: Option<Vec<String>>,
    /// The access token and what it says.
    pub(crate) access: Option<(AccessClaims, SecretText)>,
}

/// What a request shows.
enum Shown {
    Token(String),
    ApiKey(String),
    Ticket(String),
    Nothing,
}

impl Caller {
    /// Takes one request from the caller's bucket, if they may do such a thing at all.
    ///
    /// # Errors
    /// 403 for an API key without the scope; 429.
    pub(crate) fn pass(&self, app: &App, class: Class) -> Result<(), Problem> {
        self.may(class.scope())?;
        app.limits.check(class, &self.who)
    }

    /// Whether the login may be used for `scope`.
    pub(crate) fn may(&self, scope: &'static str) -> Result<(), Problem> {
        let scopes = self.user.as_ref().and_then(|user| user.scopes.as_ref());
        if scopes.is_none_or(|scopes| scopes.iter().any(|has| has == scope)) {
            return Ok(());
        }
        let detail = format!("this API key may not be used for this: it lacks the scope {scope}");
        Err(Problem::new(ErrorCode::Forbidden, detail))
    }

    /// The account to claim in requests: where nothing is proved, nobody who showed nothing claims to be anybody.
    pub(crate) fn claims(&self) -> Option<String> {
        self.user.as_ref().map(|user| user.account_id.clone())
    }

    pub(crate) fn is_operator(&self, app: &App) -> bool {
        match &self.user {
            Some(user) => user.role == "operator" || app.config.security == agentnet_proto::Security::Open,
            None => true,
        }
    }

    /// Who asks. An address that shows much that isn't good is refused for a while before the registry is asked about more.
    async fn find(parts: &Parts, app: &App) -> Result<Self, Problem> {
        let peer = address(parts);
        let shown = shown(parts)?;
        let is_asked_about = match &shown {
            Shown::ApiKey(key) => !app.machines.knows(&SecretText::new(key.as_str())),
            Shown::Ticket(_) => true,
            Shown::Token(_) | Shown::Nothing => false,
        };
        if is_asked_about {
            app.strangers.check(peer)?;
        }
        let found = Self::of_shown(shown, app, peer, anonymous_as(parts)).await;
        if let Err(problem) = &found
            && problem.status == StatusCode::UNAUTHORIZED
            && problem.code != ErrorCode::Unauthenticated.as_str()
        {
            app.strangers.failed(peer)?;
        }
        found
    }

    async fn of_shown(
        shown: Shown,
        app: &App,
        peer: IpAddr,
        anonymous_as: &'static str,
    ) -> Result<Self, Problem> {
        match shown {
            Shown::Token(token) => Self::of_token(app, SecretText::new(token)).await,
            Shown::ApiKey(key) => {
                let key = SecretText::new(key);
                let token = app.machines.token(app, key.clone(), peer).await?;
                match Self::of_token(app, token).await {
                    // The key may have outlived the login that it was exchanged for.
                    Err(problem) if problem.status == StatusCode::UNAUTHORIZED => {
                        app.machines.forget(&key).await;
                        let token = app.machines.token(app, key, peer).await?;
                        Self::of_token(app, token).await
                    }
                    found => found,
                }
            }
            Shown::Ticket(ticket) => {
                let token = app.seats.redeem(SecretText::new(ticket)).await?;
                Self::of_token(app, token).await
            }
            Shown::Nothing => match app.own.anonymous(anonymous_as).await? {
                Some(seat) => Ok(Self { seat, user: None, who: Who::at(peer) }),
                None => Err(not_authenticated()),
            },
        }
    }

    async fn of_token(app: &App, token: SecretText) -> Result<Self, Problem> {
        let claims = app.tokens.verify(token.expose()).await?;
        let login = Login { sid: claims.sid.clone(), token: token.clone() };
        let seat = app.seats.of(&login).await?;
        let who = Who::Account(seat.account.clone());
        let user = User {
            account_id: claims.sub.clone(),
            role: claims.role.clone(),
            scopes: claims.scopes(),
            access: Some((claims, token)),
        };
        Ok(Self { seat, user: Some(Arc::new(user)), who })
    }
}

fn anonymous_as(parts: &Parts) -> &'static str {
    parts.extensions.get::<AnonymousAs>().map_or(crate::own::NAME, |named| named.0)
}

/// The address of the client's end.
pub(crate) fn address(parts: &Parts) -> std::net::IpAddr {
    parts.extensions.get::<Peer>().map_or([0, 0, 0, 0].into(), |peer| peer.ip)
}

pub(crate) fn not_authenticated() -> Problem {
    Problem::new(
        ErrorCode::Unauthenticated,
        "Not authenticated: log in at /api/auth/login, or show an API key",
    )
}

/// The token of `Authorization: Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn shown(parts: &Parts) -> Result<Shown, Problem> {
    let live = is_live(parts);
    if live && let Some(found) = shown_in_query(parts.uri.query().unwrap_or_default()) {
        return match &found {
            Shown::Ticket(ticket) if !ticket.starts_with(TICKET_PREFIX) => {
                Err(Problem::of(ErrorCode::TicketInvalid))
            }
            _ => Ok(found),
        };
    }
    if let Some(key) = parts.headers.get(API_KEY_HEADER) {
        let key = key.to_str().ok().filter(|key| key.starts_with(API_KEY_PREFIX));
        let key = key.ok_or_else(|| Problem::of(ErrorCode::ApiKeyInvalid))?;
        return Ok(Shown::ApiKey(key.to_owned()));
    }
    if !parts.headers.contains_key(header::AUTHORIZATION) {
        return Ok(Shown::Nothing);
    }
    match bearer(&parts.headers) {
        Some(token) if token.starts_with(API_KEY_PREFIX) => Ok(Shown::ApiKey(token.to_owned())),
        Some(token) => Ok(Shown::Token(token.to_owned())),
        None => Err(not_authenticated()),
    }
}

/// Browsers can't set headers of WebSockets and event streams; nothing else takes secrets in its address.
fn is_live(parts: &Parts) -> bool {
    let upgrade = parts.headers.get(header::UPGRADE);
    upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
        // So are those of HTTP/2.
        || parts.method == axum::http::Method::CONNECT
        || parts.uri.path().starts_with("/api/stream/")
        || parts.uri.path() == "/events"
}

fn shown_in_query(query: &str) -> Option<Shown> {
    form_urlencoded::parse(query.as_bytes()).find_map(|(name, value)| match &*name {
        "token" if value.starts_with(API_KEY_PREFIX) => Some(Shown::ApiKey(value.into_owned())),
        "token" => Some(Shown::Token(value.into_owned())),
        "ticket" => Some(Shown::Ticket(value.into_owned())),
        _ => None,
    })
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Self::find(parts, app).await
    }
}

/// A caller that showed who it is, also in open mode.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) caller: Caller,
    pub(crate) user: Arc<User>,
}

impl FromRequestParts<App> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = Caller::find(parts, app).await?;
        let user = caller.user.clone().ok_or_else(not_authenticated)?;
        Ok(Self { caller, user })
    }
}
