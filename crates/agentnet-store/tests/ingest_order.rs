//! Replicas meet messages and receipts in any order, in any batches, at the same time and more than once, and the rows
//! must come out the same.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use agentnet_local::testing::TestDb;
use agentnet_proto::{Timestamp, envelope::body_hash};
use agentnet_store::{
    Store, StoreConfig, StoreError,
    ingest::{Effect, Item, LEASE, MessageRow, ReceiptRow, Recipient, Verdict, ingest},
    threads::MAX_PARTICIPANTS,
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use sqlx::PgPool;

const CAPABILITY: &str = "capability:translate";

/// A message and what is said about it. Times are milliseconds and differ, as the stream's do.
#[derive(Debug, Clone)]
struct Story {
    to_capability: bool,
    redeliver: bool,
    is_system: bool,
    checkpoint_end: Option<i64>,
    thread: u8,
    sent_ms: i64,
    /// Effect, and whether the receipt names its delivery.
    receipts: Vec<(Effect, bool)>,
}

fn stories() -> impl Strategy<Value = Vec<Story>> {
    let effect = proptest::sample::select(vec![
        Effect::None,
        Effect::HeldBack,
        Effect::Duplicate,
        Effect::Accepted,
        Effect::Rejected,
        Effect::Processed,
    ]);
    let story = (
        (any::<bool>(), any::<bool>(), proptest::bool::weighted(0.2)),
        proptest::option::weighted(0.3, prop_oneof![Just(0), Just(1), 0..6_i64]),
        0..2_u8,
        0..100_000_i64,
        proptest::collection::vec((effect, any::<bool>()), 0..6),
    );
    let story =
        story.prop_map(|((to_capability, redeliver, is_system), end, thread, sent_ms, receipts)| Story {
            to_capability,
            redeliver,
            is_system: is_system || end.is_some(),
            checkpoint_end: end,
            thread,
            sent_ms,
            receipts,
        });
    proptest::collection::vec(story, 1..7)
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_771_660_800_000 + ms).unwrap()
}

fn message(case: &str, number: usize, story: &Story) -> MessageRow {
    let received_at = at(i64::try_from(number).unwrap() * 1_000);
    let body = format!("body {number}").into_bytes();
    let to = if story.to_capability { CAPABILITY } else { "bob" };
    MessageRow {
        message_id: format!("{case}-m{number}"),
        thread_id: format!("{case}-t{}", story.thread),
        parent_message_id: None,
        from_account_id: Some(format!("alice{}", number % 2)),
        from_session_tag: None,
        to_account_id: (!story.to_capability).then(|| "bob".to_owned()),
        to_agent: to.to_owned(),
        kind: if story.is_system { "system" } else { "direct" }.to_owned(),
        schema_version: "1.2".to_owned(),
        idempotency_key: None,
        trace_id: None,
        // Distinct, so that "the last message" is one.
        sent_at: at(-200_000 + story.sent_ms * 10 + i64::try_from(number).unwrap()),
        received_at,
        expires_at: story.redeliver.then(|| received_at.saturating_add(Duration::from_secs(30))),
        body_sha256: body_hash(&body),
        body: body.into(),
        signature: None,
        search: "word 1".to_owned(),
        payload_bytes: 10 + i64::try_from(number).unwrap(),
        tokens: 3,
        checkpoint_end: story.checkpoint_end,
        recipients: vec![Recipient { name: to.to_owned(), redeliver: story.redeliver }],
        to_members: Vec::new(),
        mailbox: None,
    }
}

fn receipt(case: &str, number: usize, story: &Story, place: usize) -> ReceiptRow {
    let (effect, named) = story.receipts[place];
    let to = if story.to_capability { CAPABILITY } else { "bob" };
    let code = match effect {
        // By one for now, or by one holder of a capability for itself alone.
        Effect::HeldBack => Some(if place.is_multiple_of(2) { "busy" } else { "no_handler" }),
        Effect::Duplicate => Some("duplicate"),
        Effect::Rejected => Some("handler_error"),
        _ => None,
    };
    ReceiptRow {
        needs_holder: false,
        body_sha256: None,
        message_id: format!("{case}-m{number}"),
        account_id: "bob".to_owned(),
        session_tag: Some(format!("s{place}")),
        recipient: named.then(|| to.to_owned()),
        effect,
        code: code.map(str::to_owned),
        detail: None,
        received_at: at(i64::try_from(number * 1_000 + 100 + place * 700).unwrap()),
    }
}

/// Everything in the order it happened.
fn items(case: &str, stories: &[Story]) -> Vec<Item> {
    let mut items = Vec::new();
    for (number, story) in stories.iter().enumerate() {
        items.push(Item::Message(Box::new(message(case, number, story))));
        for place in 0..story.receipts.len() {
            items.push(Item::Receipt(Box::new(receipt(case, number, story, place))));
        }
    }
    items
}

/// Writes batches one after the other; gives back what asks to come again.
async fn write(pool: &PgPool, batches: &[Vec<Item>]) -> Vec<Item> {
    let mut conn = pool.acquire().await.unwrap();
    let mut again = Vec::new();
    for batch in batches {
        let verdicts = loop {
            match ingest(&mut conn, batch).await {
                Ok(verdicts) => break verdicts,
                Err(error) => {
                    assert!(error.is_transient(), "{error}: {:?}", std::error::Error::source(&error))
                }
            }
        };
        let unresolved = batch.iter().zip(verdicts).filter(|(_, verdict)| *verdict == Verdict::Unresolved);
        again.extend(unresolved.map(|(item, _)| item.clone()));
    }
    again
}

type DeliveryKey = (String, String);
/// Every column but the keys, as text.
type Rows = (BTreeMap<DeliveryKey, String>, BTreeMap<String, (String, BTreeSet<String>)>);

async fn rows(pool: &PgPool, case: &str) -> Rows {
    let deliveries: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT replace(message_id, $1, ''), recipient, replace(to_jsonb(d)::text, $1, '')
         FROM agent_deliveries d WHERE message_id LIKE $1 || '-%'",
    )
    .bind(case)
    .fetch_all(pool)
    .await
    .unwrap();
    // Who came first made the thread; that may differ. `reading.rs` compares what `addressed` leads to.
    let threads: Vec<(String, String, Vec<String>)> = sqlx::query_as(
        "SELECT replace(thread_id, $1, ''),
                (to_jsonb(t) - 'participants' - 'addressed' - 'created_by_account_id' - 'thread_id')::text,
                ARRAY(SELECT jsonb_array_elements_text(participants))
         FROM agent_threads t WHERE thread_id LIKE $1 || '-%'",
    )
    .bind(case)
    .fetch_all(pool)
    .await
    .unwrap();
    let threads = threads.into_iter().map(|(id, row, participants)| {
        let set: BTreeSet<String> = participants.iter().cloned().collect();
        assert_eq!(set.len(), participants.len(), "a participant stands twice");
        (id, (row, set))
    });
    (deliveries.into_iter().map(|(id, to, row)| ((id, to), row)).collect(), threads.collect())
}

/// What the contract says about one delivery, told without the code under test: (state, leased until, tried again).
fn expected(story: &Story, number: usize) -> (&'static str, Option<i64>, bool) {
    let received = i64::try_from(number).unwrap() * 1_000;
    let has = |effect: Effect| story.receipts.iter().any(|(e, _)| *e == effect);
    let last = |effect: Effect| {
        let place = story.receipts.iter().rposition(|(e, _)| *e == effect)?;
        Some(received + 100 + i64::try_from(place).unwrap() * 700)
    };
    let lease = i64::try_from(LEASE.as_millis()).unwrap();
    if has(Effect::Processed) {
        ("processed", None, false)
    } else if has(Effect::Rejected) {
        ("rejected", None, false)
    } else if let Some(accepted) = last(Effect::Accepted).or_else(|| last(Effect::Duplicate)) {
        ("accepted", Some(accepted + lease), story.redeliver)
    } else {
        ("pending", None, story.redeliver)
    }
}

async fn prepare(url: String) -> Result<(), StoreError> {
    Store::migrate(&StoreConfig::new(url.into(), "test")).await
}

struct Db {
    pool: PgPool,
    runtime: tokio::runtime::Runtime,
    // Last: dropped after the pool.
    _db: TestDb,
}

fn database() -> Db {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (db, pool) = runtime.block_on(async {
        let db = TestDb::create_from("migrated_for_ingest", prepare).await;
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(4).connect(db.url()).await.unwrap();
        (db, pool)
    });
    Db { pool, runtime, _db: db }
}

static CASE: AtomicU32 = AtomicU32::new(0);

fn case() -> String {
    format!("c{}", CASE.fetch_add(1, Ordering::Relaxed))
}

/// Cuts into batches: `true` ends one.
fn cut(items: Vec<Item>, ends: &[bool]) -> Vec<Vec<Item>> {
    let mut batches = vec![Vec::new()];
    for (place, item) in items.into_iter().enumerate() {
        batches.last_mut().unwrap().push(item);
        if ends.get(place % ends.len().max(1)).copied().unwrap_or(false) {
            batches.push(Vec::new());
        }
    }
    batches
}

#[test]
fn any_order_and_any_batches_end_in_the_same_rows() {
    let db = database();
    let input = (
        stories(),
        any::<u64>(),
        proptest::collection::vec(any::<bool>(), 1..12),
        proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        any::<bool>(),
    );
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(150) });
    runner
        .run(&input, |(stories, seed, ends, repeats, at_once)| {
            db.runtime.block_on(async {
                let (told, mixed) = (case(), case());
                let one_by_one: Vec<Vec<Item>> =
                    items(&told, &stories).into_iter().map(|item| vec![item]).collect();
                assert!(write(&db.pool, &one_by_one).await.is_empty());

                let mut shuffled = items(&mixed, &stories);
                // Some come twice, as after a crash.
                let copies: Vec<Item> = repeats.iter().map(|index| index.get(&shuffled).clone()).collect();
                shuffled.extend(copies);
                shuffle(&mut shuffled, seed);
                let batches = cut(shuffled, &ends);
                let again = if at_once {
                    let (left, right) = batches.split_at(batches.len() / 2);
                    let (left, right) = tokio::join!(write(&db.pool, left), write(&db.pool, right));
                    left.into_iter().chain(right).collect()
                } else {
                    write(&db.pool, &batches).await
                };
                assert!(write(&db.pool, &[again]).await.is_empty(), "a receipt is lost");

                let (wanted, found) = (rows(&db.pool, &told).await, rows(&db.pool, &mixed).await);
                prop_assert_eq!(&wanted.0, &found.0);
                // A recount at a checkpoint depends on what came before it; all else doesn't.
                let has_checkpoint = stories.iter().any(|story| story.checkpoint_end.is_some());
                if !has_checkpoint {
                    prop_assert_eq!(&wanted.1, &found.1);
                }
                check_contract(&db.pool, &mixed, &stories).await
            })
        })
        .unwrap();
}

async fn check_contract(pool: &PgPool, case: &str, stories: &[Story]) -> Result<(), TestCaseError> {
    for (number, story) in stories.iter().enumerate() {
        let to = if story.to_capability { CAPABILITY } else { "bob" };
        type Row = (String, Option<time::OffsetDateTime>, bool, bool, i64);
        let row: Row = sqlx::query_as(
            "SELECT state, lease_until, next_attempt_at IS NOT NULL, has_message,
                    (SELECT count(*) FROM agent_deliveries WHERE message_id = $1)
             FROM agent_deliveries WHERE message_id = $1 AND recipient = $2",
        )
        .bind(format!("{case}-m{number}"))
        .bind(to)
        .fetch_one(pool)
        .await
        .unwrap();
        let (state, lease, again) = expected(story, number);
        let lease = lease.map(|ms| at(ms).to_offset());
        prop_assert_eq!(row, (state.to_owned(), lease, again, true, 1), "{:?}", story);
    }
    check_checkpoints(pool, case, stories).await?;
    let messages: BTreeMap<u8, i64> = stories.iter().fold(BTreeMap::new(), |mut counts, story| {
        *counts.entry(story.thread).or_default() += 1;
        counts
    });
    for (thread, count) in messages {
        let found: (i64, i64) =
            sqlx::query_as("SELECT message_count, approx_tokens FROM agent_threads WHERE thread_id = $1")
                .bind(format!("{case}-t{thread}"))
                .fetch_one(pool)
                .await
                .unwrap();
        prop_assert_eq!(found, (count, 3 * count));
    }
    Ok(())
}

/// Where a checkpoint covers something, and not more than there is, what is pending is what comes after it.
async fn check_checkpoints(pool: &PgPool, case: &str, stories: &[Story]) -> Result<(), TestCaseError> {
    for thread in 0..2 {
        let of_thread = || stories.iter().enumerate().filter(|(_, story)| story.thread == thread);
        let end = of_thread().filter_map(|(_, story)| story.checkpoint_end).max().unwrap_or(0);
        // A checkpoint that came first could cover more than had come by then.
        if end != 1 {
            continue;
        }
        let mut order: Vec<(i64, bool)> = of_thread()
            .map(|(number, story)| (story.sent_ms * 10 + i64::try_from(number).unwrap(), story.is_system))
            .collect();
        order.sort_unstable();
        let pending = order.iter().skip(1).filter(|(_, is_system)| !is_system).count();
        let found: i64 =
            sqlx::query_scalar("SELECT pending_raw_messages FROM agent_threads WHERE thread_id = $1")
                .bind(format!("{case}-t{thread}"))
                .fetch_one(pool)
                .await
                .unwrap();
        prop_assert_eq!(found, i64::try_from(pending).unwrap(), "{:?}", stories);
    }
    Ok(())
}

/// Fisher-Yates with a small generator: the order is a function of the seed.
fn shuffle(items: &mut [Item], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(last, usize::try_from(state >> 33).unwrap() % (last + 1));
    }
}

#[test]
fn what_the_network_ended_yields_to_processed_only() {
    let db = database();
    db.runtime.block_on(async {
        let case = case();
        let story = |receipts| Story {
            to_capability: false,
            redeliver: true,
            is_system: false,
            checkpoint_end: None,
            thread: 0,
            sent_ms: 0,
            receipts,
        };
        let steps = [(Effect::Rejected, "dead"), (Effect::Accepted, "dead"), (Effect::Processed, "processed")];
        let told = story(steps.iter().map(|(effect, _)| (*effect, true)).collect());
        write(&db.pool, &[vec![Item::Message(Box::new(message(&case, 0, &told)))]]).await;
        sqlx::query("UPDATE agent_deliveries SET state = 'dead', next_attempt_at = NULL, receipt_at = now(), finished_at = now()")
            .execute(&db.pool)
            .await
            .unwrap();
        for (place, (_, state)) in steps.iter().enumerate() {
            write(&db.pool, &[vec![Item::Receipt(Box::new(receipt(&case, 0, &told, place)))]]).await;
            let found: String =
                sqlx::query_scalar("SELECT state FROM agent_deliveries").fetch_one(&db.pool).await.unwrap();
            assert_eq!(found, *state);
        }
    });
}

#[test]
fn a_thread_keeps_the_first_participants_and_none_that_is_no_account() {
    let db = database();
    db.runtime.block_on(async {
        let story = Story {
            to_capability: true,
            redeliver: false,
            is_system: false,
            checkpoint_end: None,
            thread: 0,
            sent_ms: 0,
            receipts: Vec::new(),
        };
        let case = case();
        let from = |number: usize, account: String| {
            let row = MessageRow { from_account_id: Some(account), ..message(&case, number, &story) };
            Item::Message(Box::new(row))
        };
        let names: Vec<String> = (0..300).map(|number| format!("acct_{number}")).collect();
        let mut all: Vec<Item> =
            names.iter().enumerate().map(|(number, name)| from(number, name.clone())).collect();
        // Longer than any account id, and no single token.
        all.insert(1, from(300, "x".repeat(512)));
        all.insert(2, from(301, "not.an.account".to_owned()));
        // The limit is met in the middle of a batch, and again by one that comes later.
        let batches = [all.drain(..200).collect(), all.drain(..80).collect(), all];
        assert!(write(&db.pool, &batches).await.is_empty());
        let (kept, count): (sqlx::types::Json<Vec<String>>, i64) =
            sqlx::query_as("SELECT participants, message_count FROM agent_threads")
                .fetch_one(&db.pool)
                .await
                .unwrap();
        assert_eq!(kept.0, names[..MAX_PARTICIPANTS]);
        assert_eq!(count, 302);
    });
}
