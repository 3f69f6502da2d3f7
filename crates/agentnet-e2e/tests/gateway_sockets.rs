//! How sockets and sessions of the gateway end, and that nothing is lost when they do.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentnet::{AgentNode, Incoming};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use support::{
    RunningGateway, SOON, Stack,
    people::{QUICK, call, example, mode, model, person},
    until, until_async,
    web::{Mute, Web},
};
use tokio::{sync::Notify, time::timeout};

async fn session(gateway: &RunningGateway, token: &str) -> String {
    let created =
        call(gateway, Method::POST, "/api/chat/sessions/create", Some(token), Some(&example())).await;
    assert_eq!(created.status, 200, "{}", created.body);
    created.body["session_id"].as_str().unwrap().to_owned()
}

async fn chat(gateway: &RunningGateway, session: &str, token: &str) -> Web {
    Web::open(&gateway.ws(&format!("/api/chat/ws/{session}?token={token}")), &[]).await.unwrap()
}

async fn status(gateway: &RunningGateway, session: &str, token: &str) -> u16 {
    call(gateway, Method::GET, &format!("/api/chat/sessions/{session}"), Some(token), None).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_when_nothing_is_said_or_its_time_is_over() {
    let stack = mode("open").await;
    let _llama = model(&stack, "llama", "groq", "llama-3-70b").await;
    let quiet =
        [&QUICK[..], &[("GATEWAY_SESSION_IDLE_SECONDS", "1"), ("GATEWAY_PING_SECONDS", "0.2")]].concat();
    let short = [&QUICK[..], &[("GATEWAY_SESSION_SECONDS", "1")]].concat();
    let mut token = None;
    for settings in [quiet, short] {
        let gateway = stack.gateway(&settings).await;
        let token = match &token {
            Some(token) => String::clone(token),
            None => token.insert(person(&stack, &gateway, "ann").await).clone(),
        };
        let id = session(&gateway, &token).await;
        let mut socket = chat(&gateway, &id, &token).await;
        // Signs of life are no traffic.
        socket.send(&json!({"type": "ping"})).await;
        let end = socket.until(|frame| frame["type"] == "system").await;
        assert_eq!(end["content"], "Session ended");
        assert_eq!(socket.closed().await, 4002);
        assert_eq!(status(&gateway, &id, &token).await, 404);
        // Nobody had a socket open here.
        let forgotten = session(&gateway, &token).await;
        until_async(|| async { status(&gateway, &forgotten, &token).await == 404 }).await;
        assert_eq!(chat(&gateway, &forgotten, &token).await.closed().await, 4002);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_that_stays_unanswered_closes_every_kind_of_socket() {
    let stack = mode("open").await;
    let rules = [("GATEWAY_PING_SECONDS", "0.2"), ("GATEWAY_PONG_SECONDS", "0.5")];
    let gateway = stack.gateway(&[&QUICK[..], &rules].concat()).await;
    let _llama = model(&stack, "llama", "groq", "llama-3-70b").await;
    let ann = person(&stack, &gateway, "ann").await;
    let id = session(&gateway, &ann).await;
    for path in [
        format!("/api/chat/ws/{id}?token={ann}"),
        "/chat".to_owned(),
        "/p2p/ws".to_owned(),
        "/api/stream/inbox".to_owned(),
    ] {
        assert_eq!(Mute::open(gateway.addr, &path).await.closed().await, 1008, "{path}");
    }
    // Whoever answers them stays: the library does, while it reads.
    let mut alive = chat(&gateway, &id, &ann).await;
    for _ in 0..8 {
        alive.until(|frame| frame["type"] == "ping").await;
    }
    alive.send(&json!({"type": "text", "content": "still here"})).await;
    assert_eq!(alive.until(|frame| frame["type"] == "response").await["content"], "heard still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_messages_a_minute_over_sockets_and_http_together() {
    let stack = mode("open").await;
    let gateway = stack.gateway(&QUICK).await;
    let _llama = model(&stack, "llama", "groq", "llama-3-70b").await;
    let ann = person(&stack, &gateway, "ann").await;
    let id = session(&gateway, &ann).await;
    let mut socket = chat(&gateway, &id, &ann).await;
    let began = std::time::Instant::now();
    let mut passed = 0;
    let refused = loop {
        socket.send(&json!({"type": "text", "content": format!("m{passed}")})).await;
        let answer = socket.until(|frame| frame["type"] == "response" || frame["type"] == "error").await;
        if answer["type"] == "error" {
            break answer;
        }
        passed += 1;
    };
    // One more comes back each second.
    let most = 60 + usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!((60..=most).contains(&passed), "{passed}");
    assert_eq!(refused["metadata"]["code"], "rate_limited");
    assert!(refused["metadata"]["details"]["retry_after"].as_u64().unwrap() >= 1, "{refused}");
    // The socket stays, and whoever goes on and on is let go.
    for _ in 0..200 {
        socket.send(&json!({"type": "text", "content": "more"})).await;
    }
    assert_eq!(socket.closed().await, 4004);
    let said = json!({"to": "@llama", "text": "over HTTP"});
    let request = Client::new().post(gateway.url("/api/threads/t/messages")).bearer_auth(&ann).json(&said);
    let mut last = request.try_clone().unwrap().send().await.unwrap();
    for _ in 0..20 {
        if last.status() == 429 {
            break;
        }
        last = request.try_clone().unwrap().send().await.unwrap();
    }
    assert_eq!(last.status(), 429);
    assert!(last.headers().contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_close_code_of_the_seed_has_its_reason() {
    let stack = mode("secure").await;
    let gateway = stack.gateway(&QUICK).await;
    let _llama = model(&stack, "llama", "groq", "llama-3-70b").await;
    let (ann, eve) = (person(&stack, &gateway, "ann").await, person(&stack, &gateway, "eve").await);
    let id = session(&gateway, &ann).await;
    let code = async |session: &str, token: &str| chat(&gateway, session, token).await.closed().await;
    assert_eq!(code("session_nowhere", &ann).await, 4001);
    assert_eq!(code(&id, &eve).await, 4001);
    assert_eq!(code(&id, "made.up.token").await, 4003);
    let ended = session(&gateway, &ann).await;
    let path = format!("/api/chat/sessions/{ended}");
    assert_eq!(call(&gateway, Method::DELETE, &path, Some(&ann), None).await.status, 200);
    assert_eq!(code(&ended, &ann).await, 4002);
    let mut open = chat(&gateway, &id, &ann).await;
    assert_eq!(open.next().await["type"], "ping");
    stack.stop_registry().await;
    assert_eq!(code(&id, &ann).await, 4000);
    stack.start_registry().await;
    // What the network couldn't say for a moment costs no socket.
    open.send(&json!({"type": "text", "content": "hello"})).await;
    assert_eq!(open.until(|frame| frame["type"] == "response").await["content"], "heard hello");
    assert_eq!(call(&gateway, Method::POST, "/api/auth/logout", Some(&ann), None).await.status, 200);
    assert_eq!(open.closed().await, 4003);
}

/// An agent that answers once it may, and says how often it was asked.
async fn thoughtful(stack: &Stack, may: &Arc<Notify>, asked: &Arc<AtomicU64>) -> AgentNode {
    let (may, asked) = (Arc::clone(may), Arc::clone(asked));
    let metadata = json!({"provider": "groq", "model": "llama-3-70b"});
    let started = stack
        .node("llama")
        .identity(stack.identity("llama"))
        .capability("conversation")
        .metadata(metadata.as_object().unwrap().clone())
        .no_rate_limit()
        .on_message(move |message: Incoming| {
            let may = Arc::clone(&may);
            asked.fetch_add(1, Ordering::SeqCst);
            async move {
                may.notified().await;
                message.reply(json!({"text": "at last"})).await?;
                Ok(())
            }
        })
        .start();
    started.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_gateway_says_so_and_another_one_has_the_answer() {
    let stack = mode("secure").await;
    let (one, two) = (stack.gateway(&QUICK).await, stack.gateway(&QUICK).await);
    let may = Arc::new(Notify::new());
    let asked = Arc::new(AtomicU64::new(0));
    let _llama = thoughtful(&stack, &may, &asked).await;
    let ann = person(&stack, &one, "ann").await;
    let id = session(&one, &ann).await;
    let mut socket = chat(&one, &id, &ann).await;
    may.notify_one();
    socket.send(&json!({"type": "text", "content": "first"})).await;
    let seen = socket.until(|frame| frame["type"] == "response").await;
    socket.send(&json!({"type": "text", "content": "and now?"})).await;
    until(|| asked.load(Ordering::SeqCst) == 2).await;
    one.ask_to_stop();
    assert_eq!(socket.closed().await, 1001);
    one.stopped().await;
    may.notify_one();
    let last = seen["metadata"]["message_id"].as_str().unwrap();
    let url = two.ws(&format!("/api/chat/ws/{id}?token={ann}&last_message_id={last}"));
    let mut again = Web::open(&url, &[]).await.unwrap();
    let answer = again.until(|frame| frame["type"] == "response").await;
    assert_eq!(answer["content"], "at last", "{answer}");
    assert_ne!(answer["metadata"]["message_id"], seen["metadata"]["message_id"]);
}

/// Whatever was answered with 200 is stored, however suddenly the gateway stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_before_a_stop_is_stored() {
    let stack = mode("open").await;
    let gateway = stack.gateway(&[("GATEWAY_RATE_MESSAGE", "100000")]).await;
    let url = gateway.url("/api/threads/kept/messages");
    let posting: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move {
                let (client, mut kept) = (Client::new(), Vec::new());
                loop {
                    let body = json!({"to": "acct_later", "text": "x", "wait": "stored"});
                    let Ok(answer) = client.post(&url).json(&body).timeout(SOON).send().await else {
                        return kept;
                    };
                    if answer.status() != 200 {
                        return kept;
                    }
                    let Ok(answer) = answer.json::<Value>().await else { return kept };
                    kept.push(answer["message_id"].as_str().unwrap().to_owned());
                }
            })
        })
        .collect();
    let stored = || async { stack.stored(&stack.registry(), "kept").await.len() };
    until_async(|| async { stored().await >= 20 }).await;
    gateway.ask_to_stop();
    gateway.stopped().await;
    let mut answered = Vec::new();
    for task in posting {
        answered.extend(timeout(SOON, task).await.expect("a client hangs").unwrap());
    }
    assert!(answered.len() >= 16, "{}", answered.len());
    let rows = stack.stored_all(&stack.registry(), "kept").await;
    for id in answered {
        assert!(rows.iter().any(|row| row.message_id == id), "{id} was answered and isn't there");
    }
}

async fn is_online(stack: &Stack, username: &str) -> bool {
    let account = stack.registry().resolve_account(username).await.unwrap().account_id;
    let request = agentnet::proto::rpc::ProfileRequest { account_id: Some(account), username: None };
    stack.registry().profile(&request).await.unwrap().online
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seats_that_nobody_uses_make_room_and_used_ones_stay() {
    let stack = mode("open").await;
    let gateway = stack.gateway(&[&QUICK[..], &[("GATEWAY_IDLE_SECONDS", "1")]].concat()).await;
    let ann = person(&stack, &gateway, "ann").await;
    let get = async |gateway: &RunningGateway, token: &str| {
        call(gateway, Method::GET, "/api/threads", Some(token), None).await.status
    };
    assert_eq!(get(&gateway, &ann).await, 200);
    assert!(is_online(&stack, "ann").await);
    until_async(|| async { !is_online(&stack, "ann").await }).await;
    assert_eq!(get(&gateway, &ann).await, 200);
    // A socket keeps its seat, for longer than it may be idle.
    let mut stream = Web::open(&gateway.ws(&format!("/api/stream/inbox?token={ann}")), &[]).await.unwrap();
    let began = std::time::Instant::now();
    until(|| began.elapsed() > Duration::from_millis(2500)).await;
    assert!(is_online(&stack, "ann").await);

    let small = stack.gateway(&[&QUICK[..], &[("GATEWAY_MAX_LOGINS", "1")]].concat()).await;
    let bob = person(&stack, &small, "bob").await;
    for token in [&ann, &bob, &ann] {
        assert_eq!(get(&small, token).await, 200);
    }
    let held = Web::open(&small.ws(&format!("/api/stream/inbox?token={ann}")), &[]).await.unwrap();
    assert_eq!(get(&small, &bob).await, 503);
    drop(held);
    until_async(|| async { get(&small, &bob).await == 200 }).await;
    gateway.ask_to_stop();
    assert_eq!(stream.closed().await, 1001);
}

/// A login's sockets by ticket and its requests share one seat: however many there are, none puts another out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_and_refreshes_leave_open_sockets_alone() {
    let stack = mode("secure").await;
    let gateway = stack.gateway(&[&QUICK[..], &[("GATEWAY_MAX_LOGINS", "2")]].concat()).await;
    let _llama = model(&stack, "llama", "groq", "llama-3-70b").await;
    stack.person("ann", support::people::PASSWORD).await;
    let mut pair = support::people::login(&gateway, "ann", support::people::PASSWORD).await.body;
    let token = |pair: &Value| pair["access_token"].as_str().unwrap().to_owned();
    let id = session(&gateway, &token(&pair)).await;
    let mut socket = chat(&gateway, &id, &token(&pair)).await;
    let mut others = Vec::new();
    for _ in 0..10 {
        let refresh = json!({"refresh_token": pair["refresh_token"]});
        pair = call(&gateway, Method::POST, "/api/auth/refresh", None, Some(&refresh)).await.body;
        let ticket = call(&gateway, Method::POST, "/api/auth/ticket", Some(&token(&pair)), None).await;
        let ticket = ticket.body["ticket"].as_str().unwrap().to_owned();
        others
            .push(Web::open(&gateway.ws(&format!("/api/stream/inbox?ticket={ticket}")), &[]).await.unwrap());
    }
    socket.send(&json!({"type": "text", "content": "still?"})).await;
    assert_eq!(socket.until(|frame| frame["type"] == "response").await["content"], "heard still?");
    assert_eq!(call(&gateway, Method::GET, "/api/threads", Some(&token(&pair)), None).await.status, 200);
    // Another account finds room, and all sockets of the login end with it.
    let bob = person(&stack, &gateway, "bob").await;
    assert_eq!(call(&gateway, Method::GET, "/api/threads", Some(&bob), None).await.status, 200);
    assert_eq!(call(&gateway, Method::POST, "/api/auth/logout", Some(&token(&pair)), None).await.status, 200);
    assert_eq!(socket.closed().await, 4003);
    for mut other in others {
        assert_eq!(other.closed().await, 1008);
    }
}

/// Where NATS ends nothing by itself, the gateway asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_ends_elsewhere_ends_its_sockets_here() {
    for name in ["open", "signed", "secure"] {
        let stack = mode(name).await;
        let here = stack.gateway(&[&QUICK[..], &[("GATEWAY_RECHECK_SECONDS", "0.2")]].concat()).await;
        let there = stack.gateway(&QUICK).await;
        let ann = person(&stack, &there, "ann").await;
        let mut socket = Web::open(&here.ws(&format!("/chat?token={ann}")), &[]).await.unwrap();
        let mut stream = Web::open(&here.ws(&format!("/api/stream/inbox?token={ann}")), &[]).await.unwrap();
        assert_eq!(call(&there, Method::POST, "/api/auth/logout", Some(&ann), None).await.status, 200);
        assert_eq!((socket.closed().await, stream.closed().await), (1008, 1008), "{name}");
    }
}

/// An event stream that nobody reads is let go as a socket is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_stream_that_nobody_reads_is_let_go() {
    let stack = mode("open").await;
    let gateway = stack.gateway(&[("GATEWAY_WRITE_SECONDS", "0.5")]).await;
    let bob = stack.node("bob").start().await.unwrap();
    let lazy = Client::new().get(gateway.url("/api/stream/inbox")).send().await.unwrap();
    let own = stack.registry().resolve_account("gateway").await.unwrap().account_id;
    let large = json!({"text": "x".repeat(200_000)});
    for _ in 0..100 {
        bob.send_to_account(&own, large.clone()).no_ack().await.unwrap();
    }
    until(|| gateway.handle.slow_clients() == 1).await;
    // Its end comes, and not all of what was sent.
    let rest = timeout(SOON, lazy.bytes()).await.expect("it goes on");
    assert!(rest.is_err() || rest.unwrap().len() < 100 * 200_000);
}

/// Answers that nobody reads don't hold their connection for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_read_no_answer_make_room_for_others() {
    use std::io::Write as _;
    let stack = mode("open").await;
    let gateway = stack.gateway(&[("GATEWAY_MAX_CONNECTIONS", "10"), ("GATEWAY_REQUEST_SECONDS", "1")]).await;
    let mut lazy = Vec::new();
    for _ in 0..10 {
        let mut stream = std::net::TcpStream::connect(gateway.addr).unwrap();
        // Many at once, so that they are more than the buffers of both ends hold.
        let request = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20);
        stream.write_all(request.as_bytes()).unwrap();
        lazy.push(stream);
    }
    let health = Client::new().get(gateway.url("/health")).timeout(SOON).send().await.unwrap();
    assert_eq!(health.status(), 200);
    drop(lazy);
}

/// Strangers that are told why they may not come in take nobody's place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_sockets_leave_room_for_others() {
    let stack = mode("secure").await;
    let gateway = stack.gateway(&[&QUICK[..], &[("GATEWAY_MAX_STREAMS", "5")]].concat()).await;
    let ann = person(&stack, &gateway, "ann").await;
    let mut strangers = Vec::new();
    for _ in 0..50 {
        strangers.push(Mute::open(gateway.addr, "/chat").await);
    }
    let mut own = Web::open(&gateway.ws(&format!("/chat?token={ann}")), &[]).await.unwrap();
    own.send(&json!({"session_id": "s", "role": "user", "content": "hello"})).await;
    assert_eq!(own.until(|frame| frame["content"] == "hello").await["sender"], "ann");
    for mut stranger in strangers {
        assert_eq!(stranger.closed().await, 1008);
    }
}
