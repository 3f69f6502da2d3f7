//! Whom Postgres runs as: it refuses root.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
};

use nix::unistd::{self, User};

use crate::{Error, Result, error::io};

/// An unprivileged user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunAs {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// True if this process runs as root.
pub(crate) fn is_root() -> bool {
    unistd::geteuid().is_root()
}

/// The user to drop to, or `None` if we are unprivileged ourselves.
pub(crate) fn unprivileged() -> Result<Option<RunAs>> {
    if !is_root() {
        return Ok(None);
    }
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .filter(|user| !user.uid.is_root())
        .map(|user| Some(RunAs { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
        .ok_or(Error::NoUnprivilegedUser)
}

impl RunAs {
    /// Gives `path` to this user.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(io("change the owner of", path))
    }

    /// Fails with the first directory from the root down to `path` that this user cannot enter.
    pub(crate) fn require_reach(&self, path: &Path) -> Result<()> {
        let path = fs::canonicalize(path).map_err(io("find", path))?;
        let mut ancestors: Vec<&Path> = path.ancestors().collect();
        ancestors.reverse();
        match ancestors.into_iter().find(|dir| dir.is_dir() && !self.may_enter(dir)) {
            None => Ok(()),
            Some(dir) => Err(Error::NotReachable { path: PathBuf::from(dir), user: self.name.clone() }),
        }
    }

    fn may_enter(&self, dir: &Path) -> bool {
        let Ok(meta) = fs::metadata(dir) else { return false };
        let bit = if meta.uid() == self.uid {
            0o100
        } else if meta.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        meta.mode() & bit != 0
    }
}
