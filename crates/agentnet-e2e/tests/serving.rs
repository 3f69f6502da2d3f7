//! An agent as a process of its own: `serve_forever` until a signal, everything drained, exit code 0.
//!
//! No test harness: started with `AGENT_UNDER_TEST` set, this binary is the agent.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends there")]

mod support;

use std::{
    process::{ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use agentnet::{AgentNode, Incoming, Stage, proto::rpc};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use support::{SECOND, SOON, Stack};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines, Stdin},
    process::{Child, ChildStdout, Command},
    sync::Mutex,
    time::timeout,
};

/// What decides which part of this binary runs.
const UNDER_TEST: &str = "AGENT_UNDER_TEST";

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if std::env::var_os(UNDER_TEST).is_some() {
        return match runtime.block_on(agent()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    // What test runners ask of a binary without a harness.
    if std::env::args().any(|arg| arg == "--list") {
        if !std::env::args().any(|arg| arg == "--ignored") {
            println!("serving: test");
        }
        return ExitCode::SUCCESS;
    }
    for (name, signal) in [("SIGTERM", Signal::SIGTERM), ("Ctrl-C", Signal::SIGINT)] {
        runtime.block_on(everything_taken_is_finished(signal));
        println!("test at {name} everything taken is finished, goodbye said, exit 0 ... ok");
    }
    ExitCode::SUCCESS
}

/// Handles one message at a time, each when a line on its standard input lets it go on.
async fn agent() -> Result<(), agentnet::Error> {
    let lines = Arc::new(Mutex::new(BufReader::new(tokio::io::stdin()).lines()));
    let node = AgentNode::builder("worker")
        .max_concurrency(1)
        .no_rate_limit()
        .on_message(move |message: Incoming| {
            let lines: Arc<Mutex<Lines<BufReader<Stdin>>>> = Arc::clone(&lines);
            async move {
                println!("at work on {}", message.text().unwrap_or_default());
                lines.lock().await.next_line().await?;
                if message.wants_reply() {
                    message.reply(json!({"text": "done"})).await?;
                }
                Ok(())
            }
        })
        .on_exit(|node: AgentNode| async move {
            // Everything was handled, and the node can still speak.
            let told = node.send("@alice", json!({"text": "last words"})).await;
            println!("leaving, told: {}", told.is_ok_and(|sent| sent.is_accepted()));
        })
        .start()
        .await?;
    println!("online");
    let watched = node.clone();
    tokio::spawn(async move {
        while watched.is_accepting() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("takes no more");
    });
    node.serve_forever().await
}

struct Agent {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Agent {
    async fn start(stack: &Stack, home: &tempfile::TempDir) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command
            .env_clear()
            .env(UNDER_TEST, "1")
            .env("AGENTNET_NATS_URL", stack.nats.url())
            .env("AGENTNET_SECURITY", if stack.seeds.is_some() { "secure" } else { "open" })
            .env("AGENTNET_IDENTITY_DIR", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn says(&mut self, wanted: &str) {
        let line = timeout(SOON, self.lines.next_line()).await.expect(wanted).unwrap();
        if line.as_deref() != Some(wanted) {
            let mut said = String::new();
            let _ = timeout(SECOND, self.child.stderr.take().unwrap().read_to_string(&mut said)).await;
            panic!("{line:?} instead of {wanted:?}: {said}");
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()), signal).unwrap();
    }
}

async fn everything_taken_is_finished(signal: Signal) {
    let stack = Stack::secure(&[]).await;
    let home = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(&stack, &home).await;
    agent.says("online").await;
    let heard = Arc::<std::sync::Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&heard);
    let alice = stack
        .node("alice")
        .on_message(move |message: Incoming| {
            let noted = Arc::clone(&noted);
            async move {
                noted.lock().unwrap().push(message.text().unwrap_or_default());
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    // One at work, one that waits for it, and a question.
    let mut sent = Vec::new();
    for n in ["1", "2"] {
        let handle = alice.send("@worker", json!({"text": n})).queued().await.unwrap();
        assert!(handle.until(Stage::Accepted).await.unwrap().is_accepted());
        sent.push(handle);
    }
    agent.says("at work on 1").await;
    let question = {
        let alice = alice.clone();
        tokio::spawn(async move { alice.request("@worker", json!({"text": "3"})).timeout(SOON).await })
    };
    support::until_async(|| async {
        // The question is admitted when the network says so of a third message.
        let request = rpc::DeliveriesRequest { state: Some("accepted".to_owned()), ..Default::default() };
        alice.registry().deliveries(&request).await.is_ok_and(|page| page.deliveries.len() == 3)
    })
    .await;

    agent.signal(signal);
    agent.says("takes no more").await;
    let mut stdin = agent.child.stdin.take().unwrap();
    for n in ["2", "3"] {
        stdin.write_all(b"go on\n").await.unwrap();
        agent.says(&format!("at work on {n}")).await;
    }
    stdin.write_all(b"go on\n").await.unwrap();
    for handle in sent {
        let done = handle.until(Stage::Processed).await.unwrap();
        assert_eq!(done.stage, Some(Stage::Processed));
    }
    assert_eq!(question.await.unwrap().unwrap().text().as_deref(), Some("done"));
    agent.says("leaving, told: true").await;
    assert_eq!(*heard.lock().unwrap(), ["last words"]);
    let status = timeout(SOON, agent.child.wait()).await.expect("it doesn't end").unwrap();
    assert_eq!(status.code(), Some(0));
    // It said goodbye: the session doesn't stay until its time to live (40 s) is over.
    support::until_async(|| async {
        let online = alice.registry().list(&rpc::ListRequest::default()).await.unwrap().agents;
        online.iter().filter_map(|agent| agent.username.as_deref()).eq(["alice"])
    })
    .await;
    alice.close().await.unwrap();
}
