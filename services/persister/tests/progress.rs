//! Until when everything is committed, and what left the stream without being stored.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::time::Duration;

use agentnet_local::testing::eventually;
use agentnet_proto::Timestamp;
use agentnet_store::Store;
use async_nats::jetstream;
use support::{LIMIT, Net, message};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn committed(net: &Net) -> Option<(Timestamp, Timestamp)> {
    agentnet_store::progress::committed(&net.pool).await.unwrap()
}

/// Status and body of `/ready`.
async fn ready(addr: std::net::SocketAddr) -> (u16, String) {
    let mut socket = tokio::net::TcpStream::connect(addr).await.unwrap();
    socket.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
}

#[tokio::test]
async fn time_goes_on_while_nothing_comes() {
    let net = Net::start().await;
    assert_eq!(committed(&net).await, None);
    let persister = net.persister().await;
    let (first, _) = eventually(LIMIT, || committed(&net)).await;
    eventually(LIMIT, || async { committed(&net).await.filter(|(at, _)| *at > first) }).await;
    persister.stop().await;
    // Nothing more is known from here on.
    let (last, now) = committed(&net).await.unwrap();
    let later = eventually(LIMIT, || async { committed(&net).await.filter(|(_, n)| *n > now) }).await;
    assert_eq!(later.0, last);
}

#[tokio::test]
async fn time_stands_still_at_what_postgres_has_not_taken() {
    let net = Net::start().await;
    let mut config = net.config();
    config.alarm.max_lag = Duration::from_millis(300);
    let (persister, health) = net.persister_with_http(config).await;
    eventually(LIMIT, || committed(&net)).await;
    let mut blocker = net.pool.acquire().await.unwrap();
    for sql in ["BEGIN", "LOCK TABLE agent_messages IN EXCLUSIVE MODE"] {
        sqlx::query(sql).execute(&mut *blocker).await.unwrap();
    }
    net.send(&message("m1")).await;
    let (status, text) = eventually(LIMIT, || async {
        let answer = ready(health).await;
        (answer.0 == 503).then_some(answer)
    })
    .await;
    assert_eq!(status, 503);
    assert!(text.contains("behind the stream"), "{text}");
    let stalled = committed(&net).await.unwrap();
    assert!(stalled.1.duration_since(stalled.0) >= 300, "{stalled:?}");
    sqlx::query("COMMIT").execute(&mut *blocker).await.unwrap();
    net.notices.wait_stored("alice", "m1", 1).await;
    eventually(LIMIT, || async { ready(health).await.0 == 200 }).await;
    assert!(committed(&net).await.unwrap().0 > stalled.0);
    persister.stop().await;
}

#[tokio::test]
async fn a_hole_turns_health_red_and_is_counted_once() {
    let net = Net::start().await;
    net.stream().await;
    for id in ["m1", "m2", "m3", "m4"] {
        net.send(&message(id)).await;
    }
    // The stream is known from its first message on, as it would be to a persister that runs.
    {
        let store =
            Store::connect(&agentnet_store::StoreConfig::new(net.database_url.clone().into(), "test"))
                .await
                .unwrap();
        let info = jetstream::new(net.client.clone()).get_stream("AGENTNET").await.unwrap();
        let created_at = Timestamp::from_offset(info.cached_info().created);
        let now = Timestamp::from_offset(info.cached_info().state.first_timestamp);
        let state = agentnet_store::progress::StreamState {
            stream: "AGENTNET",
            created_at,
            first_seq: 1,
            committed_at: now,
            now,
        };
        let mut connection = store.pool().acquire().await.unwrap();
        agentnet_store::progress::note(&mut connection, &state).await.unwrap();
    }
    let stream = jetstream::new(net.client.clone()).get_stream("AGENTNET").await.unwrap();
    assert!(stream.delete_message(2).await.unwrap());
    let (persister, health) = net.persister_with_http(net.config()).await;
    let (_, text) = eventually(LIMIT, || async {
        let answer = ready(health).await;
        (answer.0 == 503).then_some(answer)
    })
    .await;
    assert!(text.contains("{[2,3)}"), "{text}");
    net.send(&message("m5")).await;
    net.notices.wait_stored("alice", "m5", 1).await;
    net.drained().await;
    let before = committed(&net).await.unwrap().0;
    eventually(LIMIT, || async { committed(&net).await.is_some_and(|(at, _)| at > before) }).await;
    assert_eq!(persister.handle.progress().unwrap().missing, 1);
    persister.stop().await;
}

#[tokio::test]
async fn crashes_replicas_and_a_new_stream_are_no_holes() {
    let net = Net::start().await;
    let mut config = net.config();
    config.batch_max = 7;
    let (one, two) = (net.persister_with(config.clone()).await, net.persister_with(config.clone()).await);
    for n in 0..300 {
        net.send(&message(&format!("a{n}"))).await;
    }
    one.kill().await;
    let three = net.persister_with(config).await;
    net.has("SELECT count(*) FROM agent_messages", 300).await;
    net.drained().await;
    let context = jetstream::new(net.client.clone());
    context.delete_stream("AGENTNET").await.unwrap();
    // Made anew by the persisters; what is sent before that is lost, as it would be for a sender that doesn't resend.
    eventually(LIMIT, || async {
        net.send(&message("b0")).await;
        net.notices.stored("alice", "b0") > 0
    })
    .await;
    for n in 1..50 {
        net.send(&message(&format!("b{n}"))).await;
    }
    net.has("SELECT count(*) FROM agent_messages", 350).await;
    net.drained().await;
    let before = committed(&net).await.unwrap().0;
    // Two looks at the empty stream: the first may still have had to leave a row to its persister.
    for _ in 0..2 {
        let seen = committed(&net).await.unwrap().0.max(before);
        eventually(LIMIT, || async { committed(&net).await.is_some_and(|(at, _)| at > seen) }).await;
    }
    assert_eq!(two.handle.progress().unwrap().missing, 0, "{:?}", two.handle.progress());
    assert_eq!(net.number("SELECT missing FROM agent_stream_progress").await, 0);
    for persister in [two, three] {
        persister.stop().await;
    }
}
