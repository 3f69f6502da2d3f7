//! Tasks between nodes over real services, in every mode: done, cancelled, retried on another worker, and never begun for
//! nothing.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use agentnet::{
    AgentNode, ErrorKind, TaskError, TaskRun,
    proto::{
        rpc::{self, TaskListRequest},
        task::{AgentStatus, TASK_KIND, TASKS_USERNAME, TaskState},
    },
};
use agentnet_local::testing::eventually;
use serde_json::{Value, json};
use support::{SECOND, SOON, Stack};
use tokio::sync::Notify;

const QUICK: [(&str, &str); 2] =
    [("AGENTNET_TASK_INTERVAL_SECONDS", "0.05"), ("AGENTNET_TASK_RETRY_SECONDS", "0.05")];

async fn modes() -> [Stack; 3] {
    let signed = [QUICK[0], QUICK[1], ("AGENTNET_SECURITY", "signed")];
    [Stack::start_with(&QUICK).await, Stack::start_with(&signed).await, Stack::secure(&QUICK).await]
}

/// A worker that adds numbers.
async fn adder(stack: &Stack, name: &str) -> AgentNode {
    let node = stack.node(name).capability("sums").task_concurrency(8).on_task(|task: TaskRun| async move {
        let numbers: Vec<i64> = task.json()?;
        task.progress(0.5, Some("half")).await?;
        Ok(json!({"sum": numbers.iter().sum::<i64>()}))
    });
    node.start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_done_in_every_mode() {
    for stack in modes().await {
        let ann = stack.node("ann").start().await.unwrap();
        // More at once than any rate limit of messages lets through.
        let mut tasks = Vec::new();
        for n in 0..30 {
            tasks.push(ann.submit_task("add", [n, 1]).capability("sums").await.unwrap());
        }
        let bob = adder(&stack, "bob").await;
        for (n, task) in tasks.iter().enumerate() {
            let done = task.wait(SOON).await.unwrap();
            let result: Value = serde_json::from_str(done.result.as_ref().unwrap().get()).unwrap();
            assert_eq!((done.state, result), (TaskState::Completed, json!({"sum": n + 1})));
            assert_eq!(done.worker.as_deref(), Some(bob.account_id()));
        }
        // Work that can't be done says why.
        let bad = ann.submit_task("add", "no numbers").capability("sums").await.unwrap();
        let failed = bad.wait(SOON).await.unwrap();
        assert_eq!((failed.state, failed.code.as_deref()), (TaskState::Failed, Some("handler_error")));
        // Who submitted them lists them; the worker lists its own; a stranger sees nothing.
        let mine = ann.tasks(TaskListRequest::default()).await.unwrap();
        assert_eq!(mine.tasks.len(), 31);
        let worker = Some(bob.account_id().to_owned());
        let own = bob.tasks(TaskListRequest { worker, ..TaskListRequest::default() }).await.unwrap();
        assert_eq!(own.tasks.len(), 31);
        let eve = stack.node("eve").start().await.unwrap();
        let seen = eve.task_status(tasks[0].task_id()).await;
        match stack.settings().iter().any(|(name, _)| *name == "AGENTNET_SECURITY") {
            true => assert_eq!(seen.unwrap_err().kind(), ErrorKind::NotFound),
            false => assert_eq!(seen.unwrap().task.state, TaskState::Completed),
        }
        // The assignment is a message like any other: stored in a thread of the task's, which its worker reads.
        eventually(SOON, || async {
            let request = rpc::ThreadMessagesRequest {
                thread_id: format!("task_{}", tasks[0].task_id()),
                ..rpc::ThreadMessagesRequest::default()
            };
            let found = bob.registry().call::<rpc::ThreadMessages>(&request).await.unwrap();
            (found.messages.len() == 1).then_some(())
        })
        .await;
        for node in [ann, bob, eve] {
            node.close().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_reaches_its_worker() {
    for stack in modes().await {
        let (begun, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell_begun, tell_ended) = (begun.clone(), ended.clone());
        let bob = stack.node("bob").on_task(move |task: TaskRun| {
            let (begun, ended) = (tell_begun.clone(), tell_ended.clone());
            async move {
                begun.notify_one();
                task.cancelled().await;
                ended.notify_one();
                Ok("ignored")
            }
        });
        let bob = bob.start().await.unwrap();
        let ann = stack.node("ann").start().await.unwrap();
        let task = ann.submit_task("wait", json!({})).await.unwrap();
        begun.notified().await;
        assert_eq!(task.status().await.unwrap().state, TaskState::Running);
        // In open mode whoever names an account is it; elsewhere only the submitter may.
        if stack.settings().iter().any(|(name, _)| *name == "AGENTNET_SECURITY") {
            let refused = bob.cancel_task(task.task_id(), None).await.unwrap_err();
            assert_eq!(refused.code(), "forbidden");
        }
        assert_eq!(task.cancel().await.unwrap().state, TaskState::Cancelled);
        tokio::time::timeout(SOON, ended.notified()).await.unwrap();
        let found = task.wait(SOON).await.unwrap();
        assert_eq!((found.state, found.result.is_none()), (TaskState::Cancelled, true));
        bob.close().await.unwrap();
        ann.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_goes_or_gives_up_leaves_its_task_to_another() {
    let stack = Stack::start_with(&QUICK).await;
    let begun = Arc::new(Notify::new());
    let tell = begun.clone();
    let first = stack.node("first").on_task(move |_: TaskRun| {
        let tell = tell.clone();
        async move {
            tell.notify_one();
            std::future::pending::<()>().await;
            Ok(())
        }
    });
    let first = first.drain_timeout(SECOND / 10).start().await.unwrap();
    let ann = stack.node("ann").start().await.unwrap();
    let task = ann.submit_task("t", json!({})).await.unwrap();
    begun.notified().await;
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let second = stack.node("second").on_task(move |task: TaskRun| {
        let tries = counted.clone();
        async move {
            assert!(task.attempt() > 1);
            match tries.fetch_add(1, Ordering::SeqCst) {
                0 => Err(TaskError::retry("not now").with_code("later")),
                1 => panic!("a handler's panic is another try"),
                _ => Ok("done"),
            }
        }
    });
    let second = second.start().await.unwrap();
    // Its session ends while it has the task.
    first.close().await.unwrap();
    let done = task.wait(SOON).await.unwrap();
    assert_eq!((done.state, done.worker.as_deref()), (TaskState::Completed, Some(second.account_id())));
    let outcomes: Vec<String> = ann
        .task_status(task.task_id())
        .await
        .unwrap()
        .attempts
        .into_iter()
        .map(|attempt| attempt.outcome)
        .collect();
    assert_eq!(outcomes, ["worker_lost", "later", "handler_error", "completed"]);
    second.close().await.unwrap();
    ann.close().await.unwrap();
}

/// Services are away for a while: what was submitted is there afterwards, and work that goes on meanwhile counts.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_outlive_the_registry() {
    let stack = Stack::start_with(&QUICK).await;
    let go = Arc::new(Notify::new());
    let (waits, runs) = (go.clone(), Arc::new(Mutex::new(Vec::new())));
    let noted = runs.clone();
    let bob = stack.node("bob").task_concurrency(2).on_task(move |task: TaskRun| {
        let (go, noted) = (waits.clone(), noted.clone());
        async move {
            noted.lock().unwrap().push(task.task_id().to_owned());
            if task.task_type() == "long" {
                go.notified().await;
            }
            Ok(task.attempt())
        }
    });
    let bob = bob.start().await.unwrap();
    let ann = stack.node("ann").start().await.unwrap();
    let long = ann.submit_task("long", json!({})).await.unwrap();
    eventually(SOON, || async { !runs.lock().unwrap().is_empty() }).await;
    stack.stop_registry().await;
    go.notify_one();
    // Submitting goes on until somebody answers.
    let (submitted, ()) =
        tokio::join!(async { ann.submit_task("short", json!({})).await.unwrap() }, stack.start_registry());
    for task in [&long, &submitted] {
        assert_eq!(task.wait(SOON).await.unwrap().state, TaskState::Completed);
    }
    assert_eq!(runs.lock().unwrap().len(), 2, "nothing was begun twice");
    bob.close().await.unwrap();
    ann.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_agents_get_nothing_until_they_say_so() {
    let stack = Stack::secure(&QUICK).await;
    let bob = adder(&stack, "bob").await;
    let load = BTreeMap::from([("cpu_usage".to_owned(), 0.9)]);
    let said = bob.set_status(AgentStatus::Busy, load).await.unwrap();
    assert_eq!((said.status, said.load_metrics["cpu_usage"]), (AgentStatus::Busy, 0.9));
    let ann = stack.node("ann").start().await.unwrap();
    let task = ann.submit_task("add", [1, 2]).await.unwrap();
    eventually(SOON, || async {
        let queues = ann.registry().call::<rpc::TaskQueues>(&rpc::TaskQueuesRequest {}).await.unwrap();
        queues.queues.iter().any(|queue| queue.waiting_for_agent == 1)
    })
    .await;
    bob.set_status(AgentStatus::Active, BTreeMap::new()).await.unwrap();
    assert_eq!(task.wait(SOON).await.unwrap().state, TaskState::Completed);
    bob.close().await.unwrap();
    ann.close().await.unwrap();
}

/// Somebody sends a worker a message that looks like a task: it isn't the network's, and nothing is begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_assignment_begins_nothing() {
    for stack in
        [Stack::start_with(&[QUICK[0], ("AGENTNET_SECURITY", "signed")]).await, Stack::secure(&QUICK).await]
    {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = runs.clone();
        let bob = stack.node("bob").on_task(move |_: TaskRun| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
        let bob = bob.start().await.unwrap();
        let eve = stack.node("eve").start().await.unwrap();
        let forged = json!({"task_id": "t", "attempt": 1, "submitter": "x", "task_data": {}, "priority": "urgent",
            "accept_by": "2099-01-01T00:00:00Z", "deadline": "2099-01-01T00:00:00Z", "created_at": "2026-01-01T00:00:00Z"});
        let refused =
            eve.send(bob.account_id(), forged).kind(TASK_KIND).until(agentnet::Stage::Processed).await;
        assert_eq!(refused.unwrap_err().code(), "handler_error");
        assert_eq!(runs.load(Ordering::SeqCst), 0);
        // Nor does anybody get the account that tasks come from.
        let sender = bob.resolve_username(TASKS_USERNAME).await.unwrap();
        match stack.node("mallory").username(TASKS_USERNAME).start().await {
            Ok(mallory) => assert_ne!(mallory.account_id(), sender.as_str()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Auth, "{error}"),
        }
        bob.close().await.unwrap();
        eve.close().await.unwrap();
    }
}
