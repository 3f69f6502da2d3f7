//! One question over HTTP.

use agentnet::P2pCall;
use axum::{Json, extract::State};
use serde_json::Value;

use super::ask::{P2pAnswer, ask};
use crate::{
    app::App,
    caller::Caller,
    http::{Body, Parts, Problem},
    rates::Class,
};

/// Ask an agent for its work
///
/// The body goes to the agent as it is; its `handler` names one of the agent's handlers.
#[utoipa::path(post, path = "/p2p/{agent}/api", tag = "p2p",
    params(("agent" = String, Path, description = "A username, an account id, or `capability:<name>`.")),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 200, body = ref("#/components/schemas/P2pAnswer"))))]
pub(crate) async fn api(
    State(app): State<App>,
    caller: Caller,
    Parts(agent): Parts<String>,
    Body(content): Body<Value>,
) -> Result<Json<P2pAnswer>, Problem> {
    caller.pass(&app, Class::Agent)?;
    let data = ask(&app, &caller.seat, &agent, P2pCall::Api, &content, None).await?;
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
    caller.pass(&app, Class::Agent)?;
    let query = match body {
        Value::Object(mut map) if map.len() == 1 && map.contains_key("query") => {
            map.remove("query").unwrap_or_default()
        }
        bare => bare,
    };
    let data = ask(&app, &caller.seat, &agent, P2pCall::Estimate, &query, None).await?;
    Ok(Json(P2pAnswer { success: true, data }))
}
