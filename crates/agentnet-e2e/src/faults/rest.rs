//! Waiting until everything has come to rest.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use agentnet_proto::subject::{PERSISTER_CONSUMER, STREAM};
use anyhow::{Context, Result};
use async_nats::jetstream;
use secrecy::ExposeSecret;
use sqlx::{Connection, PgConnection};
use tokio::time::{sleep, timeout};

use super::{
    journal::{Reader, What},
    ledger::Form,
    load::Load,
    stack::Stack,
};

/// How often is looked.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest look.
const LOOK: Duration = Duration::from_secs(10);

/// What still moves, or should.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unrest {
    /// Senders that wait for an answer.
    pub waiting: usize,
    /// Messages that senders keep because nobody confirmed them: a reply may be quicker than the confirmation of its
    /// request.
    pub unconfirmed: usize,
    /// Messages in the stream, which holds what isn't in Postgres yet.
    pub in_stream: u64,
    /// Acknowledged messages without an effect.
    pub unhandled: usize,
    /// Acknowledged messages whose delivery record is open.
    pub open_records: usize,
}

/// Waits until nothing moves any more, at most until the deadline. Returns when that was, and what was left.
///
/// # Errors
/// When the network can't even be asked.
pub async fn wait(stack: &Stack, load: &Load, deadline: Duration) -> Result<(Instant, Unrest)> {
    let start = Instant::now();
    let mut effects =
        Effects { dir: stack.dir().join("journals"), readers: HashMap::new(), seen: HashSet::new() };
    let mut last_error = None;
    loop {
        match timeout(LOOK, look(stack, load, &mut effects)).await {
            Ok(Ok(unrest)) => {
                let now = Instant::now();
                if unrest == Unrest::default() || start.elapsed() >= deadline {
                    return Ok((now, unrest));
                }
            }
            Ok(Err(error)) => last_error = Some(error),
            Err(_) => last_error = Some(anyhow::anyhow!("looking at the network took longer than {LOOK:?}")),
        }
        if start.elapsed() >= deadline + LOOK {
            return Err(last_error
                .unwrap_or_else(|| anyhow::anyhow!("unknown"))
                .context("the network can't be asked"));
        }
        sleep(PAUSE).await;
    }
}

async fn look(stack: &Stack, load: &Load, effects: &mut Effects) -> Result<Unrest> {
    let ledger = load.ledger();
    let entries = ledger.entries();
    let waiting = ledger.open();
    effects.catch_up()?;
    let acknowledged: HashSet<&str> =
        entries.iter().filter(|e| e.promised().is_some()).map(|e| e.message_id.as_str()).collect();
    let unhandled = acknowledged.iter().filter(|id| !effects.seen.contains(**id)).count();
    let mut unrest = Unrest { waiting, unhandled, unconfirmed: load.unconfirmed(), ..Unrest::default() };
    if waiting + unhandled + unrest.unconfirmed > 0 {
        // No need to ask the servers.
        return Ok(unrest);
    }
    unrest.in_stream = in_stream(stack).await?;
    let settled: HashSet<&str> = entries
        .iter()
        .filter(|e| e.promised().is_some() && e.form != Form::Legacy)
        .map(|e| e.message_id.as_str())
        .collect();
    let mut connection = PgConnection::connect(&stack.direct_database_url()).await?;
    let open: Vec<String> =
        sqlx::query_scalar("SELECT message_id FROM agent_deliveries WHERE state IN ('pending', 'accepted')")
            .fetch_all(&mut connection)
            .await?;
    let _ = connection.close().await;
    unrest.open_records = open.iter().filter(|id| settled.contains(id.as_str())).count();
    Ok(unrest)
}

/// The stream and its consumer, for people: what holds up a run that never comes to rest.
///
/// # Errors
/// When the server doesn't say.
pub async fn describe_stream(stack: &Stack) -> Result<String> {
    let stream = jetstream::new(client(stack).await?).get_stream(STREAM).await?;
    let state = &stream.cached_info().state;
    let consumer = stream.consumer_info(PERSISTER_CONSUMER).await?;
    Ok(format!(
        "the stream holds {} messages, {}..={}; its consumer is at {} (acknowledged until {}), {} to come, {} in hand, {} \
         redelivered, {} pulls",
        state.messages,
        state.first_sequence,
        state.last_sequence,
        consumer.delivered.stream_sequence,
        consumer.ack_floor.stream_sequence,
        consumer.num_pending,
        consumer.num_ack_pending,
        consumer.num_redelivered,
        consumer.num_waiting
    ))
}

async fn in_stream(stack: &Stack) -> Result<u64> {
    let client = client(stack).await?;
    let info = jetstream::new(client).get_stream(STREAM).await.context("the stream can't be looked at")?;
    Ok(info.cached_info().state.messages)
}

/// A connection of the harness's own, past any proxy.
///
/// # Errors
/// When no server answers.
pub async fn client(stack: &Stack) -> Result<async_nats::Client> {
    let (servers, token) = stack.nats_login();
    let servers: Vec<String> = servers.iter().map(|server| format!("nats://{server}")).collect();
    let options = async_nats::ConnectOptions::with_token(token.expose_secret().to_owned());
    options.connect(servers).await.context("no nats-server answers")
}

struct Effects {
    dir: PathBuf,
    readers: HashMap<PathBuf, Reader>,
    seen: HashSet<String>,
}

impl Effects {
    fn catch_up(&mut self) -> Result<()> {
        for file in std::fs::read_dir(&self.dir)? {
            let path = file?.path();
            let reader = match self.readers.entry(path) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(new) => {
                    let reader = Reader::open(Path::new(new.key()))?;
                    new.insert(reader)
                }
            };
            let rows = reader.read()?;
            self.seen
                .extend(rows.into_iter().filter(|row| row.what == What::Effect).map(|row| row.message_id));
        }
        Ok(())
    }
}
