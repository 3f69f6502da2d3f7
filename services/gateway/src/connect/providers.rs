//! What is offered at the moment.

use std::collections::{BTreeMap, BTreeSet};

use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::Serialize;

use super::choose;
use crate::{app::App, caller::Known, http::Problem, rates::Class};

/// A provider.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Provider {
    /// Its name.
    name: String,
    /// Its models that an agent online offers.
    models: BTreeSet<String>,
}

/// Providers and models that agents online offer
#[utoipa::path(get, path = "/api/chat/providers", tag = "agent-connect",
    responses((status = 200, description = "Providers by name.", body = ref("#/components/schemas/Providers"))))]
pub(crate) async fn providers(
    State(app): State<App>,
    Known { caller, .. }: Known,
) -> Result<Json<BTreeMap<String, Provider>>, Problem> {
    caller.pass(&app, Class::Query)?;
    let mut providers: BTreeMap<String, Provider> = BTreeMap::new();
    for agent in choose::online(&caller.seat).await? {
        let Some(name) = choose::text(&agent, "provider") else { continue };
        let provider = providers.entry(name.to_lowercase()).or_default();
        provider.name = name.to_owned();
        provider.models.extend(choose::models(&agent).map(str::to_owned));
    }
    Ok(Json(providers))
}

/// Providers by name.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Providers")]
pub(crate) struct Providers(BTreeMap<String, Provider>);
