//! Compares the dispatcher with a bare subscribe-and-publish responder, interleaved in one run.
//!
//! `cargo run --release -p agentnet-service --example rpc_ratio -- [nats url] [seconds per cell]`
//!
//! Three responders on one subject each: bare, the dispatcher with a handler that answers at once, and the
//! dispatcher with a handler that waits once (so that it becomes a task). The last column is the lowest the
//! ratio to bare may be.

use std::error::Error;
use std::time::{Duration, Instant};

use agentnet_proto::error::RpcError;
use agentnet_service::config::NatsConfig;
use agentnet_service::nats;
use agentnet_service::rpc::{Ctx, Method, RpcServer, default_faults, typed};
use agentnet_service::stats::Stats;
use agentnet_service::telemetry;
use async_nats::Client;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

type Res<T> = Result<T, Box<dyn Error + Send + Sync>>;

const BODY: &[u8] = br#"{"username":"weather_bot","limit":20}"#;
const ROUNDS: usize = 5;
const GOAL: f64 = 0.8;

#[derive(Deserialize)]
struct Request {
    username: String,
    limit: u32,
}

#[derive(Serialize)]
struct Response {
    username: String,
    limit: u32,
}

async fn answer_at_once(_ctx: Ctx, request: Request) -> Result<Response, RpcError> {
    Ok(Response { username: request.username, limit: request.limit })
}

async fn wait_once(ctx: Ctx, request: Request) -> Result<Response, RpcError> {
    tokio::task::yield_now().await;
    answer_at_once(ctx, request).await
}

/// The least a responder of the same method can do: decode, encode, publish.
async fn bare(client: Client) -> Res<()> {
    let mut requests = client.queue_subscribe("bench.bare", "bench".to_owned()).await?;
    while let Some(message) = requests.next().await {
        let Some(reply) = message.reply else { continue };
        let request: Request = serde_json::from_slice(&message.payload)?;
        let body = serde_json::to_vec(&Response { username: request.username, limit: request.limit })?;
        client.publish(reply, body.into()).await?;
    }
    Ok(())
}

async fn calls_per_second(
    client: &Client,
    subject: &'static str,
    in_flight: usize,
    time: Duration,
) -> Res<f64> {
    let start = Instant::now();
    let callers: Vec<_> = (0..in_flight)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut calls = 0_u64;
                while start.elapsed() < time {
                    client.request(subject, Bytes::from_static(BODY)).await?;
                    calls += 1;
                }
                Ok::<_, async_nats::RequestError>(calls)
            })
        })
        .collect();
    let mut calls = 0;
    for caller in callers {
        calls += caller.await??;
    }
    Ok(calls as f64 / start.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Responders live in a thread and runtime of their own, as they do in production.
fn responders(config: NatsConfig) -> Res<std::thread::JoinHandle<Res<()>>> {
    let (ready, is_ready) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || -> Res<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let _recorder = telemetry::metrics_recorder()?;
            let nats = nats::connect(&config, "rpc_ratio responder").await?;
            let _server = RpcServer::builder(&nats, &Stats::default(), default_faults)
                .method(Method::new("inline", "bench.inline").queue("bench"), typed(answer_at_once))
                .method(Method::new("spawned", "bench.spawned").queue("bench"), typed(wait_once))
                .start()
                .await?;
            let bare_client = nats::connect(&config, "rpc_ratio bare").await?.client().clone();
            let bare = tokio::spawn(bare(bare_client));
            tokio::task::yield_now().await;
            nats.round_trip(Duration::from_secs(5)).await?;
            ready.send(())?;
            bare.await?
        })
    });
    is_ready.recv_timeout(Duration::from_secs(20))?;
    Ok(thread)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Res<()> {
    let mut args = std::env::args().skip(1);
    let config = NatsConfig::from_url(&args.next().unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned()))?;
    let time = Duration::from_secs_f64(args.next().map_or(Ok(0.5), |text| text.parse())?);
    let _responders = responders(config.clone())?;
    let client = nats::connect(&config, "rpc_ratio caller").await?.client().clone();
    let subjects = ["bench.bare", "bench.inline", "bench.spawned"];
    println!(
        "{:>9} {:>10} {:>10} {:>10} {:>7} {:>7} {:>5}",
        "in flight", "bare/s", "inline/s", "spawned/s", "inline", "spawned", "goal"
    );
    for in_flight in [1, 16, 256] {
        let mut rates = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            for (subject, rates) in subjects.into_iter().zip(&mut rates) {
                rates.push(calls_per_second(&client, subject, in_flight, time).await?);
            }
        }
        let [bare, inline, spawned] = rates.map(median);
        println!(
            "{in_flight:>9} {bare:>10.0} {inline:>10.0} {spawned:>10.0} {:>7.2} {:>7.2} {GOAL:>5.1}",
            inline / bare,
            spawned / bare
        );
    }
    Ok(())
}
