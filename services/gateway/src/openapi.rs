//! The OpenAPI document, made from the code, and its pages, which need no internet.
//!
//! Paths come from the handlers (utoipa); types from the wire types themselves (schemars), so that one definition serves
//! NATS and HTTP. Both speak JSON Schema 2020-12, as OpenAPI 3.1 does.

use std::sync::Arc;

use agentnet_proto::rpc;
use axum::{
    Router,
    http::{HeaderValue, header},
    response::IntoResponse as _,
    routing::get,
};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use utoipa::openapi::{InfoBuilder, License, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{app::App, auth, blobs, chat, connect, coordinator, http::ProblemBody, network, p2p, status};

/// Where the document is.
const DOCUMENT: &str = "/openapi.json";

/// Every route, with the document and its pages.
pub(crate) fn router() -> Router<App> {
    let (router, paths) = routes().split_for_parts();
    let document: Arc<str> = document(&paths).to_string().into();
    let serve = move || {
        let document = Arc::clone(&document);
        async move {
            let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
            (json, document.to_string()).into_response()
        }
    };
    let pages = SwaggerUi::new("/docs").config(Config::from(DOCUMENT).validator_url("none"));
    router.route(DOCUMENT, get(serve)).merge(pages)
}

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(about())
        .merge(status::routes())
        .merge(auth::routes())
        .merge(connect::routes())
        .merge(network::routes())
        .merge(blobs::routes())
        .merge(chat::routes())
        .merge(p2p::routes())
        .merge(coordinator::routes())
}

fn about() -> OpenApi {
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    let info = InfoBuilder::new()
        .title("AgentNet gateway")
        .description(Some(
            "People and web clients on the network. Errors are problem details (RFC 9457) with a stable `code`.",
        ))
        .version(env!("CARGO_PKG_VERSION"))
        .license(Some(license))
        .build();
    OpenApiBuilder::new().info(info).build()
}

/// The document: the paths with what they may all answer, and the types.
fn document(paths: &OpenApi) -> Value {
    let mut document = serde_json::to_value(paths).unwrap_or_default();
    for operation in operations(&mut document) {
        let is_coordinators = operation.get("tags").is_some_and(|tags| tags[0] == "coordinator");
        if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
            let fault = if is_coordinators { fault() } else { problem() };
            responses.insert("default".to_owned(), fault);
        }
        // Nothing, where nothing is asked for: in open mode, and at health and logins.
        operation["security"] = json!([{}, {"token": []}, {"apiKey": []}]);
    }
    let mut components = Map::new();
    components.insert("schemas".to_owned(), Value::Object(schemas()));
    components.insert("securitySchemes".to_owned(), security_schemes());
    document["components"] = Value::Object(components);
    document
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    document
        .get_mut("paths")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(|paths| paths.values_mut())
        .filter_map(Value::as_object_mut)
        .flat_map(|path| path.values_mut())
        .filter(|operation| operation.get("responses").is_some())
}

fn security_schemes() -> Value {
    json!({
        "token": {"type": "http", "scheme": "bearer", "description": "The access token of a login, or an API key."},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    })
}

fn problem() -> Value {
    json!({
        "description": "A problem; `code` says which.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    })
}

fn fault() -> Value {
    json!({
        "description": "A problem; `code` says which.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/CoordinatorFault"}}}
    })
}

/// The types that bodies consist of, by name.
fn schemas() -> Map<String, Value> {
    let settings = || {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        settings
    };
    let mut answers = settings().for_serialize().into_generator();
    let mut questions = settings().for_deserialize().into_generator();
    macro_rules! register {
        ($generator:ident: $($type:ty),+ $(,)?) => {
            $($generator.subschema_for::<$type>();)+
        };
    }
    register!(answers:
        ProblemBody<'static>,
        status::GatewayHealth,
        rpc::ListResponse,
        rpc::SearchResponse,
        rpc::ProfileResponse,
        rpc::ThreadListResponse,
        rpc::ThreadStatusResponse,
        rpc::ThreadMessagesResponse,
        rpc::MessageSearchResponse,
        rpc::BlobInfo,
        rpc::BlobListResponse,
        rpc::BlobDeleteResponse,
        network::PostedMessage,
        network::SubSystems,
        auth::Token,
        auth::TokenVerification,
        auth::LoggedOut,
        auth::Ticket,
        auth::ApiKeyList,
        auth::NewApiKeyMade,
        rpc::ApiKeyRow,
        rpc::UserRow,
        connect::SessionResponse,
        connect::DeleteSessionResponse,
        connect::Providers,
        connect::WebSocketMessage,
        connect::AgentList,
        connect::AgentStatus,
        connect::AgentCapabilities,
        connect::RegisteredAgent,
        connect::UnregisteredAgent,
        connect::AgentMessageResponse,
        agentnet_proto::chat::ChatMessage,
        chat::ChatHistory,
        p2p::P2pAnswer,
        p2p::P2pReply,
        coordinator::AgentRegistered,
        coordinator::Discovered,
        coordinator::AgentAnswer,
        coordinator::Reported,
        coordinator::RegistryStats,
        coordinator::Mailbox,
        coordinator::Acknowledged,
        coordinator::Sent,
        coordinator::BroadcastSent,
        coordinator::History,
        coordinator::MessageAnswer,
        coordinator::PeerChanged,
        coordinator::Peers,
        coordinator::Connections,
        coordinator::Submitted,
        coordinator::TaskPage,
        coordinator::TaskAnswer,
        coordinator::TaskChanged,
        coordinator::Accepted,
        coordinator::WorkReported,
        coordinator::TaskStatus,
        coordinator::Queues,
        coordinator::QueueCleared,
        coordinator::BalancerStats,
        coordinator::StrategyAnswer,
        coordinator::CoordinatorFault<'static>,
    );
    register!(questions:
        network::NewMessage,
        auth::LoginForm,
        auth::SignupBody,
        auth::RefreshBody,
        auth::LogoutBody,
        auth::NewApiKey,
        connect::CreateSessionRequest,
        connect::AgentConfig,
        connect::AgentMessageRequest,
        chat::ChatFrame,
        chat::NewChatMessage,
        p2p::P2pFrame,
        coordinator::RegisterBody,
        coordinator::DiscoverBody,
        coordinator::StatusBody,
        coordinator::AckBody,
        coordinator::SendBody,
        coordinator::BroadcastBody,
        coordinator::SubmitBody,
        coordinator::ProgressBody,
        coordinator::CompleteBody,
    );
    let mut schemas = questions.take_definitions(true);
    schemas.extend(answers.take_definitions(true));
    schemas
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    found.insert(target.clone());
                }
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_type_is_used() {
        let (_, paths) = routes().split_for_parts();
        let document = document(&paths);
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in &found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(found.contains(&format!("#/components/schemas/{name}")), "{name} is used nowhere");
        }
    }
}
