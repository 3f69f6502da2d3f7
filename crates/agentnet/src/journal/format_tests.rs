use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Owned {
    at_ms: u64,
    key: String,
    value: Option<(Vec<u8>, Vec<u8>)>,
}

impl Owned {
    fn record(&self) -> Record<'_> {
        let op = match &self.value {
            Some((head, body)) => Op::Put { head, body },
            None => Op::Remove,
        };
        Record { at_ms: self.at_ms, key: &self.key, op }
    }
}

fn records() -> impl Strategy<Value = Vec<Owned>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let one = (any::<u64>(), ".{0,12}", prop::option::of((bytes(), bytes())))
        .prop_map(|(at_ms, key, value)| Owned { at_ms, key, value });
    prop::collection::vec(one, 0..8)
}

/// A file in which each record was on the disk when the next was written, and where its records end.
fn file(records: &[Owned]) -> (Vec<u8>, Vec<usize>) {
    let mut file = Kind::Outbox.header().to_vec();
    let mut ends = vec![file.len()];
    for record in records {
        let certain = file.len() as u64;
        encode(&mut file, &record.record(), certain).unwrap();
        ends.push(file.len());
    }
    (file, ends)
}

proptest! {
    #[test]
    fn what_was_written_is_read(records in records()) {
        let (file, _) = file(&records);
        let decoded = decode(Kind::Outbox, &file).unwrap();
        prop_assert_eq!(decoded.end, file.len());
        prop_assert_eq!(decoded.records, records.iter().map(Owned::record).collect::<Vec<_>>());
    }

    /// Whatever a crash cuts off, everything before it is read, and nothing else.
    #[test]
    fn a_tail_torn_at_any_byte_is_left_out(records in records()) {
        let (file, ends) = file(&records);
        for cut in HEADER..=file.len() {
            let decoded = decode(Kind::Outbox, &file[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            prop_assert_eq!(decoded.records.len(), whole);
            prop_assert_eq!(decoded.end, ends[whole]);
        }
        for cut in 0..HEADER {
            prop_assert_eq!(decode(Kind::Outbox, &file[..cut]), Err(Fault::Foreign));
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_records(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(Kind::Outbox, &bytes);
        let mut file = Kind::Outbox.header().to_vec();
        file.extend_from_slice(&bytes);
        let decoded = decode(Kind::Outbox, &file).unwrap();
        prop_assert!(decoded.records.is_empty());
        prop_assert_eq!(decoded.end, HEADER);
    }

    /// A changed byte in what was certain is found, wherever it is; in the last record it can't be told from a crash,
    /// and the record is left out. No change makes another record out of one.
    #[test]
    fn a_changed_byte_is_damage(records in records(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        prop_assume!(records.len() > 1);
        let (mut file, ends) = file(&records);
        let at = HEADER + at.index(file.len() - HEADER);
        file[at] ^= flip;
        let hit = ends.iter().filter(|end| **end <= at).count() - 1;
        match decode(Kind::Outbox, &file) {
            Err(fault) => prop_assert_eq!(fault, Fault::Damaged { offset: ends[hit] }),
            Ok(decoded) => {
                prop_assert_eq!(hit, records.len() - 1);
                prop_assert_eq!(decoded.records.len(), hit);
            }
        }
    }
}

/// A power cut may leave later parts of what was never flushed on the disk, and not the earlier ones.
#[test]
fn a_hole_in_what_was_never_certain_is_a_torn_tail() {
    let mut file = Kind::Outbox.header().to_vec();
    let record = Record { at_ms: 1, key: "a", op: Op::Put { head: b"h", body: b"b" } };
    encode(&mut file, &record, 16).unwrap();
    let flushed = file.len();
    encode(&mut file, &record, flushed as u64).unwrap();
    let second = file.len();
    encode(&mut file, &record, flushed as u64).unwrap();
    file[flushed..second].fill(0);
    let decoded = decode(Kind::Outbox, &file).unwrap();
    assert_eq!((decoded.records.len(), decoded.end), (1, flushed));
}

#[test]
fn another_kind_of_journal_is_refused() {
    assert_eq!(decode(Kind::Dedupe, Kind::Outbox.header()), Err(Fault::Foreign));
    assert_eq!(decode(Kind::Outbox, b"notes of a user\n\n"), Err(Fault::Foreign));
}

#[test]
fn what_is_too_long_for_a_record_is_refused() {
    let key = "k".repeat(1 << 16);
    let record = Record { at_ms: 1, key: &key, op: Op::Remove };
    assert_eq!(encode(&mut Vec::new(), &record, 0), Err(TooLong));
}
