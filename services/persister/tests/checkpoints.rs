//! Checkpoint bookkeeping, against a recount that knows nothing of ours.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_proto::{Envelope, Payload};
use support::{Net, message};

#[derive(Clone)]
struct Sent {
    id: String,
    at: u32,
    is_system: bool,
    covers_end: Option<i64>,
}

fn envelope(sent: &Sent) -> Envelope {
    let payload = match sent.covers_end {
        Some(end) => format!(r#"{{"type":"checkpoint","covers_start":1,"covers_end":{end}}}"#),
        None => r#"{"text":"x"}"#.to_owned(),
    };
    Envelope {
        kind: if sent.is_system { "system" } else { "direct" }.to_owned(),
        sent_at: format!("2026-02-21T08:{:02}:{:02}Z", sent.at / 60, sent.at % 60),
        payload: Payload::from_text(payload).unwrap(),
        ..message(&sent.id)
    }
}

/// (latest_checkpoint_end, pending_raw_messages, last_message_is_checkpoint) as the reference describes them: recounted
/// when a checkpoint comes, else one more for each message that isn't `system`.
fn expected(messages: &[Sent]) -> (i64, i64, bool) {
    let (mut end, mut pending) = (0, 0);
    for (index, message) in messages.iter().enumerate() {
        if let Some(covers) = message.covers_end {
            end = end.max(covers);
            let mut thread: Vec<&Sent> = messages[..=index].iter().collect();
            thread.sort_by_key(|m| (m.at, m.id.clone()));
            let tail = thread.iter().skip(usize::try_from(end).unwrap());
            pending = i64::try_from(tail.filter(|m| !m.is_system).count()).unwrap();
        } else if !message.is_system {
            pending += 1;
        }
    }
    let last = messages.iter().max_by_key(|m| (m.at, m.id.clone())).unwrap();
    (end, pending, last.covers_end.is_some())
}

async fn check(messages: &[Sent], one_by_one: bool) {
    let net = Net::start().await;
    net.stream().await;
    let persister = if one_by_one { Some(net.persister().await) } else { None };
    for sent in messages {
        net.send(&envelope(sent)).await;
        if one_by_one {
            net.notices.wait_stored("alice", &sent.id, 1).await;
        }
    }
    let persister = match persister {
        Some(persister) => persister,
        None => net.persister().await,
    };
    net.has(
        "SELECT coalesce(max(message_count), 0) FROM agent_threads",
        i64::try_from(messages.len()).unwrap(),
    )
    .await;
    let found: (i64, i64, bool) = sqlx::query_as(
        "SELECT latest_checkpoint_end, pending_raw_messages, last_message_is_checkpoint FROM agent_threads",
    )
    .fetch_one(&net.pool)
    .await
    .unwrap();
    assert_eq!(found, expected(messages), "one by one: {one_by_one}");
    persister.stop().await;
}

fn conversation() -> Vec<Sent> {
    let mut all = Vec::new();
    for number in 0..60_u32 {
        let covers_end = match number {
            10 => Some(8),
            25 => Some(20),
            // An old one that comes late, and one that says nothing sensible.
            30 => Some(5),
            40 => Some(-3),
            50 => Some(45),
            _ => None,
        };
        let is_system = covers_end.is_some() || number % 13 == 5;
        all.push(Sent { id: format!("m{number:02}"), at: number, is_system, covers_end });
    }
    all
}

#[tokio::test]
async fn one_by_one() {
    check(&conversation(), true).await;
}

#[tokio::test]
async fn in_one_batch() {
    check(&conversation(), false).await;
}

#[tokio::test]
async fn a_checkpoint_at_the_end_covers_all() {
    let mut messages = conversation();
    messages.push(Sent { id: "m99".to_owned(), at: 99, is_system: true, covers_end: Some(60) });
    check(&messages, true).await;
    messages.push(Sent { id: "n00".to_owned(), at: 100, is_system: false, covers_end: None });
    check(&messages, false).await;
}
