//! One question over HTTP.

use agentnet::P2pCall;
use agentnet_proto::ErrorCode;
use axum::{
    Json,
    extract::{FromRequest as _, Request, State},
    http::{HeaderMap, Uri},
};
use serde_json::Value;

use super::{
    ask::{P2pAnswer, ask, ask_with, known, meant},
    upload,
};
use crate::{
    app::App,
    caller::Caller,
    config::Face,
    http::{Body, Parts, Problem},
    rates::Class,
    status::At,
};

/// Ask an agent for its work
///
/// The body goes to the agent as it is; its `handler` names one of the agent's handlers. Files of a `multipart/form-data` body
/// are put into the network, and the agent gets references to them in `files`, by the names of their parts.
#[utoipa::path(post, path = "/p2p/{agent}/api", tag = "p2p",
    params(("agent" = String, Path, description = "A username, an account id, or `capability:<name>`.")),
    request_body(content((serde_json::Value = "application/json"), (serde_json::Value = "multipart/form-data"))),
    responses((status = 200, body = ref("#/components/schemas/P2pAnswer"))))]
pub(crate) async fn api(
    State(app): State<App>,
    caller: Caller,
    Parts(agent): Parts<String>,
    request: Request,
) -> Result<Json<P2pAnswer>, Problem> {
    work(&app, &caller, &agent, request).await
}

async fn work(app: &App, caller: &Caller, agent: &str, request: Request) -> Result<Json<P2pAnswer>, Problem> {
    caller.pass(app, Class::Agent)?;
    let data = if upload::is_multipart(&request) {
        let target = known(&caller.seat, agent).await?;
        let (content, files) = upload::read(app, &caller.seat, request).await?;
        ask_with(app, &caller.seat, target, &content, files).await?
    } else {
        let Body(content) = Body::<Value>::from_request(request, app).await?;
        ask(app, &caller.seat, agent, P2pCall::Api, &content, None).await?
    };
    Ok(Json(P2pAnswer { success: true, data }))
}

/// Ask an agent what its work would take
///
/// The body is `{"query": ...}`, or the query itself.
#[utoipa::path(post, path = "/p2p/{agent}/estimate", tag = "p2p",
    params(("agent" = String, Path, description = "A username, an account id, or `capability:<name>`.")),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 200, body = ref("#/components/schemas/P2pAnswer"))))]
pub(crate) async fn estimate(
    State(app): State<App>,
    caller: Caller,
    Parts(agent): Parts<String>,
    Body(body): Body<Value>,
) -> Result<Json<P2pAnswer>, Problem> {
    judge(&app, &caller, &agent, body).await
}

async fn judge(app: &App, caller: &Caller, agent: &str, body: Value) -> Result<Json<P2pAnswer>, Problem> {
    caller.pass(app, Class::Agent)?;
    let query = agentnet::p2p_query(body);
    let data = ask(app, &caller.seat, agent, P2pCall::Estimate, &query, None).await?;
    Ok(Json(P2pAnswer { success: true, data }))
}

/// Ask the agent that the address means for its work
///
/// At a listener of the P2P module, where the seed's clients look: the agent is `?agent=`, the one that the gateway stands
/// for, or the first label of the host's name. Otherwise as `/p2p/{agent}/api`.
#[utoipa::path(post, path = "/api", tag = "p2p",
    params(("agent" = Option<String>, Query, description = "A username, an account id, or `capability:<name>`.")),
    request_body(content((serde_json::Value = "application/json"), (serde_json::Value = "multipart/form-data"))),
    responses((status = 200, body = ref("#/components/schemas/P2pAnswer"))))]
pub(crate) async fn own_api(
    State(app): State<App>,
    At(face): At,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    request: Request,
) -> Result<Json<P2pAnswer>, Problem> {
    let agent = here(&app, face, &uri, &headers)?;
    work(&app, &caller, &agent, request).await
}

/// Ask the agent that the address means what its work would take
///
/// As `/api`, for `/p2p/{agent}/estimate`.
#[utoipa::path(post, path = "/estimate", tag = "p2p",
    params(("agent" = Option<String>, Query, description = "A username, an account id, or `capability:<name>`.")),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 200, body = ref("#/components/schemas/P2pAnswer"))))]
pub(crate) async fn own_estimate(
    State(app): State<App>,
    At(face): At,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    Body(body): Body<Value>,
) -> Result<Json<P2pAnswer>, Problem> {
    let agent = here(&app, face, &uri, &headers)?;
    judge(&app, &caller, &agent, body).await
}

fn here(app: &App, face: Face, uri: &Uri, headers: &HeaderMap) -> Result<String, Problem> {
    if face != Face::P2p {
        let detail = "this route is at listeners of the P2P module; elsewhere it is /p2p/{agent}/...";
        return Err(Problem::new(ErrorCode::NotFound, detail));
    }
    meant(app, uri, headers).ok_or_else(|| {
        Problem::field(
            "agent",
            "say which agent: ?agent=, a host name that begins with it, or GATEWAY_P2P_AGENT",
        )
    })
}
