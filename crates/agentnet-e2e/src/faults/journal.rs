//! What recipients did, written down as they do it.
//!
//! A journal is one append-only file per account, or per capability, because whoever may legally handle a message must
//! share the memory of having done so. Its rows are the recipients' effects: a message was handled when its row is
//! there, and twice when there are two. All writers of a file take turns by a lock that the kernel gives back when one
//! is killed, so looking a message up and writing its row is one step, whatever dies.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::Path,
};

use serde::{Deserialize, Serialize};

/// A row of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What happened.
    pub what: What,
    /// The message.
    pub message_id: String,
    /// Username of the sender.
    pub sender: String,
    /// The sender's count of its messages.
    pub seq: u64,
    /// Which attempt of the network it was, from 1.
    pub attempt: u32,
    /// Whether the network delivered it, not its sender.
    pub redelivered: bool,
    /// Session of the recipient.
    pub session: String,
}

/// What a row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// The handler was called.
    Call,
    /// The handler had its effect.
    Effect,
}

/// A journal open for writing.
#[derive(Debug)]
pub struct Journal {
    reader: Reader,
    done: HashSet<String>,
    sync: bool,
    idempotent: bool,
}

impl Journal {
    /// Opens or makes a journal. With `sync` every effect is flushed to the disk. Without `idempotent` the effect is
    /// repeated whenever the handler is called: the negative control.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: &Path, sync: bool, idempotent: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        Ok(Self { reader: Reader::of(file), done: HashSet::new(), sync, idempotent })
    }

    /// Writes down a call, and the effect unless it was had before. Says whether it was had now. Blocks for as long as
    /// another writer takes.
    ///
    /// # Errors
    /// What the file system says; the effect was not had then.
    pub fn handle(&mut self, row: &Row) -> io::Result<bool> {
        let file = self.reader.file.try_clone()?;
        file.lock()?;
        let handled = self.handle_locked(row);
        file.unlock()?;
        handled
    }

    fn handle_locked(&mut self, row: &Row) -> io::Result<bool> {
        self.catch_up()?;
        self.append(&Row { what: What::Call, ..row.clone() })?;
        if self.idempotent && self.done.contains(&row.message_id) {
            return Ok(false);
        }
        self.append(&Row { what: What::Effect, ..row.clone() })?;
        if self.sync {
            self.reader.file.sync_data()?;
        }
        Ok(true)
    }

    /// Reads what other writers added.
    fn catch_up(&mut self) -> io::Result<()> {
        for row in self.reader.read()? {
            if row.what == What::Effect {
                self.done.insert(row.message_id);
            }
        }
        if self.reader.has_torn_row()? {
            // Its writer was killed half-way; nobody else is writing now.
            (&self.reader.file).write_all(b"\n")?;
            self.reader.read()?;
        }
        Ok(())
    }

    fn append(&self, row: &Row) -> io::Result<()> {
        let mut line = serde_json::to_vec(row)?;
        line.push(b'\n');
        (&self.reader.file).write_all(&line)
    }
}

/// Follows a journal that others write.
#[derive(Debug)]
pub struct Reader {
    file: File,
    /// Everything before it was read.
    offset: u64,
    torn: u64,
}

impl Reader {
    /// Follows the journal at `path`, from its beginning.
    ///
    /// # Errors
    /// What the file system says; `NotFound` while nobody wrote it.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self::of)
    }

    fn of(file: File) -> Self {
        Self { file, offset: 0, torn: 0 }
    }

    /// The rows since the last call that are complete.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(&mut self) -> io::Result<Vec<Row>> {
        let length = self.file.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(length.saturating_sub(self.offset)).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, self.offset)?;
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.offset += complete as u64;
        let mut rows = Vec::new();
        for line in bytes[..complete].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(row) => rows.push(row),
                Err(_) => self.torn += 1,
            }
        }
        Ok(rows)
    }

    /// Rows that a killed writer left unfinished.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    fn has_torn_row(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() > self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str) -> Row {
        Row {
            what: What::Call,
            message_id: id.to_owned(),
            sender: "sender-1".to_owned(),
            seq: 1,
            attempt: 1,
            redelivered: false,
            session: "s".to_owned(),
        }
    }

    fn effects(path: &Path) -> Vec<String> {
        let rows = Reader::open(path).unwrap().read().unwrap();
        rows.into_iter().filter(|row| row.what == What::Effect).map(|row| row.message_id).collect()
    }

    #[test]
    fn two_writers_have_one_effect() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut one = Journal::open(&path, false, true).unwrap();
        let mut two = Journal::open(&path, true, true).unwrap();
        assert!(one.handle(&row("a")).unwrap());
        assert!(!two.handle(&row("a")).unwrap());
        assert!(two.handle(&row("b")).unwrap());
        assert!(!one.handle(&row("b")).unwrap());
        assert_eq!(effects(&path), ["a", "b"]);
        assert_eq!(Reader::open(&path).unwrap().read().unwrap().len(), 6);
    }

    #[test]
    fn without_its_memory_it_repeats_the_effect() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::open(&path, false, false).unwrap();
        assert!(journal.handle(&row("a")).unwrap());
        assert!(journal.handle(&row("a")).unwrap());
        assert_eq!(effects(&path), ["a", "a"]);
    }

    #[test]
    fn a_row_of_a_killed_writer_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        Journal::open(&path, false, true).unwrap().handle(&row("a")).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(br#"{"what":"effect","message_id":"b","#).unwrap();
        let mut journal = Journal::open(&path, false, true).unwrap();
        assert!(journal.handle(&row("b")).unwrap());
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.read().unwrap().len(), 4);
        assert_eq!(reader.torn(), 1);
        assert_eq!(effects(&path), ["a", "b"]);
    }

    #[test]
    fn a_reader_waits_for_the_end_of_a_row() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let line = serde_json::to_vec(&row("a")).unwrap();
        std::fs::write(&path, &line[..10]).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.read().unwrap(), []);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&line[10..]).unwrap();
        file.write_all(b"\n").unwrap();
        assert_eq!(reader.read().unwrap(), [row("a")]);
    }
}
