//! The senders of a run that are processes, and what they said before they died.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agentnet_proto::{Clock as _, SystemClock};
use anyhow::Result;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::ChildStdout,
    sync::Mutex,
    task::JoinHandle,
};

use super::{
    child::Child,
    ledger::{Entry, Form, Ledger, Told},
    load::Target,
    sender::{Said, thread},
    stack::Stack,
};

/// What the senders are like.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many.
    pub senders: usize,
    /// Messages per second in all.
    pub rate: f64,
    /// For how long, from the moment they start.
    pub lasts: Duration,
    /// Accounts that receive.
    pub targets: Vec<Target>,
    /// Their outboxes are in memory: the negative control.
    pub no_outbox: bool,
    /// They sign.
    pub signed: bool,
}

#[derive(Debug)]
struct Process {
    child: Child,
    name: String,
    /// Ends when everything that the process has said is in the ledger.
    reader: Option<JoinHandle<()>>,
}

/// All senders that are processes.
#[derive(Debug)]
pub struct Senders {
    processes: Vec<Mutex<Process>>,
    ledger: Arc<Ledger>,
}

impl Senders {
    /// Starts them; they begin as soon as they have joined.
    ///
    /// # Errors
    /// When the system can't start one.
    pub async fn start(stack: &Stack, ledger: Arc<Ledger>, plan: &Plan) -> Result<Self> {
        let mut senders = Self { processes: Vec::new(), ledger };
        let until_ms = SystemClock.now().saturating_add(plan.lasts).unix_millis().to_string();
        for index in 0..plan.senders {
            let name = format!("process-{index}");
            let child = child(stack, &name, plan, &until_ms);
            senders.processes.push(Mutex::new(Process { child, name, reader: None }));
            senders.start_again(index).await?;
        }
        Ok(senders)
    }

    /// Number of processes.
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// kill -9. What it was about to be told, nobody was told.
    ///
    /// # Errors
    /// When it doesn't die.
    pub async fn kill(&self, index: usize) -> Result<()> {
        let mut process = self.processes[index].lock().await;
        process.child.kill().await?;
        self.listen_to_the_end(&mut process).await;
        Ok(())
    }

    /// Starts one that was killed.
    ///
    /// # Errors
    /// When the system can't start it.
    pub async fn start_again(&self, index: usize) -> Result<()> {
        let mut process = self.processes[index].lock().await;
        self.start_process(&mut process).await
    }

    /// Starts those that ended by themselves; their names.
    ///
    /// # Errors
    /// When the system can't start one.
    pub async fn revive(&self) -> Result<Vec<String>> {
        let mut revived = Vec::new();
        for process in &self.processes {
            let mut process = process.lock().await;
            if !process.child.is_running() {
                revived.push(process.name.clone());
                self.listen_to_the_end(&mut process).await;
                self.start_process(&mut process).await?;
            }
        }
        Ok(revived)
    }

    async fn start_process(&self, process: &mut Process) -> Result<()> {
        process.child.start().await?;
        let (name, ledger) = (process.name.clone(), self.ledger.clone());
        process.reader = process.child.take_stdout().map(|out| tokio::spawn(read(out, name, ledger)));
        Ok(())
    }

    async fn listen_to_the_end(&self, process: &mut Process) {
        if let Some(reader) = process.reader.take() {
            // A reader can't fail; it ends with the pipe.
            let _ = reader.await;
        }
        self.ledger.sender_died(&process.name);
    }
}

async fn read(out: BufReader<ChildStdout>, sender: String, ledger: Arc<Ledger>) {
    let mut lines = out.lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Said::Sending { message_id, recipient, seq }) => ledger.sending(Entry {
                thread_id: thread(&sender, &recipient),
                sender: sender.clone(),
                due: ledger.elapsed(),
                form: Form::Direct,
                told: None,
                message_id,
                recipient,
                seq,
            }),
            Ok(Said::Queued { message_id }) => ledger.told(&message_id, Told::Queued),
            Ok(Said::Failed { message_id, code }) => ledger.told(&message_id, Told::Failed(code)),
            // The last line of a killed process.
            Err(error) => tracing::debug!(%error, line, "half a line"),
        }
    }
}

fn child(stack: &Stack, name: &str, plan: &Plan, until_ms: &str) -> Child {
    let rate = plan.rate / plan.senders.max(1) as f64;
    let mut args: Vec<String> =
        ["sender", "--username", name, "--until-ms", until_ms].map(str::to_owned).to_vec();
    args.extend(["--rate".to_owned(), rate.to_string()]);
    for target in &plan.targets {
        args.extend(["--target".to_owned(), format!("{}={}", target.username, target.account_id)]);
    }
    if !plan.no_outbox {
        args.extend(["--outbox".to_owned(), stack.dir().join("outboxes").join(name).display().to_string()]);
    }
    let env = BTreeMap::from([
        ("AGENTNET_NATS_URL".to_owned(), stack.nats_url()),
        ("DEV_AUTH".to_owned(), plan.signed.to_string()),
        ("DEV_AUTH_KEY_DIR".to_owned(), stack.dir().join("keys").display().to_string()),
        ("LOG_LEVEL".to_owned(), "info".to_owned()),
    ]);
    stack.child(name, args, env)
}
