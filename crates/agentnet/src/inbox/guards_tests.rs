use agentnet_proto::ManualClock;
use serde_json::json;

use super::*;

#[expect(clippy::needless_pass_by_value, reason = "called with json!")]
fn envelope(fields: serde_json::Value) -> Envelope {
    let mut all = json!({
        "message_id": "m1", "from_agent": "a", "from_account_id": "acct_a", "from_session_tag": "s1",
        "to_agent": "acct_b", "payload": {}, "sent_at": "2026-02-21T08:00:00Z", "ttl_ms": 30000,
    });
    for (key, value) in fields.as_object().unwrap() {
        all[key] = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

fn guards() -> Guards {
    Guards::new(&GuardSettings {
        rate: Some((5.0, 10)),
        dedupe_ttl: Duration::from_secs(600),
        dedupe_max: 1000,
        breaker_failures: 5,
        breaker_reset: Duration::from_secs(15),
    })
}

#[test]
fn a_burst_of_ten_passes_whatever_the_session() {
    let guards = guards();
    let passed = (0..20)
        .filter(|i| guards.within_rate(&envelope(json!({"from_session_tag": format!("s{i}")}))))
        .count();
    // One more may have dripped in while the loop ran.
    assert!((10..=11).contains(&passed), "{passed}");
    assert!(guards.within_rate(&envelope(json!({"from_account_id": "acct_c"}))));
    assert!(guards.within_rate(&envelope(json!({"from_account_id": null}))));
}

#[test]
fn messages_and_keys_are_remembered_until_forgotten() {
    let (guards, now) = (guards(), Instant::now());
    let first = envelope(json!({"idempotency_key": "k"}));
    assert_eq!(guards.seen(&first, "me", now), Seen::No);
    guards.admitted(&first, "me", now);
    assert_eq!(guards.seen(&first, "me", now), Seen::Message(Outcome::Accepted));
    guards.processed(&first, now);
    assert_eq!(guards.seen(&first, "me", now), Seen::Message(Outcome::Processed));
    let same_key = envelope(json!({"message_id": "m2", "idempotency_key": "k"}));
    assert_eq!(guards.seen(&same_key, "me", now), Seen::IdempotencyKey);
    assert_eq!(guards.seen(&same_key, "another", now), Seen::No);
    let other_sender =
        envelope(json!({"message_id": "m3", "idempotency_key": "k", "from_account_id": "acct_c"}));
    assert_eq!(guards.seen(&other_sender, "me", now), Seen::No);
    guards.forget(&first, "me");
    assert_eq!(guards.seen(&first, "me", now), Seen::No);
    assert_eq!(guards.seen(&same_key, "me", now), Seen::No);
    guards.admitted(&first, "me", now);
    assert_eq!(guards.seen(&first, "me", now + Duration::from_secs(600)), Seen::No);
    // As the original: without an id there is nothing to compare.
    let nameless = envelope(json!({"message_id": ""}));
    guards.admitted(&nameless, "me", now);
    assert_eq!(guards.seen(&nameless, "me", now), Seen::No);
}

#[test]
fn five_failures_in_a_row_open_the_circuit() {
    let (guards, now) = (guards(), Instant::now());
    for _ in 0..4 {
        guards.handled(false, now);
    }
    guards.handled(true, now);
    for _ in 0..4 {
        guards.handled(false, now);
        assert!(!guards.circuit_open(now));
    }
    guards.handled(false, now);
    assert!(guards.circuit_open(now + Duration::from_millis(14_999)));
    assert!(!guards.circuit_open(now + Duration::from_secs(15)));
    // No half-open state: four more failures don't open it again.
    for _ in 0..4 {
        guards.handled(false, now + Duration::from_secs(15));
    }
    assert!(!guards.circuit_open(now + Duration::from_secs(15)));
}

#[test]
fn time_to_live() {
    let clock = ManualClock::new(Timestamp::parse("2026-02-21T08:00:29.999Z").unwrap());
    let check = |fields, source| check_time(&envelope(fields), source, &clock);
    let inbox = |fields| check(fields, Source::Inbox);
    assert_eq!(inbox(json!({})), Ok(()));
    assert_eq!(inbox(json!({"ttl_ms": "30000"})), Ok(()));
    assert_eq!(inbox(json!({"ttl_ms": 0})), Err(ErrorCode::Expired));
    assert_eq!(inbox(json!({"ttl_ms": null})), Err(ErrorCode::MissingTtl));
    assert_eq!(inbox(json!({"sent_at": "soon"})), Err(ErrorCode::MissingTtl));
    assert_eq!(inbox(json!({"expires_at": "2026-02-21T08:00:10Z"})), Err(ErrorCode::Expired));
    assert_eq!(inbox(json!({"sent_at": "2026-02-21T08:00:59Z"})), Ok(()));
    assert_eq!(inbox(json!({"sent_at": "2026-02-21T08:01:01Z"})), Err(ErrorCode::SentAtInFuture));
    clock.advance(Duration::from_millis(1));
    assert_eq!(check_time(&envelope(json!({})), Source::Inbox, &clock), Err(ErrorCode::Expired));
    assert_eq!(check_time(&envelope(json!({})), Source::Redelivery, &clock), Ok(()));
    let without = envelope(json!({"ttl_ms": null}));
    assert_eq!(check_time(&without, Source::Redelivery, &clock), Err(ErrorCode::MissingTtl));
}
