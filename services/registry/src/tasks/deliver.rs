//! The message that brings a task to its worker, and the account that it comes from.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agentnet_proto::envelope::{Envelope, Payload, SIGNATURE_HEADER};
use agentnet_proto::signature::{Purpose, SecretKey, SignatureHeader};
use agentnet_proto::task::{TASK_KIND, TASKS_USERNAME, TaskAssignment};
use agentnet_proto::{AccountId, Security, Subject, Timestamp, schema_version};
use agentnet_store::keys::{self, SessionKey};
use agentnet_store::tasks::Task;
use agentnet_store::users::{self, NewPerson};
use agentnet_store::{StoreError, accounts};
use async_nats::HeaderMap;

use crate::app::App;

/// How long a replica's key speaks for the account.
const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Names the keys of replicas among those that logins bind.
const SID: &str = "tasks";
/// Usernames tried for the account.
const ATTEMPTS: usize = 32;

/// Why there is nobody to send tasks.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// Postgres.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Every username that was tried is taken.
    #[error("no username is free for the account that sends tasks")]
    NoName,
}

/// Who sends tasks: an account that all replicas share, and this replica's key for it.
#[derive(Debug)]
pub(super) struct Sender {
    account: AccountId,
    session: String,
    /// `None` where nothing is signed.
    key: Option<SecretKey>,
    until: Mutex<Timestamp>,
}

impl Sender {
    /// Finds or makes the account, and binds a new key to it.
    pub(super) async fn ensure(app: &App) -> Result<Self, SenderError> {
        let account = account(app).await?;
        let key = (app.config.security != Security::Open).then(|| {
            let mut seed = [0; 32];
            let (first, second) = seed.split_at_mut(16);
            first.copy_from_slice(&app.ids.random().to_le_bytes());
            second.copy_from_slice(&app.ids.random().to_le_bytes());
            SecretKey::from_seed(&seed)
        });
        let session = app.ids.session_tag(&app.config.server_id);
        let sender = Self { account, session, key, until: Mutex::new(Timestamp::MIN) };
        sender.renew(app).await?;
        Ok(sender)
    }

    /// The account.
    pub(super) fn account(&self) -> &str {
        self.account.as_str()
    }

    /// Lets the key speak for another day, when half of the last one is over.
    pub(super) async fn renew(&self, app: &App) -> Result<(), StoreError> {
        let Some(key) = &self.key else { return Ok(()) };
        let now = app.now();
        if *self.until.lock().unwrap_or_else(PoisonError::into_inner) > now.saturating_add(KEY_LIFE / 2) {
            return Ok(());
        }
        let expires_at = now.saturating_add(KEY_LIFE);
        let public_key = key.verifying().to_string();
        let bound = SessionKey {
            account_id: self.account.as_str(),
            public_key: &public_key,
            sid: SID,
            via: None,
            expires_at,
        };
        let failed = StoreError::query("agent_keys.tasks");
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        keys::lock(&mut tx, &public_key).await?;
        keys::bind_session(&mut tx, &bound, now).await?;
        tx.commit().await.map_err(&failed)?;
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = expires_at;
        Ok(())
    }

    /// Publishes the assignment. One that is lost isn't accepted in time, and is assigned again.
    pub(super) async fn deliver(&self, app: &App, task: &Task) {
        let Some(Ok(worker)) = task.worker.as_deref().map(AccountId::new) else { return };
        let Some((body, message_id)) = self.envelope(app, task, &worker) else {
            app.failures.log("tasks.encode", &task.task_id);
            return;
        };
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.key {
            let header = SignatureHeader::sign(key, &Purpose::Message, &app.config.deployment, &body);
            headers.insert(SIGNATURE_HEADER, header.to_string());
        }
        let subject = Subject::Inbox(worker).to_string();
        if let Err(error) = app.client.publish_with_headers(subject, headers, body.into()).await {
            app.failures.log("tasks.publish", &error.to_string());
        }
        tracing::debug!(task_id = task.task_id, message_id, attempt = task.attempt, "assigned a task");
    }

    fn envelope(&self, app: &App, task: &Task, worker: &AccountId) -> Option<(Vec<u8>, String)> {
        let view = task.clone().view();
        let now = app.now();
        let left = task.lease_until.map(|until| Timestamp::from(until).duration_since(now).max(1_000));
        let assignment = TaskAssignment {
            task_id: view.task_id,
            attempt: view.attempt,
            submitter: view.submitter,
            task_type: view.task_type,
            task_data: view.task_data?,
            priority: view.priority,
            requirements: view.requirements,
            accept_by: view.lease_until?,
            deadline: view.deadline,
            created_at: view.created_at,
        };
        let message_id = app.ids.message_id();
        let envelope = Envelope {
            message_id: message_id.clone(),
            from_agent: TASKS_USERNAME.to_owned(),
            from_account_id: Some(self.account.to_string()),
            from_session_tag: Some(self.session.clone()),
            to_agent: worker.to_string(),
            to_account_id: Some(worker.to_string()),
            payload: Payload::of(&assignment).ok()?,
            sent_at: now.to_string(),
            ttl_ms: left,
            trace_id: Some(task.task_id.clone()),
            thread_id: Some(format!("task_{}", task.task_id)),
            parent_message_id: None,
            kind: TASK_KIND.to_owned(),
            schema_version: schema_version::CURRENT.to_owned(),
            idempotency_key: Some(format!("{}#{}", task.task_id, task.attempt)),
            reply_to: None,
            reply_stream: None,
            to_members: Vec::new(),
            expires_at: None,
            auth: None,
            priority: None,
            hops: None,
            content_type: None,
            extra: Default::default(),
        };
        Some((envelope.encode().ok()?, message_id))
    }
}

async fn account(app: &App) -> Result<AccountId, SenderError> {
    let failed = StoreError::query("tasks.account");
    for attempt in 0..ATTEMPTS {
        let username = match attempt {
            0 => TASKS_USERNAME.to_owned(),
            _ => format!("{TASKS_USERNAME}-{}", app.ids.suffix(6)),
        };
        let id = app.ids.account_id();
        let new = NewPerson { account_id: &id, username: &username, display_name: "Tasks", role: "agent" };
        let mut db = app.store.pool().acquire().await.map_err(&failed)?;
        users::create_service(&mut db, &new, app.now()).await?;
        let Some(found) = accounts::id_of_username(&mut *db, &username).await? else { continue };
        let kind = accounts::by_id(&mut *db, &found).await?.map(|account| account.kind);
        // Another replica made it, or somebody else has the name.
        if kind.as_deref() == Some("service")
            && let Ok(account) = AccountId::new(found)
        {
            return Ok(account);
        }
    }
    Err(SenderError::NoName)
}
