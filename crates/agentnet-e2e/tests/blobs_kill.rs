//! Replicas of the registry are killed with -9 while files are put and got: every put that was acknowledged is there,
//! whole and right, and nothing is left in the object store that no row names.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::BTreeMap, fs::Permissions, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration,
};

use agentnet::{AgentNode, BlobSource, proto::rpc::BlobInfo};
use agentnet_e2e::faults::stack::{Options, Stack};
use agentnet_local::testing::eventually;
use futures_util::future::join_all;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

const READY: Duration = Duration::from_secs(60);
/// How long replicas are killed, and the pause between a start and the next kill.
const KILLING: Duration = Duration::from_secs(8);
const BETWEEN: Duration = Duration::from_millis(400);
/// After how long some go away.
const CUT_OFF: Duration = Duration::from_millis(15);
const PUTTERS: usize = 3;
/// A few chunks, of which the last is short.
const SIZE: usize = 3 * 512 * 1024 + 12_345;

fn content(seed: usize) -> Vec<u8> {
    let mut state = u32::try_from(seed).unwrap().wrapping_mul(2_654_435_761) | 1;
    (0..SIZE)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[1]
        })
        .collect()
}

/// Puts until told to stop; everything that was acknowledged, with its seed.
async fn putter(node: AgentNode, number: usize, stop: watch::Receiver<bool>) -> Vec<(usize, BlobInfo)> {
    let mut acknowledged = Vec::new();
    let mut seed = number * 100_000 + 1;
    while !*stop.borrow() {
        let data = content(seed);
        // Of known content and of unknown, in turns.
        let source = match seed % 2 {
            0 => BlobSource::from(data),
            _ => BlobSource::reader(std::io::Cursor::new(data)),
        };
        let put = node.put_blob(source).name(format!("{seed}.bin")).into_future();
        if seed.is_multiple_of(5) {
            // Somebody who goes away in the middle: nothing was promised, unless it was quicker.
            if let Ok(put) = timeout(CUT_OFF, put).await {
                acknowledged.push((seed, put.unwrap()));
            }
            seed += 1;
            continue;
        }
        let put = put.await;
        acknowledged.push((seed, put.unwrap_or_else(|error| panic!("{seed}: {error}"))));
        seed += 1;
    }
    acknowledged
}

async fn kill_and_start(stack: &Stack, until: Instant) -> u32 {
    let mut kills = 0;
    while Instant::now() < until {
        for replica in &stack.registries {
            let mut replica = replica.lock().await;
            replica.child.kill().await.unwrap();
            kills += 1;
            // Down for a while: what it had in hand must go on elsewhere, or wait.
            sleep(BETWEEN).await;
            replica.start().await.unwrap();
            replica.wait_ready(READY).await.unwrap();
        }
    }
    kills
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_put_survives_kill_9_of_registries() {
    let dir = tempfile::tempdir().unwrap();
    // As root, Postgres runs as somebody else.
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).unwrap();
    let env = [("GC_INTERVAL_SECONDS", "0.5"), ("AGENTNET_BLOB_QUOTA_BYTES", "1099511627776")];
    let options = Options {
        dir: dir.path().to_owned(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_faults")),
        nats_nodes: 1,
        registries: 2,
        persisters: 1,
        proxied: false,
        clock_offset_ms: 0,
        small_disk: None,
        service_env: env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
    };
    let stack = Stack::start(options).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let mut putters = Vec::new();
    let mut nodes = Vec::new();
    for number in 0..PUTTERS {
        let node =
            AgentNode::builder(format!("putter_{number}")).nats_url(stack.nats_url()).start().await.unwrap();
        putters.push(tokio::spawn(putter(node.clone(), number, stopped.clone())));
        nodes.push(node);
    }
    let kills = kill_and_start(&stack, Instant::now() + KILLING).await;
    stop.send(true).unwrap();
    let acknowledged: Vec<(usize, BlobInfo)> =
        join_all(putters).await.into_iter().flat_map(|ended| ended.unwrap()).collect();
    assert!(kills >= 4 && acknowledged.len() > PUTTERS, "{kills} kills, {} puts", acknowledged.len());
    for (seed, blob) in &acknowledged {
        let data =
            nodes[0].get_blob(&blob.blob_id).bytes().await.unwrap_or_else(|error| panic!("{seed}: {error}"));
        assert!(data[..] == content(*seed), "{seed} isn't what was put");
    }
    // What was cut off is collected, as if an hour had passed: then the bucket holds the chunks and names of the blobs that are there, and no more.
    let pool = sqlx::PgPool::connect(&stack.direct_database_url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(nodes[0].connection().client().as_ref().clone());
    eventually(READY, || async {
        for sql in [
            "UPDATE agent_blob_uploads SET touched_at = now() - interval '2 hours'",
            "UPDATE agent_blob_garbage SET since = now() - interval '2 hours'",
        ] {
            sqlx::query(sql).execute(&pool).await.unwrap();
        }
        let (chunks, blobs, left): (i64, i64, i64) = sqlx::query_as(
            "SELECT coalesce(sum(cardinality(chunk_seqs)), 0)::bigint, count(*), \
             (SELECT count(*) FROM agent_blob_uploads) + (SELECT count(*) FROM agent_blob_garbage) FROM agent_blobs",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        let stream = jetstream.get_stream("OBJ_agentnet_blobs").await.unwrap();
        let messages = i64::try_from(stream.cached_info().state.messages).unwrap();
        left == 0 && messages == chunks + blobs && blobs >= i64::try_from(acknowledged.len()).unwrap()
    })
    .await;
    for node in nodes {
        node.close().await.unwrap();
    }
}
