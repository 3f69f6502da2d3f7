//! Agents with ports of their own, how they are found, and the gateway at the ports of the seed's clients.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use agentnet::{
    AgentEstimator, ErrorKind, P2p, P2pHandlers, P2pServer,
    proto::{SubSystem, rpc::SearchRequest},
};
use reqwest::Client;
use serde_json::{Value, json};
use support::{SOON, Stack, until, web::Web};
use tokio::sync::Semaphore;

/// Handlers that say who they are, and fail when told so.
fn handlers() -> P2pHandlers {
    let says = |who: &'static str| {
        move |data: Value| async move {
            assert!(data["panic"] != true, "as told");
            if data["fail"] == true {
                Err("a secret of the agent's".into())
            } else {
                Ok(json!({"asked": who, "got": data}))
            }
        }
    };
    P2pHandlers::new(says("default")).named("images", says("images")).estimate(says("estimate"))
}

fn server(handlers: P2pHandlers) -> P2pServer {
    P2pServer::new(handlers).api_port(0).ws_port(0).ws_host(Ipv4Addr::LOCALHOST)
}

async fn post(url: String, body: &Value) -> (u16, Value) {
    let answer = Client::new().post(url).json(body).timeout(SOON).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_answers_at_its_own_ports_and_on_the_network() {
    let stack = Stack::start().await;
    let running = server(handlers()).start(stack.node("agent_123")).await.unwrap();
    let api = running.api_url();

    let body = json!({"task": "classify", "handler": "images"});
    let (status, answer) = post(format!("{api}/api"), &body).await;
    assert_eq!((status, &answer["success"], &answer["data"]["asked"]), (200, &json!(true), &json!("images")));
    assert_eq!(answer["data"]["got"], body);
    for failing in [json!({"fail": true}), json!({"panic": true})] {
        let (status, answer) = post(format!("{api}/api"), &failing).await;
        assert_eq!(
            (status / 100, &answer["success"], &answer["code"]),
            (5, &json!(false), &json!("handler_error"))
        );
        assert!(!answer.to_string().contains("secret"), "{answer}");
    }
    let plain = Client::new().post(format!("{api}/api")).body("{}").send().await.unwrap();
    assert_eq!(plain.status(), 415);
    let large =
        Client::new().post(format!("{api}/api")).json(&json!("x".repeat(3 << 20))).send().await.unwrap();
    assert_eq!(large.status(), 413);
    let health: Value =
        Client::new().get(format!("{api}/health")).send().await.unwrap().json().await.unwrap();
    assert_eq!(health["status"], "healthy");

    // The seed's estimator, here and through a gateway.
    let gateway = stack.gateway(&[]).await;
    for url in [api.clone(), format!("{api}/"), gateway.url("/p2p/agent_123")] {
        let answer =
            AgentEstimator::new(url).estimate(json!({"task": "search", "keywords": ["AI"]})).await.unwrap();
        assert_eq!((&answer["asked"], &answer["got"]["keywords"][0]), (&json!("estimate"), &json!("AI")));
    }
    let failed = AgentEstimator::new(api.clone()).estimate(json!({"fail": true})).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::HandlerError);
    let nobody = AgentEstimator::new(gateway.url("/p2p/nobody")).estimate(json!({})).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::NotFound, "{nobody}");
    assert!(AgentEstimator::new("http://127.0.0.1:1").estimate(json!({})).await.is_err());

    // One socket, many questions; bad frames leave it open.
    let mut socket = Web::open(&running.ws_url(), &[]).await.unwrap();
    for frame in [
        json!({"id": 1, "message": {"handler": "images"}}),
        json!({"id": 2, "type": "ping"}),
        json!({"id": 3, "message": {"fail": true}}),
        json!({"id": 4, "type": "send", "message": {}}),
        json!([1]),
    ] {
        socket.send(&frame).await;
    }
    let mut answers = std::collections::BTreeMap::new();
    for _ in 0..5 {
        let answer = socket.next().await;
        answers.insert(answer["id"].to_string(), answer);
    }
    assert_eq!(answers["1"]["data"]["asked"], "images");
    assert_eq!(answers["2"]["data"]["got"], json!({"type": "ping"}));
    assert_eq!(
        (&answers["3"]["ok"], &answers["3"]["error"]["code"]),
        (&json!(false), &json!("handler_error"))
    );
    assert_eq!(answers["4"]["ok"], true);
    assert_eq!(answers["null"]["error"]["code"], "invalid_json");
    // A page of another origin can't use it.
    let mut page = Web::open(&running.ws_url(), &[("origin", "https://evil.example")]).await.unwrap();
    assert_eq!(page.next().await["error"]["code"], "unauthenticated");
    assert_eq!(page.closed().await, 1008);

    // The same agent on the network.
    let asker = stack.node("asker").start().await.unwrap();
    let got = P2p::new(&asker).send_recv("agent_123", json!({"type": "ping"})).await.unwrap().value();
    assert_eq!(got["asked"], "default");
    running.close().await.unwrap();
    assert_eq!(socket.closed().await, 1001);
    assert!(AgentEstimator::new(api).estimate(json!({})).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn max_threads_counts_questions_wherever_they_come_from() {
    let stack = Stack::start().await;
    let (now, most, turns) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let handlers = {
        let (now, most, turns) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&turns));
        P2pHandlers::new(move |_| {
            let (now, most, turns) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&turns));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                turns.acquire().await.unwrap().forget();
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(json!("done"))
            }
        })
    };
    let running = server(handlers).max_threads(2).start(stack.node("agent_123")).await.unwrap();
    let asker = stack.node("asker").start().await.unwrap();
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..6 {
        let (url, p2p) = (format!("{}/api", running.api_url()), P2p::new(&asker));
        asked.spawn(async move {
            match n % 2 {
                0 => post(url, &json!({})).await.1["data"].clone(),
                _ => p2p.send_recv("agent_123", json!({})).await.unwrap().value(),
            }
        });
    }
    until(|| now.load(Ordering::SeqCst) == 2).await;
    turns.add_permits(6);
    while let Some(answer) = asked.join_next().await {
        assert_eq!(answer.unwrap(), "done");
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
    running.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ports_of_a_secure_networks_agent_want_a_token() {
    let stack = Stack::secure(&[]).await;
    let refused = server(handlers()).start(stack.node("agent_123")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    let running = server(handlers()).token("a token").start(stack.node("agent_123")).await.unwrap();
    let api = running.api_url();
    assert_eq!(post(format!("{api}/api"), &json!({})).await.0, 401);
    assert_eq!(post(format!("{api}/estimate"), &json!({})).await.0, 401);
    assert!(AgentEstimator::new(api.clone()).token("a tokem").estimate(json!({})).await.is_err());
    let answer = AgentEstimator::new(api).token("a token").estimate(json!({"n": 1})).await.unwrap();
    assert_eq!(answer["got"], json!({"n": 1}));
    let mut socket = Web::open(&running.ws_url(), &[]).await.unwrap();
    assert_eq!(socket.next().await["error"]["code"], "unauthenticated");
    assert_eq!(socket.closed().await, 1008);
    let mut socket = Web::open(&running.ws_url(), &[("authorization", "Bearer a token")]).await.unwrap();
    socket.send(&json!({"id": 1, "type": "ping"})).await;
    assert_eq!(socket.next().await["ok"], true);
    running.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systems_are_found_by_their_type_with_their_addresses() {
    let stack = Stack::start().await;
    let running =
        server(handlers()).advertise("agent_123.local").start(stack.node("agent_123")).await.unwrap();
    let chat = json!({"sub_system_id": "chat-server-01", "sub_system_type": "chat-server",
        "sub_system_config": {"websocket_url": "ws://chat-server.default.svc.cluster.local:8765"}});
    let chat: SubSystem = serde_json::from_value(chat).unwrap();
    let talker = stack.node("talker").sub_system(&chat).start().await.unwrap();
    let p2p = P2p::new(&talker);
    let found = p2p.find("p2p-system").await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&*found[0].account_id, &*found[0].username), (running.node().account_id(), "agent_123"));
    let (api, ws) = (running.api_addr().port(), running.ws_addr().port());
    assert_eq!(
        found[0].addresses,
        [format!("http://agent_123.local:{api}"), format!("ws://agent_123.local:{ws}")]
    );
    assert!(p2p.find("p2p").await.unwrap().is_empty());

    // Over HTTP, and among accounts that are away.
    let gateway = stack.gateway(&[]).await;
    let get = async |path: &str| -> Value {
        Client::new().get(gateway.url(path)).send().await.unwrap().json().await.unwrap()
    };
    let found = get("/api/sub-systems?type=chat-server").await;
    assert_eq!(found["sub_systems"][0]["addresses"][0], "ws://chat-server.default.svc.cluster.local:8765");
    assert_eq!(
        get("/api/agents/online?sub_system_type=p2p-system").await["agents"].as_array().unwrap().len(),
        1
    );
    talker.close().await.unwrap();
    let search = async |kind: &str| {
        let request = SearchRequest { sub_system_type: Some(kind.to_owned()), ..SearchRequest::default() };
        let found = stack.registry().search(&request).await.unwrap().results;
        found.into_iter().map(|account| account.username).collect::<Vec<_>>()
    };
    assert_eq!(search("chat-server").await, ["talker"]);
    assert_eq!(search("p2p-system").await, ["agent_123"]);
    assert!(search("other").await.is_empty());

    // What can't be used is refused at the door.
    let bad = json!({"sub_systems": [{"sub_system_id": "a", "sub_system_type": "p2p-system",
        "sub_system_config": {"api_port": 0, "ws_port": 1}}]});
    let refused = stack.node("liar").metadata(bad.as_object().unwrap().clone()).start().await.unwrap_err();
    assert_eq!(refused.code(), "invalid_field", "{refused}");
    assert!(refused.detail().contains("api_port"), "{refused}");
    running.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_stands_at_the_ports_of_the_seeds_clients() {
    let stack = Stack::start().await;
    let worker = handlers().serve(stack.node("agent_123"), 4).start();
    let _worker = worker.await.unwrap();
    let listen = "127.0.0.1:0,p2p=127.0.0.1:0,chat=127.0.0.1:0";
    let gateway = stack.gateway(&[("GATEWAY_LISTEN", listen), ("GATEWAY_P2P_AGENT", "agent_123")]).await;
    let [all, p2p, chat] = gateway.handle.addrs() else { panic!("three addresses") };
    let (status, answer) = post(format!("http://{p2p}/api"), &json!({"handler": "images"})).await;
    assert_eq!((status, &answer["data"]["asked"]), (200, &json!("images")), "{answer}");
    let answer = AgentEstimator::new(format!("http://{p2p}")).estimate(json!({"n": 1})).await.unwrap();
    assert_eq!(answer["asked"], "estimate");
    assert_eq!(post(format!("http://{p2p}/api?agent=nobody"), &json!({})).await.0, 404);
    assert_eq!(post(format!("http://{all}/api"), &json!({})).await.0, 404);
    let mut socket = Web::open(&format!("ws://{p2p}/"), &[]).await.unwrap();
    socket.send(&json!({"id": 1, "message": {"type": "ping"}})).await;
    assert_eq!(socket.next().await["data"]["asked"], "default");
    let mut socket = Web::open(&format!("ws://{chat}/"), &[]).await.unwrap();
    socket.send(&json!({"session_id": "s", "content": "hello"})).await;
    assert_eq!(socket.next().await["content"], "hello");

    // Without an agent of its own it goes by the host's name.
    let gateway = stack.gateway(&[("GATEWAY_LISTEN", "p2p=127.0.0.1:0")]).await;
    let ask = async |host: &str| {
        let request = Client::new().post(gateway.url("/estimate")).header("host", host).json(&json!({}));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask("agent_123.local:6666").await, 200);
    assert_eq!(ask("nobody.local").await, 404);
    assert_eq!(ask("127.0.0.1").await, 422);
}
