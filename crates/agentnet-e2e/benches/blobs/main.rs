//! Throughput of files up and down, beside `dd` to the same disk, in one run.
//!
//! `cargo bench -p agentnet-e2e --bench blobs [-- --quick]`
//!
//! A private nats-server and Postgres, a registry that is a process of its own on one thread, as in production; the agent is
//! this process. Put, get and `dd` (with `conv=fsync`, and without) take turns on the same file system; medians of five
//! rounds (three with `--quick`) are printed as a table. Every blob that was got is compared with what was put.
//!
//! JetStream writes to files and flushes them every two minutes, as it comes; so `dd` without a flush is what bounds a put,
//! and `dd` with one what a disk takes in the long run. `dd` reads from the page cache, as JetStream does.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench reports")]

use std::{
    fs::Permissions,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use agentnet::AgentNode;
use agentnet_local::{PgOptions, PostgresServer, testing::TestNats};
use agentnet_registry::Registry;
use agentnet_service::{config::Env, service};
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use tokio::{task::spawn_blocking, time::sleep};

/// One blob: 64 MiB.
const SIZE: usize = 64 << 20;
const MIB: f64 = 1_048_576.0;
const START: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "child-registry") {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
        return service::run::<Registry>(&Env::process());
    }
    // `cargo test --benches` runs benches too; there is nothing to check here.
    if !args.iter().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let rounds = if args.iter().any(|arg| arg == "--quick") { 3 } else { 5 };
    let measured = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(measure(rounds)));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("blobs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A process that ends with this one.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Bytes that no disk compresses and no store has seen; another blob for each round.
fn content(round: usize) -> Bytes {
    let mut state = (round as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(SIZE);
    while bytes.len() < SIZE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.into()
}

/// MiB a second of the four sides.
#[derive(Default)]
struct Rates {
    put: Vec<f64>,
    get: Vec<f64>,
    cached: Vec<f64>,
    flushed: Vec<f64>,
    read: Vec<f64>,
}

async fn measure(rounds: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    // Postgres refuses to run as root, and its user must be able to get in.
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o711))?;
    let nats = spawn_blocking(TestNats::start).await?;
    let options = PgOptions::new(dir.path().join("postgres"), "bench".into());
    let postgres = spawn_blocking(move || PostgresServer::start(options)).await??;
    postgres.create_database("bench").await?;
    let registry = Command::new(std::env::current_exe()?)
        .arg("child-registry")
        .env("NATS_URL", nats.url())
        .env("DATABASE_URL", postgres.url("bench"))
        .env("AGENTNET_WORKER_THREADS", "1")
        .env("LOG_LEVEL", "ERROR")
        .env("AGENTNET_BLOB_QUOTA_BYTES", (1_u64 << 40).to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let _registry = Ended(registry);
    let node = ready(&nats.url()).await?;
    let mut rates = Rates::default();
    for round in 0..rounds {
        let data = content(round);
        // `dd` writes where JetStream does.
        let (disk, bytes) = (nats.dir().join("dd"), data.clone());
        let (cached, flushed, read) = spawn_blocking(move || dd(&disk, &bytes)).await??;
        rates.cached.push(cached);
        rates.flushed.push(flushed);
        rates.read.push(read);
        let start = Instant::now();
        let blob = node.put_blob(data.clone()).name(format!("{round}")).await?;
        rates.put.push(rate(start));
        let start = Instant::now();
        let got = node.get_blob(&blob.blob_id).bytes().await?;
        rates.get.push(rate(start));
        ensure!(got == data, "what was got isn't what was put");
        node.blobs().delete(&blob.blob_id).await?;
    }
    report(rounds, &rates);
    node.close().await?;
    Ok(())
}

/// The first agent that registers; until then the registry migrates and subscribes.
async fn ready(url: &str) -> Result<AgentNode> {
    let give_up = Instant::now() + START;
    loop {
        match AgentNode::builder("bench").nats_url(url).start().await {
            Ok(node) => return Ok(node),
            Err(error) if Instant::now() > give_up => {
                return Err(error).context("the registry doesn't answer");
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Writes the bytes with and without a flush, and reads them.
fn dd(path: &Path, bytes: &[u8]) -> Result<(f64, f64, f64)> {
    let source = path.with_extension("source");
    std::fs::write(&source, bytes)?;
    let run = |from: &Path, to: &Path, more: &[&str]| -> Result<f64> {
        let start = Instant::now();
        let status = Command::new("dd")
            .arg(format!("if={}", from.display()))
            .arg(format!("of={}", to.display()))
            .args(["bs=512K", "status=none"])
            .args(more)
            .status()
            .context("dd can't be run")?;
        ensure!(status.success(), "dd failed");
        Ok(rate(start))
    };
    let cached = run(&source, path, &[])?;
    std::fs::remove_file(path)?;
    let flushed = run(&source, path, &["conv=fsync"])?;
    let read = run(path, Path::new("/dev/null"), &[])?;
    std::fs::remove_file(path)?;
    std::fs::remove_file(&source)?;
    Ok((cached, flushed, read))
}

fn rate(start: Instant) -> f64 {
    SIZE as f64 / MIB / start.elapsed().as_secs_f64()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn report(rounds: usize, rates: &Rates) {
    println!("blobs of {} MiB, median of {rounds} rounds, MiB a second\n", SIZE >> 20);
    println!("| row | ours | limit | ratio |\n|---|---|---|---|");
    for (name, ours, limit) in [
        ("put / dd to the same disk", &rates.put, &rates.cached),
        ("put / dd with fsync", &rates.put, &rates.flushed),
        ("get / dd from the page cache", &rates.get, &rates.read),
    ] {
        let (ours, limit) = (median(ours), median(limit));
        println!("| {name} | {ours:.0} | {limit:.0} | {:.2} |", ours / limit);
    }
}
