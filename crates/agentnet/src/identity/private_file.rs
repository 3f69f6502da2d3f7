//! Files that nobody else reads: 0600 in a 0700 directory, written whole or not at all.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use super::IdentityError;

/// A file of ours has less than 4 KiB.
const MAX_BYTES: u64 = 64 * 1024;
/// Changes take a second at most, with a password.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(10);

/// What a file holds; `None` if there is none. With `strict` one that others may read is refused.
pub(super) fn read(path: &Path, strict: bool) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    let failed = |error| IdentityError::io("read", path)(error);
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(IdentityError::damaged(path, "it isn't a small file"));
    }
    if strict {
        require_closed(path, &meta, 0o077)?;
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Sized at once, so that growing leaves no copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0) + 1));
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

/// Writes a file whole. Without `replace` one that exists stays as it is, and the answer is `false`.
pub(super) fn write(path: &Path, content: &[u8], replace: bool) -> Result<bool, IdentityError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let failed = |error| IdentityError::io("write", path)(error);
    // The temporary file is made 0600.
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(dir).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    let placed = if replace { file.persist(path) } else { file.persist_noclobber(path) };
    match placed {
        Ok(_) => {}
        Err(error) if !replace && error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(failed(error.error)),
    }
    // The name is on disk too when this returns: a key that the network has bound must not be lost.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(true)
}

/// Makes the directory, or refuses one that others may change.
pub(super) fn ensure_dir(dir: &Path) -> Result<(), IdentityError> {
    let failed = |error| IdentityError::io("create", dir)(error);
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_dir(dir).map(drop),
        other => other.map_err(failed),
    }
}

/// Whether the directory is there, refusing one that others may change.
pub(super) fn check_dir(dir: &Path) -> Result<bool, IdentityError> {
    match fs::metadata(dir) {
        Ok(meta) => require_closed(dir, &meta, 0o022).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(IdentityError::io("read", dir)(error)),
    }
}

#[cfg(unix)]
fn require_closed(path: &Path, meta: &fs::Metadata, forbidden: u32) -> Result<(), IdentityError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = meta.permissions().mode() & 0o777;
    if mode & forbidden == 0 {
        return Ok(());
    }
    Err(IdentityError::TooOpen { path: path.to_owned(), mode, is_dir: meta.is_dir() })
}

#[cfg(not(unix))]
fn require_closed(_: &Path, _: &fs::Metadata, _: u32) -> Result<(), IdentityError> {
    // A user's data directory is closed to others by its access list there.
    Ok(())
}

/// Holds other processes of this directory back until dropped.
pub(super) struct Lock(#[expect(dead_code, reason = "closing the file lets go")] File);

/// Takes the directory's lock.
pub(super) fn lock(dir: &Path) -> Result<Lock, IdentityError> {
    let path: PathBuf = dir.join(".lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).map_err(IdentityError::io("open", &path))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_POLL),
            Err(TryLockError::WouldBlock) => return Err(IdentityError::Busy { path }),
            Err(TryLockError::Error(error)) => return Err(IdentityError::io("lock", path)(error)),
        }
    }
}
