//! Child processes that cannot outlive us.
//!
//! A server runs under a small `sh` whose standard input is a pipe that only we hold. However we end, the pipe
//! closes, and the shell stops the server: softly first, then by force. The same pipe carries the signals we
//! want sent, so that a signal never reaches a process that took over the pid. Standard output of shell and
//! server is the server's lock file: the kernel holds the lock until the last of them, Postgres backends
//! included, is gone.

use std::{
    ffi::OsString,
    fs::File,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::{Error, Result, error::io, lock, user::RunAs};

/// Arguments: soft signal, seconds of grace, directory to remove if we die (may be empty), program, its
/// arguments.
const SCRIPT: &str = r#"
signal=$1 grace=$2 temporary=$3
shift 3
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
echo "$server"
(
  # This one must hold neither the lock nor the log.
  exec >/dev/null 2>&1
  while read -r asked <&3; do kill -s "$asked" "$server"; done
  clear() { [ -z "$temporary" ] || rm -rf -- "$temporary"; }
  trap 'kill "$nap"; clear; exit 0' TERM
  kill -s "$signal" "$server" || { clear; exit 0; }
  sleep "$grace" &
  nap=$!
  wait "$nap"
  kill -s KILL "$server"
  clear
) &
guard=$!
exec 3<&-
wait "$server"
status=$?
kill "$guard" 2>/dev/null
wait "$guard" 2>/dev/null
exit "$status"
"#;

/// Forking a shell and writing one line takes a few milliseconds; this is for a machine in trouble.
const PID_DEADLINE: Duration = Duration::from_secs(10);

/// Signals that a server is sent, by their POSIX names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Term,
    Int,
    Quit,
    Kill,
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
        }
    }
}

/// What to run and how.
pub(crate) struct Spec<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(&'static str, OsString)>,
    pub(crate) dir: &'a Path,
    pub(crate) user: Option<&'a RunAs>,
    /// Takes standard error.
    pub(crate) log: File,
    /// Locked; takes the pid and standard output.
    pub(crate) lock: File,
    /// Removed when we end without having stopped the server.
    pub(crate) temporary: Option<&'a Path>,
    /// Ends the server in order.
    pub(crate) soft: Signal,
    /// How long that may take before SIGKILL.
    pub(crate) grace: Duration,
}

/// A running child under its watchdog. Dropping it stops and reaps both.
#[derive(Debug)]
pub(crate) struct Guarded {
    shell: Child,
    lifeline: Option<ChildStdin>,
    pid: u32,
    soft: Signal,
    grace: Duration,
}

impl Guarded {
    pub(crate) fn spawn(spec: Spec<'_>) -> Result<Self> {
        let mut lock = spec.lock.try_clone().map_err(io("lock", spec.dir))?;
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(SCRIPT)
            .arg("agentnet-watchdog")
            .arg(spec.soft.name())
            .arg(spec.grace.as_secs().max(1).to_string())
            .arg(spec.temporary.unwrap_or(Path::new("")))
            .arg(spec.program)
            .args(spec.args)
            .env_clear()
            .env("PATH", search_path())
            .envs(spec.env)
            .current_dir(spec.dir)
            .stdin(Stdio::piped())
            .stdout(spec.lock)
            .stderr(spec.log)
            // Ctrl-C at the terminal is ours to handle: the servers end last, in order.
            .process_group(0);
        if let Some(user) = spec.user {
            command.uid(user.uid).gid(user.gid);
        }
        let mut shell = command.spawn().map_err(io("start", spec.program))?;
        let lifeline = shell.stdin.take();
        let mut guarded = Self { shell, lifeline, pid: 0, soft: spec.soft, grace: spec.grace };
        let pid = poll(PID_DEADLINE, || lock::read_pid(&mut lock));
        guarded.pid = pid.ok_or_else(|| Error::Timeout {
            what: format!("starting {}", spec.program.display()),
            after: PID_DEADLINE,
        })?;
        Ok(guarded)
    }

    /// Pid of the server itself.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How the server ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.shell.try_wait().ok().flatten()
    }

    /// Sends a signal; nothing happens if the server is gone.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if let Some(lifeline) = &mut self.lifeline {
            // A broken pipe means that the server has ended, which is what signals are for here.
            let _ = writeln!(lifeline, "{}", signal.name());
        }
    }

    /// Waits for the end of the server.
    pub(crate) fn wait(&mut self, deadline: Duration) -> Option<ExitStatus> {
        poll(deadline, || self.ended())
    }

    /// Sends `signal`, waits as long as grace allows, then kills. Returns the status unless even that hung.
    pub(crate) fn stop(&mut self, signal: Signal) -> Option<ExitStatus> {
        self.signal(signal);
        if let Some(status) = self.wait(self.grace) {
            return Some(status);
        }
        tracing::warn!(pid = self.pid, grace = ?self.grace, "server did not stop in time, killing it");
        self.signal(Signal::Kill);
        self.wait(self.grace)
    }

    /// Hands the lifeline to someone else: the server lives for as long as that stays open.
    pub(crate) fn detach(mut self) -> (Option<ChildStdin>, u32) {
        (self.lifeline.take(), self.shell.id())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.lifeline.is_some() && self.ended().is_none() {
            self.stop(self.soft);
        }
    }
}

/// Calls `probe` until it has an answer or the deadline has passed, a little more slowly each time.
pub(crate) fn poll<T>(deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(20));
    }
}

/// Where the watchdog finds `sleep`; our own PATH may be empty.
pub(crate) fn search_path() -> OsString {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let standard = ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::join_paths(standard.into_iter().chain(std::env::split_paths(&own))).unwrap_or(own)
}
