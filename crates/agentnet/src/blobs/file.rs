//! Files on this machine: read, and written so that a half-written one is never seen.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use agentnet_proto::blob::check_file_name;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tempfile::TempPath;
use tokio::{fs::File, io::AsyncReadExt as _};

use crate::error::{Error, ErrorKind};

/// Read at a time.
const BLOCK: usize = 256 * 1024;

fn failed(path: &Path, what: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::File, format!("{} can't be {what}: {error}", path.display())).source_of(error)
}

pub(super) async fn open(path: &Path) -> Result<File, Error> {
    let file = File::open(path).await.map_err(|error| failed(path, "opened", error))?;
    let is_file = file.metadata().await.map_err(|error| failed(path, "read", error))?.is_file();
    if is_file { Ok(file) } else { Err(failed(path, "put", io::Error::other("it is no regular file"))) }
}

/// Size and SHA-256 of a file.
pub(super) async fn digest(path: &Path) -> Result<(u64, String), Error> {
    let mut file = open(path).await?;
    let (mut hash, mut size, mut block) = (Sha256::new(), 0, vec![0; BLOCK]);
    loop {
        let got = file.read(&mut block).await.map_err(|error| failed(path, "read", error))?;
        if got == 0 {
            return Ok((size, HEXLOWER.encode(&hash.finalize())));
        }
        size += got as u64;
        hash.update(block.get(..got).unwrap_or_default());
    }
}

/// A file being written under another name, beside its place.
pub(super) struct Writing {
    pub(super) file: File,
    temporary: TempPath,
    path: PathBuf,
    overwrite: bool,
}

impl Writing {
    /// Begins to write the file at `path`.
    pub(super) fn at(path: &Path, overwrite: bool) -> Result<Self, Error> {
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let made = tempfile::Builder::new()
            .prefix(".agentnet-")
            // Less what the user's umask takes away, as any new file.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(dir)
            .map_err(|error| failed(path, "written", error))?;
        let (file, temporary) = made.into_parts();
        Ok(Self { file: File::from_std(file), temporary, path: path.to_owned(), overwrite })
    }

    /// Begins to write a file of that name in a directory. The name was written by others.
    pub(super) fn within(dir: &Path, name: &str, overwrite: bool) -> Result<Self, Error> {
        check_file_name(name).map_err(Error::from)?;
        Self::at(&dir.join(name), overwrite)
    }

    /// Puts the file in its place; where that is.
    pub(super) async fn finish(self) -> Result<PathBuf, Error> {
        let Self { file, temporary, path, overwrite } = self;
        file.sync_all().await.map_err(|error| failed(&path, "written", error))?;
        drop(file.into_std().await);
        let kept = if overwrite { temporary.persist(&path) } else { temporary.persist_noclobber(&path) };
        match kept {
            Ok(()) => Ok(path),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(&path)),
            Err(error) => Err(failed(&path, "written", error.error)),
        }
    }
}

fn exists(path: &Path) -> Error {
    let detail = format!("{} exists; name another file, or say that it may be overwritten", path.display());
    Error::new(ErrorKind::InvalidArgument, detail)
}
