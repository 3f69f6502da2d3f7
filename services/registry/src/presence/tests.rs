//! The rules about silence, with a clock that is a number.

use std::time::Duration;

use agentnet_proto::Timestamp;
use agentnet_proto::rpc::AgentInfo;
use agentnet_store::sessions::Session;

use super::table::Table;
use super::{Heard, Opened, Route};

const TTL: i64 = 40_000;

fn info(tag: &str) -> AgentInfo {
    AgentInfo {
        agent_id: format!("agent_{tag}"),
        name: "N".to_owned(),
        account_id: Some("acct_a".to_owned()),
        username: Some("a".to_owned()),
        session_tag: Some(tag.to_owned()),
        ..AgentInfo::default()
    }
}

fn row(tag: &str, age: Duration) -> Session {
    Session {
        session_tag: tag.to_owned(),
        agent_id: format!("agent_{tag}"),
        account_id: Some("acct_a".to_owned()),
        username: Some("a".to_owned()),
        server_id: "old".to_owned(),
        schema_version: "1.0".to_owned(),
        connected_at: Timestamp::UNIX_EPOCH,
        age,
        name: "N".to_owned(),
        capabilities: Vec::new(),
        metadata: serde_json::Map::new(),
    }
}

fn table() -> Table {
    Table::new(100, 1 << 20)
}

fn hello(table: &mut Table, tag: &str, now: i64) -> Heard {
    table.hello(tag, info(tag), Timestamp::UNIX_EPOCH, "r", now)
}

fn visible(table: &Table, now: i64) -> usize {
    table.of_account("acct_a", now, TTL).len()
}

#[test]
fn silence_kills_after_the_ttl_and_not_before_one_ttl_has_passed_since_the_start() {
    let mut table = table();
    table.load(&row("fresh", Duration::from_secs(30)), 0, TTL, Timestamp::UNIX_EPOCH);
    table.load(&row("stale", Duration::from_secs(3600)), 0, TTL, Timestamp::UNIX_EPOCH);
    // The stale one is not shown, but nobody is dead yet.
    assert_eq!((visible(&table, 0), table.evict(TTL - 1, TTL), table.len()), (1, 0, 2));
    assert_eq!(visible(&table, TTL - 1), 1);
    assert_eq!(hello(&mut table, "stale", TTL - 1), Heard::Touched);
    assert_eq!(visible(&table, TTL - 1), 2);
    assert_eq!((table.evict(TTL, TTL), table.len()), (1, 1));
    assert_eq!((table.evict(2 * TTL - 2, TTL), table.evict(2 * TTL - 1, TTL)), (0, 1));
}

#[test]
fn time_stands_still_while_nobody_can_be_heard() {
    let mut table = table();
    assert_eq!(hello(&mut table, "a", 1_000), Heard::Restored);
    table.freeze(TTL);
    table.freeze(TTL + 10_000);
    let later = 100 * TTL;
    assert_eq!((visible(&table, later), table.evict(later, TTL)), (1, 0));
    table.thaw(later);
    assert_eq!((visible(&table, later + TTL - 1), table.evict(later + TTL - 1, TTL)), (1, 0));
    assert_eq!((visible(&table, later + TTL), table.evict(later + TTL, TTL)), (0, 1));
    // A connection that was never lost changes nothing.
    table.thaw(later + TTL);
    assert!(table.may_judge(later + TTL, TTL));
}

#[test]
fn what_could_not_be_written_waits_and_is_written_once() {
    let mut table = table();
    hello(&mut table, "a", 0);
    hello(&mut table, "b", 0);
    hello(&mut table, "a", 5);
    table.note_end("gone");
    let pending = table.take_pending(10, 100);
    assert_eq!((pending.changed.len(), pending.touched.len(), pending.ended.len()), (2, 0, 1));
    assert_eq!(pending.changed[0].age, Duration::from_millis(5));
    hello(&mut table, "b", 20);
    table.put_back(&pending);
    table.remove("a");
    let again = table.take_pending(20, 100);
    // `a` is gone, `b` still has to be written in full although it was only touched since.
    assert_eq!(again.changed.iter().map(|s| s.session_tag.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(again.ended, ["gone"]);
    let rest = table.take_pending(20, 100);
    assert_eq!((rest.changed.len(), rest.touched.len(), rest.ended.len()), (0, 0, 0));
    hello(&mut table, "b", 30);
    assert_eq!(table.take_pending(35, 100).touched, [("b".to_owned(), Duration::from_millis(5))]);
}

#[test]
fn a_hello_changes_what_it_names_and_keeps_the_rest() {
    let mut table = table();
    let opened = Opened { server_id: "r".into(), at: Timestamp::UNIX_EPOCH };
    assert!(table.open(&info("a"), &opened, 0));
    let bare = AgentInfo {
        agent_id: "other".to_owned(),
        capabilities: vec!["c".to_owned()],
        ..AgentInfo::default()
    };
    let bare = AgentInfo { session_tag: Some("a".to_owned()), ..bare };
    assert_eq!(table.hello("a", bare, Timestamp::UNIX_EPOCH, "r", 1), Heard::Changed);
    let row = &table.take_pending(1, 10).changed[0];
    assert_eq!((row.agent_id.as_str(), row.name.as_str()), ("agent_a", "N"));
    assert_eq!(
        (row.account_id.as_deref(), row.capabilities.as_slice()),
        (Some("acct_a"), &["c".to_owned()][..])
    );
    // Into another account: found there, and no longer here.
    let moved = AgentInfo { account_id: Some("acct_b".to_owned()), ..info("a") };
    assert_eq!(table.hello("a", moved, Timestamp::UNIX_EPOCH, "r", 2), Heard::Changed);
    assert_eq!((visible(&table, 2), table.keys_of_account("acct_b").len()), (0, 1));
    assert!(table.keys_of_account("acct_a").is_empty());
}

#[test]
fn there_is_a_limit() {
    let mut table = Table::new(2, 1 << 20);
    assert_eq!(hello(&mut table, "a", 0), Heard::Restored);
    assert_eq!(hello(&mut table, "b", 0), Heard::Restored);
    assert_eq!(hello(&mut table, "c", 0), Heard::Refused);
    table.remove("a");
    assert_eq!(hello(&mut table, "c", 0), Heard::Restored);
    let mut small = Table::new(100, 100);
    assert_eq!(hello(&mut small, "a", 0), Heard::Restored);
    assert_eq!(hello(&mut small, "b", 0), Heard::Refused);
}

#[test]
fn a_session_that_takes_no_mail_is_no_way_to_deliver_anything() {
    let mut table = table();
    let mut silent = info("http");
    silent.metadata.insert(super::TAKES_MAIL.to_owned(), false.into());
    silent.capabilities = vec!["c".to_owned()];
    assert_eq!(table.hello("http", silent, Timestamp::UNIX_EPOCH, "r", 0), Heard::Restored);
    assert!(table.wakes.is_empty());
    for recipient in ["acct_a", "capability:c"] {
        assert_eq!(table.route(recipient, 1, TTL), Route::Nobody, "{recipient}");
    }
    assert!(table.online(1, TTL, Timestamp::UNIX_EPOCH).is_empty());
    // Beside one that takes some, that one counts.
    assert_eq!(hello(&mut table, "own", 0), Heard::Restored);
    assert!(matches!(table.route("acct_a", 1, TTL), Route::Legacy(_)));
    assert!(!table.wakes.is_empty());
}
