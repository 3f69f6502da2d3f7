//! The health endpoint of a real process state.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends there")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentnet_proto::error::RpcError;
use agentnet_service::config::HttpConfig;
use agentnet_service::health::{self, HealthChecks};
use agentnet_service::rpc::{Method, handler};
use agentnet_service::telemetry;
use serde_json::{Value, json};
use support::{PATIENCE, TOKEN, TestNats, builder, call, connect, shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn config() -> HttpConfig {
    HttpConfig { addr: Some(SocketAddr::from(([127, 0, 0, 1], 0))), check_timeout: Duration::from_secs(1) }
}

/// Status and body of a GET.
async fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("no HTTP answer in time")
}

#[tokio::test]
async fn ready_follows_the_checks_and_the_stop() {
    let checks = HealthChecks::default();
    let broken = Arc::new(AtomicBool::new(false));
    checks.register("store", {
        let broken = broken.clone();
        move || {
            let broken = broken.load(Ordering::SeqCst);
            async move { if broken { Err("store_unavailable".to_owned()) } else { Ok(()) } }
        }
    });
    let shutdown = shutdown(PATIENCE, PATIENCE);
    let addr = health::serve(&config(), checks, None, shutdown.clone()).await.unwrap().unwrap();

    assert_eq!(get(addr, "/live").await, (200, "ok\n".to_owned()));
    let (status, body) = get(addr, "/ready").await;
    assert_eq!(status, 200);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!({"ready": true, "checks": [{"name": "store", "ok": true}]}));

    broken.store(true, Ordering::SeqCst);
    let (status, body) = get(addr, "/ready").await;
    assert_eq!(status, 503);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body,
        json!({"ready": false, "checks": [{"name": "store", "ok": false, "error": "store_unavailable"}]})
    );

    broken.store(false, Ordering::SeqCst);
    assert_eq!(get(addr, "/ready").await.0, 200);
    shutdown.request();
    assert_eq!(get(addr, "/ready").await.0, 503);
    assert_eq!(get(addr, "/live").await.0, 200);
    assert_eq!(get(addr, "/metrics").await.0, 404);
    assert_eq!(get(addr, "/env").await.0, 404);
}

#[tokio::test]
async fn ready_goes_red_with_nats() {
    let server = TestNats::start();
    let nats = connect(&server).await;
    let checks = HealthChecks::default();
    checks.register_nats("nats", &nats, Duration::from_millis(300));
    let addr = health::serve(&config(), checks, None, shutdown(PATIENCE, PATIENCE)).await.unwrap().unwrap();
    assert_eq!(get(addr, "/ready").await.0, 200);
    server.stop();
    let (status, body) = get(addr, "/ready").await;
    assert_eq!(status, 503);
    assert!(body.contains("nats_"), "{body}");
    assert!(!body.contains(TOKEN), "{body}");
}

#[tokio::test]
async fn metrics_show_calls_by_method() {
    let recorder = telemetry::metrics_recorder().unwrap();
    let server = TestNats::start();
    let nats = connect(&server).await;
    let _rpc = builder(&nats)
        .method(Method::new("echo", "m.echo"), handler(|_, body| std::future::ready(Ok::<_, RpcError>(body))))
        .start()
        .await
        .unwrap();
    for _ in 0..3 {
        call(nats.client(), "m.echo", "1").await;
    }
    let shutdown = shutdown(PATIENCE, PATIENCE);
    let addr =
        health::serve(&config(), HealthChecks::default(), Some(recorder), shutdown).await.unwrap().unwrap();
    let (status, body) = get(addr, "/metrics").await;
    assert_eq!(status, 200);
    assert!(body.contains(r#"agentnet_rpc_calls_total{method="echo"} 3"#), "{body}");
    assert!(body.contains(r#"agentnet_rpc_seconds_count{method="echo"} 3"#), "{body}");
}

#[tokio::test]
async fn unset_address_starts_nothing_and_a_taken_one_is_named() {
    let stop = shutdown(PATIENCE, PATIENCE);
    let none = HttpConfig { addr: None, ..config() };
    assert_eq!(health::serve(&none, HealthChecks::default(), None, stop.clone()).await.unwrap(), None);
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = taken.local_addr().unwrap();
    let taken = HttpConfig { addr: Some(addr), ..config() };
    let error = health::serve(&taken, HealthChecks::default(), None, stop).await.unwrap_err();
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}
