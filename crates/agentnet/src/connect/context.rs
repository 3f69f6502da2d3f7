//! The per-user file in which `agentnet up` tells other terminals where its network is.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use nix::{errno::Errno, sys::signal, unistd::Pid};
use serde::{Deserialize, Serialize};

/// In place of a process: the network runs elsewhere, and its file stays until it is taken away.
pub const ELSEWHERE: u32 = 0;
/// Names another file, for tests and for several users of one account.
pub const PATH_VARIABLE: &str = "AGENTNET_CONTEXT";

/// What the file holds. It has the network's token in its URL, or the one that enrols agents, so it is readable by its
/// owner only and has no `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Where NATS is, in open and signed mode with the token.
    pub nats_url: String,
    /// `open`, `signed` or `secure`.
    pub mode: String,
    /// The identity of whoever started the network, who is an operator of it: who commands are unless told otherwise.
    #[serde(default)]
    pub identity: Option<UserIdentity>,
    /// Lets new agents of this user in (secure mode).
    #[serde(default)]
    pub enrolment_token: Option<String>,
    /// Data directory of the network; empty where it is elsewhere.
    pub data_dir: PathBuf,
    /// Process of the `agentnet up` that wrote this; [`ELSEWHERE`] where no process of this machine did.
    pub pid: u32,
    /// When, ISO 8601.
    pub started_at: String,
    /// When the system says that process was started, see [`process_started`]: another process may have the pid since,
    /// as after a reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_started: Option<String>,
    /// The network that was here before and ran then: it is here again once this one has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Context>>,
}

/// Where an identity is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserIdentity {
    /// Its directory.
    pub dir: PathBuf,
    /// Its name there.
    pub name: String,
}

impl Context {
    /// Whether the `agentnet up` that wrote this still runs. What runs elsewhere counts as running.
    pub fn is_alive(&self) -> bool {
        if self.pid == ELSEWHERE {
            return true;
        }
        let is_there = i32::try_from(self.pid)
            .is_ok_and(|pid| signal::kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH));
        is_there && (self.process_started.is_none() || self.process_started == process_started(self.pid))
    }

    /// Itself if it runs, else the one before it that does.
    #[must_use]
    pub fn living(self) -> Option<Self> {
        let mut found = Some(self);
        while let Some(context) = found {
            if context.is_alive() {
                return Some(context);
            }
            found = context.before.map(|before| *before);
        }
        None
    }
}

/// What tells a process from a later one with the same pid: when it was started, in the system's own words. `None`
/// where the system has no `/proc`, and for a process that isn't there.
pub fn process_started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 22, counted behind the name, which may hold spaces and brackets.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19).map(str::to_owned)
}

/// Where the file is. `lookup` is the environment.
pub fn path(lookup: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    if let Some(path) = lookup(PATH_VARIABLE) {
        return Some(path.into());
    }
    let dirs = directories::ProjectDirs::from("", "", "agentnet")?;
    Some(dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir()).join("context.json"))
}

/// Reads the file; `None` if there is none.
///
/// # Errors
/// When it can't be read or isn't ours.
pub fn read(path: &Path) -> io::Result<Option<Context>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The context of a network that runs now, the one started last. A file that can't be read counts as none: agents then take the default, and
/// the command line says what is wrong with it.
pub fn running(lookup: &dyn Fn(&str) -> Option<String>) -> Option<Context> {
    read(&path(lookup)?).ok().flatten()?.living()
}

/// Writes the file, readable by its owner only, in one step: no reader sees half of it. A network that is there and
/// runs is remembered, for [`remove`].
///
/// # Errors
/// When the directory or file can't be written.
pub fn write(path: &Path, context: &Context) -> io::Result<()> {
    let before = read(path).ok().flatten().and_then(Context::living);
    let before = before.filter(|before| before.pid != context.pid).map(Box::new);
    put(path, &Context { before, ..context.clone() })
}

fn put(path: &Path, context: &Context) -> io::Result<()> {
    write_private(path, serde_json::to_string_pretty(context)?.as_bytes())
}

/// Takes away what process `pid` wrote; another `up` may have written its own since. The network that was here before
/// comes back if it still runs.
///
/// # Errors
/// When the file can't be removed or written.
pub fn remove(path: &Path, pid: u32) -> io::Result<()> {
    match read(path) {
        Ok(Some(context)) if context.pid == pid => match context.before.and_then(|before| before.living()) {
            Some(before) => put(path, &before),
            None => fs::remove_file(path),
        },
        _ => Ok(()),
    }
}

/// Takes away a network that runs [`ELSEWHERE`], also one that waits behind a running `agentnet up`; whether there was one.
///
/// # Errors
/// When the file can't be read, removed or written.
pub fn forget_elsewhere(path: &Path) -> io::Result<bool> {
    fn without(context: Context, found: &mut bool) -> Option<Context> {
        let before = context.before.and_then(|before| without(*before, found)).map(Box::new);
        if context.pid == ELSEWHERE {
            *found = true;
            return before.map(|before| *before);
        }
        Some(Context { before, ..context })
    }
    let Some(written) = read(path)? else { return Ok(false) };
    let mut found = false;
    match without(written, &mut found) {
        _ if !found => {}
        Some(rest) => put(path, &rest)?,
        None => fs::remove_file(path)?,
    }
    Ok(found)
}

/// Writes a 0600 file in one step, making its directory if need be.
///
/// # Errors
/// When the directory or file can't be written.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    fs::create_dir_all(dir)?;
    // A temporary file is 0600 from its first moment.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(content)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn context(pid: u32) -> Context {
        Context {
            nats_url: "nats://tok@127.0.0.1:4222".to_owned(),
            mode: "open".to_owned(),
            identity: None,
            enrolment_token: None,
            data_dir: "/tmp/x".into(),
            pid,
            started_at: "2026-11-21T10:00:00Z".to_owned(),
            process_started: None,
            before: None,
        }
    }

    #[test]
    fn is_private_and_removed_by_its_writer_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/context.json");
        assert!(read(&path).unwrap().is_none());
        write(&path, &context(7)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(read(&path).unwrap() == Some(context(7)));
        remove(&path, 8).unwrap();
        assert!(path.exists());
        remove(&path, 7).unwrap();
        assert!(!path.exists());
        remove(&path, 7).unwrap();
    }

    #[test]
    fn what_runs_elsewhere_stays_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("context.json");
        assert!(!forget_elsewhere(&path).unwrap());
        let pid_of_up = std::process::id();
        write(&path, &context(ELSEWHERE)).unwrap();
        write(&path, &context(pid_of_up)).unwrap();
        // The own network comes first, and the other one after it.
        let lookup = |name: &str| (name == PATH_VARIABLE).then(|| path.display().to_string());
        assert_eq!(running(&lookup).unwrap().pid, pid_of_up);
        remove(&path, pid_of_up).unwrap();
        assert_eq!(running(&lookup).unwrap().pid, ELSEWHERE);
        write(&path, &context(pid_of_up)).unwrap();
        assert!(forget_elsewhere(&path).unwrap());
        assert!(read(&path).unwrap().unwrap() == context(pid_of_up));
        write(&path, &context(ELSEWHERE)).unwrap();
        remove(&path, pid_of_up).unwrap();
        assert!(forget_elsewhere(&path).unwrap());
        assert!(!forget_elsewhere(&path).unwrap());
    }

    #[test]
    fn knows_the_living() {
        assert!(context(std::process::id()).is_alive());
        // The highest pid Linux gives out is 4194304.
        assert!(!context(4_194_999).is_alive());
        assert!(!context(u32::MAX).is_alive());
    }

    #[test]
    fn another_process_with_the_pid_is_not_the_network() {
        let own = std::process::id();
        let started = process_started(own);
        let mut known = Context { process_started: started.clone(), ..context(own) };
        assert!(known.is_alive());
        if started.is_some() {
            known.process_started = Some("1".to_owned());
            assert!(!known.is_alive());
        }
        assert_eq!(process_started(4_194_999), None);
    }

    #[test]
    fn a_network_that_runs_comes_back_when_a_later_one_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("context.json");
        // Two that run, and one that was killed.
        let (first, second) = (context(std::process::id()), context(std::os::unix::process::parent_id()));
        let killed = context(4_194_999);
        for later in [&first, &killed, &second] {
            write(&path, later).unwrap();
        }
        let seen = |path: &Path| read(path).unwrap().and_then(Context::living).map(|context| context.pid);
        assert_eq!(seen(&path), Some(second.pid));
        remove(&path, second.pid).unwrap();
        assert_eq!(seen(&path), Some(first.pid));
        // A killed one on top hides nothing.
        write(&path, &killed).unwrap();
        assert_eq!(seen(&path), Some(first.pid));
        remove(&path, killed.pid).unwrap();
        remove(&path, first.pid).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn the_environment_may_name_the_file() {
        let path = path(&|name| (name == PATH_VARIABLE).then(|| "/x/y.json".to_owned()));
        assert_eq!(path, Some("/x/y.json".into()));
    }
}
