//! A real nats-server through its life.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::{net::TcpListener, os::unix::fs::PermissionsExt, time::Duration};

use agentnet_local::{
    Error, NatsOptions, NatsServer, Server, SyncInterval,
    testing::{TEST_TOKEN, TestNats},
};
use async_nats::jetstream::{self, stream};
use common::{alive, spacious_dir};

async fn connect(server: &NatsServer) -> async_nats::Client {
    let token = secrecy::ExposeSecret::expose_secret(server.token().unwrap()).to_owned();
    async_nats::ConnectOptions::with_token(token).connect(server.host_port()).await.unwrap()
}

async fn publish(server: &NatsServer, text: &str) -> u64 {
    let jetstream = jetstream::new(connect(server).await);
    let config =
        stream::Config { name: "KEEP".into(), subjects: vec!["keep.>".into()], ..Default::default() };
    jetstream.get_or_create_stream(config).await.unwrap();
    jetstream.publish("keep.it", text.to_owned().into()).await.unwrap().await.unwrap().sequence
}

#[tokio::test]
async fn data_survives_stop_kill_and_a_new_owner() {
    let dir = spacious_dir();
    let options = NatsOptions {
        token: Some("a \"quoted\" \\ token".into()),
        sync: SyncInterval::Always,
        ..NatsOptions::new(dir.path().join("my nats"))
    };
    let server = NatsServer::start(options.clone()).unwrap();
    let (port, pid) = (server.port(), server.pid().unwrap());
    assert_eq!(publish(&server, "one").await, 1);

    server.stop();
    assert!(!alive(pid) && !server.is_running() && server.pid().is_none());
    server.restart().unwrap();
    assert_eq!(server.port(), port);
    assert_eq!(publish(&server, "two").await, 2);

    server.kill();
    assert!(!server.is_running());
    server.restart().unwrap();
    assert_eq!(publish(&server, "three").await, 3);

    // Restart of a running one.
    let before = server.pid();
    server.restart().unwrap();
    assert_ne!(server.pid(), before);
    assert_eq!(publish(&server, "four").await, 4);

    drop(server);
    let again = NatsServer::start(options).unwrap();
    assert_eq!(publish(&again, "five").await, 5);
}

#[test]
fn the_token_is_in_no_argument_and_no_readable_file() {
    let server = TestNats::start();
    let command = std::process::Command::new("ps").args(["-eo", "args"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&command.stdout).contains(TEST_TOKEN));
    let config = server.dir().join("nats.conf");
    assert!(std::fs::read_to_string(&config).unwrap().contains(TEST_TOKEN));
    assert_eq!(std::fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{server:?}").contains(TEST_TOKEN));
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for change in
        [(|o, port| o.port = Some(port)) as fn(&mut NatsOptions, u16), |o: &mut NatsOptions, port| {
            o.monitor_port = Some(port)
        }]
    {
        let error = TestNats::try_start_with(|options| change(options, port)).unwrap_err();
        assert!(
            matches!(error, Error::PortTaken { server: Server::Nats, port: p } if p == port),
            "{error:?}"
        );
        assert_eq!(error.code(), "port_taken");
        assert!(error.to_string().contains(&port.to_string()));
    }
}

#[test]
fn a_port_taken_while_stopped_is_named() {
    let server = TestNats::start();
    server.stop();
    let taken = TcpListener::bind(("127.0.0.1", server.port())).unwrap();
    assert!(matches!(server.restart(), Err(Error::PortTaken { .. })));
    drop(taken);
    server.restart().unwrap();
}

#[test]
fn wrong_configuration_is_told_with_the_servers_words() {
    let error =
        TestNats::try_start_with(|options| options.extra_config = "max_payload: maybe".into()).unwrap_err();
    let Error::StartFailed { server: Server::Nats, log_tail, .. } = &error else { panic!("{error:?}") };
    // The server names the line of its file.
    assert!(log_tail.contains("nats.conf:"), "{log_tail}");
}

#[tokio::test]
async fn extra_configuration_reaches_the_server() {
    let users = r#"authorization { users: [ { user: "u", password: "p" } ] }"#;
    let server = TestNats::start_with(|options| {
        options.token = None;
        options.extra_config = users.to_owned();
        options.max_payload = 4096;
    });
    let login = async_nats::ConnectOptions::with_user_and_password("u".into(), "p".into());
    let client = login.connect(server.host_port()).await.unwrap();
    assert_eq!(client.server_info().max_payload, 4096);
    async_nats::connect(server.host_port()).await.unwrap_err();
}

#[tokio::test]
async fn sync_interval_reaches_the_server() {
    for (sync, expected) in [
        (SyncInterval::Always, "\"sync_always\": true"),
        (SyncInterval::Every(Duration::from_millis(1500)), "\"sync_interval\": 1500000000"),
    ] {
        let server = TestNats::start_with(|options| options.sync = sync);
        let text = http_get(&server.monitor_url(), "/jsz?config=true").await;
        assert!(text.contains(expected), "{text}");
    }
}

async fn http_get(base: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let host = base.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
