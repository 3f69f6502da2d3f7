//! The gateway beside a bare axum server that does nothing, in one run.
//!
//! `cargo bench -p agentnet-e2e --bench gateway [-- --quick]`
//!
//! A private nats-server and Postgres, registry, persister and gateway, an agent that echoes, and the clients, all in this
//! process. HTTP: requests a second and p99 of `GET /api/agents/list` and of posting a message until it is stored, against
//! a route that answers a constant, in turn; medians of the rounds. WebSockets: questions to an agent and back over
//! `/p2p/ws` on many sockets at once, against a bare echo. Memory: what the process grows by with idle sockets, whose
//! clients are plain TCP connections. The table is Markdown.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a bench reports, or ends"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use agentnet::{AgentNode, Incoming};
use axum::{
    Json, Router,
    extract::ws::{Message, WebSocketUpgrade},
    routing::{any, get},
};
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::json;
use support::{
    RunningGateway, Stack,
    people::{login, model},
    web::{Mute, Web},
};
use tokio::time::Instant;

const PASSWORD: &str = "a password of this bench";

struct Size {
    rounds: usize,
    /// How long each turn asks.
    turn: Duration,
    sockets: usize,
    questions: usize,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs benches too; there is nothing to check here.
    if !args.iter().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let size = match args.iter().any(|arg| arg == "--quick") {
        true => Size { rounds: 3, turn: Duration::from_secs(1), sockets: 200, questions: 5 },
        false => Size { rounds: 5, turn: Duration::from_secs(4), sockets: 1_000, questions: 20 },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => {
            runtime.block_on(measure(&size));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A server with nothing behind it.
async fn bare() -> SocketAddr {
    let echo = |socket: WebSocketUpgrade| async {
        socket.on_upgrade(|mut socket| async move {
            while let Some(Ok(message)) = socket.recv().await {
                if let Message::Text(text) = message
                    && socket.send(Message::Text(text)).await.is_err()
                {
                    return;
                }
            }
        })
    };
    let hello =
        get(|| async { Json(json!({"hello": "world"})) }).post(|| async { Json(json!({"hello": "world"})) });
    let router = Router::new().route("/hello", hello).route("/echo", any(echo));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    addr
}

/// Answers and latencies of one turn.
#[derive(Default)]
struct Turn {
    per_second: f64,
    p50: f64,
    p99: f64,
}

impl Turn {
    fn of(mut took: Vec<Duration>, within: Duration) -> Self {
        took.sort_unstable();
        let at = |part: f64| {
            let index = ((took.len().saturating_sub(1)) as f64 * part) as usize;
            took.get(index).copied().unwrap_or_default().as_secs_f64() * 1000.0
        };
        Self { per_second: took.len() as f64 / within.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
    }
}

/// Asks from several clients at once for one turn.
async fn ask(request: reqwest::RequestBuilder, clients: usize, turn: Duration) -> Turn {
    let began = Instant::now();
    let asking = (0..clients).map(|_| {
        let request = request.try_clone().unwrap();
        tokio::spawn(async move {
            let mut took = Vec::new();
            while began.elapsed() < turn {
                let sent = Instant::now();
                let answer = request.try_clone().unwrap().send().await.unwrap();
                assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
                answer.bytes().await.unwrap();
                took.push(sent.elapsed());
            }
            took
        })
    });
    let took: Vec<Duration> = join_all(asking).await.into_iter().flat_map(Result::unwrap).collect();
    Turn::of(took, began.elapsed())
}

/// Every socket asks and waits for its answer, again and again.
async fn talk(url: &str, sockets: usize, questions: usize, frame: serde_json::Value) -> Turn {
    let mut open = Vec::with_capacity(sockets);
    for _ in 0..sockets {
        open.push(Web::open(url, &[]).await.unwrap());
    }
    let frame = Arc::new(frame);
    let began = Instant::now();
    let talking = open.into_iter().map(|mut socket| {
        let frame = Arc::clone(&frame);
        tokio::spawn(async move {
            let mut took = Vec::with_capacity(questions);
            for _ in 0..questions {
                let sent = Instant::now();
                socket.send(&frame).await;
                let answer = socket.next().await;
                assert!(answer.get("ok").is_none_or(|ok| ok == true), "{answer}");
                took.push(sent.elapsed());
            }
            took
        })
    });
    let took: Vec<Duration> = join_all(talking).await.into_iter().flat_map(Result::unwrap).collect();
    Turn::of(took, began.elapsed())
}

/// Resident memory of this process, in KiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// KiB that each idle socket takes.
async fn idle(addr: SocketAddr, path: &str, sockets: usize) -> f64 {
    let mut kept = vec![Mute::open(addr, path).await];
    let before = resident();
    for _ in 0..sockets {
        kept.push(Mute::open(addr, path).await);
    }
    (resident() - before) / sockets as f64
}

fn median(mut turns: Vec<Turn>) -> Turn {
    turns.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    let middle = turns.len() / 2;
    turns.swap_remove(middle)
}

fn row(name: &str, turn: &Turn, limit: Option<&Turn>) {
    let ratio = limit.map_or("1".to_owned(), |limit| format!("{:.2}", turn.per_second / limit.per_second));
    println!("| {name} | {:.0} | {:.2} | {:.2} | {ratio} |", turn.per_second, turn.p50, turn.p99);
}

async fn network(stack: &Stack) -> (RunningGateway, [AgentNode; 2], String) {
    let rates: Vec<(&str, &str)> = [
        "GATEWAY_RATE_LOGIN",
        "GATEWAY_RATE_VERIFY",
        "GATEWAY_RATE_CREATE",
        "GATEWAY_RATE_QUERY",
        "GATEWAY_RATE_AGENT",
        "GATEWAY_RATE_MESSAGE",
        "GATEWAY_RATE_READ",
    ]
    .map(|name| (name, "1000000"))
    .to_vec();
    let gateway = stack.gateway(&rates).await;
    let llama = model(stack, "llama", "groq", "llama-3-70b").await;
    let echo = stack
        .node("echo")
        .no_rate_limit()
        .max_concurrency(64)
        .on_message(|message: Incoming| async move {
            if message.wants_reply() {
                message.reply(message.payload().value()).await?;
            }
            Ok(())
        })
        .start()
        .await
        .unwrap();
    stack.person("ann", PASSWORD).await;
    let token = login(&gateway, "ann", PASSWORD).await.body["access_token"].as_str().unwrap().to_owned();
    (gateway, [llama, echo], token)
}

async fn measure(size: &Size) {
    let stack = Stack::start().await;
    let (gateway, _agents, token) = network(&stack).await;
    let bare = bare().await;
    let client = Client::new();
    let message = json!({"to": "acct_later", "text": "a message of the bench", "wait": "stored"});

    println!("\n| what | per s | p50 ms | p99 ms | of the limit |\n|---|---:|---:|---:|---:|");
    for clients in [1, 32] {
        let [mut hello, mut list, mut post] = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..size.rounds {
            let limit = client.get(format!("http://{bare}/hello"));
            hello.push(ask(limit, clients, size.turn).await);
            let lists = client.get(gateway.url("/api/agents/list")).bearer_auth(&token);
            list.push(ask(lists, clients, size.turn).await);
            let posts = client.post(gateway.url("/api/threads/bench/messages")).bearer_auth(&token);
            post.push(ask(posts.json(&message), clients, size.turn).await);
        }
        let hello = median(hello);
        row(&format!("bare route, {clients} clients"), &hello, None);
        row(&format!("`GET /api/agents/list`, {clients} clients"), &median(list), Some(&hello));
        row(&format!("post a message (stored), {clients} clients"), &median(post), Some(&hello));
    }
    let (mut echoes, mut asked) = (Vec::new(), Vec::new());
    let question = json!({"id": 1, "to": "@echo", "type": "send_recv", "message": {"text": "hello"}});
    for _ in 0..size.rounds {
        let url = format!("ws://{bare}/echo");
        echoes.push(talk(&url, size.sockets, size.questions, question.clone()).await);
        asked.push(talk(&gateway.ws("/p2p/ws"), size.sockets, size.questions, question.clone()).await);
    }
    let echoes = median(echoes);
    row(&format!("bare echo, {} WebSockets", size.sockets), &echoes, None);
    row(&format!("echo of an agent, {} WebSockets", size.sockets), &median(asked), Some(&echoes));

    println!("\n| idle WebSocket | KiB |\n|---|---:|");
    println!("| bare echo | {:.1} |", idle(bare, "/echo", size.sockets).await);
    for path in ["/p2p/ws", "/chat", "/api/stream/inbox"] {
        println!("| `{path}` | {:.1} |", idle(gateway.addr, path, size.sockets).await);
    }
}
