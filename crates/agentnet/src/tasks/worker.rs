//! Doing tasks: accepting, heartbeats, and what came of it.

use std::{fmt, future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration};

use agentnet_proto::{
    ErrorCode, Payload, Timestamp,
    rpc::{
        self, TaskAcceptRequest, TaskAcceptResponse, TaskCompleteRequest, TaskFailRequest,
        TaskProgressRequest,
    },
    task::{TaskAssignment, TaskPriority},
};
use futures_util::FutureExt as _;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::submit::again;
use crate::{
    error::{Error, ErrorKind},
    inbox::{HandlerResult, Incoming, panic_text},
    node::Inner,
    send::payload_of,
};

/// How long a handler may take to notice that its task was called off, before it is dropped.
const GRACE: Duration = Duration::from_secs(5);
/// How long the end of a task is told again while the network can't answer.
const TELL: Duration = Duration::from_secs(120);
/// Longest code and detail that are told, in characters.
const MAX_CODE: usize = 128;
const MAX_DETAIL: usize = 2_000;

/// Why a task couldn't be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskError {
    code: String,
    detail: String,
    retry: bool,
}

impl TaskError {
    /// It can't be done: the task ends as failed.
    pub fn failed(detail: impl Into<String>) -> Self {
        Self { code: ErrorCode::HandlerError.as_str().to_owned(), detail: detail.into(), retry: false }
    }

    /// Another attempt may do better, on another worker if there is one.
    pub fn retry(detail: impl Into<String>) -> Self {
        Self { retry: true, ..Self::failed(detail) }
    }

    /// The same with a code of its own, a short word that programs match on.
    #[must_use]
    pub fn with_code(self, code: impl Into<String>) -> Self {
        Self { code: code.into(), ..self }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for TaskError {}

impl From<Error> for TaskError {
    /// What an agent can't do for want of the network, another attempt may.
    fn from(error: Error) -> Self {
        let retry = matches!(
            error.kind(),
            ErrorKind::Timeout
                | ErrorKind::Busy
                | ErrorKind::NatsUnavailable
                | ErrorKind::RegistryUnavailable
                | ErrorKind::RegistryFailed
        );
        Self { retry, ..Self::failed(error.to_string()).with_code(error.code()) }
    }
}

type Handler =
    Arc<dyn Fn(TaskRun) -> Pin<Box<dyn Future<Output = Result<Payload, TaskError>> + Send>> + Send + Sync>;

/// A closure as the node keeps it.
pub(crate) fn task_handler_of<F, Fut, T>(handler: F) -> Handler
where
    F: Fn(TaskRun) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, TaskError>> + Send + 'static,
    T: Serialize,
{
    Arc::new(move |run| {
        let ended = handler(run);
        Box::pin(async move {
            let result = ended.await?;
            payload_of(&result).map_err(|error| TaskError::failed(error.to_string()))
        })
    })
}

/// A task at work. Cheap to clone.
#[derive(Clone)]
pub struct TaskRun {
    node: Arc<Inner>,
    assignment: Arc<TaskAssignment>,
    lease: Arc<str>,
    cancel: CancellationToken,
}

impl TaskRun {
    /// The task's id: what an effect should be keyed by to happen once.
    pub fn task_id(&self) -> &str {
        &self.assignment.task_id
    }

    /// Which assignment of it this is, from 1. From 2 on another worker may have done some of it.
    pub fn attempt(&self) -> i64 {
        self.assignment.attempt
    }

    /// What kind of work it is; empty when the submitter didn't say.
    pub fn task_type(&self) -> &str {
        self.assignment.task_type.as_deref().unwrap_or_default()
    }

    /// What is to be done.
    pub fn data(&self) -> &Payload {
        &self.assignment.task_data
    }

    /// The same as a type.
    ///
    /// # Errors
    /// A [`TaskError`] that fails the task: trying again wouldn't change its data.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, TaskError> {
        serde_json::from_str(self.data().get())
            .map_err(|error| TaskError::failed(format!("the task's data can't be read: {error}")))
    }

    /// Who submitted it, an account id.
    pub fn submitter(&self) -> &str {
        &self.assignment.submitter
    }

    /// How soon it wants to be done.
    pub fn priority(&self) -> TaskPriority {
        self.assignment.priority
    }

    /// Until when it is of any use.
    pub fn deadline(&self) -> Option<Timestamp> {
        Timestamp::parse(&self.assignment.deadline)
    }

    /// Says how much is done, from 0 to 1, and anything about it.
    ///
    /// # Errors
    /// [`ErrorKind::Rejected`] when the task isn't this worker's any more; as
    /// [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn progress(&self, done: f64, note: Option<&str>) -> Result<(), Error> {
        let request =
            TaskProgressRequest { progress: Some(done), note: note.map(str::to_owned), ..self.heartbeat() };
        let told = self.node.registry.call::<rpc::TaskProgress>(&request).await;
        if told.as_ref().is_err_and(is_lost) {
            self.cancel.cancel();
        }
        told.map(drop)
    }

    /// Until the task is called off, has expired, or was given to another worker. A handler that goes on for more than 5 s
    /// after that is dropped, and what it returns isn't told to anybody.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Whether that has happened.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    fn heartbeat(&self) -> TaskProgressRequest {
        TaskProgressRequest {
            account_id: Some(self.node.account.to_string()),
            task_id: self.task_id().to_owned(),
            lease: self.lease.to_string(),
            progress: None,
            note: None,
        }
    }
}

impl fmt::Debug for TaskRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskRun")
            .field("task_id", &self.task_id())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}

/// Whether the answer says that the task isn't this worker's.
fn is_lost(error: &Error) -> bool {
    let lost =
        [ErrorCode::TaskOver, ErrorCode::TaskLeaseLost, ErrorCode::TaskNotAssigned, ErrorCode::TaskTaken];
    lost.iter().any(|code| error.code() == code.as_str())
}

/// What a node does with tasks.
#[derive(Clone)]
pub(crate) struct TaskWorker {
    handler: Handler,
}

impl TaskWorker {
    pub(crate) fn new(handler: Handler) -> Self {
        Self { handler }
    }

    /// A task came: it is begun beside the handlers of messages, as long as it may take.
    pub(crate) async fn take(self, message: Incoming) -> HandlerResult {
        let assignment: TaskAssignment = serde_json::from_str(message.payload().get())
            .map_err(|error| format!("the assignment can't be read: {error}"))?;
        let node = Arc::clone(&message.node);
        if !node.tasks.brings(message.envelope()) {
            return Err("the message says that it brings a task, and isn't the network's".into());
        }
        let (task_id, attempt) = (assignment.task_id.clone(), assignment.attempt);
        let Some(cancel) = node.tasks.begin(&task_id, attempt) else { return Ok(()) };
        if !node.is_accepting() {
            decline(&node, &task_id).await;
            node.tasks.end(&task_id, attempt);
            return Ok(());
        }
        let accepted = match accept(&node, &assignment).await {
            Ok(accepted) => accepted,
            Err(error) => {
                node.tasks.end(&task_id, attempt);
                // It was called off or given to another one meanwhile, or will be.
                tracing::debug!(task_id, attempt, %error, "task not begun");
                return Ok(());
            }
        };
        let run = TaskRun {
            node: Arc::clone(&node),
            assignment: Arc::new(assignment),
            lease: accepted.lease.as_str().into(),
            cancel,
        };
        let lease = Duration::from_millis(u64::try_from(accepted.lease_ms).unwrap_or(30_000).max(100));
        let busy = node.busy();
        tokio::spawn(async move {
            let _busy = busy;
            let work = self.work(&run, lease);
            let _ = run.node.until_stopped(work).await;
            run.node.tasks.end(run.task_id(), run.attempt());
        });
        Ok(())
    }

    async fn work(&self, run: &TaskRun, lease: Duration) {
        let called = run.clone();
        // The inner block: a handler may panic before it returns its future.
        let handled = AssertUnwindSafe(async { (self.handler)(called).await }).catch_unwind();
        let handled = async {
            handled.await.unwrap_or_else(|panic| {
                tracing::warn!(
                    task_id = run.task_id(),
                    panic = panic_text(&*panic),
                    "a task's handler panicked"
                );
                Err(TaskError::retry("the handler panicked"))
            })
        };
        let called_off = async {
            run.cancelled().await;
            sleep(GRACE).await;
        };
        let ended = tokio::select! {
            ended = handled => Some(ended),
            () = called_off => None,
            () = beat(run, lease) => None,
        };
        match ended {
            Some(ended) if !run.is_cancelled() => tell(run, ended).await,
            _ => tracing::debug!(task_id = run.task_id(), "a task was called off"),
        }
    }
}

async fn accept(node: &Inner, assignment: &TaskAssignment) -> Result<TaskAcceptResponse, Error> {
    let request = TaskAcceptRequest {
        account_id: Some(node.account.to_string()),
        task_id: assignment.task_id.clone(),
        attempt: Some(assignment.attempt),
        session_tag: Some(node.session_tag().to_string()),
    };
    let left = Timestamp::parse(&assignment.accept_by).map_or(0, |by| by.duration_since(node.clock.now()));
    let left = Duration::from_millis(u64::try_from(left).unwrap_or(0)).max(Duration::from_secs(1));
    again(Instant::now() + left, || node.registry.call::<rpc::TaskAccept>(&request)).await
}

/// Somebody else may have it at once.
async fn decline(node: &Inner, task_id: &str) {
    let request = TaskFailRequest {
        account_id: Some(node.account.to_string()),
        task_id: task_id.to_owned(),
        lease: None,
        code: Some(ErrorCode::ShuttingDown.as_str().to_owned()),
        detail: None,
        retry: true,
    };
    if let Err(error) = node.registry.call::<rpc::TaskFail>(&request).await {
        tracing::debug!(task_id, %error, "task not declined; it is given to another worker in a while");
    }
}

/// Keeps the lease, until it is lost.
async fn beat(run: &TaskRun, lease: Duration) {
    loop {
        sleep(lease / 3).await;
        match run.node.registry.call::<rpc::TaskHeartbeat>(&run.heartbeat()).await {
            Ok(_) => {}
            Err(error) if is_lost(&error) => {
                run.cancel.cancel();
                sleep(GRACE).await;
                return;
            }
            Err(error) => tracing::debug!(task_id = run.task_id(), %error, "heartbeat of a task not heard"),
        }
    }
}

/// Tells what came of it, until the network has heard it or the task is somebody else's.
async fn tell(run: &TaskRun, ended: Result<Payload, TaskError>) {
    let (account_id, task_id) = (Some(run.node.account.to_string()), run.task_id().to_owned());
    let give_up = Instant::now() + TELL;
    let told = match ended {
        Ok(result) => {
            let lease = run.lease.to_string();
            let request = TaskCompleteRequest { account_id, task_id, lease, result: Some(result) };
            let told = again(give_up, || run.node.registry.call::<rpc::TaskComplete>(&request)).await;
            match told {
                // What is refused for itself would be refused again.
                Err(error) if !is_lost(&error) && error.kind() == ErrorKind::PayloadTooLarge => {
                    let error = TaskError::failed(error.to_string()).with_code(error.code());
                    fail(run, error, give_up).await
                }
                told => told.map(drop),
            }
        }
        Err(error) => fail(run, error, give_up).await,
    };
    if let Err(error) = told {
        tracing::warn!(task_id = run.task_id(), %error, "what came of a task couldn't be told");
    }
}

async fn fail(run: &TaskRun, error: TaskError, give_up: Instant) -> Result<(), Error> {
    let cut =
        |text: &str, most: usize| text.chars().filter(|c| !c.is_control()).take(most).collect::<String>();
    let request = TaskFailRequest {
        account_id: Some(run.node.account.to_string()),
        task_id: run.task_id().to_owned(),
        lease: Some(run.lease.to_string()),
        code: Some(cut(&error.code, MAX_CODE)),
        detail: Some(cut(&error.detail, MAX_DETAIL)),
        retry: error.retry,
    };
    again(give_up, || run.node.registry.call::<rpc::TaskFail>(&request)).await.map(drop)
}
