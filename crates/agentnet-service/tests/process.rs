//! A service as a process: exit codes, one line for bad configuration, and the reply to a request that was in
//! flight at SIGTERM.
//!
//! No test harness: started with `SERVICE_UNDER_TEST` set, this binary is the service itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends there")]

mod support;

use std::fmt;
use std::future::Future;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use agentnet_proto::error::RpcError;
use agentnet_service::config::{ConfigError, Env};
use agentnet_service::nats::Nats;
use agentnet_service::rpc::{Method, RpcServer, StartError, default_faults, handler};
use agentnet_service::service::{self, Deps, Service};
use agentnet_service::shutdown::Shutdown;
use bytes::Bytes;
use support::{PATIENCE, TOKEN, TestNats, call, connect};
use tokio::process::{Child, Command};

/// Answers `echo.slow` with its body once a message on `echo.go` has come.
struct Echo {
    rpc: RpcServer,
}

#[derive(Debug, thiserror::Error)]
#[error("echo did not start")]
struct EchoError(#[from] StartError);

impl Service for Echo {
    const NAME: &'static str = "echo-service";
    type Link = Nats;
    type Config = u64;
    type Handle = ();
    type Error = EchoError;

    fn read_config(env: &Env) -> Result<u64, ConfigError> {
        env.deprecated("ECHO_OLD", "echo needs it no longer");
        env.integer("ECHO_LIMIT", 5, 1..=10)
    }

    async fn build(_limit: u64, deps: Deps) -> Result<(Self, ()), EchoError> {
        let client = deps.nats.client().clone();
        let rpc = RpcServer::builder(&deps.nats, &deps.stats, default_faults)
            .method(
                Method::new("slow", "echo.slow").queue("echo"),
                handler(move |_, body: Bytes| {
                    let client = client.clone();
                    async move {
                        let answer = client.request("echo.started", Bytes::new()).await;
                        assert!(answer.is_ok(), "the test must let go: {answer:?}");
                        Ok::<_, RpcError>(body)
                    }
                }),
            )
            .start()
            .await?;
        Ok((Self { rpc }, ()))
    }

    async fn run(self, shutdown: Shutdown) -> Result<(), EchoError> {
        shutdown.requested().await;
        self.rpc.shutdown(&shutdown).await;
        Ok(())
    }
}

fn main() -> ExitCode {
    if std::env::var_os("SERVICE_UNDER_TEST").is_some() {
        return service::main::<Echo>();
    }
    // What test runners ask of a binary without a harness.
    if std::env::args().any(|arg| arg == "--list") {
        if !std::env::args().any(|arg| arg == "--ignored") {
            println!("process: test");
        }
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        test("bad configuration exits 64 with one line", bad_configuration()).await;
        test("NATS down exits 1 in bounded time", nats_down()).await;
        test("a request in flight at SIGTERM gets its reply", sigterm()).await;
        test("a second signal ends a service that hangs", second_signal()).await;
        test("`health` tells whether the service is ready", health_probe()).await;
    });
    ExitCode::SUCCESS
}

async fn test(name: impl fmt::Display, run: impl Future<Output = ()>) {
    run.await;
    println!("test {name} ... ok");
}

fn spawn(vars: &[(&str, &str)]) -> Child {
    spawn_with(&[], vars)
}

fn spawn_with(args: &[&str], vars: &[(&str, &str)]) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(args).env_clear().env("SERVICE_UNDER_TEST", "1").envs(vars.iter().copied());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().expect("this binary starts")
}

/// Exit code and what was written to stderr.
async fn end(child: Child) -> (Option<i32>, String) {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("must end").unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

async fn bad_configuration() {
    for (vars, named) in [
        ([("ECHO_LIMIT", "eleven")], "ECHO_LIMIT=\"eleven\""),
        ([("NATS_URL", "http://s3cret@x")], "NATS_URL"),
        ([("LOG_LEVEL", "loud")], "LOG_LEVEL"),
        ([("AGENTNET_HTTP_ADDR", "here")], "AGENTNET_HTTP_ADDR"),
        ([("AGENTNET_SHUTDOWN_SOFT_SECONDS", "-1")], "AGENTNET_SHUTDOWN_SOFT_SECONDS"),
    ] {
        let (code, text) = end(spawn(&vars)).await;
        assert_eq!(code, Some(64), "{text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        assert!(text.starts_with("echo-service: ") && text.contains(named), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

async fn nats_down() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("nats://s3cret@{free}");
    let vars = [("NATS_URL", url.as_str()), ("AGENTNET_NATS_CONNECT_SECONDS", "0.3"), ("ECHO_OLD", "1")];
    let (code, text) = end(spawn(&vars)).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("nats_unavailable") && text.contains(&free.to_string()), "{text}");
    assert!(text.contains("ECHO_OLD is deprecated"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

/// A service with one request in flight, and what lets that request go on.
struct InFlight {
    server: TestNats,
    child: Child,
    request: tokio::task::JoinHandle<serde_json::Value>,
    let_go: async_nats::Message,
    client: async_nats::Client,
}

async fn in_flight() -> InFlight {
    use futures_util::StreamExt;
    let server = TestNats::start();
    let client = connect(&server).await.client().clone();
    let mut started = client.subscribe("echo.started").await.unwrap();
    let child = spawn(&[("NATS_URL", &server.url()), ("LOG_LEVEL", "debug")]);
    let request = tokio::spawn({
        let client = client.clone();
        async move {
            support::until("the service answers", || async {
                // Its subscription exists as soon as NATS doesn't say "no responders".
                let probe = client.request("echo.slow", "7".into());
                !matches!(tokio::time::timeout(Duration::from_millis(50), probe).await,
                    Ok(Err(error)) if error.kind() == async_nats::RequestErrorKind::NoResponders)
            })
            .await;
            call(&client, "echo.slow", "42").await
        }
    });
    // Two handlers are running: the probe's and the request's. Both wait for an answer.
    let first = tokio::time::timeout(PATIENCE, started.next()).await.expect("the handler starts").unwrap();
    client.publish(first.reply.unwrap(), "".into()).await.unwrap();
    let let_go = tokio::time::timeout(PATIENCE, started.next()).await.expect("the handler starts").unwrap();
    InFlight { server, child, request, let_go, client }
}

async fn signal(child: &Child, name: &str) {
    let pid = child.id().expect("still running").to_string();
    let status = Command::new("kill").args(["-s", name, &pid]).status().await.unwrap();
    assert!(status.success());
}

async fn sigterm() {
    let InFlight { server: _server, child, request, let_go, client } = in_flight().await;
    signal(&child, "TERM").await;
    support::until("intake ended", || async {
        let probe = client.request("echo.slow", "1".into());
        matches!(tokio::time::timeout(Duration::from_millis(50), probe).await,
            Ok(Err(error)) if error.kind() == async_nats::RequestErrorKind::NoResponders)
    })
    .await;
    client.publish(let_go.reply.unwrap(), "".into()).await.unwrap();
    assert_eq!(request.await.unwrap(), 42);
    let (code, text) = end(child).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains(TOKEN), "the token is in the log: {text}");
}

async fn second_signal() {
    let InFlight { server: _server, child, request, .. } = in_flight().await;
    signal(&child, "INT").await;
    signal(&child, "TERM").await;
    let (code, text) = end(child).await;
    assert!(matches!(code, Some(0 | 1)), "{text}");
    let answer = request.await.unwrap();
    assert_eq!(answer["error"], "shutting_down", "{text}");
}

async fn health_probe() {
    let (code, text) = end(spawn_with(&["health"], &[])).await;
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("AGENTNET_HTTP_ADDR"), "{text}");
    let (code, text) = end(spawn_with(&["--frobnicate"], &[])).await;
    assert_eq!(code, Some(64), "{text}");

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let addr = [("AGENTNET_HTTP_ADDR", free.as_str())];
    let (code, text) = end(spawn_with(&["health"], &addr)).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("does not answer"), "{text}");

    let server = TestNats::start();
    let service = spawn(&[("NATS_URL", &server.url()), addr[0]]);
    support::until("the service is ready", || async {
        end(spawn_with(&["health"], &addr)).await.0 == Some(0)
    })
    .await;
    drop(server);
    let (code, text) = end(spawn_with(&["health"], &addr)).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("not ready") && text.contains("nats"), "{text}");
    drop(service);
}
