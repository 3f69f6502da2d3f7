//! One message to 2, 16 and 128 members of a thread, beside what bounds it, in one run.
//!
//! `cargo bench -p agentnet-e2e --bench fanout [-- --quick] [-- MEMBERS...]`
//!
//! The same private network as in the bench `messaging`: nats-server, Postgres (fsync on), registry and persister, each a
//! process of its own; the members are one process with a connection for each. Ours: from the first send until every
//! delivery is `processed` in Postgres, sixteen messages in flight, each awaited until it is stored. Counted are
//! deliveries. Limits, in turns with ours: as many bare publishes to as many connections, each answered by one publish; and
//! as many rows of `agent_deliveries` with their messages, written by one connection in statements of 500 rows. Medians of
//! five rounds (three with `--quick`). One delivery too few or too many ends the run.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench reports")]

#[path = "../messaging/children.rs"]
mod children;
#[expect(dead_code, reason = "shared with the bench `messaging`")]
#[path = "../messaging/cpu.rs"]
mod cpu;
#[expect(dead_code, reason = "shared with the bench `messaging`")]
#[path = "../messaging/network.rs"]
mod network;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use agentnet::{AgentNode, Stage};
use anyhow::{Context as _, Result, ensure};
use async_nats::Client;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::{sleep, timeout};

use children::{HANDLED, MEMBER, MEMBER_RECEIPTS};
use network::{Network, Servers};

/// Numbers of members besides the sender.
const MEMBERS: [usize; 3] = [2, 16, 128];
/// Messages in flight.
const IN_FLIGHT: usize = 16;
/// Rows of one statement of the limit.
const BATCH: usize = 500;
/// As large as the envelopes that are sent beside it.
const BODY: Bytes = Bytes::from_static(&[b'x'; 640]);
const TEXT: &str = "Please summarise document 4711 for the weekly report, thank you";
/// Long after the longest turn's backlog is written.
const SETTLE: Duration = Duration::from_secs(60);

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
    let only: Vec<usize> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    let measured = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(measure(quick, &only)));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanout: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(quick: bool, only: &[usize]) -> Result<()> {
    let (rounds, deliveries) = if quick { (3, 4_000) } else { (5, 24_000) };
    let servers = Servers::start().await?;
    let network = Network::start(&servers, true).await?;
    println!(
        "Deliveries a second, medians of {rounds} rounds of about {deliveries} deliveries, {IN_FLIGHT} messages in flight.\n"
    );
    println!("| members | ours | bare publishes and answers | rows | ours / the lower |");
    println!("|---:|---:|---:|---:|---:|");
    for members in MEMBERS.into_iter().filter(|n| only.is_empty() || only.contains(n)) {
        let row = Row::start(&network, members).await?;
        let messages = (deliveries / members).max(IN_FLIGHT);
        let (mut ours, mut bare, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(row.ours(messages).await?);
            bare.push(bare_publishes(&network.client, members, messages).await?);
            rows.push(bare_rows(network.database(), members, messages).await?);
        }
        row.node.close().await?;
        let (ours, bare, rows) = (median(ours), median(bare), median(rows));
        let ratio = ours / bare.min(rows);
        println!("| {members} | {ours:.0} | {bare:.0} | {rows:.0} | {ratio:.2} |");
    }
    Ok(())
}

/// A thread of that many members and a sender.
struct Row {
    node: AgentNode,
    thread: String,
    members: usize,
    network_client: Client,
    pool: PgPool,
    _members: network::Process,
}

impl Row {
    async fn start(network: &Network, members: usize) -> Result<Self> {
        let process = network.agent(&format!("members-{members}")).await?;
        let node = network.sender().start().await?;
        let accounts: Vec<&str> = process.line.split(' ').collect();
        ensure!(accounts.len() == members, "{} members instead of {members}", accounts.len());
        let thread = node.create_thread("fanout", &accounts).await?.thread_id;
        for account in accounts {
            // On an open network anybody may say that they are any account.
            let request = agentnet::proto::rpc::ThreadJoinRequest {
                account_id: Some(account.to_owned()),
                thread_id: thread.clone(),
            };
            node.registry().thread_join(&request).await?;
        }
        let pool = PgPool::connect(network.database()).await?;
        let network_client = network.client.clone();
        Ok(Self { node, thread, members, network_client, pool, _members: process })
    }

    /// Deliveries a second of one turn.
    async fn ours(&self, messages: usize) -> Result<f64> {
        sqlx::query("TRUNCATE agent_messages, agent_deliveries").execute(&self.pool).await?;
        sqlx::query("CHECKPOINT").execute(&self.pool).await?;
        let before = self.handled().await?;
        let started = Instant::now();
        let to = format!("thread:{}", self.thread);
        stream::iter(0..messages)
            .map(|_| async { self.node.send(&to, json!({"text": TEXT})).until(Stage::Stored).await })
            .buffer_unordered(IN_FLIGHT)
            .try_for_each(|_| async { Ok(()) })
            .await?;
        let expected = (messages * self.members) as u64;
        loop {
            let (rows, processed): (i64, i64) = sqlx::query_as(
                "SELECT count(*), count(*) FILTER (WHERE state = 'processed') FROM agent_deliveries",
            )
            .fetch_one(&self.pool)
            .await?;
            let handled = self.handled().await? - before;
            let expected_rows = i64::try_from(expected)?;
            ensure!(
                rows <= expected_rows && handled <= expected,
                "{messages} messages to {} members: {rows} deliveries, {handled} handled",
                self.members
            );
            if processed == expected_rows && handled == expected {
                return Ok(expected as f64 / started.elapsed().as_secs_f64());
            }
            ensure!(
                started.elapsed() < SETTLE,
                "{messages} messages to {} members: {processed} of {rows} deliveries processed, {handled} handled",
                self.members
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn handled(&self) -> Result<u64> {
        let answer = self.network_client.request(HANDLED, "".into()).await?;
        Ok(std::str::from_utf8(&answer.payload)?.parse()?)
    }
}

/// Bare publishes to as many connections, each answered by one, `IN_FLIGHT` times `members` under way at once.
async fn bare_publishes(client: &Client, members: usize, messages: usize) -> Result<f64> {
    let mut answers = client.subscribe(MEMBER_RECEIPTS).await?;
    client.flush().await?;
    let subjects: Vec<String> = (0..members).map(|n| format!("{MEMBER}.{n}")).collect();
    let started = Instant::now();
    let (mut sent, mut heard) = (0, 0);
    while heard < messages * members {
        while sent < messages && sent * members < heard + IN_FLIGHT * members {
            for subject in &subjects {
                client.publish(subject.clone(), BODY).await?;
            }
            sent += 1;
        }
        timeout(SETTLE, answers.next()).await?.context("the connection is closed")?;
        heard += 1;
    }
    Ok(heard as f64 / started.elapsed().as_secs_f64())
}

/// Rows of deliveries a second, written as processed at once, with a row for each message: one connection, a statement and
/// a transaction for every 500.
async fn bare_rows(database: &str, members: usize, messages: usize) -> Result<f64> {
    let mut connection = PgConnection::connect(database).await?;
    sqlx::query("TRUNCATE agent_messages, agent_deliveries").execute(&mut connection).await?;
    sqlx::query("CHECKPOINT").execute(&mut connection).await?;
    let keys: Vec<(String, String)> = (0..messages)
        .flat_map(|m| {
            (0..members).map(move |n| (format!("{m:032x}"), format!("acct_01jz0000000000000000000{n:03}")))
        })
        .collect();
    let ids: Vec<String> = (0..messages).map(|m| format!("{m:032x}")).collect();
    let started = Instant::now();
    for part in ids.chunks(BATCH) {
        sqlx::query(
            "INSERT INTO agent_messages (message_id, thread_id, from_account_id, to_agent, kind, schema_version, sent_at, \
                 received_at, expires_at, envelope, body_sha256, search) \
             SELECT id, 'thread_bench', 'acct_01jz0000000000000000000000', 'thread:thread_bench', 'direct', '1.2', now(), \
                 now(), now(), $2, $3, to_tsvector('simple', $4) FROM unnest($1::text[]) AS id",
        )
        .bind(part)
        .bind(&BODY[..])
        .bind(&[0_u8; 32][..])
        .bind(TEXT)
        .execute(&mut connection)
        .await?;
    }
    for part in keys.chunks(BATCH) {
        let (ids, recipients): (Vec<&str>, Vec<&str>) =
            part.iter().map(|(id, recipient)| (id.as_str(), recipient.as_str())).unzip();
        sqlx::query(
            "INSERT INTO agent_deliveries (message_id, recipient, state, sender_account_id, thread_id, handler_account_id, \
                 receipt_at, expires_at, created_at, accepted_at, finished_at) \
             SELECT id, recipient, 'processed', 'acct_01jz0000000000000000000000', 'thread_bench', recipient, now(), now(), \
                 now(), now(), now() FROM unnest($1::text[], $2::text[]) AS d (id, recipient)",
        )
        .bind(ids)
        .bind(recipients)
        .execute(&mut connection)
        .await?;
    }
    let took = started.elapsed();
    connection.close().await?;
    Ok(keys.len() as f64 / took.as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
