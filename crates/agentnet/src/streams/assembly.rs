//! Putting a streamed text together again: in order, complete, bounded. Knows nothing of networks and tasks.

use std::collections::{BTreeMap, VecDeque};

use agentnet_proto::{
    ErrorCode,
    stream::{MAX_TEXT_BYTES, StreamEnd, text_sha256},
};

use crate::error::Error;

/// Most deltas that wait for one before them.
const MAX_EARLY: usize = 4_096;

/// How a stream's parts come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    /// As frames, counted from 0, with a hash at the end.
    Frames,
    /// As messages of an original SDK, which may count from 1 and ends with a text that counts more than its deltas.
    Messages,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) message_id: Option<String>,
    pub(super) cancelled: bool,
}

/// What a reader has of a stream.
#[derive(Debug)]
pub(super) struct Assembly {
    parts: Parts,
    /// Everything up to the first delta that is missing.
    text: String,
    /// The first delta that is missing.
    next: u64,
    /// Deltas behind it.
    early: BTreeMap<u64, String>,
    early_bytes: usize,
    /// What the reader hasn't taken yet.
    ready: VecDeque<String>,
    /// The end, known before everything is here.
    announced: Option<StreamEnd>,
    /// How many deltas were spoken, as far as the sender said.
    spoken: u64,
    /// The end of an original's stream without a text: done once there are so many deltas.
    ending: Option<(u64, Ended)>,
    /// The sender failed after so many deltas, of which some are still to come.
    failing: Option<(u64, ErrorCode, String)>,
    outcome: Option<Result<Ended, (ErrorCode, String)>>,
    /// The sender can't repeat what is missing; the finished text will tell.
    beyond_replay: bool,
    is_based: bool,
}

impl Assembly {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            text: String::new(),
            next: 0,
            early: BTreeMap::new(),
            early_bytes: 0,
            ready: VecDeque::new(),
            announced: None,
            spoken: 0,
            ending: None,
            failing: None,
            outcome: None,
            beyond_replay: false,
            is_based: parts == Parts::Frames,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The first delta that is missing.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The next delta that the reader hasn't seen.
    pub(super) fn take(&mut self) -> Option<String> {
        self.ready.pop_front()
    }

    pub(super) fn outcome(&self) -> Option<&Result<Ended, (ErrorCode, String)>> {
        self.outcome.as_ref()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.outcome.is_some()
    }

    /// Whether something is missing that the sender could repeat.
    pub(super) fn has_gap(&self) -> bool {
        let end = self.announced.as_ref().map_or(0, |end| end.seq);
        let end = self.failing.as_ref().map_or(end, |(seq, ..)| *seq);
        let behind = !self.early.is_empty() || self.spoken.max(end) > self.next;
        !self.has_ended() && behind && !self.beyond_replay
    }

    /// Whether only the finished text can complete it.
    pub(super) fn needs_text(&self) -> bool {
        !self.has_ended() && self.announced.is_some() && self.beyond_replay
    }

    /// The message that holds the finished text, as its end says.
    pub(super) fn announced_message(&self) -> Option<&str> {
        self.announced.as_ref()?.message_id.as_deref()
    }

    /// A delta came, perhaps again, perhaps too early.
    pub(super) fn delta(&mut self, seq: u64, delta: &str) {
        if self.has_ended() || seq < self.next {
            return;
        }
        if self.text.len() + self.early_bytes + delta.len() > MAX_TEXT_BYTES {
            let detail = format!("the streamed text is longer than {MAX_TEXT_BYTES} bytes");
            return self.fail(ErrorCode::StreamTooLong, detail);
        }
        if seq > self.next {
            // What doesn't fit comes again.
            if self.early.len() < MAX_EARLY && !self.early.contains_key(&seq) {
                self.early_bytes += delta.len();
                self.early.insert(seq, delta.to_owned());
            }
            return;
        }
        self.is_based = true;
        self.append(delta.to_owned());
        self.catch_up();
    }

    fn append(&mut self, delta: String) {
        self.next += 1;
        self.text.push_str(&delta);
        if !delta.is_empty() {
            self.ready.push_back(delta);
        }
    }

    fn catch_up(&mut self) {
        while let Some(delta) = self.early.remove(&self.next) {
            self.early_bytes -= delta.len();
            self.append(delta);
        }
        self.conclude();
    }

    /// Waited long enough for a delta 0: whoever counts from 1 never sends one.
    pub(super) fn count_from_one(&mut self) {
        if !self.is_based && self.early.contains_key(&1) {
            self.is_based = true;
            self.next = 1;
            self.catch_up();
        }
    }

    /// Whether the first delta is still to be waited for, because it may be number 1.
    pub(super) fn is_unbased(&self) -> bool {
        !self.is_based && !self.early.is_empty()
    }

    /// The sender has spoken so many deltas.
    pub(super) fn has_spoken(&mut self, count: u64) {
        self.spoken = self.spoken.max(count);
    }

    /// The sender repeats from here on.
    pub(super) fn replays_from(&mut self, seq: u64) {
        self.beyond_replay |= seq > self.next;
        if !self.has_ended() {
            self.conclude();
        }
    }

    /// The sender says that it is complete.
    pub(super) fn end(&mut self, end: StreamEnd) {
        if !self.has_ended() && self.announced.is_none() {
            self.announced = Some(end);
            self.conclude();
        }
    }

    /// Ends once every delta up to the announced end is here.
    fn conclude(&mut self) {
        if let Some((_, code, detail)) =
            self.failing.take_if(|(count, ..)| *count <= self.next || self.beyond_replay)
        {
            return self.fail(code, detail);
        }
        if let Some((_, ended)) =
            self.ending.take_if(|(count, _)| *count <= self.next && self.early.is_empty())
        {
            self.outcome = Some(Ok(ended));
            return;
        }
        let Some(end) = self.announced.as_ref().filter(|end| end.seq == self.next) else { return };
        match &end.sha256 {
            Some(sha256) if *sha256 == text_sha256(&self.text) => {
                self.outcome =
                    Some(Ok(Ended { message_id: end.message_id.clone(), cancelled: end.cancelled }));
            }
            Some(_) => self
                .fail(ErrorCode::StreamMismatch, "the deltas don't have the hash that was announced".into()),
            // Without a hash only the finished text ends it.
            None => {}
        }
    }

    /// The finished text came, as a message.
    pub(super) fn finish(&mut self, end: &StreamEnd, message_id: &str) {
        if self.has_ended() {
            return;
        }
        let ended = Ended { message_id: Some(message_id.to_owned()), cancelled: end.cancelled };
        let Some(text) = &end.text else {
            return self.finish_without_text(end.seq, ended);
        };
        if end.sha256.as_ref().is_some_and(|sha256| *sha256 != text_sha256(text)) {
            return self.fail(
                ErrorCode::StreamMismatch,
                "the finished text doesn't have the hash that it names".into(),
            );
        }
        if text.len() > MAX_TEXT_BYTES {
            return self.fail(
                ErrorCode::StreamTooLong,
                format!("the finished text is longer than {MAX_TEXT_BYTES} bytes"),
            );
        }
        match text.strip_prefix(self.text.as_str()) {
            Some(rest) => {
                if !rest.is_empty() {
                    self.ready.push_back(rest.to_owned());
                }
            }
            // Original SDKs' readers show the text in place of the deltas.
            None if self.parts == Parts::Messages => {}
            None => {
                return self
                    .fail(ErrorCode::StreamMismatch, "the finished text isn't what the deltas said".into());
            }
        }
        self.text.clone_from(text);
        self.outcome = Some(Ok(ended));
    }

    /// An original's stream may end with no text: then its deltas are all there is.
    fn finish_without_text(&mut self, count: u64, ended: Ended) {
        // Its last parts may still be under way.
        self.ending = Some((count, ended));
        self.count_from_one();
        self.conclude();
    }

    /// The sender failed after so many deltas. What it said until then is still to be read.
    pub(super) fn fail_after(&mut self, count: u64, code: ErrorCode, detail: String) {
        if !self.has_ended() && self.failing.is_none() {
            self.failing = Some((count, code, detail));
            self.conclude();
        }
    }

    /// What it said isn't repeated: that it failed is all there is to know.
    pub(super) fn give_up(&mut self) -> bool {
        let failing = self.failing.take();
        let gives_up = failing.is_some();
        if let Some((_, code, detail)) = failing {
            self.fail(code, detail);
        }
        gives_up
    }

    pub(super) fn fail(&mut self, code: ErrorCode, detail: String) {
        if !self.has_ended() {
            self.outcome = Some(Err((code, detail)));
        }
        self.early.clear();
    }

    /// The outcome as its reader hears it.
    pub(super) fn error(&self) -> Option<Error> {
        match self.outcome.as_ref()? {
            Err((code, detail)) => Some(Error::of(*code, detail.clone())),
            Ok(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end(text: &str, seq: u64) -> StreamEnd {
        StreamEnd { seq, sha256: Some(text_sha256(text)), ..StreamEnd::default() }
    }

    fn finished(text: &str) -> StreamEnd {
        StreamEnd { text: Some(text.to_owned()), ..end(text, 0) }
    }

    fn taken(assembly: &mut Assembly) -> Vec<String> {
        std::iter::from_fn(|| assembly.take()).collect()
    }

    fn code(assembly: &Assembly) -> Option<ErrorCode> {
        assembly.outcome().and_then(|outcome| outcome.as_ref().err()).map(|(code, _)| *code)
    }

    #[test]
    fn a_hash_that_differs_and_a_text_that_differs_are_mismatches() {
        let mut wrong = Assembly::new(Parts::Frames);
        wrong.delta(0, "a");
        wrong.end(end("b", 1));
        assert_eq!(code(&wrong), Some(ErrorCode::StreamMismatch));
        let mut other = Assembly::new(Parts::Frames);
        other.delta(0, "a");
        other.finish(&finished("ba"), "m");
        assert_eq!(code(&other), Some(ErrorCode::StreamMismatch));
        let mut forged = Assembly::new(Parts::Frames);
        forged.finish(&StreamEnd { text: Some("x".into()), ..end("y", 0) }, "m");
        assert_eq!(code(&forged), Some(ErrorCode::StreamMismatch));
    }

    #[test]
    fn the_finished_text_heals_a_gap() {
        let mut assembly = Assembly::new(Parts::Frames);
        assembly.delta(0, "Hel");
        assembly.delta(2, "wor");
        assert!(assembly.has_gap());
        assembly.replays_from(2);
        assert!(!assembly.has_gap() && !assembly.needs_text());
        assembly.end(end("Hello world", 4));
        assert!(assembly.needs_text());
        assembly.finish(&finished("Hello world"), "m");
        assert_eq!(taken(&mut assembly), ["Hel", "lo world"]);
        assert!(matches!(assembly.outcome(), Some(Ok(_))));
    }

    #[test]
    fn what_was_spoken_and_isnt_here_is_a_gap() {
        let mut assembly = Assembly::new(Parts::Frames);
        assembly.delta(0, "a");
        assembly.has_spoken(2);
        assert!(assembly.has_gap());
        assembly.delta(1, "b");
        assert!(!assembly.has_gap());
    }

    #[test]
    fn what_was_said_before_a_failure_is_read_first() {
        let mut assembly = Assembly::new(Parts::Frames);
        assembly.fail_after(2, ErrorCode::StreamBroken, String::new());
        assert!(assembly.has_gap() && !assembly.has_ended());
        assembly.delta(1, "b");
        assembly.delta(0, "a");
        assert_eq!(
            (taken(&mut assembly).concat().as_str(), code(&assembly)),
            ("ab", Some(ErrorCode::StreamBroken))
        );
        let mut lost = Assembly::new(Parts::Frames);
        lost.fail_after(2, ErrorCode::StreamTooLong, String::new());
        lost.replays_from(1);
        assert_eq!(code(&lost), Some(ErrorCode::StreamTooLong));
    }

    #[test]
    fn a_stream_that_never_ends_is_bounded() {
        let mut assembly = Assembly::new(Parts::Frames);
        let delta = "x".repeat(8 * 1024);
        for seq in 0..1_000 {
            assembly.delta(seq, &delta);
        }
        assert_eq!(code(&assembly), Some(ErrorCode::StreamTooLong));
        assert!(assembly.text().len() <= MAX_TEXT_BYTES);
        let mut gappy = Assembly::new(Parts::Frames);
        for seq in 1..100_000 {
            gappy.delta(seq, "");
        }
        assert!(gappy.early.len() <= MAX_EARLY);
    }

    #[test]
    fn originals_may_count_from_one_and_end_without_a_text() {
        let mut assembly = Assembly::new(Parts::Messages);
        assembly.delta(2, "b");
        assembly.delta(1, "a");
        assert!(taken(&mut assembly).is_empty() && assembly.is_unbased());
        assembly.count_from_one();
        assert_eq!(taken(&mut assembly), ["a", "b"]);
        assembly.finish(&StreamEnd { seq: 3, ..StreamEnd::default() }, "m");
        assert!(matches!(assembly.outcome(), Some(Ok(_))));
        let mut gap = Assembly::new(Parts::Messages);
        gap.delta(0, "a");
        gap.delta(2, "c");
        gap.finish(&StreamEnd::default(), "m");
        assert!(!gap.has_ended(), "a part is still to come");
        gap.delta(1, "b");
        assert_eq!((gap.text(), gap.has_ended()), ("abc", true));
        let mut other = Assembly::new(Parts::Messages);
        other.delta(0, "draft");
        other.finish(&StreamEnd { text: Some("final".into()), ..StreamEnd::default() }, "m");
        assert_eq!((other.text(), code(&other)), ("final", None), "their text counts more than their deltas");
    }

    proptest! {
        /// However frames are repeated, lost and mixed up: what is given out is the text, once, in order.
        #[test]
        fn any_order_and_repetition_gives_the_text_once(
            deltas in proptest::collection::vec("[a-zé😀]{0,4}", 0..30),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..120),
            end_at in any::<proptest::sample::Index>(),
        ) {
            let text: String = deltas.concat();
            let mut assembly = Assembly::new(Parts::Frames);
            let count = deltas.len() as u64;
            let mut given = String::new();
            let end_at = end_at.index(order.len() + 1);
            for (n, index) in order.iter().enumerate() {
                if n == end_at {
                    assembly.end(end(&text, count));
                }
                if !deltas.is_empty() {
                    let seq = index.index(deltas.len());
                    assembly.delta(seq as u64, &deltas[seq]);
                }
                given += &taken(&mut assembly).concat();
                prop_assert!(text.starts_with(&given));
            }
            // What is missing is repeated from the first gap on.
            for seq in assembly.next()..count {
                assembly.delta(seq, &deltas[seq as usize]);
            }
            assembly.end(end(&text, count));
            given += &taken(&mut assembly).concat();
            prop_assert_eq!(&given, &text);
            prop_assert!(matches!(assembly.outcome(), Some(Ok(_))));
        }

        #[test]
        fn the_finished_text_alone_is_enough(deltas in proptest::collection::vec("[a-zé]{0,4}", 0..20), cut in any::<proptest::sample::Index>()) {
            let text: String = deltas.concat();
            let mut assembly = Assembly::new(Parts::Frames);
            let cut = cut.index(deltas.len() + 1);
            for (seq, delta) in deltas.iter().enumerate().take(cut) {
                assembly.delta(seq as u64, delta);
            }
            assembly.finish(&finished(&text), "m");
            prop_assert_eq!(taken(&mut assembly).concat(), text);
            prop_assert!(matches!(assembly.outcome(), Some(Ok(_))));
        }
    }
}
