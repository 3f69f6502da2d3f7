//! Cutting answers to what NATS carries.

use std::io;

use serde::Serialize;

/// Counts what is written and keeps nothing.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Length of the value as JSON.
pub(super) fn json_len<T: Serialize>(value: &T) -> usize {
    let mut counter = Counter(0);
    // What can't be encoded is reported when the answer is.
    let _ = serde_json::to_writer(&mut counter, value);
    counter.0
}

/// Drops rows from the end until the rest fits into `budget` bytes, but keeps the first. Whether any was dropped.
pub(super) fn fit<T: Serialize>(rows: &mut Vec<T>, budget: usize) -> bool {
    let mut used = 0;
    let fitting = rows
        .iter()
        .take_while(|row| {
            used += json_len(row) + 1;
            used <= budget
        })
        .count();
    let keep = fitting.max(1);
    let cut = keep < rows.len();
    rows.truncate(keep);
    cut
}

/// A page of at most `limit` rows that fit into `budget` bytes, of rows that were read one beyond the limit, and where the
/// next one starts.
pub(super) fn page<T: Serialize>(
    mut rows: Vec<T>,
    limit: i64,
    budget: usize,
    cursor: impl FnOnce(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let fetched = rows.len();
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let cut = fit(&mut rows, budget);
    let next = if cut || fetched > rows.len() { rows.last().map(cursor) } else { None };
    (rows, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_dropped_from_the_end() {
        let mut rows = vec!["aaaa"; 10];
        assert!(!fit(&mut rows, 70));
        assert!(fit(&mut rows, 69));
        assert_eq!(rows.len(), 9);
        assert!(fit(&mut rows, 3));
        assert_eq!(rows.len(), 1);
        assert!(!fit(&mut Vec::<&str>::new(), 0));
    }
}
