//! A small map that outlives its process: entries are put and removed, and what was put is on the disk when that is
//! said. The outbox and the dedupe of a node keep theirs in one each.
//!
//! The file only grows until it is written anew: one record for each change ([`format`]). A thread of its own writes,
//! many changes at a time, and flushes them with one `fdatasync`. When more than half of the file (and a megabyte) is
//! about entries that are gone, the rest is written to a new file that takes the place of the old one in one step. So
//! the file has at most twice the bytes of what it holds, a megabyte and one batch; while it is replaced, as much as it
//! holds again.
//!
//! One process at a time has a file, by a lock on `<file>.lock` that the system takes away from a process that dies.

mod error;
mod file;
mod format;
mod live;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

pub(crate) use error::JournalError;
use file::JournalFile;
pub(crate) use format::Kind;
pub(crate) use live::{Entry, Keep};
use tokio::sync::oneshot;
use writer::Command;

use crate::error::Error;

/// An open journal. Closes by itself when it is dropped; [`close`](Self::close) also waits until that is done.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    commands: mpsc::Sender<Command>,
}

impl Journal {
    /// Opens the file at `path`, or makes it. Gives what an earlier process left in it, in the order it was put.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(crate) async fn open(
        path: &Path,
        kind: Kind,
        keep: Keep,
        now_ms: u64,
    ) -> Result<(Self, Vec<Entry>), JournalError> {
        let path = path.to_owned();
        let opening = path.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let file = JournalFile::open(&opening, kind, keep, now_ms)?;
            let entries: Vec<Entry> = file.entries().cloned().collect();
            let (commands, orders) = mpsc::channel();
            writer::start(file, orders)
                .map_err(JournalError::io("start the thread that writes", &opening))?;
            Ok((Self { path: opening, commands }, entries))
        });
        match opened.await {
            Ok(opened) => opened,
            Err(_) => Err(JournalError::Closed { path }),
        }
    }

    /// Puts entries, all or none; they are on the disk when this returns.
    ///
    /// # Errors
    /// [`JournalError::Io`]: nothing was put, and a later call may succeed.
    pub(crate) async fn put(&self, entries: Vec<Entry>) -> Result<(), Error> {
        let (done, written) = oneshot::channel();
        let closed = || JournalError::Closed { path: self.path.clone() };
        self.commands.send(Command::Put { entries, done }).map_err(|_| closed())?;
        written.await.map_err(|_| closed())?.map_err(Error::from)
    }

    /// Removes an entry. That is not waited for: after a crash the entry may be back.
    pub(crate) fn remove(&self, key: Arc<str>) {
        // Once the thread is gone the file stays as it is, and says more than is true; its reader can bear that.
        let _ = self.commands.send(Command::Remove { key });
    }

    /// Writes what is left and lets the file go.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.commands.send(Command::Close { done }).is_ok() {
            let _ = closed.await;
        }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests;
