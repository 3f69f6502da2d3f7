//! Candidates on this machine, and whether they will do.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{NATS_AT_LEAST, NatsBinary, Origin, POSTGRES_AT_LEAST, PostgresBinaries, Version, client};

/// `--version` takes milliseconds; this is for a binary on a sleeping network disk.
const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// Directories where packages put nats-server.
pub(super) fn nats_usual() -> Vec<PathBuf> {
    [
        "/usr/local/bin",
        "/usr/bin",
        "/usr/sbin",
        "/opt/homebrew/bin",
        "/home/linuxbrew/.linuxbrew/bin",
        "/opt/local/bin",
    ]
    .map(PathBuf::from)
    .to_vec()
}

/// Directories where packages put Postgres, newest major first within each scheme.
pub(super) fn postgres_usual() -> Vec<PathBuf> {
    let schemes = [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr/local/bin", "-", ""),
        ("/usr/bin", "-", ""),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/usr/libexec", "postgresql", ""),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ];
    schemes
        .into_iter()
        .flat_map(|(root, prefix, below)| {
            if prefix == "-" { vec![PathBuf::from(root)] } else { versioned(Path::new(root), prefix, below) }
        })
        .collect()
}

/// `root/<prefix><number>/below`, highest number first.
fn versioned(root: &Path, prefix: &str, below: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let major = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((major, entry.path().join(below)))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// Judges a nats-server; the error says why it will not do.
pub(super) fn nats_at(path: &Path, origin: Origin) -> Result<NatsBinary, String> {
    let path = fs::canonicalize(path).map_err(|error| error.to_string())?;
    let version = version_of(&path)?;
    if version < NATS_AT_LEAST {
        return Err(format!("it is {version}, and {NATS_AT_LEAST} or newer is needed"));
    }
    Ok(NatsBinary { path, version, origin })
}

/// Judges a directory of Postgres binaries; the error says why it will not do.
pub(super) fn postgres_at(
    dir: &Path,
    origin: Origin,
    major: Option<u32>,
) -> Result<PostgresBinaries, String> {
    // Through links: /usr/local/bin may name single programs of a complete installation.
    let postgres = fs::canonicalize(dir.join("postgres")).map_err(|error| format!("postgres: {error}"))?;
    let dir = postgres.parent().unwrap_or(dir).to_owned();
    if !dir.join("initdb").is_file() {
        return Err("there is no initdb beside postgres".to_owned());
    }
    let version = version_of(&postgres)?;
    if version < POSTGRES_AT_LEAST {
        return Err(format!("it is {version}, and {} or newer is needed", POSTGRES_AT_LEAST.major));
    }
    if let Some(major) = major.filter(|major| *major != version.major) {
        return Err(format!("it is {version}, and the existing data needs {major}"));
    }
    Ok(PostgresBinaries { dir, version, origin })
}

fn version_of(program: &Path) -> Result<Version, String> {
    let output = client::run(program, &["--version"], VERSION_LIMIT).map_err(|error| error.to_string())?;
    if !output.success {
        return Err(format!("it does not run here: {}", output.last_line()));
    }
    Version::parse(&output.text).ok_or_else(|| format!("it answers --version with {:?}", output.last_line()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_major_first() {
        let root = tempfile::tempdir().unwrap();
        for name in ["9.6", "15", "17", "8", "notes"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let dirs = versioned(root.path(), "", "bin");
        assert_eq!(dirs, ["17", "15", "8"].map(|major| root.path().join(major).join("bin")));
    }
}
