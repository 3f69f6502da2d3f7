//! `registry.task_submit`: the answer comes when the task is stored.

use std::sync::Arc;

use agentnet_proto::envelope::Payload;
use agentnet_proto::rpc::{TaskResponse, TaskSubmitRequest};
use agentnet_proto::task::{
    DEFAULT_ATTEMPTS, DEFAULT_TASK_LIFE, MAX_ATTEMPTS, MAX_TASK_BYTES, MAX_TASK_LIFE, TaskChange,
    TaskPriority, TaskRequirements,
};
use agentnet_proto::{AccountId, ErrorCode, RpcError, Timestamp};
use agentnet_store::StoreError;
use agentnet_store::tasks::{self, NewTask, Submitted};
use sha2::{Digest as _, Sha256};

use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::tasks::tell;
use crate::{access, validate};

/// Largest requirements, as JSON text in bytes.
const MAX_REQUIREMENTS: usize = 8 * 1024;

pub(in crate::rpc) async fn submit(
    app: Arc<App>,
    call: Call,
    request: TaskSubmitRequest,
) -> Result<TaskResponse, RpcError> {
    check(&request)?;
    let priority = request.priority.as_deref().map_or(Ok(TaskPriority::default()), TaskPriority::parse)?;
    let life_ms = life(&request, app.now())?;
    let max_attempts = request.max_attempts.unwrap_or(DEFAULT_ATTEMPTS);
    let max_attempts =
        i32::try_from(max_attempts).ok().filter(|n| (1..=MAX_ATTEMPTS).contains(&i64::from(*n)));
    let Some(max_attempts) = max_attempts else {
        let detail = format!("max_attempts is a number from 1 to {MAX_ATTEMPTS}");
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    };
    let task_data = request.task_data.as_ref().map_or("{}", Payload::get);
    let task_type = request.task_type.clone().or_else(|| type_of(task_data));
    super::word("task_type", task_type.as_deref())?;
    let request_sha256 = hash(&request)?;
    let work = async {
        let submitter = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let requirements = resolve(&app, &request.requirements).await?;
        let id = request.task_id.clone().unwrap_or_else(|| uuid(&app.ids.message_id()));
        if !app.tasks.has_room(submitter.as_str(), app.config.tasks.per_submitter) {
            return Err(RpcError::from(ErrorCode::TaskQueueFull).into());
        }
        let new = NewTask {
            task_id: &id,
            submitter: submitter.as_str(),
            idempotency_key: request.idempotency_key.as_deref(),
            request_sha256: &request_sha256,
            task_type: task_type.as_deref(),
            task_data,
            priority,
            requirements: &requirements,
            affinity: request.affinity.as_deref().or(task_type.as_deref()).unwrap_or(submitter.as_str()),
            life_ms,
            max_attempts,
        };
        let mut db = app.store.pool().acquire().await.map_err(StoreError::Unavailable)?;
        Ok(tasks::submit(&mut db, &new).await?)
    };
    let submitted = app.within("db.task_submit", QUERY_DEADLINE, ErrorCode::TasksFailed, work).await?;
    let (task, changed) = match submitted {
        Submitted::New(task) => (task, true),
        Submitted::Before(task) => (task, false),
        Submitted::IdTaken => return Err(ErrorCode::TaskExists.into()),
        Submitted::KeyReused => return Err(ErrorCode::IdempotencyKeyReused.into()),
    };
    if changed {
        metrics::counter!("agentnet_registry_tasks_submitted_total", "priority" => priority.as_str())
            .increment(1);
        app.tasks.woken.notify_one();
        tell(&app, &task, TaskChange::Submitted).await;
    }
    Ok(TaskResponse { task: task.view(), changed, generated_at: app.now().to_string() })
}

fn check(request: &TaskSubmitRequest) -> Result<(), RpcError> {
    if let Some(id) = &request.task_id {
        super::task_id(id)?;
    }
    super::word("affinity", request.affinity.as_deref())?;
    validate::queries(&[("idempotency_key", &request.idempotency_key)])?;
    if request.task_data.as_ref().is_some_and(|data| data.get().len() > MAX_TASK_BYTES) {
        let detail =
            format!("task_data is larger than {MAX_TASK_BYTES} bytes; put it into a blob and refer to that");
        return Err(RpcError::with_detail(ErrorCode::PayloadTooLarge, detail));
    }
    let wanted = &request.requirements;
    let lists = [&wanted.capabilities, &wanted.services, &wanted.tags, &wanted.agents];
    for text in lists.into_iter().flatten().chain(&wanted.agent_type) {
        super::word("requirements", Some(text))?;
    }
    if serde_json::to_vec(wanted).map_or(usize::MAX, |json| json.len()) > MAX_REQUIREMENTS {
        let detail = format!("requirements are larger than {MAX_REQUIREMENTS} bytes");
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    Ok(())
}

/// How long the task lives, in milliseconds.
fn life(request: &TaskSubmitRequest, now: Timestamp) -> Result<i64, RpcError> {
    let most = i64::try_from(MAX_TASK_LIFE.as_millis()).unwrap_or(i64::MAX);
    let deadline = match request.deadline.as_deref() {
        None => None,
        Some(text) => Some(Timestamp::parse(text).ok_or(ErrorCode::DeadlineInvalid)?.duration_since(now)),
    };
    let default = i64::try_from(DEFAULT_TASK_LIFE.as_millis()).unwrap_or(most);
    let life = deadline.into_iter().chain(request.ttl_ms).min().unwrap_or(default);
    if (1..=most).contains(&life) { Ok(life) } else { Err(ErrorCode::DeadlineInvalid.into()) }
}

/// `task_type` of the task's data, as the seed's clients send it.
fn type_of(task_data: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Data {
        task_type: Option<String>,
    }
    let data = serde_json::from_str::<Data>(task_data).ok()?;
    data.task_type.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Of everything that makes a task the same task: not who asks, which is compared anyway, and not until when, which a
/// client may work out anew when it asks again.
fn hash(request: &TaskSubmitRequest) -> Result<Vec<u8>, RpcError> {
    let told = TaskSubmitRequest { account_id: None, deadline: None, ttl_ms: None, ..request.clone() };
    let json = serde_json::to_vec(&told).map_err(|_| RpcError::from(ErrorCode::InvalidField))?;
    Ok(Sha256::digest(&json).to_vec())
}

/// The same with accounts by their ids.
async fn resolve(app: &App, wanted: &TaskRequirements) -> Result<TaskRequirements, Failed> {
    let mut resolved = wanted.clone();
    for agent in &mut resolved.agents {
        let account: AccountId = access::named(app, "requirements.agents", agent).await?;
        *agent = account.to_string();
    }
    Ok(resolved)
}

/// 32 hex digits as a UUID is written.
fn uuid(hex: &str) -> String {
    let parts = [hex.get(..8), hex.get(8..12), hex.get(12..16), hex.get(16..20), hex.get(20..)];
    parts.map(Option::unwrap_or_default).join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> TaskSubmitRequest {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn ids_are_uuids() {
        assert_eq!(uuid("0123456789abcdef0123456789abcdef"), "01234567-89ab-cdef-0123-456789abcdef");
    }

    #[test]
    fn a_task_is_the_same_whoever_asks_and_until_when_but_not_with_other_data() {
        let of = |text: &str| hash(&request(text)).unwrap();
        let one = of(r#"{"task_data":{"a":1},"priority":"high","ttl_ms":5}"#);
        assert_eq!(
            one,
            of(
                r#"{"task_data":{"a":1},"priority":"high","account_id":"x","deadline":"2030-01-01T00:00:00Z"}"#
            )
        );
        assert_ne!(one, of(r#"{"task_data":{"a":2},"priority":"high"}"#));
        assert_ne!(one, of(r#"{"task_data":{"a":1}}"#));
    }

    #[test]
    fn lives() {
        let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let of = |text: &str| life(&request(text), now).map_err(|error| error.error);
        assert_eq!(of("{}"), Ok(24 * 3600 * 1000));
        assert_eq!(of(r#"{"ttl_ms":5}"#), Ok(5));
        assert_eq!(of(r#"{"ttl_ms":5000,"deadline":"2026-01-01T00:00:01Z"}"#), Ok(1000));
        for bad in [
            r#"{"ttl_ms":0}"#,
            r#"{"ttl_ms":-1}"#,
            r#"{"ttl_ms":99999999999}"#,
            r#"{"deadline":"soon"}"#,
            r#"{"deadline":"2025-01-01T00:00:00Z"}"#,
        ] {
            assert_eq!(of(bad), Err("deadline_invalid".to_owned()), "{bad}");
        }
    }

    #[test]
    fn the_type_may_stand_in_the_data() {
        assert_eq!(type_of(r#"{"task_type":" echo "}"#).as_deref(), Some("echo"));
        for none in ["{}", "null", "[1]", r#"{"task_type":7}"#, r#"{"task_type":""}"#] {
            assert_eq!(type_of(none), None, "{none}");
        }
    }
}
