use proptest::prelude::*;
use serde_json::json;
use tokio::time::{self, advance};

use super::*;
use crate::send::Stage;

const PAUSE: Duration = Duration::from_millis(1500);
const TTL: Duration = Duration::from_secs(30);

fn outbox(max: usize) -> Outbox {
    Outbox::new(max, 1 << 20, OutboxPolicy::Wait, Arc::default())
}

fn put(outbox: &Outbox, id: &str) -> Arc<Track> {
    let now = Instant::now();
    let outgoing = Outgoing {
        signature: None,
        body: Bytes::from(id.to_owned()),
        pause: PAUSE,
        expires: now + TTL,
        must_confirm: true,
        seen: false,
        content: None,
        _room: outbox.try_reserve(id.len()).unwrap(),
    };
    outbox.insert(id, Track::new(Some("acct_b"), false, now), outgoing, now).unwrap().0
}

fn due(outbox: &Outbox) -> Vec<String> {
    outbox.due(Instant::now(), 100).into_iter().map(|r| String::from_utf8(r.body.to_vec()).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn copies_come_with_growing_pauses_until_the_time_is_over() {
    let outbox = outbox(10);
    let track = put(&outbox, "m");
    let start = Instant::now();
    let mut copies = Vec::new();
    while outbox.next_due().is_some() {
        if !due(&outbox).is_empty() {
            copies.push(start.elapsed());
        }
        advance(Duration::from_millis(50)).await;
    }
    assert!((5..=10).contains(&copies.len()), "{copies:?}");
    assert!(copies[0] >= PAUSE && copies[0] < PAUSE + Duration::from_millis(100), "{copies:?}");
    for pair in copies.windows(2) {
        let pause = pair[1] - pair[0];
        assert!(pause >= Duration::from_millis(1200) && pause <= RESEND_MAX.mul_f64(1.2), "{copies:?}");
    }
    assert!(track.progress().given_up);
    assert_eq!(outbox.load(), (0, 0), "its room is free again");
}

/// A request may be answered while the stream takes nothing: history must get it all the same.
#[tokio::test(start_paused = true)]
async fn what_somebody_has_seen_is_sent_on_after_its_time() {
    let outbox = outbox(10);
    let (seen, unseen) = (put(&outbox, "seen"), put(&outbox, "unseen"));
    seen.update(|p| p.accepted = true);
    let (start, mut late) = (Instant::now(), Vec::new());
    while outbox.next_due().is_some() {
        for resend in outbox.due(Instant::now(), 100) {
            assert_eq!(resend.late, start.elapsed() >= TTL);
            if resend.late {
                assert_eq!(resend.body, "seen");
                late.push(start.elapsed());
            }
        }
        advance(Duration::from_millis(50)).await;
    }
    assert!(unseen.progress().given_up && seen.progress().given_up);
    assert!(late.len() > 100 && *late.last().unwrap() < TTL + LATE_MAX, "{}", late.len());
    assert_eq!(outbox.load(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_ends_the_copies_and_a_receipt_still_finds_who_waits() {
    let outbox = outbox(10);
    let track = put(&outbox, "m");
    outbox.stored(["m", "unknown"]);
    assert_eq!((outbox.load(), outbox.next_due()), ((0, 0), None));
    let receipt = json!({"message_id": "m", "status": "accepted", "from_account_id": "acct_b"});
    let receipt = serde_json::from_value::<Receipt>(receipt).unwrap();
    assert!(outbox.wanting(&receipt).unwrap().receipt(&receipt));
    assert_eq!(track.progress().verdict(Goal::Delivered), Verdict::Reached);
    outbox.unwatch("m");
    assert!(outbox.wanting(&receipt).is_none(), "nobody waits, nothing is kept");
    assert!(outbox.lock().entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_nobody_waits_for_stays_until_confirmed() {
    let outbox = outbox(10);
    put(&outbox, "m");
    outbox.unwatch("m");
    assert_eq!(outbox.load().0, 1);
    advance(PAUSE).await;
    assert_eq!(due(&outbox), ["m"]);
    outbox.stored(["m"]);
    assert!(outbox.lock().entries.is_empty());
    assert_eq!(outbox.drain(Instant::now()).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_makes_everything_due() {
    let outbox = outbox(10);
    for id in ["a", "b", "c"] {
        put(&outbox, id);
    }
    assert!(due(&outbox).is_empty());
    outbox.all_due(Instant::now());
    assert_eq!(due(&outbox), ["a", "b", "c"], "in the order they were sent");
    assert!(due(&outbox).is_empty());
}

#[tokio::test(start_paused = true)]
async fn room_is_waited_for_in_order_and_not_for_ever() {
    let outbox = Arc::new(outbox(1));
    put(&outbox, "first");
    let waiting = time::timeout(Duration::from_secs(60), outbox.reserve(1, Instant::now() + TTL));
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::OutboxFull);
    let second = outbox.reserve(1, Instant::now() + TTL);
    outbox.stored(["first"]);
    assert!(second.await.is_ok());
    put(&outbox, "third");
    let closing = outbox.reserve(1, Instant::now() + TTL);
    outbox.close();
    assert_eq!(closing.await.unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn what_the_network_refuses_leaves_and_a_members_failure_does_not() {
    let outbox = outbox(10);
    let track = put(&outbox, "m");
    let failed = |recipient: Option<&str>| FailedMessage {
        message_id: "m".into(),
        state: "rejected".into(),
        code: "message_id_conflict".into(),
        detail: String::new(),
        recipient: recipient.map(str::to_owned),
    };
    outbox.failed(&failed(Some("acct_b")));
    assert_eq!(outbox.load().0, 1, "its delivery failed; the message is not confirmed by that");
    outbox.failed(&failed(None));
    assert_eq!(outbox.load().0, 0);
    assert!(matches!(track.progress().verdict(Goal::Stage(Stage::Stored)), Verdict::Refused(_)));
}

proptest! {
    /// Whatever comes in whatever order: what is kept is what was put and not settled, and no room is lost.
    #[test]
    fn keeps_exactly_what_is_unsettled(ops in prop::collection::vec((0_u8..5, 0_u8..8), 1..200)) {
        let outbox = outbox(1000);
        let mut open = std::collections::BTreeSet::new();
        for (op, n) in ops {
            let id = n.to_string();
            match op {
                0 | 1 if !outbox.lock().entries.contains_key(id.as_str()) => {
                    put(&outbox, &id);
                    open.insert(n);
                }
                2 => {
                    outbox.stored([id.as_str()]);
                    open.remove(&n);
                }
                3 => outbox.unwatch(&id),
                _ => outbox.all_due(Instant::now()),
            }
            prop_assert_eq!(outbox.load(), (open.len(), open.len()));
            prop_assert_eq!(outbox.lock().due.len(), open.len());
            prop_assert_eq!(outbox.lock().must_confirm, open.len());
        }
    }
}
