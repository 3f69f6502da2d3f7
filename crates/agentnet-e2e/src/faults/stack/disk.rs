//! A small disk that can be full: a tmpfs of its own.
//!
//! It is mounted in a mount namespace that only this process and its children see, so it is gone when they are.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

/// Bytes of a small disk: a fresh Postgres cluster takes 40 MB, and its log needs a few segments of 16 MB.
const SIZE_MB: u64 = 256;
/// Set once this process has mounts of its own.
const UNSHARED: &str = "AGENTNET_FAULTS_UNSHARED";

/// A mounted disk.
#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
}

/// Why this machine can't have small disks, if so.
pub fn reason_disks_are_impossible() -> Option<String> {
    if !geteuid().is_root() {
        return Some("mounting a small disk takes root".to_owned());
    }
    let tried = Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// Becomes the same program in a mount namespace of its own; does nothing the second time.
///
/// # Errors
/// When the system refuses.
pub fn unshare_mounts() -> Result<()> {
    if std::env::var_os(UNSHARED).is_some() {
        return Ok(());
    }
    let own = std::env::current_exe()?;
    let failed = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(UNSHARED, "1")
        .exec();
    Err(failed).context("can't unshare the mounts")
}

impl Disk {
    pub(super) fn mount(dir: &Path) -> Result<Self> {
        if std::env::var_os(UNSHARED).is_none() {
            bail!("a small disk would outlive this process: unshare the mounts first");
        }
        fs::create_dir_all(dir)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={SIZE_MB}m,mode=0700"), "tmpfs"])
            .arg(dir)
            .output()
            .context("mount")?;
        if !mounted.status.success() {
            bail!("mount: {}", String::from_utf8_lossy(&mounted.stderr).trim());
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Fills the disk to the last byte.
    ///
    /// # Errors
    /// When something but fullness stops the writing.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        for size in [1 << 20, 4096, 1] {
            let block = vec![0xa5; size];
            loop {
                match ballast.write_all(&block) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("can't fill the disk"),
                }
            }
        }
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    /// When the ballast can't be removed.
    pub fn clear(&self) -> Result<()> {
        fs::remove_file(self.ballast()).context("can't clear the disk")
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }
}
