//! People who come in over HTTP, and an agent that answers them.
#![allow(dead_code, reason = "each test file uses its part")]

use agentnet::{AgentNode, Incoming};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::{RunningGateway, SOON, Stack};

pub const PASSWORD: &str = "correct horse battery";
/// Tests are faster than people.
pub const QUICK: [(&str, &str); 4] = [
    ("GATEWAY_RATE_CREATE", "100"),
    ("GATEWAY_RATE_QUERY", "100"),
    ("GATEWAY_RATE_AGENT", "100"),
    ("GATEWAY_RATE_LOGIN", "100"),
];

/// What the seed's own example body asks for.
pub fn example() -> Value {
    json!({
        "session_type": "human_agent",
        "agents": {
            "primary": {
                "provider": "groq",
                "model": "llama-3-70b",
                "capabilities": ["conversation"],
                "personality": "helpful and professional"
            }
        }
    })
}

/// An agent that answers.
pub async fn model(stack: &Stack, name: &str, provider: &str, model: &str) -> AgentNode {
    let metadata = json!({"provider": provider, "model": model});
    let started = stack
        .node(name)
        .identity(stack.identity(name))
        .capability("conversation")
        .metadata(metadata.as_object().unwrap().clone())
        .no_rate_limit()
        .on_message(|message: Incoming| async move {
            if message.wants_reply() {
                let heard = message.text().unwrap_or_default();
                message.reply(json!({"text": format!("heard {heard}")})).await?;
            }
            Ok(())
        })
        .start();
    started.await.unwrap()
}

pub struct Answer {
    pub status: u16,
    pub body: Value,
}

pub async fn call(
    gateway: &RunningGateway,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Answer {
    let mut request = Client::new().request(method, gateway.url(path)).timeout(SOON);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    Answer { status: answer.status().as_u16(), body: answer.json().await.unwrap() }
}

pub async fn login(gateway: &RunningGateway, username: &str, password: &str) -> Answer {
    let form = format!("username={username}&password={}", password.replace(' ', "+"));
    let request = Client::new()
        .post(gateway.url("/api/auth/login"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    let answer = request.send().await.unwrap();
    Answer { status: answer.status().as_u16(), body: answer.json().await.unwrap() }
}

/// A person with an access token.
pub async fn person(stack: &Stack, gateway: &RunningGateway, username: &str) -> String {
    stack.person(username, PASSWORD).await;
    let answer = login(gateway, username, PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["access_token"].as_str().unwrap().to_owned()
}

/// Waits until the token counts no more.
pub async fn soon_refused(gateway: &RunningGateway, path: &str, token: &str) {
    let refused = async { while call(gateway, Method::GET, path, Some(token), None).await.status != 401 {} };
    tokio::time::timeout(SOON, refused).await.expect("the token still counts");
}

pub async fn mode(name: &str) -> Stack {
    match name {
        "open" => Stack::start().await,
        "signed" => Stack::signed().await,
        _ => Stack::secure(&[]).await,
    }
}
