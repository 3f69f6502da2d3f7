//! The gateway's network API over a whole network: people's programs see what agents see, over HTTP and WebSocket.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{io::Read as _, time::Duration};

use agentnet::{AgentNode, Incoming};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use support::{RunningGateway, SOON, Stack, until, web::Web};
use tokio::time::timeout;

async fn listener(stack: &Stack, agent_id: &str) -> AgentNode {
    let started = stack
        .node(agent_id)
        .capability("chat")
        .no_rate_limit()
        .on_message(|message: Incoming| async move {
            if message.wants_reply() {
                message.reply(json!({"text": "yes"})).await?;
            }
            Ok(())
        })
        .start();
    started.await.unwrap()
}

async fn get(gateway: &RunningGateway, path: &str) -> (StatusCode, Value) {
    let answer = Client::new().get(gateway.url(path)).timeout(SOON).send().await.unwrap();
    let status = answer.status();
    (status, answer.json().await.unwrap())
}

async fn post(gateway: &RunningGateway, path: &str, body: &Value) -> (StatusCode, Value) {
    let answer = Client::new().post(gateway.url(path)).json(body).timeout(SOON).send().await.unwrap();
    let status = answer.status();
    (status, answer.json().await.unwrap())
}

/// The account that acts for callers who show nothing. It comes online with the first of them.
async fn own_account(stack: &Stack, gateway: &RunningGateway) -> String {
    assert_eq!(get(gateway, "/api/threads").await.0, 200);
    stack.registry().resolve_account("gateway").await.unwrap().account_id
}

fn is_problem(answer: &(StatusCode, Value), status: u16, code: &str) {
    let (found, body) = answer;
    assert_eq!((found.as_u16(), body["code"].as_str()), (status, Some(code)), "{body}");
    assert_eq!(body["status"], status, "{body}");
    assert!(!body["detail"].as_str().unwrap().is_empty() && body["timestamp"].is_string(), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_threads_and_messages_are_there_over_http() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let bob = listener(&stack, "bob").await;

    let (status, online) = get(&gateway, "/api/agents/online?capability=chat").await;
    assert_eq!(status, 200, "{online}");
    assert_eq!(online["agents"][0]["account_id"], bob.account_id());
    let (_, found) = get(&gateway, "/api/agents/search?q=bo&online_only=true").await;
    assert_eq!(found["results"][0]["username"], "bob");
    let (_, profile) = get(&gateway, "/api/agents/bob/profile").await;
    assert_eq!(profile["profile"]["account_id"], bob.account_id());
    let (_, same) = get(&gateway, &format!("/api/agents/{}/profile", bob.account_id())).await;
    assert_eq!(same["profile"]["username"], "bob");

    let body = json!({"to": "@bob", "text": "harbour at noon", "message_id": "m1", "wait": "processed"});
    let (status, sent) = post(&gateway, "/api/threads/ops/messages", &body).await;
    assert_eq!((status.as_u16(), sent["stage"].as_str()), (200, Some("processed")), "{sent}");
    assert_eq!((&sent["message_id"], &sent["thread_id"]), (&json!("m1"), &json!("ops")));
    // Acknowledged means committed: no waiting here.
    let (_, page) = get(&gateway, "/api/threads/ops/messages?limit=5").await;
    assert_eq!(page["messages"][0]["payload"]["text"], "harbour at noon", "{page}");
    // A day, unless the client says otherwise.
    assert_eq!(page["messages"][0]["metadata"]["ttl_ms"], 24 * 60 * 60 * 1000);
    let (_, row) = get(&gateway, "/api/threads/ops/status").await;
    assert_eq!(row["message_count"], 1);
    let (_, threads) = get(&gateway, "/api/threads?participant_username=bob").await;
    assert_eq!(threads["results"][0]["thread_id"], "ops");
    let (_, hits) = get(&gateway, "/api/messages/search?q=harbour").await;
    assert_eq!(hits["messages"][0]["message_id"], "m1");
    // Whoever missed the answer and posts it again learns that it is there already.
    is_problem(&post(&gateway, "/api/threads/ops/messages", &body).await, 409, "message_id_conflict");
    let (_, row) = get(&gateway, "/api/threads/ops/status").await;
    assert_eq!(row["message_count"], 1);
    // Nobody is there: the network keeps it.
    let later = json!({"to": "acct_later", "payload": {"n": 1}, "ttl_ms": 60_000});
    let (status, sent) = post(&gateway, "/api/threads/ops/messages", &later).await;
    assert_eq!(
        (status.as_u16(), sent["stage"].as_str(), &sent["stored"]),
        (200, Some("stored"), &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_with_code_and_field() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[("GATEWAY_MAX_BODY_BYTES", "2048")]).await;
    is_problem(&get(&gateway, "/api/agents/nobody/profile").await, 404, "not_found");
    is_problem(&get(&gateway, "/nowhere").await, 404, "not_found");
    let bad = get(&gateway, "/api/threads?limit=many").await;
    is_problem(&bad, 422, "validation_failed");
    assert_eq!(bad.1["field"], "limit");
    is_problem(&get(&gateway, "/api/messages/search?from_ts=yesterday").await, 400, "from_ts_invalid");
    let messages = "/api/threads/t/messages";
    for (body, field) in [
        (json!({"to": "@bob"}), "payload"),
        (json!({"to": "@bob", "text": "a", "payload": 1}), "text"),
        (json!({"to": "acct_*", "text": "a"}), "to"),
        (json!({"text": 3}), "text"),
        (json!({"text": "a", "ttl_ms": 0}), "ttl_ms"),
        (json!({"text": "a", "wait": "for ever"}), "wait"),
    ] {
        let refused = post(&gateway, messages, &body).await;
        is_problem(&refused, 422, "validation_failed");
        assert_eq!(refused.1["field"], field, "{body}");
    }
    is_problem(&post(&gateway, messages, &json!({"to": "@nobody", "text": "a"})).await, 404, "not_found");
    let large = json!({"to": "@bob", "text": "x".repeat(4096)});
    is_problem(&post(&gateway, messages, &large).await, 413, "payload_too_large");
    let client = Client::new();
    let send = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json::<Value>().await.unwrap())
    };
    let json_type = ("content-type", "application/json");
    let request = client.post(gateway.url(messages)).header(json_type.0, json_type.1);
    is_problem(&send(request.body("{")).await, 400, "invalid_json");
    // A page of another origin could send this without being asked first.
    let request = client.post(gateway.url(messages)).body("{}");
    is_problem(&send(request).await, 415, "unsupported_media_type");
    is_problem(&send(client.delete(gateway.url("/api/threads"))).await, 405, "method_not_allowed");
    let request = client.get(gateway.url("/api/threads")).bearer_auth("x");
    is_problem(&send(request).await, 401, "token_malformed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_and_receipts_are_streamed_live() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[("GATEWAY_PING_SECONDS", "0.2")]).await;
    let bob = listener(&stack, "bob").await;
    let own = own_account(&stack, &gateway).await;
    let mut inbox = Web::open(&gateway.ws("/api/stream/inbox"), &[]).await.unwrap();
    let mut all = Web::open(&gateway.ws("/api/stream/inbox?all=true&thread_id=deck"), &[]).await.unwrap();
    let mut receipts = Web::open(&gateway.ws("/api/stream/receipts"), &[]).await.unwrap();
    let mut events = Client::new().get(gateway.url("/api/stream/inbox")).send().await.unwrap();
    assert!(events.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));

    let sent = bob.send_to_account(&own, json!({"text": "for you"})).thread("deck").await.unwrap();
    for stream in [&mut inbox, &mut all] {
        let item = stream.next().await;
        assert_eq!(
            (&item["type"], &item["data"]["message_id"]),
            (&json!("message"), &json!(sent.message_id))
        );
        assert_eq!(item["data"]["payload"]["text"], "for you");
    }
    let mut text = String::new();
    while !text.contains(&sent.message_id) || !text.ends_with("\n\n") {
        let chunk = timeout(SOON, events.chunk()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(
        text.contains("event: message\n") && text.contains(&format!("id: {}\n", sent.message_id)),
        "{text}"
    );

    // Others' mail is for whoever watches everything, and here for their thread only.
    bob.send_to_account("acct_else", json!(1)).thread("other").no_ack().await.unwrap();
    bob.send_to_account("acct_else", json!(2)).thread("deck").no_ack().await.unwrap();
    assert_eq!(all.next().await["data"]["payload"], 2);

    let body = json!({"to": "@bob", "text": "hello", "message_id": "m9", "wait": "processed"});
    assert_eq!(post(&gateway, "/api/threads/deck/messages", &body).await.0, 200);
    let receipt =
        receipts.until(|item| item["type"] == "receipt" && item["data"]["message_id"] == "m9").await;
    assert_eq!(receipt["data"]["from_account_id"], bob.account_id());
    receipts
        .until(|item| {
            item["type"] == "stored" && item["data"]["message_ids"].as_array().unwrap().contains(&json!("m9"))
        })
        .await;

    // A stop tells every stream.
    gateway.ask_to_stop();
    assert_eq!((inbox.closed().await, all.closed().await), (1001, 1001));
    while timeout(SOON, events.chunk()).await.unwrap().unwrap().is_some() {}
    gateway.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_pages_and_strangers_get_no_socket() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[("GATEWAY_CORS_ORIGINS", "https://app.example")]).await;
    let stream = gateway.ws("/api/stream/inbox");
    for (origin, expected) in [
        ("https://evil.example", Err(403)),
        ("null", Err(403)),
        ("https://app.example", Ok(())),
        (gateway.url("").as_str(), Ok(())),
    ] {
        let opened = Web::open(&stream, &[("origin", origin)]).await.map(drop);
        assert_eq!(opened, expected, "{origin}");
    }
    let asked = Client::new()
        .request(reqwest::Method::OPTIONS, gateway.url("/api/threads"))
        .header("origin", "https://app.example")
        .header("access-control-request-method", "GET");
    let allowed = asked.send().await.unwrap();
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://app.example");
    let foreign = Client::new().get(gateway.url("/api/threads")).header("origin", "https://evil.example");
    assert!(!foreign.send().await.unwrap().headers().contains_key("access-control-allow-origin"));

    // Where signatures count, nobody comes in without a token. A browser learns why.
    let stack = Stack::secure(&[]).await;
    let gateway = stack.gateway(&[]).await;
    is_problem(&get(&gateway, "/api/threads").await, 401, "unauthenticated");
    is_problem(&get(&gateway, "/api/stream/inbox").await, 401, "unauthenticated");
    let mut refused = Web::open(&gateway.ws("/api/stream/inbox"), &[]).await.unwrap();
    let frame = refused.next().await;
    assert_eq!((&frame["type"], &frame["metadata"]["code"]), (&json!("error"), &json!("unauthenticated")));
    assert_eq!(refused.closed().await, 1008);
    assert_eq!(get(&gateway, "/health").await.1["status"], "healthy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_are_told_when_to_come_back() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[("GATEWAY_RATE_READ", "2")]).await;
    for _ in 0..2 {
        assert_eq!(get(&gateway, "/api/threads").await.0, 200);
    }
    let refused = Client::new().get(gateway.url("/api/threads")).send().await.unwrap();
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    is_problem(&(refused.status(), refused.json().await.unwrap()), 429, "rate_limited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_of_http_ids_compression_and_the_documents() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[]).await;
    let h2 = Client::builder().http2_prior_knowledge().build().unwrap();
    let answer = h2.get(gateway.url("/openapi.json")).header("x-request-id", "mine-1").send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.headers()["x-request-id"], "mine-1");
    let document: Value = answer.json().await.unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(document["paths"]["/api/threads/{thread_id}/messages"]["post"].is_object());
    let gzipped = Client::new().get(gateway.url("/openapi.json")).header("accept-encoding", "gzip");
    assert_eq!(gzipped.send().await.unwrap().headers()["content-encoding"], "gzip");
    let hostile = Client::new().get(gateway.url("/")).header("x-request-id", "a b\"c");
    let id = hostile.send().await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned();
    assert!(id.len() == 32 && !id.contains(' '), "{id}");
    // The pages bring everything along.
    let page = Client::new().get(gateway.url("/docs/")).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("swagger-ui") && !page.contains("http://") && !page.contains("https://"), "{page}");
    let script = Client::new().get(gateway.url("/docs/swagger-ui-bundle.js")).send().await.unwrap();
    assert_eq!(script.status(), 200);
    let settings = Client::new().get(gateway.url("/docs/swagger-initializer.js")).send().await.unwrap();
    assert!(settings.text().await.unwrap().contains("/openapi.json"));
}

/// 500 clients that begin and don't go on: others are served meanwhile, and those are let go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_are_let_go_and_harm_nobody() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[("GATEWAY_HEADER_SECONDS", "2")]).await;
    let beginnings: [&[u8]; 4] = [b"", b"P", b"GET / HTTP/1.1\r\nHost: x\r\n", b"PRI * HTTP/2.0\r\n"];
    let mut half_open = Vec::new();
    for index in 0..500 {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(gateway.addr).unwrap();
        stream.write_all(beginnings[index % beginnings.len()]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        half_open.push(stream);
    }
    assert_eq!(get(&gateway, "/api/threads").await.0, 200);
    let ended = tokio::task::spawn_blocking(move || {
        half_open.into_iter().all(|mut stream| {
            let mut rest = Vec::new();
            // An answer that says so, or just the end.
            let _ = stream
                .read_to_end(&mut rest)
                .map_err(|error| error.kind())
                .or_else(|kind| if kind == std::io::ErrorKind::ConnectionReset { Ok(0) } else { Err(kind) })
                .unwrap();
            true
        })
    });
    assert!(timeout(SOON, ended).await.unwrap().unwrap());
    assert_eq!(get(&gateway, "/api/threads").await.0, 200);
}

/// A client that doesn't read is told so when it reads again, and holds nobody up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_nobody_reads_is_closed_with_its_code() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&[("GATEWAY_WRITE_SECONDS", "0.5")]).await;
    let bob = stack.node("bob").start().await.unwrap();
    let own = own_account(&stack, &gateway).await;
    let mut lazy = Web::open(&gateway.ws("/api/stream/inbox"), &[]).await.unwrap();
    let mut eager = Web::open(&gateway.ws("/api/stream/inbox?thread_id=last"), &[]).await.unwrap();
    // Much more than the buffers of both ends hold.
    let large = json!({"text": "x".repeat(200_000)});
    for _ in 0..100 {
        bob.send_to_account(&own, large.clone()).no_ack().await.unwrap();
    }
    bob.send_to_account(&own, json!("end")).thread("last").no_ack().await.unwrap();
    assert_eq!(eager.next().await["data"]["payload"], "end");
    until(|| gateway.handle.slow_clients() == 1).await;
    assert_eq!(lazy.closed().await, 1008);
}
