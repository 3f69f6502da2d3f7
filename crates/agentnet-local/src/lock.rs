//! Advisory file locks that end with their holder, whichever way it ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use nix::libc;

use crate::{Error, Result, error::io};

const POLL: Duration = Duration::from_millis(5);

/// Opens `path` and locks it, waiting up to `patience`. The content is the pid that its last holder wrote; it
/// is emptied. The lock lasts until every copy of the file handle is closed, children's copies included.
pub(crate) fn acquire(path: &Path, patience: Duration) -> Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(io("open", path))?;
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(POLL),
            Err(TryLockError::WouldBlock) => {
                let pid = read_pid(&mut file);
                let path = path.parent().unwrap_or(path).to_owned();
                return Err(Error::InUse { path, pid });
            }
            Err(TryLockError::Error(source)) => return Err(io("lock", path)(source)),
        }
    }
    file.set_len(0).map_err(io("empty", path))?;
    Ok(file)
}

/// [`acquire`], then signs it with our pid, so that others can name us.
pub(crate) fn acquire_signed(path: &Path, patience: Duration) -> Result<File> {
    let mut file = acquire(path, patience)?;
    writeln!(file, "{}", std::process::id()).map_err(io("write", path))?;
    Ok(file)
}

/// The pid in a lock file, once it is there in full.
pub(crate) fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    let (line, _) = text.split_once('\n')?;
    line.trim().parse().ok()
}
