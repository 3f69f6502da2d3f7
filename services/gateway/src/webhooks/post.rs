//! One post.

use std::time::Duration;

use agentnet_proto::{Timestamp, rpc, task::TASK_KIND};
use axum::http::{Request, Uri, header};
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{guard, guard::Resolver, sign};
use crate::config::WebhookRules;

/// Posts. Every post has a connection of its own, so that each name is looked up and looked at anew.
#[derive(Debug)]
pub(super) struct Poster {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    private: bool,
    within: Duration,
}

impl Poster {
    pub(super) fn new(rules: &WebhookRules) -> Self {
        let mut http = HttpConnector::new_with_resolver(Resolver { private: rules.private });
        http.enforce_http(false);
        http.set_connect_timeout(Some(rules.within));
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(https);
        Self { client, private: rules.private, within: rules.within }
    }

    /// Posts; 2xx is success, and nothing else is: no redirect is followed.
    ///
    /// # Errors
    /// Why it failed, for the agent's owner.
    pub(super) async fn post(&self, posting: &rpc::Posting, now: Timestamp) -> Result<(), String> {
        let (url, body) = what(posting)?;
        guard::check(&url, self.private)?;
        let seconds = now.unix_millis().div_euclid(1000);
        let message_id: String =
            posting.mail.message.row.message_id.chars().filter(char::is_ascii_graphic).collect();
        let request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("agentnet-gateway/", env!("CARGO_PKG_VERSION")))
            .header("agentnet-message-id", message_id)
            .header("agentnet-attempt", posting.mail.attempt)
            .header(sign::HEADER, sign::signature(posting.secret.expose(), seconds, &body))
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| "the webhook's URL can't be asked for".to_owned())?;
        match timeout(self.within, self.client.request(request)).await {
            Err(_) => Err(format!("no answer within {} s", self.within.as_secs_f64())),
            Ok(Err(error)) => Err(agentnet_service::chain(&error)),
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) if answer.status().is_redirection() => {
                Err(format!("it answered {}; redirects aren't followed", answer.status().as_u16()))
            }
            Ok(Ok(answer)) => Err(format!("it answered {}", answer.status().as_u16())),
        }
    }
}

/// Where to and what: tasks go to `/tasks/execute` beside `/messages`, in the shape that the seed's agents take.
fn what(posting: &rpc::Posting) -> Result<(Uri, Vec<u8>), String> {
    let message = &posting.mail.message;
    let row = &message.row;
    let is_task = row.kind == TASK_KIND;
    let url = match (is_task, posting.url.strip_suffix("/messages")) {
        (true, Some(base)) => format!("{base}/tasks/execute"),
        _ => posting.url.clone(),
    };
    let url = url.parse::<Uri>().map_err(|_| "the webhook is no URL".to_owned())?;
    let told = |name: &str| row.metadata.get(name).and_then(Value::as_str);
    let mut payload = row.payload.value();
    if let (true, Value::Object(task)) = (is_task, &mut payload) {
        task.insert("assigned_agent".to_owned(), json!(posting.agent_id));
        task.insert("status".to_owned(), json!("assigned"));
    }
    let body = json!({
        "id": row.message_id,
        "sender_id": if is_task { "task_distributor" } else { message.sender_id.as_str() },
        "receiver_id": posting.agent_id,
        "message_type": if is_task { "task_assignment" } else { row.kind.as_str() },
        "priority": told("priority").unwrap_or("normal"),
        "protocol": told("protocol"),
        "timestamp": row.sent_at,
        "payload": payload,
        "correlation_id": row.parent_message_id,
        "reply_to": null,
        "ttl": row.metadata.get("ttl_ms").and_then(Value::as_i64).map(|ms| ms / 1000),
        "thread_id": row.thread_id,
    });
    serde_json::to_vec(&body).map(|body| (url, body)).map_err(|error| error.to_string())
}
