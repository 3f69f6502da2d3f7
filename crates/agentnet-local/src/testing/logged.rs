//! What a piece of code writes to the log.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

/// Runs `code` on this thread, and gives what it logged from level `info` up, line by line.
pub fn logged<T>(code: impl FnOnce() -> T) -> (T, Vec<String>) {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let done = tracing::subscriber::with_default(subscriber, code);
    let written = lines.0.lock().unwrap_or_else(PoisonError::into_inner);
    (done, String::from_utf8_lossy(&written).lines().map(str::to_owned).collect())
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
