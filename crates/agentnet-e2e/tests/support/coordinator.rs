//! Clients of the coordinator.
#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test support")]

use std::sync::Mutex;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{RunningGateway, SOON, Stack, until_async};

pub const PASSWORD: &str = "correct horse battery";

/// A client of one gateway, with what it shows.
#[derive(Clone)]
pub struct Api {
    base: String,
    token: Option<String>,
    client: Client,
}

impl Api {
    pub fn of(gateway: &RunningGateway) -> Self {
        Self { base: gateway.url(""), token: None, client: Client::new() }
    }

    /// The same with a token or API key.
    pub fn with(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base)).timeout(SOON);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn answer(request: RequestBuilder) -> (u16, Value) {
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}")))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        Self::answer(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        Self::answer(self.request(Method::POST, path).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        Self::answer(self.request(Method::PUT, path).json(body)).await
    }

    /// Without a body.
    pub async fn poke(&self, path: &str) -> (u16, Value) {
        Self::answer(self.request(Method::POST, path)).await
    }

    /// A success's body.
    pub async fn got(&self, path: &str) -> Value {
        good(self.get(path).await)
    }

    /// A success's body.
    pub async fn posted(&self, path: &str, body: &Value) -> Value {
        good(self.post(path, body).await)
    }

    /// Registers; what was answered.
    pub async fn register(&self, agent_id: &str, more: Value) -> Value {
        let mut body = json!({"agent_id": agent_id, "agent_type": "worker"});
        let Value::Object(more) = more else { panic!("an object") };
        body.as_object_mut().unwrap().extend(more);
        self.posted("/agents/register", &body).await
    }

    /// The first answer of a fetch that holds so many messages.
    pub async fn mail(&self, path: &str, count: usize) -> Value {
        let page = Mutex::new(Value::Null);
        until_async(|| async {
            let got = self.got(path).await;
            let fits = got["count"] == count;
            *page.lock().unwrap() = got;
            fits
        })
        .await;
        page.into_inner().unwrap()
    }

    /// The ids of agents that match.
    pub async fn discover(&self, query: Value) -> Vec<String> {
        let found = self.posted("/agents/discover", &query).await;
        assert_eq!(found["query"], query);
        let agents = found["agents"].as_array().unwrap();
        assert_eq!(found["count"], agents.len());
        agents.iter().map(|agent| agent["agent_id"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn good((status, body): (u16, Value)) -> Value {
    assert_eq!(status, 200, "{body}");
    body
}

/// An error has the fields of the seed and of its clients.
pub fn is_fault((status, body): (u16, Value), expected: u16, code: &str) -> Value {
    assert_eq!((status, body["code"].as_str()), (expected, Some(code)), "{body}");
    assert_eq!(body["status"], "error", "{body}");
    assert!(body["message"].is_string() && body["message"] == body["detail"], "{body}");
    assert!(body["timestamp"].is_string(), "{body}");
    body
}

/// A person with an access token.
pub async fn person(stack: &Stack, gateway: &RunningGateway, username: &str) -> String {
    stack.person(username, PASSWORD).await;
    let form = format!("username={username}&password={}", PASSWORD.replace(' ', "+"));
    let request = Client::new()
        .post(gateway.url("/api/auth/login"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().expect("a login").to_owned()
}

/// A client of server-sent events.
pub struct Events {
    answer: reqwest::Response,
    buffer: String,
}

impl Events {
    pub async fn open(api: &Api, path: &str) -> Self {
        let answer = api.request(reqwest::Method::GET, path).timeout(SOON * 4).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
        Self { answer, buffer: String::new() }
    }

    /// Name, id and data of the next event.
    pub async fn next(&mut self) -> (String, String, Value) {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let event: String = self.buffer.drain(..end + 2).collect();
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let Some(data) = field("data: ") else { continue };
                return (
                    field("event: ").unwrap(),
                    field("id: ").unwrap(),
                    serde_json::from_str(&data).unwrap(),
                );
            }
            let chunk = timeout(SOON, self.answer.chunk()).await.expect("no event").unwrap().expect("ended");
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Id and data of the next event that is wanted.
    pub async fn until(&mut self, wanted: impl Fn(&str, &Value) -> bool) -> (String, Value) {
        loop {
            let (kind, id, data) = self.next().await;
            if wanted(&kind, &data["data"]) {
                return (id, data["data"].clone());
            }
        }
    }
}
