//! One Postgres for all tests of a run.
//!
//! A run is the life of one `cargo test`, `cargo nextest` or rustdoc process: the parent of the test binaries.
//! The first test that needs a database starts the server, under a lock; the others find it by the parent's
//! pid and start time. A small watcher outlives the test binaries and removes everything when the run's process
//! is gone. What a killed watcher or a reboot left is removed by the next run. Binaries started in another way
//! (a debugger) are a run of their own; `AGENTNET_TEST_OWNER=<pid>` joins several commands to one run.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use nix::unistd;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    Error, PgOptions, PostgresServer, Result, error::io, files, lock, postgres, process, user,
    watchdog::search_path,
};

/// Whoever starts the server may have to install it first.
const PATIENCE: Duration = Duration::from_secs(900);
/// Many test binaries with pools of their own.
const CONNECTIONS: u32 = 300;

/// Arguments: pid of the run, pid of the server's watchdog, what to remove. Its standard output is the server's
/// lifeline.
const WATCHER: &str = r#"
owner=$1 watchdog=$2
shift 2
while kill -0 "$owner" 2>/dev/null; do sleep 0.2 2>/dev/null || sleep 1; done
exec >/dev/null
tries=0
while kill -0 "$watchdog" 2>/dev/null && [ "$tries" -lt 100 ]; do
  tries=$((tries + 1))
  sleep 0.1 2>/dev/null || sleep 1
done
rm -rf -- "$@"
"#;

/// How to reach the shared server.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) port: u16,
    pub(super) password: SecretString,
}

impl Cluster {
    pub(super) fn password_text(&self) -> &str {
        self.password.expose_secret()
    }
}

/// The server of this run, started if need be. Blocks.
pub(super) fn shared() -> Result<Cluster> {
    static KNOWN: Mutex<Option<Cluster>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = &*known {
        return Ok(cluster.clone());
    }
    let cluster = find_or_start()?;
    *known = Some(cluster.clone());
    Ok(cluster)
}

fn find_or_start() -> Result<Cluster> {
    let base = base_dir()?;
    let owner = owner();
    let Some(started) = process::started(owner) else {
        return Err(Error::Io {
            doing: "find the process of",
            path: PathBuf::from(format!("test run {owner}")),
            source: std::io::ErrorKind::NotFound.into(),
        });
    };
    let key = format!("{owner}-{started}");
    let dir = base.join(&key);
    let lock_path = base.join(format!("{key}.lock"));
    let _lock = lock::acquire_signed(&lock_path, PATIENCE)?;
    if let Some(cluster) = read(&dir).filter(|cluster| postgres::answers(cluster.port)) {
        return Ok(cluster);
    }
    sweep(&base, &key);
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(io("remove", &dir))?;
    }
    files::create_dir(&dir, if user::is_root() { 0o711 } else { 0o700 })?;
    let password = files::random_secret();
    let mut options = PgOptions::new(dir.join("postgres"), password.clone());
    options.ephemeral = true;
    options.max_connections = CONNECTIONS;
    options.shared_buffers = "64MB".to_owned();
    let server = PostgresServer::start(options)?;
    let cluster = Cluster { port: server.port(), password };
    hand_over(server, owner, &dir, &lock_path)?;
    let text = format!("{}\n{}\n", cluster.port, cluster.password.expose_secret());
    files::write_private(&dir.join("connection"), text.as_bytes())?;
    Ok(cluster)
}

/// Lets the watcher hold the server's lifeline instead of us.
fn hand_over(server: PostgresServer, owner: u32, dir: &Path, lock_path: &Path) -> Result<()> {
    let Some((lifeline, watchdog)) = server.detach() else { return Ok(()) };
    Command::new("/bin/sh")
        .arg("-c")
        .arg(WATCHER)
        .arg("agentnet-test-watcher")
        .args([owner.to_string(), watchdog.to_string()])
        .args([dir, lock_path])
        .env_clear()
        .env("PATH", search_path())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(lifeline)
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map(|_| ())
        .map_err(io("start", Path::new("/bin/sh")))
}

fn read(dir: &Path) -> Option<Cluster> {
    let text = fs::read_to_string(dir.join("connection")).ok()?;
    let (port, password) = text.trim_end().split_once('\n')?;
    Some(Cluster { port: port.parse().ok()?, password: password.to_owned().into() })
}

/// A directory of this user that the user Postgres runs as can enter.
fn base_dir() -> Result<PathBuf> {
    let name = format!("agentnet-test-{}", unistd::geteuid());
    let run_as = user::unprivileged()?;
    let temp = std::env::temp_dir();
    let reachable = run_as.as_ref().is_none_or(|user| user.require_reach(&temp).is_ok());
    let base = if reachable { temp.join(name) } else { Path::new("/tmp").join(name) };
    if fs::symlink_metadata(&base).is_ok() {
        files::require_own_dir(&base)?;
    }
    files::create_dir(&base, if run_as.is_some() { 0o711 } else { 0o700 })?;
    files::require_own_dir(&base)?;
    Ok(base)
}

/// The process whose end is the end of the run.
fn owner() -> u32 {
    if let Some(owner) = std::env::var("AGENTNET_TEST_OWNER").ok().and_then(|pid| pid.parse().ok()) {
        return owner;
    }
    let parent = std::os::unix::process::parent_id();
    match process::name(parent) {
        Some(name) if name.starts_with("cargo") || name.starts_with("rustdoc") => parent,
        _ => std::process::id(),
    }
}

/// Removes what runs left whose process is gone, unless their server still runs. Best effort.
fn sweep(base: &Path, own_key: &str) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Some((pid, started)) = name.to_str().and_then(|name| name.split_once('-')) else { continue };
        let Ok(pid) = pid.parse() else { continue };
        let started = started.trim_end_matches(".lock");
        if name.to_string_lossy().starts_with(own_key) || process::started(pid).as_deref() == Some(started) {
            continue;
        }
        if path.is_dir() {
            let server_lock = path.join("postgres").join("server.lock");
            if server_lock.exists() && lock::acquire(&server_lock, Duration::ZERO).is_err() {
                continue;
            }
            let _ = fs::remove_dir_all(&path);
        } else {
            let _ = fs::remove_file(&path);
        }
    }
}
