//! A network of its own for the tests: `agentnet up` on free ports with a temporary data directory.
#![allow(dead_code, missing_docs, reason = "each test binary uses its part")]

pub mod agents;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The built command.
pub const AGENTNET: &str = env!("CARGO_BIN_EXE_agentnet");

/// The first start of a machine may fetch and unpack servers.
pub const START: Duration = Duration::from_secs(180);
/// For everything else that has to happen.
pub const SOON: Duration = Duration::from_secs(30);

/// Runs `agentnet up`, stops it when its standard input closes, and then removes the directory if it is marked. A test process that
/// ends in any way leaves nothing behind.
const KEEPER: &str = r#"
dir=$1
shift
exec 3<&0 </dev/null
"$@" 3<&- &
up=$!
echo "$up" > "$dir/up.pid"
( read -r _ <&3; kill -TERM "$up" ) >/dev/null 2>&1 &
reader=$!
exec 3<&-
wait "$up"
status=$?
kill "$reader" 2>/dev/null
wait "$reader"
echo "$status" > "$dir/up.status"
if [ -e "$dir/ephemeral" ]; then rm -rf "$dir"; fi
exit "$status"
"#;

/// A place for one network and its users.
pub struct Place {
    dir: tempfile::TempDir,
    context: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("agentnet-cli-").tempdir().unwrap();
        // Postgres runs as another user when the tests run as root.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let context = dir.path().join("context.json");
        Self { dir, context }
    }

    /// Another place of the same user.
    pub fn beside(other: &Self) -> Self {
        Self { context: other.context.clone(), ..Self::new() }
    }

    /// One whose directory is removed by the keeper of its network, because a static is never dropped.
    pub fn ephemeral() -> Self {
        let place = Self::new();
        fs::write(place.file("ephemeral"), "").unwrap();
        place
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The command as a user of this place runs it: nothing comes from the tester's own environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(AGENTNET);
        command.args(args);
        self.dress(&mut command);
        command
    }

    pub fn dress(&self, command: &mut Command) {
        command
            .env("AGENTNET_CONTEXT", &self.context)
            .env("AGENTNET_CHAT_HISTORY", self.file("chat_history"))
            .env("AGENTNET_IDENTITY_DIR", self.file("identities"))
            .stdin(Stdio::null());
        for name in ["AGENTNET_NATS_URL", "NATS_URL", "NO_COLOR", "CLICOLOR_FORCE", "LOG_LEVEL", "DEV_AUTH"] {
            command.env_remove(name);
        }
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with_input(args, None)
    }

    pub fn run_with_input(&self, args: &[&str], input: Option<&str>) -> Ran {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().unwrap();
        if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(text.as_bytes()).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        Ran {
            what: args.join(" "),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts `agentnet up` and waits for its ready file.
    pub fn up(&self, args: &[&str]) -> Up<'_> {
        self.up_with(args, &[])
    }

    /// The same with these variables.
    pub fn up_with(&self, args: &[&str], env: &[(&str, &str)]) -> Up<'_> {
        let up = self.launch(args, env);
        let ready = self.file("ready.json");
        wait_for(START, "the ready file", || {
            if let Some(code) =
                fs::read_to_string(self.file("up.status")).ok().filter(|text| text.ends_with('\n'))
            {
                panic!("up ended with {code}{}\n{}", up.stdout(), up.stderr());
            }
            ready.exists()
        });
        up
    }

    /// Starts `agentnet up` and waits for nothing.
    pub fn up_unready(&self, args: &[&str]) -> Up<'_> {
        self.launch(args, &[])
    }

    fn launch(&self, args: &[&str], env: &[(&str, &str)]) -> Up<'_> {
        for name in ["up.pid", "up.status", "ready.json"] {
            let _ = fs::remove_file(self.file(name));
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", KEEPER, "keeper"]).arg(self.path()).arg(AGENTNET).arg("up");
        command
            .arg("--data-dir")
            .arg(self.file("data"))
            .arg("--ready-file")
            .arg(self.file("ready.json"))
            .args(args);
        self.dress(&mut command);
        command
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(fs::File::create(self.file("up.out")).unwrap())
            .stderr(fs::File::create(self.file("up.err")).unwrap());
        let keeper = command.spawn().unwrap();
        let pid = wait_for(SOON, "the pid of up", || {
            fs::read_to_string(self.file("up.pid")).ok().filter(|t| t.ends_with('\n'))?.trim().parse().ok()
        });
        Up { place: self, keeper, pid }
    }

    /// Processes that work in this place.
    pub fn processes(&self) -> Vec<String> {
        let needle = self.path().to_string_lossy().into_owned();
        command_lines().into_iter().filter(|line| line.contains(&needle)).collect()
    }
}

/// Command lines of all processes, blanks between arguments.
pub fn command_lines() -> Vec<String> {
    let own = std::process::id().to_string();
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().bytes().all(|b| b.is_ascii_digit()) && name.to_string_lossy() != own
        })
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .collect()
}

/// A running `agentnet up`.
pub struct Up<'a> {
    place: &'a Place,
    keeper: Child,
    pub pid: i32,
}

impl Up<'_> {
    pub fn ready(&self) -> Value {
        serde_json::from_slice(&fs::read(self.place.file("ready.json")).unwrap()).unwrap()
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(self.place.file("up.out")).unwrap()
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(self.place.file("up.err")).unwrap()
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        wait_for(SOON, "the end of up", || self.keeper.try_wait().unwrap())
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub what: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Checks the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}\n{}", self.what, self.stdout, self.stderr);
        self
    }

    /// Checks that standard output has `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "{}: no {text:?} in\n{}\n{}",
            self.what,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Checks that standard error has `text`.
    #[track_caller]
    pub fn warns(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{}: no {text:?} in\n{}", self.what, self.stderr);
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{}: {e}\n{}", self.what, self.stdout))
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}\n{line}", self.what)))
            .collect()
    }
}

/// What a probe of [`wait_for`] answers.
pub trait Outcome {
    type Value;
    fn outcome(self) -> Option<Self::Value>;
}

impl Outcome for bool {
    type Value = ();
    fn outcome(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;
    fn outcome(self) -> Self {
        self
    }
}

/// Calls `probe` until it answers, or panics at the deadline.
#[track_caller]
pub fn wait_for<O: Outcome>(deadline: Duration, what: &str, mut probe: impl FnMut() -> O) -> O::Value {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = probe().outcome() {
            return value;
        }
        assert!(Instant::now() < end, "{what}: not within {deadline:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
