//! The chat server and the P2P module of the seed, over a whole network.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;

use agentnet::{ChatManager, P2p, P2pHandlers, proto::chat::ChatRole};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use support::{RunningGateway, SOON, Stack, web::Web};
use tokio::sync::Notify;

const PASSWORD: &str = "correct horse battery";

async fn call(
    gateway: &RunningGateway,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> (u16, Value) {
    let mut request = Client::new().request(method, gateway.url(path)).timeout(SOON);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn token(stack: &Stack, gateway: &RunningGateway, username: &str) -> String {
    stack.person(username, PASSWORD).await;
    let answer = Client::new()
        .post(gateway.url("/api/auth/login"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("username={username}&password={}", PASSWORD.replace(' ', "+")))
        .send();
    let answer: Value = answer.await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn says(frame: &Value, role: &str, content: &str) {
    assert_eq!((frame["role"].as_str(), frame["content"].as_str()), (Some(role), Some(content)), "{frame}");
}

/// The seed's frames, with nothing to show who one is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_heard_by_all_its_clients_at_every_gateway() {
    let stack = Stack::start().await;
    let (here, there) = (stack.gateway(&[]).await, stack.gateway(&[]).await);
    let mut ann = Web::open(&here.ws("/"), &[]).await.unwrap();
    let mut bob = Web::open(&there.ws("/chat"), &[]).await.unwrap();
    let mut elsewhere = Web::open(&there.ws("/chat"), &[]).await.unwrap();
    bob.send(&json!({"session_id": "abc123"})).await;
    elsewhere.send(&json!({"session_id": "other", "content": "alone"})).await;
    says(&elsewhere.next().await, "user", "alone");
    // The one who says it hears it too. Until bob is in, he may miss it.
    ann.send(&json!({"session_id": "abc123", "role": "user", "content": "Hello!"})).await;
    let own = ann.next().await;
    says(&own, "user", "Hello!");
    assert_eq!(own["session_id"], "abc123");
    says(&bob.next().await, "user", "Hello!");
    bob.send(&json!({"session_id": "abc123", "role": "assistant", "content": "Hi."})).await;
    for client in [&mut ann, &mut bob] {
        says(&client.next().await, "assistant", "Hi.");
    }

    // An agent of the session gets what is said as mail, and is heard.
    let agent = stack.node("helper").start().await.unwrap();
    let manager = ChatManager::new(&agent);
    manager.send_message("abc123", "System broadcast message.").await.unwrap();
    for client in [&mut ann, &mut bob] {
        says(&client.next().await, "system", "System broadcast message.");
    }
    let (status, said) = call(
        &here,
        Method::POST,
        "/chat/sessions/abc123/messages",
        None,
        Some(&json!({"content": "from the server"})),
    )
    .await;
    assert_eq!((status, said["role"].as_str()), (200, Some("system")), "{said}");
    for client in [&mut ann, &mut bob] {
        says(&client.next().await, "system", "from the server");
    }

    // Bad frames are answered, and the socket stays.
    ann.send(&json!({"content": "whose?"})).await;
    assert_eq!(ann.next().await["metadata"]["code"], "validation_failed");
    ann.send(&json!({"session_id": "other", "content": "x"})).await;
    assert_eq!(ann.next().await["metadata"]["details"]["field"], "session_id");
    ann.send(&json!({"session_id": "abc123", "role": "king", "content": "x"})).await;
    assert_eq!(ann.next().await["type"], "error");

    // History: by number, role and time; numbers stay when something is taken back.
    let path = "/chat/sessions/abc123/messages";
    let (_, all) = call(&there, Method::GET, path, None, None).await;
    let contents = |all: &Value| -> Vec<String> {
        all["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["content"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(contents(&all), ["Hello!", "Hi.", "System broadcast message.", "from the server"]);
    let (_, users) = call(&there, Method::GET, &format!("{path}?role=user"), None, None).await;
    assert_eq!(contents(&users), ["Hello!"]);
    let since = all["messages"][2]["timestamp"].as_str().unwrap();
    let (_, later) = call(&there, Method::GET, &format!("{path}?from={since}"), None, None).await;
    assert_eq!(later["total"], 2);
    assert_eq!(call(&there, Method::GET, &format!("{path}?role=king"), None, None).await.0, 422);
    let (status, gone) = call(&there, Method::DELETE, &format!("{path}/1"), None, None).await;
    assert_eq!((status, gone["content"].as_str()), (200, Some("Hi.")), "{gone}");
    assert_eq!(call(&here, Method::GET, &format!("{path}/1"), None, None).await.0, 404);
    says(&call(&here, Method::GET, &format!("{path}/3"), None, None).await.1, "system", "from the server");
    // What an agent said only it takes back.
    assert_eq!(call(&here, Method::DELETE, &format!("{path}/2"), None, None).await.0, 403);
    assert_eq!(manager.delete_message("abc123", 2).await.unwrap().role, ChatRole::System);

    let mut late = Web::open(&here.ws("/chat"), &[]).await.unwrap();
    late.send(&json!({"session_id": "abc123", "replay": 10})).await;
    says(&late.next().await, "user", "Hello!");
    says(&late.next().await, "system", "from the server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_talk_in_a_session_of_a_secure_network() {
    let stack = Stack::secure(&[]).await;
    let (here, there) = (stack.gateway(&[]).await, stack.gateway(&[]).await);
    let mut refused = Web::open(&here.ws("/chat"), &[]).await.unwrap();
    assert_eq!(refused.next().await["metadata"]["code"], "unauthenticated");
    assert_eq!(refused.closed().await, 1008);
    let (ann, eve) = (token(&stack, &here, "ann").await, token(&stack, &here, "eve").await);
    let open = async |gateway: &RunningGateway, token: &str| {
        Web::open(&gateway.ws(&format!("/chat?token={token}")), &[]).await.unwrap()
    };
    let mut eve_there = open(&there, &eve).await;
    eve_there.send(&json!({"session_id": "deck", "content": "I am here"})).await;
    says(&eve_there.next().await, "user", "I am here");
    let mut ann_here = open(&here, &ann).await;
    ann_here.send(&json!({"session_id": "deck", "content": "so am I", "replay": 5})).await;
    says(&ann_here.next().await, "user", "I am here");
    says(&ann_here.next().await, "user", "so am I");
    let heard = eve_there.next().await;
    says(&heard, "user", "so am I");
    assert_eq!(heard["sender"], "ann");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_are_asked_by_name_over_http_and_one_socket() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[("GATEWAY_P2P_SECONDS", "20")]).await;
    let second = Arc::new(Notify::new());
    let answers = |who: &'static str, second: Arc<Notify>| {
        move |data: Value| {
            let second = Arc::clone(&second);
            async move {
                if data["wait_for_second"] == true {
                    second.notified().await;
                }
                if data["type"] == "ping" {
                    second.notify_one();
                }
                Ok(json!({"asked": who, "got": data}))
            }
        }
    };
    let handlers = P2pHandlers::new(answers("default", Arc::clone(&second)))
        .named("images", answers("images", Arc::clone(&second)))
        .estimate(answers("estimate", second));
    let worker = handlers.serve(stack.node("agent_123"), 4).start();
    let _worker = worker.await.unwrap();
    let body = json!({"task": "classify", "handler": "images", "payload": {"n": 1}});
    let (status, answer) = call(&gateway, Method::POST, "/p2p/agent_123/api", None, Some(&body)).await;
    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    assert_eq!(answer["data"]["asked"], "images");
    assert_eq!(answer["data"]["got"], body);
    for query in [json!({"query": {"task": "search"}}), json!({"task": "search"})] {
        let (_, answer) = call(&gateway, Method::POST, "/p2p/agent_123/estimate", None, Some(&query)).await;
        assert_eq!(
            (&answer["data"]["asked"], &answer["data"]["got"]["task"]),
            (&json!("estimate"), &json!("search"))
        );
    }
    assert_eq!(call(&gateway, Method::POST, "/p2p/nobody/api", None, Some(&body)).await.0, 404);

    let mut socket = Web::open(&gateway.ws("/p2p/ws"), &[]).await.unwrap();
    socket.send(&json!({"id": 1, "to": "agent_123", "message": {"wait_for_second": true}})).await;
    socket.send(&json!({"id": "two", "to": "agent_123", "message": {"type": "ping"}})).await;
    socket.send(&json!({"id": 3, "to": "@nobody", "message": {}})).await;
    socket.send(&json!({"id": 4, "to": "agent_123", "type": "send", "message": {"n": 4}})).await;
    socket.send(&json!({"id": 5, "message": {}})).await;
    let mut answers = std::collections::BTreeMap::new();
    for _ in 0..5 {
        let answer = socket.next().await;
        answers.insert(answer["id"].to_string(), answer);
    }
    assert_eq!(answers["1"]["data"]["got"]["wait_for_second"], true);
    assert_eq!(answers["\"two\""]["data"]["got"]["type"], "ping");
    assert_eq!((&answers["3"]["ok"], &answers["3"]["error"]["code"]), (&json!(false), &json!("not_found")));
    assert_eq!(answers["4"]["ok"], true);
    assert_eq!(answers["5"]["error"]["code"], "validation_failed");

    // Agents ask the same way, without a gateway.
    let asker = stack.node("asker").start().await.unwrap();
    let p2p = P2p::new(&asker);
    let got = p2p.send_api("agent_123", json!({"handler": "images"})).await.unwrap().value();
    assert_eq!(got["asked"], "images");
    let got = p2p.estimate("agent_123", json!({"task": "search"})).await.unwrap().value();
    assert_eq!(got["asked"], "estimate");
    assert!(p2p.send_recv("@nobody", json!({})).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_histories_are_read_by_pages() {
    const ALL: usize = 1100;
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let agent = stack.node("helper").start().await.unwrap();
    let manager = ChatManager::new(&agent);
    manager.join("long").await.unwrap();
    let said = futures_util::stream::iter((0..ALL).map(|n| {
        let manager = manager.clone();
        async move { manager.add_message("long", ChatRole::User, &format!("m{n}"), None).await.unwrap() }
    }));
    let said = futures_util::StreamExt::buffer_unordered(said, 64);
    assert_eq!(futures_util::StreamExt::count(said).await, ALL);
    manager.delete_message("long", 100).await.unwrap();
    let (mut before, mut numbers, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let path = format!("/chat/sessions/long/messages?limit=500{before}");
        let (status, page) = call(&gateway, Method::GET, &path, None, None).await;
        assert_eq!((status, &page["total"]), (200, &json!(ALL - 1)), "{page}");
        let messages = page["messages"].as_array().unwrap();
        let part: Vec<u64> = messages.iter().map(|message| message["index"].as_u64().unwrap()).collect();
        numbers.splice(0..0, part);
        pages += 1;
        let Some(next) = page["next_before"].as_u64() else { break };
        before = format!("&before={next}");
    }
    let expected: Vec<u64> = (0..ALL as u64).filter(|n| *n != 100).collect();
    assert_eq!((numbers == expected, pages), (true, 3));
    // The same for agents.
    let last = manager.page("long", None, 500).await.unwrap();
    assert_eq!((last.messages.len(), last.next_before, last.total), (500, Some(600), ALL - 1));
    assert_eq!(manager.page("long", Some(3), 500).await.unwrap().messages.len(), 3);
}
