//! What other crates' tests build on.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::time::{Duration, Instant};

use agentnet_local::testing::{TEST_TOKEN, TestDb, TestNats, eventually};
use futures_util::{StreamExt, future::join_all};
use sqlx::{Connection, PgConnection};

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn nats_has_jetstream_and_wants_the_token() {
    let begin = Instant::now();
    let nats = TestNats::start();
    println!("TestNats::start took {:?}", begin.elapsed());
    let refused = async_nats::connect(format!("nats://{}", nats.host_port())).await;
    assert_eq!(refused.unwrap_err().kind(), async_nats::ConnectErrorKind::AuthorizationViolation);

    let client = connect(&nats).await;
    let jetstream = async_nats::jetstream::new(client.clone());
    let config = async_nats::jetstream::stream::Config {
        name: "S".into(),
        subjects: vec!["s.>".into()],
        ..Default::default()
    };
    jetstream.create_stream(config).await.unwrap();
    let ack = jetstream.publish("s.a", "one".into()).await.unwrap().await.unwrap();
    assert_eq!(ack.sequence, 1);
    assert_eq!(client.server_info().max_payload, 1 << 20);
}

#[tokio::test]
async fn dropping_a_test_nats_leaves_nothing() {
    let nats = TestNats::start();
    let (dir, pid) = (nats.dir().to_owned(), nats.pid().unwrap());
    assert!(dir.exists());
    drop(nats);
    assert!(!dir.exists());
    assert!(!alive(pid));
}

#[tokio::test]
async fn test_servers_are_apart() {
    let (one, two) = (TestNats::start(), TestNats::start());
    let (a, b) = (connect(&one).await, connect(&two).await);
    let mut heard = a.subscribe("x").await.unwrap();
    a.flush().await.unwrap();
    b.publish("x", "from b".into()).await.unwrap();
    b.flush().await.unwrap();
    a.publish("x", "from a".into()).await.unwrap();
    assert_eq!(heard.next().await.unwrap().payload, "from a");
}

#[tokio::test]
async fn databases_are_apart_and_dropped() {
    let begin = Instant::now();
    let first = TestDb::create().await;
    println!("first TestDb::create took {:?}", begin.elapsed());
    let begin = Instant::now();
    let second = TestDb::create().await;
    println!("second TestDb::create took {:?}", begin.elapsed());
    let mut in_first = PgConnection::connect(first.url()).await.unwrap();
    let mut in_second = PgConnection::connect(second.url()).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (x int)").execute(&mut in_first).await.unwrap();
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass('t') IS NOT NULL").fetch_one(&mut in_second).await.unwrap();
    assert!(!there);

    // With a connection open: a pool that outlives its test must not keep the database.
    let (name, url) = (first.name().to_owned(), first.url().to_owned());
    let begin = Instant::now();
    drop(first);
    println!("dropping a TestDb took {:?}", begin.elapsed());
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_one(&mut in_second)
        .await
        .unwrap();
    assert_eq!(left, 0);
    PgConnection::connect(&url).await.unwrap_err();
}

#[tokio::test]
async fn many_databases_at_once() {
    let begin = Instant::now();
    let databases = join_all((0..12).map(|_| TestDb::create())).await;
    println!("12 TestDb::create at once took {:?}", begin.elapsed());
    let mut names: Vec<_> = databases.iter().map(TestDb::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 12);
    for database in &databases {
        PgConnection::connect(database.url()).await.unwrap().close().await.unwrap();
    }
}

#[tokio::test]
async fn a_template_is_prepared_once() {
    static PREPARED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let template = format!("once_{}_{:08x}", std::process::id(), rand::random::<u32>());
    let prepare = |url: String| async move {
        PREPARED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut connection = PgConnection::connect(&url).await?;
        sqlx::raw_sql("CREATE TABLE t AS SELECT 7 AS x").execute(&mut connection).await?;
        connection.close().await
    };
    let databases = join_all((0..6).map(|_| TestDb::create_from(&template, prepare))).await;
    assert_eq!(PREPARED.load(std::sync::atomic::Ordering::SeqCst), 1);
    for database in &databases {
        let mut connection = PgConnection::connect(database.url()).await.unwrap();
        let x: i32 =
            sqlx::query_scalar("DELETE FROM t RETURNING x").fetch_one(&mut connection).await.unwrap();
        assert_eq!(x, 7, "a copy was changed by another test");
    }
}

#[tokio::test]
async fn clients_come_back_after_a_restart() {
    let nats = TestNats::start();
    let client = connect(&nats).await;
    nats.kill();
    eventually(PATIENCE, || async { client.connection_state() != async_nats::connection::State::Connected })
        .await;
    nats.restart().unwrap();
    eventually(PATIENCE, || async { client.connection_state() == async_nats::connection::State::Connected })
        .await;
    client.flush().await.unwrap();
}

#[tokio::test]
async fn the_url_carries_the_token() {
    let nats = TestNats::start();
    assert_eq!(nats.url(), format!("nats://{TEST_TOKEN}@{}", nats.host_port()));
}

async fn connect(nats: &TestNats) -> async_nats::Client {
    // async-nats takes no credentials from URLs.
    async_nats::ConnectOptions::with_token(TEST_TOKEN.to_owned()).connect(nats.host_port()).await.unwrap()
}

fn alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}
