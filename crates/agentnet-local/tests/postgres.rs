//! A real Postgres through its life.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use agentnet_local::{Error, PgOptions, PostgresServer, Server, StopMode};
use common::{alive, spacious_dir, until, user_of};
use secrecy::SecretString;
use sqlx::{Connection, PgConnection};

fn options(dir: &tempfile::TempDir) -> PgOptions {
    PgOptions { ephemeral: true, ..PgOptions::new(dir.path().join("my postgres"), "pass:/@ word".into()) }
}

async fn connect(server: &PostgresServer, database: &str) -> PgConnection {
    PgConnection::connect(&server.url(database)).await.unwrap()
}

async fn show(connection: &mut PgConnection, setting: &str) -> String {
    sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn data_survives_every_kind_of_end() {
    let dir = spacious_dir();
    let server = PostgresServer::start(options(&dir)).unwrap();
    assert!(server.create_database("kept").await.unwrap());
    assert!(!server.create_database("kept").await.unwrap());
    let mut connection = connect(&server, "kept").await;
    sqlx::raw_sql("CREATE TABLE t (x int)").execute(&mut connection).await.unwrap();

    let port = server.port();
    type End = fn(&PostgresServer);
    let ends: [(&str, End); 4] = [
        ("fast", |server| server.stop(StopMode::Fast)),
        ("immediate", |server| server.stop(StopMode::Immediate)),
        ("killed", PostgresServer::kill),
        ("restarted while it runs", |_| {}),
    ];
    for (count, (name, end)) in (1_i64..).zip(ends) {
        let mut connection = connect(&server, "kept").await;
        sqlx::raw_sql("INSERT INTO t VALUES (1)").execute(&mut connection).await.unwrap();
        let pid = server.pid().unwrap();
        // With the connection open: a client must not hold up the end.
        end(&server);
        server.restart().unwrap();
        assert!(!alive(pid), "{name}");
        assert_eq!(server.port(), port);
        let mut connection = connect(&server, "kept").await;
        let rows: i64 =
            sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&mut connection).await.unwrap();
        assert_eq!(rows, count, "{name}");
    }

    drop(server);
    let again = PostgresServer::start(options(&dir)).unwrap();
    let mut connection = connect(&again, "kept").await;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&mut connection).await.unwrap();
    assert_eq!(rows, 4);
}

#[tokio::test]
async fn durable_private_and_in_unicode_unless_told_otherwise() {
    let dir = spacious_dir();
    let password = SecretString::from("secret-of-the-test");
    let server = PostgresServer::start(PgOptions {
        settings: [("work_mem".to_owned(), "5MB".to_owned())].into(),
        ..PgOptions::new(dir.path().join("pg"), password)
    })
    .unwrap();
    let mut connection = connect(&server, "postgres").await;
    for (setting, expected) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("max_connections", "200"),
        ("work_mem", "5MB"),
        ("server_encoding", "UTF8"),
        ("timezone", "UTC"),
        ("password_encryption", "scram-sha-256"),
    ] {
        assert_eq!(show(&mut connection, setting).await, expected, "{setting}");
    }
    let lower: String = sqlx::query_scalar("SELECT lower('ÄÉΩЖ')").fetch_one(&mut connection).await.unwrap();
    assert_eq!(lower, "äéωж");

    // The password is where it must be and nowhere else.
    PgConnection::connect(&server.url("postgres").replace("secret-of", "guess-of")).await.unwrap_err();
    let command = std::process::Command::new("ps").args(["-eo", "args"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&command.stdout).contains("secret-of-the-test"));
    assert!(!format!("{server:?}").contains("secret-of-the-test"));
    assert!(!server.dir().join("initdb.password").exists());
    sqlx::raw_sql("SELECT 'in-a-failed-statement' FROM nowhere").execute(&mut connection).await.unwrap_err();
    server.stop(StopMode::Fast);
    for entry in fs::read_dir(server.dir().join("log")).unwrap() {
        assert!(!fs::read_to_string(entry.unwrap().path()).unwrap().contains("in-a-failed-statement"));
    }
}

#[test]
fn never_runs_as_root() {
    let dir = spacious_dir();
    let server = PostgresServer::start(options(&dir)).unwrap();
    let user = user_of(server.pid().unwrap());
    assert!(user != "root" && user != "0", "{user}");
    let meta = fs::metadata(server.dir()).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o700);
    assert_ne!(meta.uid(), 0);
}

#[test]
fn a_closed_directory_on_the_way_is_named() {
    if !nix::unistd::geteuid().is_root() {
        return; // Only root runs Postgres as someone else.
    }
    let dir = spacious_dir();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    let error = PostgresServer::start(PgOptions::new(closed.join("pg"), "x".into())).unwrap_err();
    assert!(matches!(&error, Error::NotReachable { path, .. } if path.ends_with("closed")), "{error:?}");
    assert!(error.to_string().contains("chmod o+x"));
}

#[test]
fn a_taken_port_is_named() {
    let dir = spacious_dir();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = PostgresServer::start(PgOptions { port: Some(port), ..options(&dir) }).unwrap_err();
    assert!(
        matches!(error, Error::PortTaken { server: Server::Postgres, port: p } if p == port),
        "{error:?}"
    );
    drop(taken);
    let server = PostgresServer::start(PgOptions { port: Some(port), ..options(&dir) }).unwrap();
    assert_eq!(server.port(), port);
}

#[test]
fn a_wrong_setting_is_told_with_the_servers_words() {
    let dir = spacious_dir();
    for ephemeral in [true, false] {
        let settings = [("work_mem".to_owned(), "lots".to_owned())].into();
        let error = PostgresServer::start(PgOptions { settings, ephemeral, ..options(&dir) }).unwrap_err();
        let Error::StartFailed { log_tail, .. } = &error else { panic!("{error:?}") };
        assert!(log_tail.contains("work_mem"), "{log_tail}");
    }
}

#[tokio::test]
async fn a_pid_file_of_a_dead_server_is_no_obstacle() {
    let dir = spacious_dir();
    let server = PostgresServer::start(options(&dir)).unwrap();
    let file = server.dir().join("data/postmaster.pid");
    server.kill();
    // The pid now belongs to someone else who lives: this process.
    let text = fs::read_to_string(&file).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&file, format!("{}\n{rest}", std::process::id())).unwrap();
    server.restart().unwrap();
    connect(&server, "postgres").await;
}

#[test]
fn half_made_clusters_are_made_anew() {
    let dir = spacious_dir();
    let options = options(&dir);
    fs::create_dir_all(options.dir.join("data.new/base")).unwrap();
    fs::write(options.dir.join("data.new/PG_VERSION"), "15\n").unwrap();
    let server = PostgresServer::start(options).unwrap();
    assert!(server.is_running());
    assert!(!server.dir().join("data.new").exists());
}

#[test]
fn the_cluster_decides_the_major_version() {
    let dir = spacious_dir();
    let options = options(&dir);
    fs::create_dir_all(options.dir.join("data")).unwrap();
    fs::write(options.dir.join("data/PG_VERSION"), "11\n").unwrap();
    let error = PostgresServer::start(options).unwrap_err();
    assert!(matches!(error, Error::OtherMajor { made_by: 11, .. }), "{error:?}");
}

#[test]
fn dropping_it_ends_every_backend() {
    let dir = spacious_dir();
    let server = PostgresServer::start(options(&dir)).unwrap();
    let pid = server.pid().unwrap();
    let group = format!("{}", nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid as i32))).unwrap());
    drop(server);
    assert!(!alive(pid));
    until("its process group is empty", || {
        let output = std::process::Command::new("ps").args(["-eo", "pgid="]).output().unwrap();
        !String::from_utf8_lossy(&output.stdout).lines().any(|line| line.trim() == group)
    });
}
