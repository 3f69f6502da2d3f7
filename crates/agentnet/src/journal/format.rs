//! The bytes of a journal file.
//!
//! A header of 16 bytes, then records, each written once and never changed:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `FF FE 72 6A`: no UTF-8 text holds them |
//! | 4 | CRC-32C of everything that follows |
//! | 8 | how much of the file was on the disk for certain when this was written |
//! | 8 | when it was written, in milliseconds since 1970 |
//! | 1 | 1 for put, 2 for remove |
//! | 2, 2, 4 | lengths of key, head and body |
//! | | key, head, body |
//!
//! Numbers are little-endian. What a crash leaves half written stands behind everything that was on the disk for
//! certain; a broken record that a later one calls certain is damage.

use crc::{CRC_32_ISCSI, Crc, Table};

/// Which journal a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Messages that were sent and not confirmed.
    Outbox,
    /// Messages and keys that were handled.
    Dedupe,
}

impl Kind {
    /// The first bytes of a file of this kind.
    pub(super) const fn header(self) -> &'static [u8; 16] {
        match self {
            Self::Outbox => b"agentnet outbox\x01",
            Self::Dedupe => b"agentnet dedupe\x01",
        }
    }
}

/// Length of the header.
pub(super) const HEADER: usize = 16;
const MARK: [u8; 4] = [0xff, 0xfe, b'r', b'j'];
/// Everything of a record before its key.
const FIXED: usize = 4 + 4 + 8 + 8 + 1 + 2 + 2 + 4;
const PUT: u8 = 1;
const REMOVE: u8 = 2;
const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op<'a> {
    /// `key` means this from now on.
    Put { head: &'a [u8], body: &'a [u8] },
    /// `key` means nothing any more.
    Remove,
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) at_ms: u64,
    pub(super) key: &'a str,
    pub(super) op: Op<'a>,
}

/// A key, head or body is longer than a record can hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// How long a record with these parts is.
pub(super) const fn record_len(key: usize, head: usize, body: usize) -> usize {
    FIXED + key + head + body
}

/// Appends a record. `certain`: how much of the file is on the disk for certain.
pub(super) fn encode(out: &mut Vec<u8>, record: &Record<'_>, certain: u64) -> Result<(), TooLong> {
    let (op, head, body): (u8, &[u8], &[u8]) = match record.op {
        Op::Put { head, body } => (PUT, head, body),
        Op::Remove => (REMOVE, &[], &[]),
    };
    let key_len = u16::try_from(record.key.len()).map_err(|_| TooLong)?;
    let head_len = u16::try_from(head.len()).map_err(|_| TooLong)?;
    let body_len = u32::try_from(body.len()).map_err(|_| TooLong)?;
    let start = out.len();
    out.reserve(record_len(record.key.len(), head.len(), body.len()));
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&certain.to_le_bytes());
    out.extend_from_slice(&record.at_ms.to_le_bytes());
    out.push(op);
    out.extend_from_slice(&key_len.to_le_bytes());
    out.extend_from_slice(&head_len.to_le_bytes());
    out.extend_from_slice(&body_len.to_le_bytes());
    out.extend_from_slice(record.key.as_bytes());
    out.extend_from_slice(head);
    out.extend_from_slice(body);
    let sum = CRC.checksum(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

/// What stands in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded<'a> {
    pub(super) records: Vec<Record<'a>>,
    /// Where the whole records end; what follows was being written when a process died.
    pub(super) end: usize,
}

/// Why a file can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It doesn't begin as a journal of this kind.
    Foreign,
    /// What stands there was on the disk, and isn't what was written.
    Damaged { offset: usize },
}

/// Reads a whole file.
pub(super) fn decode(kind: Kind, file: &[u8]) -> Result<Decoded<'_>, Fault> {
    if file.get(..HEADER) != Some(kind.header().as_slice()) {
        return Err(Fault::Foreign);
    }
    let (mut records, mut end) = (Vec::new(), HEADER);
    while let Some((record, _, len)) = parse(file, end) {
        records.push(record);
        end += len;
    }
    if end < file.len() && is_certain(file, end) {
        return Err(Fault::Damaged { offset: end });
    }
    Ok(Decoded { records, end })
}

/// Whether any whole record after `broken` says that what stands there was on the disk.
fn is_certain(file: &[u8], broken: usize) -> bool {
    let mut from = broken + 1;
    while let Some(found) = file.get(from..).and_then(|rest| rest.windows(MARK.len()).position(|w| w == MARK))
    {
        let at = from + found;
        if let Some((_, certain, _)) = parse(file, at)
            && certain > broken as u64
        {
            return true;
        }
        from = at + 1;
    }
    false
}

/// The record at `offset`, what it calls certain, and its length; `None` if there is no whole one.
fn parse(file: &[u8], offset: usize) -> Option<(Record<'_>, u64, usize)> {
    let mut rest = file.get(offset..)?;
    let mut take = |n: usize| {
        let (taken, left) = rest.split_at_checked(n)?;
        rest = left;
        Some(taken)
    };
    if take(4)? != MARK {
        return None;
    }
    let sum = u32::from_le_bytes(take(4)?.try_into().ok()?);
    let certain = u64::from_le_bytes(take(8)?.try_into().ok()?);
    let at_ms = u64::from_le_bytes(take(8)?.try_into().ok()?);
    let op = *take(1)?.first()?;
    let key_len = usize::from(u16::from_le_bytes(take(2)?.try_into().ok()?));
    let head_len = usize::from(u16::from_le_bytes(take(2)?.try_into().ok()?));
    let body_len = usize::try_from(u32::from_le_bytes(take(4)?.try_into().ok()?)).ok()?;
    let (key, head, body) = (take(key_len)?, take(head_len)?, take(body_len)?);
    let len = record_len(key_len, head_len, body_len);
    let covered = file.get(offset + 8..offset + len)?;
    if CRC.checksum(covered) != sum || certain > offset as u64 {
        return None;
    }
    let op = match op {
        PUT => Op::Put { head, body },
        REMOVE if head.is_empty() && body.is_empty() => Op::Remove,
        _ => return None,
    };
    Some((Record { at_ms, key: std::str::from_utf8(key).ok()?, op }, certain, len))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
