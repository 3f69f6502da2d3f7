//! Frames of streams: the original's payloads, and what no reader may fall over.

use agentnet_proto::{
    Payload, StreamFrame,
    stream::{MAX_FRAME_BYTES, MAX_FRAME_DELTAS, StreamDelta, text_sha256},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn payload(value: Value) -> Option<StreamFrame> {
    StreamFrame::of_payload(&Payload::from(value))
}

#[test]
fn the_originals_payloads_are_read_with_its_defaults() {
    let start = payload(json!({"type": "stream_start", "stream_id": "s1"})).unwrap();
    let StreamFrame::Start(start) = start else { panic!("{start:?}") };
    assert_eq!((start.role.as_str(), start.content_type.as_str()), ("assistant", "text/plain"));
    assert_eq!(start.message_id, None);
    let delta = payload(json!({"type": "stream_delta", "stream_id": "s1", "delta": "Hel", "seq": 3,
                               "role": "assistant", "content_type": "text/plain"}));
    assert!(
        matches!(delta, Some(StreamFrame::Delta(d)) if d.delta == "Hel" && d.seq == 3 && d.more.is_empty())
    );
    let end = payload(json!({"type": "stream_end", "stream_id": "s1", "seq": 4, "text": "Hello",
                             "finished_at": "2026-02-21T08:00:00Z", "metadata": {"model": "x"}}));
    assert!(matches!(end, Some(StreamFrame::End(e)) if e.text.as_deref() == Some("Hello") && !e.cancelled));
    let error = payload(json!({"type": "stream_error", "stream_id": "s1", "error": "no more", "seq": 2}));
    assert!(matches!(error, Some(StreamFrame::Error(e)) if e.error == "no more"));
}

#[test]
fn what_is_no_stream_is_none() {
    for other in [
        json!({"type": "stream_start", "stream_id": ""}),
        json!({"type": "stream_start", "stream_id": " "}),
        json!({"type": "stream_start"}),
        json!({"type": "stream_error", "stream_id": "s", "error": ""}),
        json!({"type": "stream_delta", "stream_id": "s", "delta": "x"}),
        json!({"type": "stream_delta", "stream_id": "s", "delta": "x", "seq": -1}),
        json!({"type": "stream_delta", "stream_id": "s", "delta": 3, "seq": 1}),
        json!({"type": "stream_party", "stream_id": "s"}),
        json!({"text": "stream_start"}),
        json!(["stream_start"]),
        json!("stream_start"),
    ] {
        assert_eq!(payload(other.clone()), None, "{other}");
    }
}

#[test]
fn frames_are_bounded_and_their_ids_are_tokens() {
    let frame = |id: &str, delta: &str, more: usize| {
        let delta = StreamDelta {
            stream_id: id.into(),
            delta: delta.into(),
            more: vec![String::new(); more],
            ..Default::default()
        };
        serde_json::to_vec(&StreamFrame::Delta(delta)).unwrap()
    };
    assert!(StreamFrame::decode(&frame("s", "x", MAX_FRAME_DELTAS - 1)).is_ok());
    assert!(StreamFrame::decode(&frame("s", "x", MAX_FRAME_DELTAS)).is_err());
    assert!(StreamFrame::decode(&frame("s", &"x".repeat(MAX_FRAME_BYTES), 0)).is_err());
    for id in ["", "a.b", "*", ">", "a b", "$JS"] {
        assert!(StreamFrame::decode(&frame(id, "x", 0)).is_err(), "{id:?}");
    }
}

#[test]
fn known_answers() {
    assert_eq!(text_sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(text_sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in any::<String>()) {
        let _ = StreamFrame::decode(&bytes);
        let like = format!(r#"{{"type":"stream_delta","stream_id":{},"seq":{}}}"#, json!(text), text.len());
        let _ = StreamFrame::decode(like.as_bytes());
    }

    #[test]
    fn what_is_written_reads_back(
        id in "[a-z0-9]{1,20}",
        delta in any::<String>(),
        seq in any::<u64>(),
        more in proptest::collection::vec(any::<String>(), 0..4),
        from in proptest::option::of("[a-z]{1,9}"),
    ) {
        let delta = StreamDelta { stream_id: id, delta, seq, more, from_account_id: from, ..Default::default() };
        let frame = StreamFrame::Delta(delta);
        let bytes = serde_json::to_vec(&frame).unwrap();
        prop_assert_eq!(StreamFrame::decode(&bytes).unwrap(), frame);
    }
}
