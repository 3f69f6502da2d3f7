//! The file of a journal: read once, appended to, written anew.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Seek as _, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{
    error::JournalError,
    format::{self, Fault, HEADER, Kind, Op, Record},
    live::{Entry, Keep, Live},
};

/// How long the process that has the file may take to be gone.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(10);
/// What a file may hold of entries that are gone, beyond as much as of those that are there.
const SLACK: u64 = 1 << 20;

/// One change, as it is written.
#[derive(Debug)]
pub(super) enum Change {
    Put(Entry),
    Remove(std::sync::Arc<str>),
}

#[derive(Debug)]
pub(super) struct JournalFile {
    path: PathBuf,
    kind: Kind,
    file: File,
    live: Live,
    /// Where the next record goes.
    end: u64,
    /// How much is on the disk for certain.
    certain: u64,
    /// A write or flush failed: what the file holds behind `certain` isn't known.
    broken: bool,
    _lock: File,
}

impl JournalFile {
    /// Takes the file, and reads it.
    pub(super) fn open(path: &Path, kind: Kind, keep: Keep, now_ms: u64) -> Result<Self, JournalError> {
        let lock = lock(path)?;
        let mut live = Live::new(keep);
        let found = read(path)?;
        let end = match &found {
            Some(bytes) => load(path, kind, bytes, &mut live)?,
            None => 0,
        };
        live.forget_old(now_ms);
        let clean = found.is_some_and(|bytes| bytes.len() as u64 == end) && is_private(path);
        let mut opened = Self {
            path: path.to_owned(),
            kind,
            // Replaced below unless the file is as it should be.
            file: lock.try_clone().map_err(JournalError::io("open", path))?,
            live,
            end,
            // What an earlier process wrote last may not have been flushed.
            certain: HEADER as u64,
            broken: false,
            _lock: lock,
        };
        if clean {
            opened.file = append_to(path, end).map_err(JournalError::io("open", path))?;
            opened.flush().map_err(JournalError::io("flush", path))?;
        } else {
            opened.rewrite().map_err(JournalError::io("write", path))?;
        }
        Ok(opened)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds, in the order it was put.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.live.entries()
    }

    /// Writes changes, and flushes them if anything was put. On an error nothing was put.
    pub(super) fn apply(&mut self, changes: Vec<Change>) -> io::Result<()> {
        if self.broken {
            self.rewrite()?;
        }
        let (mut bytes, mut put) = (Vec::new(), Vec::new());
        for change in &changes {
            encode(&mut bytes, change, self.certain)?;
        }
        for change in changes {
            match change {
                Change::Put(entry) => {
                    put.push(entry.key.clone());
                    self.live.put(entry);
                }
                Change::Remove(key) => {
                    self.live.remove(&key);
                }
            }
        }
        let written = self.append(&bytes).and_then(|()| if put.is_empty() { Ok(()) } else { self.flush() });
        if written.is_err() {
            self.broken = true;
            for key in put {
                self.live.remove(&key);
            }
        }
        written
    }

    /// Writes the file anew when it is mostly about what is gone. A failure is left to the next time.
    pub(super) fn compact(&mut self) {
        if self.end <= HEADER as u64 + SLACK + 2 * self.live.bytes() {
            return;
        }
        if let Err(error) = self.rewrite() {
            tracing::warn!(path = %self.path.display(), %error, "the file can't be made smaller; trying on");
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.certain = self.end;
        Ok(())
    }

    /// Replaces the file by one that holds what is there, in one step.
    fn rewrite(&mut self) -> io::Result<()> {
        // One name, so that crashes leave one file at most; the lock says that nobody else writes it.
        let new = beside(&self.path, ".new");
        let written = self.write_new(&new);
        if written.is_err() {
            // It takes room that may be what is missing.
            let _ = fs::remove_file(&new);
        }
        written
    }

    fn write_new(&mut self, new: &Path) -> io::Result<()> {
        let _ = fs::remove_file(new);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        private(&mut options);
        let file = options.open(new)?;
        let mut out = io::BufWriter::with_capacity(1 << 16, &file);
        out.write_all(self.kind.header())?;
        let (mut end, mut bytes) = (HEADER as u64, Vec::new());
        for entry in self.live.entries() {
            bytes.clear();
            encode_put(&mut bytes, entry, HEADER as u64)?;
            out.write_all(&bytes)?;
            end += bytes.len() as u64;
        }
        out.flush()?;
        drop(out);
        file.sync_all()?;
        fs::rename(new, &self.path)?;
        self.file = file;
        // The name is on the disk too when this returns.
        File::open(parent(&self.path)).and_then(|dir| dir.sync_all())?;
        (self.end, self.certain, self.broken) = (end, end, false);
        Ok(())
    }
}

fn encode(out: &mut Vec<u8>, change: &Change, certain: u64) -> io::Result<()> {
    match change {
        Change::Put(entry) => encode_put(out, entry, certain),
        Change::Remove(key) => encode_record(out, &Record { at_ms: 0, key, op: Op::Remove }, certain),
    }
}

fn encode_put(out: &mut Vec<u8>, entry: &Entry, certain: u64) -> io::Result<()> {
    let op = Op::Put { head: &entry.head, body: &entry.body };
    encode_record(out, &Record { at_ms: entry.at_ms, key: &entry.key, op }, certain)
}

fn encode_record(out: &mut Vec<u8>, record: &Record<'_>, certain: u64) -> io::Result<()> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "an entry is too long");
    format::encode(out, record, certain).map_err(too_long)
}

/// Takes the lock of the file, or says who has it.
fn lock(path: &Path) -> Result<File, JournalError> {
    let lock = beside(path, ".lock");
    fs::create_dir_all(parent(path)).map_err(JournalError::io("create the directory of", path))?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    private(&mut options);
    let file = options.open(&lock).map_err(JournalError::io("open", &lock))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_POLL),
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(JournalError::io("lock", &lock)(error)),
        }
    }
}

/// What the file holds; `None` if there is none, or an empty one.
fn read(path: &Path) -> Result<Option<Vec<u8>>, JournalError> {
    // Looked at before it is opened: opening a pipe would wait for a writer.
    match fs::metadata(path) {
        Ok(meta) if !meta.is_file() => return Err(JournalError::Foreign { path: path.to_owned() }),
        Ok(meta) if meta.len() == 0 => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(JournalError::io("read", path)(error)),
    }
    fs::read(path).map(Some).map_err(JournalError::io("read", path))
}

/// Fills in what the file says; where its whole records end.
fn load(path: &Path, kind: Kind, bytes: &[u8], live: &mut Live) -> Result<u64, JournalError> {
    let path = || path.to_owned();
    let decoded = format::decode(kind, bytes).map_err(|fault| match fault {
        Fault::Foreign => JournalError::Foreign { path: path() },
        Fault::Damaged { offset } => JournalError::Damaged { path: path(), offset },
    })?;
    for record in decoded.records {
        match record.op {
            Op::Put { head, body } => live.put(Entry {
                key: record.key.into(),
                at_ms: record.at_ms,
                head: bytes::Bytes::copy_from_slice(head),
                body: bytes::Bytes::copy_from_slice(body),
            }),
            Op::Remove => {
                live.remove(record.key);
            }
        }
    }
    if decoded.end < bytes.len() {
        let torn = bytes.len() - decoded.end;
        tracing::info!(path = %path().display(), torn, "left out what a process was writing when it died");
    }
    Ok(decoded.end as u64)
}

fn append_to(path: &Path, end: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.seek(io::SeekFrom::Start(end))?;
    Ok(file)
}

/// A file of the same name with something behind it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
}

#[cfg(not(unix))]
fn private(_: &mut OpenOptions) {}

/// Whether only its owner may read it; one that others may is written anew.
#[cfg(unix)]
fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 == 0)
}

#[cfg(not(unix))]
fn is_private(_: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(file: &mut JournalFile, key: &str) -> io::Result<()> {
        let empty = bytes::Bytes::new();
        file.apply(vec![Change::Put(Entry { key: key.into(), at_ms: 1, head: empty.clone(), body: empty })])
    }

    fn keys(file: &JournalFile) -> Vec<&str> {
        file.entries().map(|entry| &*entry.key).collect()
    }

    /// As with a full disk: what was put before stays, what failed is not there, and it goes on by itself.
    #[test]
    fn after_a_failed_write_the_file_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let open = || JournalFile::open(&path, Kind::Outbox, Keep::default(), 0).unwrap();
        let mut file = open();
        put(&mut file, "a").unwrap();
        put(&mut file, "gone").unwrap();
        // Takes no more writes.
        file.file = File::open(&path).unwrap();
        put(&mut file, "failed").unwrap_err();
        assert_eq!(keys(&file), ["a", "gone"]);
        // Nor is there room for a new file.
        let aside = dir.path().with_extension("aside");
        fs::rename(dir.path(), &aside).unwrap();
        put(&mut file, "failed too").unwrap_err();
        fs::rename(&aside, dir.path()).unwrap();
        file.apply(vec![Change::Remove("gone".into())]).unwrap();
        put(&mut file, "b").unwrap();
        assert_eq!(keys(&file), ["a", "b"]);
        drop(file);
        assert_eq!(keys(&open()), ["a", "b"]);
    }

    /// A crash while the file is replaced leaves the old one as it was.
    #[test]
    fn what_is_left_of_an_interrupted_rewrite_is_no_part_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut file = JournalFile::open(&path, Kind::Outbox, Keep::default(), 0).unwrap();
        put(&mut file, "a").unwrap();
        fs::write(dir.path().join("journal.new"), "half").unwrap();
        drop(file);
        let mut file = JournalFile::open(&path, Kind::Outbox, Keep::default(), 0).unwrap();
        assert_eq!(keys(&file), ["a"]);
        file.rewrite().unwrap();
        assert!(!dir.path().join("journal.new").exists());
    }
}
