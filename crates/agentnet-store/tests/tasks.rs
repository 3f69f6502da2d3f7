//! Tasks in Postgres: one submission, one winner, ends that stay, the order, and that queries go through indexes.
#![expect(clippy::unwrap_used, reason = "tests")]

use agentnet_local::testing::TestDb;
use agentnet_proto::ErrorCode;
use agentnet_proto::task::{TaskPriority, TaskRequirements, TaskState};
use agentnet_store::tasks::{self, Ending, Filter, NewTask, Refusal, Report, Round, Submitted, Target};
use agentnet_store::{Store, StoreConfig};
use sqlx::PgPool;
use tokio::task::JoinSet;

async fn database() -> (TestDb, PgPool) {
    let db = TestDb::create_from("store_tasks", |url| async move {
        Store::migrate(&StoreConfig::new(url.into(), "test")).await
    })
    .await;
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(8).connect(db.url()).await.unwrap();
    (db, pool)
}

async fn submit(pool: &PgPool, id: &str, submitter: &str, priority: TaskPriority) -> Submitted {
    let requirements = TaskRequirements::default();
    let new = NewTask {
        task_id: id,
        submitter,
        idempotency_key: Some("one"),
        request_sha256: b"hash",
        task_type: None,
        task_data: "{}",
        priority,
        requirements: &requirements,
        affinity: "a",
        life_ms: 60_000,
        max_attempts: 2,
    };
    // The key is only for those that share an id's first letter.
    let new = NewTask { idempotency_key: id.starts_with('k').then_some("one"), ..new };
    tasks::submit(&mut pool.acquire().await.unwrap(), &new).await.unwrap()
}

/// Assigns whatever is next to the worker.
async fn assign(pool: &PgPool, worker: &str, most: i64) -> Vec<String> {
    let mut round = Round::begin(pool).await.unwrap();
    let next = round.candidates(most).await.unwrap();
    let given: Vec<(String, String, f64)> =
        next.into_iter().map(|task| (task.task_id, worker.to_owned(), 1.0)).collect();
    let assigned = round.finish(&given, &[], &[], 30.0).await.unwrap();
    assert_eq!(assigned.len(), given.len());
    assert!(assigned.iter().all(|task| task.state() == TaskState::Assigned && task.task_data.is_some()));
    given.into_iter().map(|(id, ..)| id).collect()
}

#[tokio::test]
async fn of_all_who_submit_the_same_task_at_once_one_stores_it() {
    let (_db, pool) = database().await;
    let mut tries = JoinSet::new();
    for n in 0..12 {
        let pool = pool.clone();
        // Half of them by the same id, half by the same key.
        let id = if n % 2 == 0 { "k".to_owned() } else { format!("k{n}") };
        tries.spawn(async move { submit(&pool, &id, "ann", TaskPriority::Normal).await });
    }
    let (mut new, mut before) = (0, 0);
    while let Some(tried) = tries.join_next().await {
        match tried.unwrap() {
            Submitted::New(_) => new += 1,
            Submitted::Before(_) => before += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((new, before), (1, 11));
}

#[tokio::test]
async fn rounds_at_once_give_no_task_to_two() {
    let (_db, pool) = database().await;
    for n in 0..40 {
        submit(&pool, &format!("t{n:02}"), ["ann", "bob"][n % 2], TaskPriority::Normal).await;
    }
    let mut rounds = JoinSet::new();
    for n in 0..8 {
        let pool = pool.clone();
        rounds.spawn(async move { assign(&pool, &format!("w{n}"), 7).await });
    }
    let mut given: Vec<String> = rounds.join_all().await.into_iter().flatten().collect();
    given.sort();
    let all = given.len();
    given.dedup();
    assert_eq!((given.len(), all), (40, 40));
}

#[tokio::test]
async fn of_completion_cancellation_and_lapse_at_once_one_wins() {
    let (_db, pool) = database().await;
    for n in 0..30 {
        let id = format!("t{n}");
        submit(&pool, &id, "ann", TaskPriority::Normal).await;
        assert_eq!(assign(&pool, "bob", 1).await, std::slice::from_ref(&id));
        let report = Report { task_id: &id, worker: "bob", lease: "lease" };
        assert!(tasks::accept(&pool, report, Some(1), None, 30.0).await.unwrap().is_some());
        let ending = |target| Ending {
            task_id: id.clone(),
            attempt: 1,
            target,
            code: "code".to_owned(),
            detail: None,
        };
        let end = async |target| {
            let mut db = pool.acquire().await.unwrap();
            tasks::end(&mut db, &[ending(target)], 60.0).await.unwrap().len()
        };
        let (completed, cancelled, lapsed, twice) = tokio::join!(
            tasks::complete(&pool, report, "1"),
            end(Target::Cancelled),
            end(Target::Retry),
            tasks::complete(&pool, report, "2"),
        );
        let completions = usize::from(completed.unwrap().is_some()) + usize::from(twice.unwrap().is_some());
        // A task that was put back may be called off after that.
        assert!(
            completions + lapsed <= 1 && completions + cancelled + lapsed >= 1,
            "{completions} {cancelled} {lapsed}"
        );
        let task = tasks::by_id(&pool, &id).await.unwrap().unwrap();
        assert_eq!(task.state() == TaskState::Completed, completions == 1);
        let ends: i64 =
            sqlx::query_scalar("SELECT count(*) FROM agent_task_attempts WHERE task_id = $1 AND attempt = 1")
                .bind(&id)
                .fetch_one(&pool)
                .await
                .unwrap();
        assert_eq!(ends, 1);
    }
}

#[tokio::test]
async fn what_has_ended_stays_as_it_is() {
    let (_db, pool) = database().await;
    for target in [Target::Failed, Target::Cancelled, Target::Expired] {
        let id = format!("t{target:?}");
        submit(&pool, &id, "ann", TaskPriority::Normal).await;
        assign(&pool, "bob", 1).await;
        let report = Report { task_id: &id, worker: "bob", lease: "lease" };
        tasks::accept(&pool, report, None, None, 30.0).await.unwrap().unwrap();
        let mut db = pool.acquire().await.unwrap();
        let ending =
            |target| Ending { task_id: id.clone(), attempt: 1, target, code: "c".to_owned(), detail: None };
        assert_eq!(tasks::end(&mut db, &[ending(target)], 1.0).await.unwrap().len(), 1);
        for again in [Target::Retry, Target::Failed, Target::Cancelled, Target::Expired] {
            assert!(tasks::end(&mut db, &[ending(again)], 1.0).await.unwrap().is_empty());
        }
        assert!(tasks::complete(&pool, report, "1").await.unwrap().is_none());
        assert!(tasks::hear(&pool, report, None, None, 1.0).await.unwrap().is_none());
        assert!(tasks::accept(&pool, report, None, None, 1.0).await.unwrap().is_none());
        let why = tasks::why_not(&mut db, report, TaskState::Completed).await.unwrap();
        assert!(matches!(why, Refusal::No(ErrorCode::TaskOver)), "{why:?}");
        let stranger = Report { worker: "eve", ..report };
        let why = tasks::why_not(&mut db, stranger, TaskState::Completed).await.unwrap();
        assert!(matches!(why, Refusal::No(ErrorCode::TaskNotAssigned)), "{why:?}");
    }
}

/// Many tasks, of which few are any one's.
const FILL: [&str; 4] = [
    "INSERT INTO agent_tasks (task_id, submitter, request_sha256, task_data, priority, requirements, affinity, state, created_at, \
     rank_at, deadline, due_at, next_attempt_at, max_attempts, worker, lease, lease_until, assigned_at, finished_at, counted, \
     parked, looks) \
     SELECT 't' || n, 's' || n % 500, '', '{}', n % 5, '{}', 'a', \
     CASE WHEN n % 1000 = 0 THEN 'running' WHEN n % 50 = 1 THEN 'queued' ELSE 'completed' END, now() - n * interval '1 s', \
     now() - n * interval '1 s', now() + interval '1 h', now(), now(), 5, 'w' || n % 300, 'l', \
     CASE WHEN n % 1000 = 0 THEN now() + interval '1 h' END, now(), \
     CASE WHEN n % 1000 <> 0 AND n % 50 <> 1 THEN now() END, true, n % 100 = 1, 1 FROM generate_series(1, 30000) AS n",
    "INSERT INTO agent_task_attempts (task_id, attempt, worker, assigned_at, waited, ended_at, outcome, state, counted) \
     SELECT 't' || n, 1, 'w1', now(), '0', now(), 'completed', 'completed', true FROM generate_series(2, 30000, 3) AS n",
    "ANALYZE agent_tasks",
    "ANALYZE agent_task_attempts",
];

/// Scans of whole tables.
async fn scans(pool: &PgPool) -> i64 {
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(pool).await.unwrap();
    sqlx::query_scalar(
        "SELECT sum(seq_scan)::bigint FROM pg_stat_user_tables WHERE relname IN ('agent_tasks', 'agent_task_attempts')",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn everything_goes_through_an_index() {
    let (db, _) = database().await;
    // One connection, so that it tells its own figures.
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(db.url()).await.unwrap();
    for statement in FILL {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let before = scans(&pool).await;
    let check = async |what: &str| assert_eq!(scans(&pool).await, before, "{what}: a table scan");
    for (what, filter) in [
        ("all", Filter::default()),
        ("a submitter's", Filter { submitter: Some("s7"), ..Filter::default() }),
        ("a worker's", Filter { worker: Some("w7"), ..Filter::default() }),
        ("a state", Filter { state: Some(TaskState::Running), ..Filter::default() }),
        (
            "a submitter's in a state",
            Filter { submitter: Some("s7"), state: Some(TaskState::Completed), ..Filter::default() },
        ),
    ] {
        assert!(!tasks::list(&pool, &filter, 20).await.unwrap().is_empty(), "{what}");
        check(what).await;
    }
    tasks::by_id(&pool, "t5").await.unwrap().unwrap();
    tasks::attempts(&pool, "t5", 10).await.unwrap();
    check("one task").await;
    let mut round = Round::begin(&pool).await.unwrap();
    assert!(!round.candidates(50).await.unwrap().is_empty());
    round.workers(&["w1".to_owned()]).await.unwrap();
    round.finish(&[], &[], &[], 1.0).await.unwrap();
    check("a round").await;
    let mut tx = pool.begin().await.unwrap();
    tasks::overdue(&mut tx, &["x".to_owned()], &["w".to_owned()], 100).await.unwrap();
    tx.commit().await.unwrap();
    tasks::workers_in_hand(&pool, 1000).await.unwrap();
    check("a sweep").await;
    tasks::unpark(&pool, false, 10).await.unwrap();
    tasks::unpark(&pool, true, 10).await.unwrap();
    check("the end of pauses").await;
    tasks::queues(&pool, 1000).await.unwrap();
    tasks::totals(&pool).await.unwrap();
    tasks::fold_attempts(&pool).await.unwrap();
    tasks::fold_ends(&pool).await.unwrap();
    check("figures").await;
    let report = Report { task_id: "t1000", worker: "w100", lease: "l" };
    tasks::hear(&pool, report, Some(0.5), None, 10.0).await.unwrap().unwrap();
    tasks::complete(&pool, report, "1").await.unwrap().unwrap();
    check("a worker's words").await;
    submit(&pool, "new", "s7", TaskPriority::Normal).await;
    submit(&pool, "new", "s7", TaskPriority::Normal).await;
    check("submitting").await;
    let mut db = pool.acquire().await.unwrap();
    tasks::clear_queue(&mut db, TaskPriority::Low, "cleared", 5).await.unwrap();
    drop(db);
    check("clearing").await;
    tasks::forget(&pool, std::time::Duration::from_secs(86_400)).await.unwrap();
    check("forgetting").await;
}
