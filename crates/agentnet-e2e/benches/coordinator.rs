//! The coordinator beside what bounds it, in one run: finding among 10,000 agents, and a broadcast to 1,000.
//!
//! `cargo bench -p agentnet-e2e --bench coordinator [-- --quick]`
//!
//! A private network as in the bench `messaging`: nats-server, Postgres (fsync on), registry and persister, each a process of
//! its own. Finding: one question at a time, `registry.agent_discover` with a page of 100, filtered by status, type and a
//! capability that a tenth has; its limit is the same rows read by their key alone over one connection, in turns with ours.
//! Broadcast: from opening it until it is stored with its 1,000 deliveries, receivers offline; its limit is as many bare rows of
//! `agent_deliveries` in one statement and transaction. Medians of the rounds.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench reports")]

#[path = "messaging/children.rs"]
mod children;
#[expect(dead_code, reason = "shared with the bench `messaging`")]
#[path = "messaging/cpu.rs"]
mod cpu;
#[expect(dead_code, reason = "shared with the bench `messaging`")]
#[path = "messaging/network.rs"]
mod network;

use std::{process::ExitCode, time::Instant};

use agentnet::{AgentNode, Stage, Target, proto::rpc};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use network::{Network, Servers};

const AGENTS: i64 = 10_000;
const PAGE: i64 = 100;
const RECEIVERS: usize = 1_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(role) = args.first().and_then(|arg| arg.strip_prefix("child-")) {
        return children::run(role);
    }
    // `cargo test --benches` runs benches too; there is nothing to check here.
    if !args.iter().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    let measured = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(measure(quick)));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coordinator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(quick: bool) -> Result<()> {
    let (questions, broadcasts) = if quick { (50, 3) } else { (300, 15) };
    let servers = Servers::start().await?;
    let network = Network::start(&servers, true).await?;
    let mut database = PgConnection::connect(network.database()).await?;
    agents(&mut database).await?;
    let node = network.sender().start().await?;
    let filter = rpc::AgentDiscoverRequest {
        status: Some("active".to_owned()),
        agent_type: Some("worker".to_owned()),
        capabilities: vec!["skill-3".to_owned()],
        limit: Some(PAGE),
        ..rpc::AgentDiscoverRequest::default()
    };
    let everybody = rpc::AgentDiscoverRequest { limit: Some(PAGE), ..rpc::AgentDiscoverRequest::default() };
    println!(
        "{AGENTS} agents. Milliseconds, medians of {questions} questions and {broadcasts} broadcasts.\n"
    );
    println!("| what | ours | limit | ours / limit |\n|---|---:|---:|---:|");
    for (name, request) in
        [("discover, filtered, 100 of 1,000", &filter), ("discover, everybody, 100 of 10,000", &everybody)]
    {
        let (mut ours, mut limit) = (Vec::new(), Vec::new());
        for _ in 0..questions {
            let started = Instant::now();
            let answer = node.registry().call::<rpc::AgentDiscover>(request).await?;
            ours.push(started.elapsed().as_secs_f64() * 1e3);
            ensure!(answer.agents.len() as i64 == PAGE, "{} agents instead of {PAGE}", answer.agents.len());
            let ids: Vec<String> = answer.agents.into_iter().map(|agent| agent.account_id).collect();
            limit.push(by_key(&mut database, &ids).await?);
        }
        row(name, ours, limit);
    }
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for n in 0..broadcasts {
        ours.push(broadcast(&node, &mut database).await?);
        limit.push(deliveries(&mut database, n).await?);
    }
    row("broadcast to 1,000, stored", ours, limit);
    node.close().await?;
    Ok(())
}

fn row(name: &str, ours: Vec<f64>, limit: Vec<f64>) {
    let (ours, limit) = (median(ours), median(limit));
    println!("| {name} | {ours:.1} | {limit:.1} | {:.1} |", ours / limit);
}

/// Agents over HTTP that were just heard of, a tenth of them with each skill.
async fn agents(database: &mut PgConnection) -> Result<()> {
    sqlx::query(
        "INSERT INTO agent_accounts (account_id, username, display_name, capabilities, created_at, updated_at) \
         SELECT 'acct_bench_' || n, 'bench-' || n, 'bench', jsonb_build_array('skill-' || n % 10), now(), now() \
         FROM generate_series(1, $1) n",
    )
    .bind(AGENTS)
    .execute(&mut *database)
    .await?;
    sqlx::query(
        "INSERT INTO agent_cards (account_id, agent_id, agent_type, services, registered_at, status, heartbeat_at, told, load) \
         SELECT 'acct_bench_' || n, 'Bench ' || n, CASE WHEN n % 10 = 4 THEN 'consumer' ELSE 'worker' END, \
             ARRAY['service-' || n % 7], now(), 'active', now() + interval '1 hour', 'active', (n % 100) / 100.0 \
         FROM generate_series(1, $1) n",
    )
    .bind(AGENTS)
    .execute(&mut *database)
    .await?;
    sqlx::query("ANALYZE agent_accounts, agent_cards").execute(database).await?;
    Ok(())
}

async fn by_key(database: &mut PgConnection, ids: &[String]) -> Result<f64> {
    let started = Instant::now();
    let rows = sqlx::query(
        "SELECT * FROM agent_cards JOIN agent_accounts USING (account_id) WHERE account_id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(database)
    .await?;
    ensure!(rows.len() == ids.len(), "{} rows", rows.len());
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// Milliseconds from opening a broadcast until it is stored, with a delivery for each.
async fn broadcast(node: &AgentNode, database: &mut PgConnection) -> Result<f64> {
    let request = rpc::BroadcastOpenRequest {
        account_id: Some(node.account_id().to_owned()),
        capabilities: vec!["skill-3".to_owned()],
        ..rpc::BroadcastOpenRequest::default()
    };
    let started = Instant::now();
    let opened = node.registry().call::<rpc::BroadcastOpen>(&request).await?;
    ensure!(opened.recipients.len() == RECEIVERS, "{} receivers", opened.recipients.len());
    let thread = Target::thread(&opened.thread_id.context("no thread")?)?;
    let sent = node.send(thread, json!({"announcement": "system_update"})).until(Stage::Stored).await?;
    let took = started.elapsed().as_secs_f64() * 1e3;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM agent_deliveries WHERE message_id = $1")
        .bind(&sent.message_id)
        .fetch_one(database)
        .await?;
    ensure!(usize::try_from(rows)? == RECEIVERS, "{rows} deliveries");
    Ok(took)
}

async fn deliveries(database: &mut PgConnection, n: usize) -> Result<f64> {
    let started = Instant::now();
    sqlx::query(
        "INSERT INTO agent_deliveries (message_id, recipient, state, sender_account_id, thread_id, expires_at, created_at) \
         SELECT $1, 'acct_limit_' || r, 'pending', 'acct_bench_1', 'limit', now() + interval '1 day', now() \
         FROM generate_series(1, $2) r",
    )
    .bind(format!("limit-{n}"))
    .bind(i32::try_from(RECEIVERS)?)
    .execute(database)
    .await?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
