//! The examples as processes on a real network, in open and in secure mode.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "../../crates/agentnet-e2e/tests/support/mod.rs"]
mod support;

use std::process::Stdio;

use support::{SOON, Stack};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// Where a user's examples run: their identities, and nothing of the tester's own.
struct User<'a> {
    stack: &'a Stack,
    dir: tempfile::TempDir,
}

/// An example that stays.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl User<'_> {
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        let security = if self.stack.seeds.is_some() { "secure" } else { "open" };
        command
            .args(args)
            .env_clear()
            .env("AGENTNET_NATS_URL", self.stack.nats.url())
            .env("AGENTNET_SECURITY", security)
            .env("AGENTNET_IDENTITY_DIR", self.dir.path().join("identities"))
            .env("AGENTNET_CONTEXT", self.dir.path().join("context.json"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs an example to its end; what it printed.
    async fn run(&self, program: &str, args: &[&str]) -> String {
        let output = timeout(SOON, self.command(program, args).output()).await.expect("it hangs").unwrap();
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(0), "{program}\n{out}\n{err}");
        out
    }

    /// Starts one that stays, and reads its first line.
    async fn start(&self, program: &str) -> (Running, String) {
        let mut child = self.command(program, &[]).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut running = Running { child, lines };
        let first = running.line().await;
        (running, first)
    }
}

impl Running {
    async fn line(&mut self) -> String {
        match timeout(SOON, self.lines.next_line()).await.expect("it prints nothing").unwrap() {
            Some(line) => line,
            None => {
                let mut said = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
                panic!("it ended: {said}");
            }
        }
    }

    /// As Ctrl-C does it.
    async fn stop(mut self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGINT).unwrap();
        let status = timeout(SOON, self.child.wait()).await.expect("it doesn't end").unwrap();
        assert_eq!(status.code(), Some(0));
    }
}

async fn all_five(stack: Stack) {
    let user = User { stack: &stack, dir: tempfile::tempdir().unwrap() };
    let (agent_a, agent_b) = (env!("CARGO_BIN_EXE_agent_a"), env!("CARGO_BIN_EXE_agent_b"));
    let (worker, client) = (env!("CARGO_BIN_EXE_rpc_worker"), env!("CARGO_BIN_EXE_rpc_client"));
    let list = env!("CARGO_BIN_EXE_list_agents");

    // What is missing is said, and is no failure of the example.
    assert!(user.run(agent_a, &[]).await.contains("there is no agent_b yet"));
    assert!(user.run(client, &["1", "2"]).await.contains("no worker is online"));

    let (mut b, first) = user.start(agent_b).await;
    assert!(first.starts_with("agent_b is online as acct_"), "{first}");
    let said = user.run(agent_a, &[]).await;
    for text in ["hello", "how is the weather?", "bye"] {
        let stages = ["accepted", "processed"].map(|stage| format!("{text:?} is {stage}\n"));
        assert!(stages.iter().any(|line| said.contains(line.as_str())), "{said}");
        assert_eq!(b.line().await, format!("agent_a: {text}"));
    }

    let (w, first) = user.start(worker).await;
    assert!(first.starts_with("rpc_worker takes requests"), "{first}");
    assert_eq!(user.run(client, &["2", "3.5"]).await, "5.5\n");

    let online = user.run(list, &[]).await;
    let names: Vec<_> = online.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["agent_b", "rpc_worker"], "{online}");
    assert!(online.lines().any(|line| line.starts_with("rpc_worker") && line.ends_with("add")), "{online}");

    b.stop().await;
    w.stop().await;
    assert_eq!(user.run(list, &[]).await, "", "they said goodbye");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_five_examples_do_what_they_say() {
    all_five(Stack::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_in_secure_mode_with_identities_made_on_first_use() {
    all_five(Stack::secure(&[]).await).await;
}
