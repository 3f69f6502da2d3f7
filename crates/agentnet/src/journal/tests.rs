use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/outbox");
    (dir, path)
}

async fn open(path: &Path) -> Result<(Journal, Vec<Entry>), JournalError> {
    Journal::open(path, Kind::Outbox, Keep::default(), 0).await
}

fn entry(key: &str, body: &[u8]) -> Entry {
    Entry { key: key.into(), at_ms: 7, head: Bytes::from_static(b"{}"), body: Bytes::copy_from_slice(body) }
}

fn keys(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.key).collect()
}

#[tokio::test]
async fn what_was_put_is_there_again_and_what_was_removed_is_not() {
    let (_dir, path) = place();
    let (journal, found) = open(&path).await.unwrap();
    assert!(found.is_empty());
    journal.put(vec![entry("a", b"1"), entry("b", b"2")]).await.unwrap();
    journal.put(vec![entry("c", b"3")]).await.unwrap();
    journal.remove("b".into());
    journal.close().await;
    let (journal, found) = open(&path).await.unwrap();
    assert_eq!(found, [entry("a", b"1"), entry("c", b"3")]);
    // Dropped, it lets the file go as well, a moment later.
    drop(journal);
    assert_eq!(keys(&open(&path).await.unwrap().1), ["a", "c"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn one_process_at_a_time() {
    let (_dir, path) = place();
    let (_journal, _) = open(&path).await.unwrap();
    let error = Error::from(open(&path).await.unwrap_err());
    assert_eq!((error.kind(), error.code()), (ErrorKind::File, "file_in_use"));
}

#[tokio::test]
async fn other_files_are_left_alone() {
    let (dir, path) = place();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "a user's notes, longer than any header").unwrap();
    let error = Error::from(open(&path).await.unwrap_err());
    assert_eq!((error.kind(), error.code()), (ErrorKind::File, "file_damaged"));
    assert_eq!(fs::read(&path).unwrap(), b"a user's notes, longer than any header");
    assert_eq!(Error::from(open(dir.path()).await.unwrap_err()).code(), "file_damaged");
    // An empty one is taken.
    fs::write(&path, "").unwrap();
    open(&path).await.unwrap();
}

#[tokio::test]
async fn damage_is_named_with_its_place_and_the_file_stays() {
    let (_dir, path) = place();
    let (journal, _) = open(&path).await.unwrap();
    for key in ["a", "b", "c"] {
        journal.put(vec![entry(key, b"body")]).await.unwrap();
    }
    journal.close().await;
    let mut bytes = fs::read(&path).unwrap();
    bytes[format::HEADER + 33] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = Error::from(open(&path).await.unwrap_err());
    assert_eq!((error.kind(), error.code()), (ErrorKind::File, "file_damaged"));
    assert!(error.detail().contains("at byte 16"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[tokio::test]
async fn a_torn_tail_is_left_out_and_written_over() {
    let (_dir, path) = place();
    let (journal, _) = open(&path).await.unwrap();
    journal.put(vec![entry("a", b"1")]).await.unwrap();
    let whole = fs::read(&path).unwrap();
    journal.put(vec![entry("b", b"2")]).await.unwrap();
    journal.close().await;
    let all = fs::read(&path).unwrap();
    for cut in whole.len()..all.len() {
        fs::write(&path, &all[..cut]).unwrap();
        let (journal, found) = open(&path).await.unwrap();
        assert_eq!(keys(&found), ["a"]);
        journal.put(vec![entry("c", b"3")]).await.unwrap();
        journal.close().await;
        let (journal, found) = open(&path).await.unwrap();
        assert_eq!(keys(&found), ["a", "c"]);
        journal.close().await;
    }
}

#[tokio::test]
async fn the_file_stays_small_whatever_goes_through_it() {
    let (_dir, path) = place();
    let (journal, _) = open(&path).await.unwrap();
    let body = vec![b'x'; 64 * 1024];
    journal.put(vec![entry("stays", &body)]).await.unwrap();
    for number in 0..100 {
        let key = number.to_string();
        journal.put(vec![entry(&key, &body)]).await.unwrap();
        journal.remove(key.into());
    }
    journal.close().await;
    let most = (1 << 20) + 4 * body.len() as u64;
    assert!(fs::metadata(&path).unwrap().len() <= most, "{} bytes", fs::metadata(&path).unwrap().len());
    assert_eq!(keys(&open(&path).await.unwrap().1), ["stays"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_fails_the_put_and_nothing_else() {
    let (_dir, path) = place();
    let (journal, _) = open(&path).await.unwrap();
    journal.put(vec![entry("a", b"1")]).await.unwrap();
    let too_long = entry(&"k".repeat(1 << 16), b"2");
    let error = journal.put(vec![too_long]).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::File, "file_unavailable"));
    journal.put(vec![entry("b", b"3")]).await.unwrap();
    journal.close().await;
    assert_eq!(keys(&open(&path).await.unwrap().1), ["a", "b"]);
    let (journal, _) = open(&path).await.unwrap();
    journal.close().await;
    assert_eq!(journal.put(vec![entry("c", b"")]).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_file_that_others_could_read_is_closed_to_them() {
    let (_dir, path) = place();
    open(&path).await.unwrap().0.close().await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    open(&path).await.unwrap().0.close().await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn old_entries_are_forgotten_by_age_and_count() {
    let (_dir, path) = place();
    let keep = Keep { entries: Some(2), age: Some(Duration::from_millis(100)) };
    let at = |key: &str, at_ms| Entry { at_ms, ..entry(key, b"") };
    let (journal, _) = Journal::open(&path, Kind::Dedupe, keep, 0).await.unwrap();
    journal.put(vec![at("a", 10), at("b", 20), at("c", 30)]).await.unwrap();
    journal.close().await;
    let (journal, found) = Journal::open(&path, Kind::Dedupe, keep, 125).await.unwrap();
    assert_eq!(keys(&found), ["c"]);
    journal.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Whatever is put and removed in whatever order: after a restart it is what a plain map holds.
    #[test]
    fn behaves_like_a_map_across_restarts(ops in prop::collection::vec((0_u8..4, 0_u8..6), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_dir, path) = place();
            let mut journal = open(&path).await.unwrap().0;
            let mut model: Vec<Entry> = Vec::new();
            for (i, (op, key)) in ops.into_iter().enumerate() {
                let key = key.to_string();
                match op {
                    0 | 1 => {
                        let entry = entry(&key, i.to_string().as_bytes());
                        model.retain(|known| *known.key != *key);
                        model.push(entry.clone());
                        journal.put(vec![entry]).await.unwrap();
                    }
                    2 => {
                        model.retain(|known| *known.key != *key);
                        journal.remove(key.into());
                    }
                    _ => {
                        journal.close().await;
                        let (again, found) = open(&path).await.unwrap();
                        assert_eq!(found, model);
                        journal = again;
                    }
                }
            }
        });
    }
}
