//! Processes of a run: this same binary under another subcommand, so that what runs is what was built.
//!
//! A child ends when its standard input does, and only we hold the other end: however this process ends, none of them
//! outlives it.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Read,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{ChildStdout, Command},
    time::timeout,
};

/// How long a killed process may take to be gone.
const REAP: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the process, of its log and in reports.
    pub name: String,
    /// The harness binary.
    pub program: PathBuf,
    /// Its arguments; no secrets, everybody can read them.
    pub args: Vec<String>,
    /// Its whole environment but for `PATH`.
    pub env: BTreeMap<String, String>,
    /// Where its output goes, appended.
    pub log: PathBuf,
}

/// A process that can be killed and started again.
#[derive(Debug)]
pub struct Child {
    plan: Plan,
    process: Option<tokio::process::Child>,
    stdout: Option<BufReader<ChildStdout>>,
    starts: u32,
}

impl Child {
    /// Plans a process without starting it.
    pub fn new(plan: Plan) -> Self {
        Self { plan, process: None, stdout: None, starts: 0 }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Changes the environment of the next start.
    pub fn set_env(&mut self, name: &str, value: String) {
        self.plan.env.insert(name.to_owned(), value);
    }

    /// Starts it; what runs already is killed first.
    ///
    /// # Errors
    /// When the system can't start it.
    pub async fn start(&mut self) -> Result<()> {
        self.kill().await?;
        let name = &self.plan.name;
        let mut process = Command::new(&self.plan.program)
            .args(&self.plan.args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(&self.plan.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(open_log(&self.plan.log)?)
            // Ctrl-C is ours to handle: the children end with us.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} can't be started"))?;
        self.stdout = process.stdout.take().map(BufReader::new);
        self.process = Some(process);
        self.starts += 1;
        Ok(())
    }

    /// The next line of its standard output.
    ///
    /// # Errors
    /// When it ends first, or takes longer.
    pub async fn line(&mut self, within: Duration) -> Result<String> {
        let (name, log) = (self.plan.name.clone(), self.plan.log.clone());
        let Some(stdout) = &mut self.stdout else { bail!("{name} is not running") };
        let mut line = String::new();
        match timeout(within, stdout.read_line(&mut line)).await {
            Ok(Ok(length)) if length > 0 => Ok(line.trim_end().to_owned()),
            Ok(_) => bail!("{name} ended at its start; its log is {}", log.display()),
            Err(_) => bail!("{name} was not ready within {within:?}; its log is {}", log.display()),
        }
    }

    /// Its standard output, for whoever reads all of it. Once for each start.
    pub fn take_stdout(&mut self) -> Option<BufReader<ChildStdout>> {
        self.stdout.take()
    }

    /// True while it runs, stopped ones included.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// SIGKILL, and waits until it is gone. Killing what doesn't run does nothing.
    ///
    /// # Errors
    /// When it is still there after 10 s.
    pub async fn kill(&mut self) -> Result<()> {
        self.stdout = None;
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let name = &self.plan.name;
        // It may have ended by itself.
        let _ = process.start_kill();
        timeout(REAP, process.wait()).await.with_context(|| format!("{name} did not die"))??;
        Ok(())
    }

    /// SIGSTOP: it keeps its connections and does nothing.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// SIGTERM, and waits for the orderly end; kills when that takes longer.
    ///
    /// # Errors
    /// When it didn't end in order.
    pub async fn stop(&mut self, within: Duration) -> Result<()> {
        if !self.is_running() {
            return self.kill().await;
        }
        self.signal(Signal::SIGTERM)?;
        if let Some(process) = &mut self.process
            && timeout(within, process.wait()).await.is_err()
        {
            self.kill().await?;
            bail!("{} did not stop within {within:?}", self.plan.name);
        }
        self.kill().await
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // The pid is ours until the process is reaped, which only we do.
        let pid = self.process.as_ref().and_then(tokio::process::Child::id);
        let pid = pid.and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = pid else { bail!("{} is not running", self.plan.name) };
        signal::kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to {}", self.plan.name))
    }
}

/// In a child: ends this process as soon as its parent is gone.
pub fn die_with_parent() {
    std::thread::spawn(|| {
        let mut byte = [0];
        // Nothing is ever written; a read returns when the other end is closed.
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
        std::process::exit(3);
    });
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("can't open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, dir: &Path) -> Child {
        Child::new(Plan {
            name: "shell".to_owned(),
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
            log: dir.join("log"),
        })
    }

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn starts_dies_and_starts_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = shell("echo loud >&2; echo $GREETING; exec cat", dir.path());
        assert!(!child.is_running());
        for start in 1..=2 {
            child.start().await.unwrap();
            assert_eq!(child.line(SOON).await.unwrap(), "hello");
            assert!(child.is_running());
            child.kill().await.unwrap();
            assert!(!child.is_running());
            assert_eq!(child.starts(), start);
        }
        child.set_env("GREETING", "again".to_owned());
        child.start().await.unwrap();
        assert_eq!(child.line(SOON).await.unwrap(), "again");
        child.stop(SOON).await.unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("log")).unwrap(), "loud\n".repeat(3));
    }

    #[tokio::test]
    async fn says_which_process_failed_and_where_its_log_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = shell("exit 1", dir.path());
        child.start().await.unwrap();
        let error = child.line(SOON).await.unwrap_err().to_string();
        assert!(error.contains("shell") && error.contains("log"), "{error}");
        child.kill().await.unwrap();
        assert!(child.freeze().is_err());
    }
}
