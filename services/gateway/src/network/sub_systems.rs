//! Systems that agents run of their own.

use agentnet_proto::rpc::SubSystemFound;
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::{
    app::App,
    caller::Caller,
    http::{Problem, Query},
    rates::Class,
};

/// Which ones.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// Their type: `p2p-system`, `chat-server`, or another word.
    #[serde(rename = "type")]
    kind: String,
}

/// Systems of agents that are online.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SubSystems {
    /// With the URLs under which they are reached.
    sub_systems: Vec<SubSystemFound>,
}

/// Where systems of a type are, of agents that are online and tell of them
#[utoipa::path(get, path = "/api/sub-systems", tag = "network", params(Wanted),
    responses((status = 200, body = ref("#/components/schemas/SubSystems"))))]
pub(crate) async fn find(
    State(app): State<App>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Json<SubSystems>, Problem> {
    caller.pass(&app, Class::Read)?;
    let sub_systems = caller.seat.node.registry().sub_systems(&wanted.kind).await?;
    Ok(Json(SubSystems { sub_systems }))
}
