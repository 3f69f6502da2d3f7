//! Every request is answered, within its limits.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends there")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentnet_proto::error::{ErrorCode, RpcError};
use agentnet_service::rpc::{
    Ctx, Fault, Method, RpcServer, Topic, default_faults, handler, publish_handler, typed,
};
use agentnet_service::stats::Stats;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use support::{PATIENCE, TestNats, builder, call, connect, until};
use tokio::sync::{Semaphore, mpsc};

#[derive(Deserialize)]
struct Add {
    #[serde(default)]
    a: i64,
    #[serde(default)]
    b: i64,
}

#[derive(Serialize)]
struct Sum {
    sum: i64,
}

async fn add(_ctx: Ctx, request: Add) -> Result<Sum, RpcError> {
    if request.a < 0 {
        return Err(RpcError::with_detail(ErrorCode::NotFound, "negative"));
    }
    Ok(Sum { sum: request.a + request.b })
}

#[tokio::test]
async fn good_and_bad_bodies_are_answered() {
    let server = TestNats::start();
    let nats = connect(&server).await;
    let stats = Stats::new(16);
    let _rpc = RpcServer::builder(&nats, &stats, |method: &str, fault| match fault {
        Fault::NotAnObject => {
            RpcError { error: format!("{method} payload must be an object"), ..default_faults(method, fault) }
        }
        other => default_faults(method, other),
    })
    .method(Method::new("add", "calc.add").queue("calc").max_body_bytes(1000), typed(add))
    .start()
    .await
    .unwrap();
    let client = nats.client();

    assert_eq!(call(client, "calc.add", r#"{"a":2,"b":3}"#).await, json!({"sum": 5}));
    assert_eq!(call(client, "calc.add", "").await, json!({"sum": 0}));
    let error = call(client, "calc.add", r#"{"a":-1}"#).await;
    assert_eq!(error, json!({"error": "not_found", "detail": "negative", "retryable": false}));

    for malformed in ["{", "nope", "\u{0}", "{\"a\":1}}", "[1,"] {
        assert_eq!(call(client, "calc.add", malformed).await["error"], "invalid_json", "{malformed:?}");
    }
    for other in ["[]", "1", "null", "\"x\"", "true"] {
        assert_eq!(
            call(client, "calc.add", other).await["error"],
            "add payload must be an object",
            "{other}"
        );
    }
    assert_eq!(call(client, "calc.add", r#"{"a":"two"}"#).await["error"], "invalid_field");
    assert_eq!(call(client, "calc.add", &" ".repeat(1001)).await["error"], "payload_too_large");

    let seen = &stats.snapshot()["handler.add"];
    assert_eq!((seen.calls, seen.errors, seen.count), (15, 13, 15));
    assert!(seen.p50_ms > 0.0 && seen.p99_ms >= seen.p50_ms);
}

#[tokio::test]
async fn panics_are_answered_and_the_server_goes_on() {
    let server = TestNats::start();
    let nats = connect(&server).await;
    let _rpc = builder(&nats)
        .method(
            Method::new("now", "p.now"),
            handler(|_ctx, body: Bytes| -> std::future::Ready<Result<Bytes, RpcError>> {
                assert_ne!(body, "boom", "as the test wants");
                std::future::ready(Ok(body))
            }),
        )
        .method(
            Method::new("later", "p.later"),
            handler(|_ctx, body: Bytes| async move {
                tokio::task::yield_now().await;
                assert_ne!(body, "boom", "as the test wants");
                Ok::<_, RpcError>(body)
            }),
        )
        .start()
        .await
        .unwrap();
    for subject in ["p.now", "p.later"] {
        assert_eq!(call(nats.client(), subject, "boom").await["error"], "internal", "{subject}");
        assert_eq!(call(nats.client(), subject, "1").await, 1, "{subject}");
    }
}

#[tokio::test]
async fn a_full_method_answers_busy_without_starting_the_handler() {
    let server = TestNats::start();
    let nats = connect(&server).await;
    let gate = Arc::new(Semaphore::new(0));
    let started = Arc::new(AtomicUsize::new(0));
    let _rpc = builder(&nats)
        .method(Method::new("wait", "b.wait").max_in_flight(2), {
            let (gate, started) = (gate.clone(), started.clone());
            handler(move |_ctx, _body| {
                started.fetch_add(1, Ordering::SeqCst);
                let gate = gate.clone();
                async move {
                    let _permit = gate.acquire().await.expect("the gate stays open");
                    Ok::<_, RpcError>(Bytes::from_static(b"1"))
                }
            })
        })
        .start()
        .await
        .unwrap();
    let client = nats.client().clone();
    let held: Vec<_> = (0..2)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { call(&client, "b.wait", "").await })
        })
        .collect();
    until("both slots are taken", || async { started.load(Ordering::SeqCst) == 2 }).await;
    let busy = call(&client, "b.wait", "").await;
    assert_eq!((&busy["error"], &busy["retryable"]), (&json!("busy"), &json!(true)));
    assert_eq!(started.load(Ordering::SeqCst), 2);
    gate.add_permits(2);
    for call in held {
        assert_eq!(call.await.unwrap(), 1);
    }
    assert_eq!(call(&client, "b.wait", "").await, 1, "slots are given back");
}

#[tokio::test]
async fn an_overrunning_handler_is_dropped_and_answered() {
    struct Dropped(mpsc::UnboundedSender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let server = TestNats::start();
    let nats = connect(&server).await;
    let (dropped, mut was_dropped) = mpsc::unbounded_channel();
    let _rpc = builder(&nats)
        .method(
            Method::new("hang", "d.hang").deadline(Duration::from_millis(30)),
            handler(move |_ctx, _body| {
                let guard = Dropped(dropped.clone());
                async move {
                    std::future::pending::<()>().await;
                    drop(guard);
                    Ok::<_, RpcError>(Bytes::new())
                }
            }),
        )
        .start()
        .await
        .unwrap();
    let answer = call(nats.client(), "d.hang", "").await;
    assert_eq!((&answer["error"], &answer["retryable"]), (&json!("timeout"), &json!(true)));
    tokio::time::timeout(PATIENCE, was_dropped.recv()).await.expect("the handler must be dropped");
}

#[tokio::test]
async fn requests_that_must_not_be_answered_do_not_reach_the_handler() {
    let server = TestNats::start();
    let nats = connect(&server).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let _rpc = builder(&nats)
        .method(Method::new("count", "r.count"), {
            let calls = calls.clone();
            handler(move |_ctx, body| {
                calls.fetch_add(1, Ordering::SeqCst);
                std::future::ready(Ok::<_, RpcError>(body))
            })
        })
        .start()
        .await
        .unwrap();
    let client = nats.client();
    let mut forbidden = client.subscribe("registry.>").await.unwrap();
    client.publish("r.count", "0".into()).await.unwrap();
    for reply in ["$JS.API.INFO", "$SYS.REQ.X", "registry.goodbye"] {
        client.publish_with_reply("r.count", reply, "0".into()).await.unwrap();
    }
    // Same subject, same subscription, same order: when this one is answered the others have been seen.
    assert_eq!(call(client, "r.count", "7").await, 7);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    client.publish("registry.end", "".into()).await.unwrap();
    let first = tokio::time::timeout(PATIENCE, forbidden.next()).await.unwrap().unwrap();
    assert_eq!(first.subject.as_str(), "registry.end", "nothing was published for the requester");
}

#[tokio::test]
async fn a_guard_may_compare_caller_and_reply() {
    let server = TestNats::start();
    let nats = connect(&server).await;
    let _rpc = builder(&nats)
        .reply_guard(|subject, reply| {
            let caller = subject.rsplit('.').next().unwrap_or_default();
            reply.split('.').nth(1) == Some(caller)
        })
        .method(
            Method::new("who", "w.nobody").also_on("w.who.*").queue("q"),
            handler(|ctx: Ctx, _| {
                std::future::ready(Ok::<_, RpcError>(Bytes::from(ctx.subject.to_string())))
            }),
        )
        .start()
        .await
        .unwrap();
    let client = nats.client();
    let mut inbox = client.subscribe("_INBOX.>").await.unwrap();
    client.publish_with_reply("w.who.alice", "_INBOX.bob.1", "".into()).await.unwrap();
    client.publish_with_reply("w.who.alice", "_INBOX.alice.1", "".into()).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, inbox.next()).await.unwrap().unwrap();
    assert_eq!((answer.subject.as_str(), &answer.payload[..]), ("_INBOX.alice.1", &b"w.who.alice"[..]));
}

#[tokio::test]
async fn an_answer_too_large_for_nats_becomes_an_error() {
    let server = TestNats::start();
    let nats = connect(&server).await;
    let _rpc = builder(&nats)
        .method(
            Method::new("large", "l.large"),
            handler(|_, _| std::future::ready(Ok::<_, RpcError>(Bytes::from(vec![b'x'; 2 << 20])))),
        )
        .start()
        .await
        .unwrap();
    assert_eq!(call(nats.client(), "l.large", "").await["error"], "response_too_large");
}

#[tokio::test]
async fn publishes_are_handled_in_order_and_survive_panics_and_overruns() {
    let server = TestNats::start();
    let nats = connect(&server).await;
    let (seen, mut order) = mpsc::unbounded_channel();
    let _rpc = builder(&nats)
        .on_publish(
            Topic::new("hello", "t.hello").deadline(Duration::from_millis(50)),
            publish_handler(move |_ctx, body: Bytes| {
                let seen = seen.clone();
                async move {
                    match &body[..] {
                        b"panic" => panic!("as the test wants"),
                        b"hang" => std::future::pending::<()>().await,
                        // An even one takes longer than the odd one after it.
                        other if other.last().is_some_and(|digit| digit % 2 == 0) => {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                        _ => {}
                    }
                    seen.send(String::from_utf8_lossy(&body).into_owned()).is_ok()
                }
            }),
        )
        .start()
        .await
        .unwrap();
    let mut expected = Vec::new();
    for n in 0..50 {
        if n == 10 {
            nats.client().publish("t.hello", "panic".into()).await.unwrap();
        }
        if n == 20 {
            nats.client().publish("t.hello", "hang".into()).await.unwrap();
        }
        nats.client().publish("t.hello", n.to_string().into()).await.unwrap();
        expected.push(n.to_string());
    }
    let mut got = Vec::new();
    while got.len() < expected.len() {
        got.push(tokio::time::timeout(PATIENCE, order.recv()).await.expect("a message is missing").unwrap());
    }
    assert_eq!(got, expected);
}

#[tokio::test]
async fn a_queue_group_answers_once() {
    let server = TestNats::start();
    let nats = connect(&server).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let mut replicas = Vec::new();
    for _ in 0..3 {
        let calls = calls.clone();
        let method = Method::new("one", "q.one").queue("q");
        let run = handler(move |_, body| {
            calls.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok::<_, RpcError>(body))
        });
        replicas.push(builder(&connect(&server).await).method(method, run).start().await.unwrap());
    }
    for n in 0..30 {
        assert_eq!(call(nats.client(), "q.one", &n.to_string()).await, n);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 30);
}

#[tokio::test]
async fn an_invalid_subject_is_an_error_that_names_it() {
    let server = TestNats::start();
    let nats = connect(&server).await;
    let error = builder(&nats)
        .method(Method::new("x", "a..b"), handler(|_, body| std::future::ready(Ok::<_, RpcError>(body))))
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("a..b"), "{error}");
}
