//! What an account may read of an open thread is the same in whatever order replicas met the messages, and what the
//! database selects is what the rule says.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use agentnet_local::testing::TestDb;
use agentnet_proto::{AccountId, Timestamp, envelope::body_hash};
use agentnet_store::access::{MAX_ADDRESSED_BY_ONE, Reader, Sight, sight};
use agentnet_store::ingest::{Item, MessageRow, ingest};
use agentnet_store::messages::{self, MessageFilter};
use agentnet_store::{Store, StoreConfig, StoreError};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::PgPool;

const ACCOUNTS: [&str; 5] = ["ann", "bob", "cat", "dan", "eve"];

/// From, to, and whether it answers somebody.
type Sent = (usize, usize, bool);

static CASE: AtomicU32 = AtomicU32::new(0);

fn case() -> String {
    format!("case{}", CASE.fetch_add(1, Ordering::Relaxed))
}

fn message(thread: &str, number: usize, (from, to, is_answer): Sent) -> Item {
    let at = Timestamp::from_unix_millis(1_771_660_800_000 + i64::try_from(number).unwrap()).unwrap();
    let body = b"{}".to_vec();
    Item::Message(Box::new(MessageRow {
        message_id: format!("{thread}-{number:03}"),
        thread_id: thread.to_owned(),
        parent_message_id: None,
        from_account_id: Some(ACCOUNTS[from].to_owned()),
        from_session_tag: None,
        to_account_id: Some(ACCOUNTS[to].to_owned()),
        to_agent: ACCOUNTS[to].to_owned(),
        kind: if is_answer { "reply" } else { "direct" }.to_owned(),
        schema_version: "1.2".to_owned(),
        idempotency_key: None,
        trace_id: None,
        sent_at: at,
        received_at: at,
        expires_at: None,
        body_sha256: body_hash(&body),
        body: body.into(),
        signature: None,
        search: String::new(),
        payload_bytes: 2,
        tokens: 1,
        checkpoint_end: None,
        recipients: Vec::new(),
        to_members: Vec::new(),
        mailbox: None,
    }))
}

async fn write(pool: &PgPool, batches: &[Vec<Item>]) {
    let mut conn = pool.acquire().await.unwrap();
    for batch in batches {
        while let Err(error) = ingest(&mut conn, batch).await {
            assert!(error.is_transient(), "{error}");
        }
    }
}

/// The rule, told without the code under test: whose messages `me` reads by being addressed.
fn senders(sent: &[Sent], me: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::from([me]);
    loop {
        let before = reached.len();
        for (from, to, is_answer) in sent {
            if !is_answer && reached.contains(to) {
                reached.insert(*from);
            }
        }
        if reached.len() == before {
            return reached;
        }
    }
}

fn may_read(sent: &[Sent], (from, to, is_answer): Sent, me: usize) -> bool {
    let senders = senders(sent, me);
    to == me || senders.contains(&from) || (is_answer && senders.contains(&to))
}

async fn prepare(url: String) -> Result<(), StoreError> {
    Store::migrate(&StoreConfig::new(url.into(), "test")).await
}

async fn database() -> (TestDb, PgPool) {
    let db = TestDb::create_from("migrated_for_ingest", prepare).await;
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(4).connect(db.url()).await.unwrap();
    (db, pool)
}

fn own(name: &str) -> Reader {
    Reader::Own(AccountId::new(name).unwrap())
}

async fn read(pool: &PgPool, reader: &Reader, thread: &str) -> BTreeSet<String> {
    let filter = MessageFilter { thread_id: Some(thread), ..MessageFilter::of(reader) };
    let page = messages::page(pool, &filter, None, 200, 1 << 20).await.unwrap();
    page.messages.into_iter().map(|message| message.message_id).collect()
}

#[test]
fn any_order_ends_in_the_same_sight() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_db, pool) = runtime.block_on(database());
    let sent = proptest::collection::vec((0..5_usize, 0..5_usize, proptest::bool::weighted(0.3)), 1..14);
    let input = (sent, any::<prop::sample::Index>(), 1..5_usize, any::<bool>());
    let input = input.prop_flat_map(|(sent, turn, size, at_once)| {
        (Just(sent.clone()), Just(sent).prop_shuffle(), Just(turn), Just(size), Just(at_once))
    });
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(60) });
    runner
        .run(&input, |(sent, shuffled, turn, size, at_once)| {
            runtime.block_on(async {
                let thread = case();
                // The shuffled ones keep their contents; what is compared is what one may read of the same set.
                let mut items: Vec<Item> = shuffled
                    .iter()
                    .enumerate()
                    .map(|(number, sent)| message(&thread, number, *sent))
                    .collect();
                items.push(turn.get(&items).clone());
                let batches: Vec<Vec<Item>> = items.chunks(size).map(<[Item]>::to_vec).collect();
                if at_once {
                    let (left, right) = batches.split_at(batches.len() / 2);
                    tokio::join!(write(&pool, left), write(&pool, right));
                } else {
                    write(&pool, &batches).await;
                }
                for (me, name) in ACCOUNTS.iter().enumerate() {
                    let wanted: BTreeSet<String> = shuffled
                        .iter()
                        .enumerate()
                        .filter(|(_, one)| may_read(&sent, **one, me))
                        .map(|(number, _)| format!("{thread}-{number:03}"))
                        .collect();
                    prop_assert_eq!(read(&pool, &own(name), &thread).await, wanted, "{} of {:?}", name, sent);
                }
                Ok(())
            })
        })
        .unwrap();
}

#[tokio::test]
async fn one_sender_doesnt_use_up_the_room_of_others() {
    let (_db, pool) = database().await;
    let thread = case();
    let flood = |number: usize| {
        let Item::Message(mut row) = message(&thread, number, (4, 0, false)) else { unreachable!() };
        row.to_account_id = Some(format!("nobody{number}"));
        Item::Message(row)
    };
    let batches: Vec<Vec<Item>> =
        (0..20).map(|batch| (0..50).map(|n| flood(batch * 50 + n)).collect()).collect();
    write(&pool, &batches).await;
    write(&pool, &[vec![message(&thread, 5_000, (0, 1, false)), message(&thread, 5_001, (1, 2, false))]])
        .await;
    let Sight::Part { senders, .. } = sight(&pool, &own("cat"), &thread).await.unwrap() else {
        panic!("an account reads a part")
    };
    assert_eq!(senders, ["ann", "bob"]);
    let kept: i32 =
        sqlx::query_scalar("SELECT cardinality(addressed) FROM agent_threads WHERE thread_id = $1")
            .bind(&thread)
            .fetch_one(&pool)
            .await
            .unwrap();
    assert!(kept <= i32::try_from(2 * MAX_ADDRESSED_BY_ONE + 2).unwrap(), "{kept}");
}
