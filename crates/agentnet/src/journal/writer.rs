//! The thread that writes: takes what is there, writes it at once, flushes it once.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
};

use tokio::sync::oneshot;

use super::{
    error::JournalError,
    file::{Change, JournalFile},
    live::Entry,
};

/// Most commands written at once.
const BATCH: usize = 1024;
/// No more commands are taken into a batch of so many bytes.
const BATCH_BYTES: usize = 4 << 20;

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Command {
    Put { entries: Vec<Entry>, done: oneshot::Sender<Result<(), JournalError>> },
    Remove { key: Arc<str> },
    Close { done: oneshot::Sender<()> },
}

/// Starts the thread. It ends, and lets the file go, when it is told to or when nobody is left to tell it anything.
pub(super) fn start(file: JournalFile, orders: mpsc::Receiver<Command>) -> io::Result<()> {
    thread::Builder::new().name("agentnet-journal".to_owned()).spawn(move || run(file, &orders)).map(drop)
}

fn run(mut file: JournalFile, orders: &mpsc::Receiver<Command>) {
    let mut failing = false;
    while let Ok(first) = orders.recv() {
        let (mut changes, mut waiting, mut closing, mut bytes) = (Vec::new(), Vec::new(), None, 0);
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Put { entries, done } => {
                    bytes += entries.iter().map(|entry| entry.body.len()).sum::<usize>();
                    changes.extend(entries.into_iter().map(Change::Put));
                    waiting.push(done);
                }
                Command::Remove { key } => changes.push(Change::Remove(key)),
                Command::Close { done } => closing = Some(done),
            }
            let full = changes.len() >= BATCH || bytes >= BATCH_BYTES || closing.is_some();
            next = if full { None } else { orders.try_recv().ok() };
        }
        if !changes.is_empty() {
            finish(&mut file, changes, waiting, &mut failing);
        }
        if let Some(done) = closing {
            drop(file);
            let _ = done.send(());
            return;
        }
        file.compact();
    }
}

fn finish(
    file: &mut JournalFile,
    changes: Vec<Change>,
    waiting: Vec<oneshot::Sender<Result<(), JournalError>>>,
    failing: &mut bool,
) {
    let written = file.apply(changes);
    // One line when it begins and one when it ends.
    match (&written, std::mem::replace(failing, written.is_err())) {
        (Err(error), false) => {
            tracing::warn!(path = %file.path().display(), %error, "the file can't be written")
        }
        (Ok(()), true) => tracing::info!(path = %file.path().display(), "the file can be written again"),
        _ => {}
    }
    for done in waiting {
        let outcome = match &written {
            Ok(()) => Ok(()),
            // Each caller gets the error; it can't be cloned.
            Err(error) => {
                let source = io::Error::new(error.kind(), error.to_string());
                Err(JournalError::io("write", file.path())(source))
            }
        };
        // Whoever waited may have gone.
        let _ = done.send(outcome);
    }
}
