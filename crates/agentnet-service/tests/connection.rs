//! NATS down at start, refusing, restarted; and stopping in order.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends there")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agentnet_proto::error::RpcError;
use agentnet_service::nats::{self, ConnectionState, NatsErrorKind};
use agentnet_service::rpc::{Method, handler};
use bytes::Bytes;
use support::{PATIENCE, TOKEN, TestNats, builder, call, config, connect, shutdown, until};
use tokio::sync::Semaphore;

#[tokio::test]
async fn nats_down_at_start_is_a_clear_error_in_bounded_time() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut config = config(&format!("nats://t0ken@{free}"));
    config.connect_deadline = Duration::from_millis(300);
    let start = Instant::now();
    let error = nats::connect(&config, "test").await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!((error.kind(), error.code()), (NatsErrorKind::Unavailable, "nats_unavailable"));
    let text = format!("{error} {error:?}");
    assert!(text.contains(&free.to_string()) && text.contains("NATS_URL"), "{text}");
    assert!(!text.contains("t0ken"), "{text}");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_unavailable_too() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(&format!("nats://{}", silent.local_addr().unwrap()));
    config.connect_deadline = Duration::from_millis(300);
    let connecting = tokio::time::timeout(PATIENCE, nats::connect(&config, "test"));
    assert_eq!(connecting.await.expect("must not hang").unwrap_err().kind(), NatsErrorKind::Unavailable);
}

#[tokio::test]
async fn a_server_that_comes_late_is_waited_for() {
    let server = TestNats::start();
    server.stop();
    let connecting = tokio::spawn({
        let config = config(&server.url());
        async move { nats::connect(&config, "test").await }
    });
    server.restart().unwrap();
    connecting.await.unwrap().unwrap().round_trip(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn wrong_credentials_fail_at_once() {
    let server = TestNats::start();
    connect(&server).await;
    let mut config = config(&server.url().replace(TOKEN, "wr0ng"));
    config.connect_deadline = Duration::from_secs(60);
    let error =
        tokio::time::timeout(PATIENCE, nats::connect(&config, "test")).await.expect("at once").unwrap_err();
    assert_eq!((error.kind(), error.code()), (NatsErrorKind::Refused, "nats_refused"));
    assert!(!format!("{error} {error:?}").contains("wr0ng"));
}

#[tokio::test]
async fn a_restarted_server_finds_the_subscriptions_again() {
    let server = TestNats::start();
    let nats = connect(&server).await;
    let _rpc = builder(&nats)
        .method(
            Method::new("echo", "c.echo").queue("q"),
            handler(|_, body| std::future::ready(Ok::<_, RpcError>(body))),
        )
        .start()
        .await
        .unwrap();
    assert_eq!(call(nats.client(), "c.echo", "1").await, 1);
    let mut state = nats.connection_state();
    server.stop();
    let lost = state.wait_for(|state| *state == ConnectionState::Disconnected);
    tokio::time::timeout(PATIENCE, lost).await.expect("the loss must be seen").unwrap();
    let error = nats.round_trip(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), NatsErrorKind::TimedOut);
    server.restart().unwrap();
    let back = state.wait_for(|state| *state == ConnectionState::Connected);
    tokio::time::timeout(PATIENCE, back).await.expect("the connection must come back").unwrap();
    nats.round_trip(PATIENCE).await.unwrap();
    // From elsewhere, so that the server must have the subscription.
    let other = connect(&server).await;
    assert_eq!(call(other.client(), "c.echo", "2").await, 2);
}

#[tokio::test]
async fn a_request_in_flight_gets_its_reply_and_later_ones_are_not_taken() {
    let server = TestNats::start();
    let (nats, other) = (connect(&server).await, connect(&server).await);
    let (gate, started) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let rpc = builder(&nats)
        .method(Method::new("slow", "s.slow").queue("q"), {
            let (gate, started) = (gate.clone(), started.clone());
            handler(move |_, body: Bytes| {
                let (gate, started) = (gate.clone(), started.clone());
                async move {
                    if body == "42" {
                        started.add_permits(1);
                        gate.acquire().await.expect("the gate stays open").forget();
                    }
                    Ok::<_, RpcError>(body)
                }
            })
        })
        .start()
        .await
        .unwrap();
    let request = tokio::spawn({
        let client = other.client().clone();
        async move { call(&client, "s.slow", "42").await }
    });
    started.acquire().await.unwrap().forget();
    let shutdown = shutdown(PATIENCE, PATIENCE);
    shutdown.request();
    let draining = tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            let drained = rpc.shutdown(&shutdown).await;
            nats.close(PATIENCE).await.unwrap();
            drained
        }
    });
    until("intake ended", || async {
        matches!(other.client().request("s.slow", "1".into()).await,
            Err(error) if error.kind() == async_nats::RequestErrorKind::NoResponders)
    })
    .await;
    gate.add_permits(1);
    assert_eq!(request.await.unwrap(), 42);
    let drained = tokio::time::timeout(PATIENCE, draining).await.unwrap().unwrap();
    assert_eq!((drained.cut_off, drained.left), (0, 0));
}

#[tokio::test]
async fn a_hanging_handler_is_cut_off_and_answered_at_the_soft_deadline() {
    let server = TestNats::start();
    let (nats, other) = (connect(&server).await, connect(&server).await);
    let started = Arc::new(Semaphore::new(0));
    let rpc = builder(&nats)
        .method(Method::new("hang", "s.hang"), {
            let started = started.clone();
            handler(move |_, _| {
                started.add_permits(1);
                std::future::pending::<Result<Bytes, RpcError>>()
            })
        })
        .start()
        .await
        .unwrap();
    let request = tokio::spawn({
        let client = other.client().clone();
        async move { call(&client, "s.hang", "").await }
    });
    started.acquire().await.unwrap().forget();
    let shutdown = shutdown(Duration::from_millis(50), PATIENCE);
    shutdown.request();
    let drained = rpc.shutdown(&shutdown).await;
    nats.close(PATIENCE).await.unwrap();
    assert_eq!((drained.cut_off, drained.left), (1, 0));
    let answer = request.await.unwrap();
    assert_eq!(answer["error"], "shutting_down");
    assert_eq!(answer["retryable"], true);
}

#[tokio::test]
async fn under_load_every_request_taken_by_a_stopping_replica_is_answered() {
    let server = TestNats::start();
    let (stopping, staying, caller) =
        (connect(&server).await, connect(&server).await, connect(&server).await);
    let method = || Method::new("echo", "s.load").queue("q");
    let echo = || {
        handler(|_, body| async move {
            tokio::task::yield_now().await;
            Ok::<_, RpcError>(body)
        })
    };
    let rpc = builder(&stopping).method(method(), echo()).start().await.unwrap();
    let _other = builder(&staying).method(method(), echo()).start().await.unwrap();
    let answered = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..64)
        .map(|n| {
            let (client, answered) = (caller.client().clone(), answered.clone());
            tokio::spawn(async move {
                for round in 0..200 {
                    assert_eq!(call(&client, "s.load", &round.to_string()).await, round, "caller {n}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    until("the load runs", || async { answered.load(Ordering::Relaxed) > 500 }).await;
    let shutdown = shutdown(PATIENCE, PATIENCE);
    shutdown.request();
    rpc.shutdown(&shutdown).await;
    stopping.close(PATIENCE).await.unwrap();
    assert!(answered.load(Ordering::Relaxed) < 64 * 200, "the stop must come under load");
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn closing_twice_and_without_a_server_is_bounded() {
    let server = TestNats::start();
    let nats = connect(&server).await;
    nats.close(PATIENCE).await.unwrap();
    nats.close(PATIENCE).await.unwrap();
    let nats = connect(&server).await;
    let mut state = nats.connection_state();
    server.stop();
    let lost = state.wait_for(|state| *state == ConnectionState::Disconnected);
    tokio::time::timeout(PATIENCE, lost).await.expect("the loss must be seen").unwrap();
    let error = nats.close(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(error.kind(), NatsErrorKind::TimedOut);
}
