//! Small file operations with the permissions and errors this crate wants.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use nix::{libc, unistd};
use rand::distr::{Alphanumeric, SampleString};
use secrecy::SecretString;

use crate::{Error, Result, error::io};

/// How much of a log an error shows.
const TAIL: u64 = 2000;

/// Creates `path` and its parents; `path` itself gets `mode` whatever the umask is. Parents get 0755.
pub(crate) fn create_dir(path: &Path, mode: u32) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(io("create directory", parent))?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other.map_err(io("create directory", path))?,
    }
    set_mode(path, mode)
}

/// Sets the permission bits.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(io("set the permissions of", path))
}

/// Fails unless `path` is a real directory of this user: someone else may have been first in a shared /tmp.
pub(crate) fn require_own_dir(path: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(path).map_err(io("read", path))?;
    if meta.is_dir() && meta.uid() == unistd::geteuid().as_raw() {
        return Ok(());
    }
    Err(Error::Io {
        doing: "use",
        path: path.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::PermissionDenied, "it belongs to another user"),
    })
}

/// Writes a new 0600 file in one step: no other process ever sees half of it.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    // Temporary files of this crate are created 0600.
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(io("create a file in", dir))?;
    file.write_all(content).map_err(io("write", path))?;
    file.as_file().sync_all().map_err(io("write", path))?;
    file.persist(path).map_err(|error| error.error).map_err(io("write", path))?;
    Ok(())
}

/// Opens a log file for the standard error of a server, emptied: what is kept long has a limit elsewhere.
/// Never follows a link, because the server's user may own the directory.
pub(crate) fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(io("open the log", path))
}

/// The last lines of a log, or why there are none.
pub(crate) fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    match read() {
        Ok(text) if text.is_empty() => "(empty)".to_owned(),
        Ok(text) => text,
        Err(error) => format!("(unreadable: {error})"),
    }
}

/// A new random secret: 43 letters and digits, 256 bits, needs no quoting anywhere.
pub(crate) fn random_secret() -> SecretString {
    Alphanumeric.sample_string(&mut rand::rng(), 43).into()
}
