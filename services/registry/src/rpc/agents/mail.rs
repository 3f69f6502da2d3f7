//! `registry.mail_fetch` and `.mail_ack`: mail of agents that come in over HTTP.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::rpc::{
    CoordinatedMessage, MAIL_LEASE_SECONDS, MAX_MAIL, Mail, MailAckRequest, MailAckResponse,
    MailFetchRequest, MailFetchResponse, clamp_limit,
};
use agentnet_proto::{
    AccountId, ErrorCode, FailedMessage, HandledMessage, ReceiptStatus, RpcError, StoredNotice, Subject,
    Timestamp,
};
use agentnet_store::agents::{self, Acked, Fetched};
use agentnet_store::messages::{self, Message, MessagePage};
use agentnet_store::{Connection, StoreError};

use super::{acts_for, named, session};
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::rpc::message_rows::rows;

/// Entries of one notice.
const MOST_TOLD: usize = 100;

pub(in crate::rpc) async fn fetch(
    app: Arc<App>,
    call: Call,
    request: MailFetchRequest,
) -> Result<MailFetchResponse, RpcError> {
    let limit = clamp_limit(request.limit, 50, MAX_MAIL);
    let lease = lease(request.lease_seconds, 3600);
    let failed = StoreError::query("mail_fetch.transaction");
    let work = async {
        let agent = named(&app, "agent", &request.agent).await?;
        acts_for(&app, &call, request.account_id.as_deref(), &agent).await?;
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let most = app.config.redelivery.max_deliveries;
        let fetched = agents::fetch(&mut tx, &agent.account_id, limit, lease, most).await?;
        let (mail, left) = readable(&app, &mut tx, &agent.agent_id, fetched).await?;
        give_back(&mut tx, &agent.account_id, &left).await?;
        tx.commit().await.map_err(&failed)?;
        Ok((agent, mail))
    };
    let (agent, mail) =
        app.within("db.mail_fetch", QUERY_DEADLINE, ErrorCode::DeliveriesFailed, work).await?;
    session::heard(&app, &agent).await;
    tell_taken(&app, &agent.account_id, &mail).await;
    Ok(MailFetchResponse { mail, generated_at: app.now().to_string() })
}

/// Senders learn that it was taken.
pub(super) async fn tell_taken(app: &App, recipient: &str, mail: &[Mail]) {
    let taken = mail.iter().map(|mail| {
        let row = &mail.message.row;
        (row.from_account_id.clone(), row.message_id.clone())
    });
    tell(app, recipient, taken, ReceiptStatus::Accepted).await;
}

pub(super) fn lease(seconds: Option<u32>, most: u32) -> Duration {
    Duration::from_secs(seconds.unwrap_or(MAIL_LEASE_SECONDS).clamp(1, most).into())
}

/// The messages of deliveries in the order they came, as many as fit into an answer; and those that don't.
pub(super) async fn readable(
    app: &App,
    tx: &mut Connection,
    receiver_id: &str,
    fetched: Vec<Fetched>,
) -> Result<(Vec<Mail>, Vec<String>), Failed> {
    let leases: HashMap<String, Fetched> =
        fetched.into_iter().map(|one| (one.message_id.clone(), one)).collect();
    let ids: Vec<&str> = leases.keys().map(String::as_str).collect();
    let found = messages::by_ids(&mut *tx, &ids, app.row_budget()).await?;
    let names = names(tx, &found).await?;
    let rows = rows(MessagePage { messages: found, more: false }, &HashMap::new(), app.row_budget());
    let mut left: HashMap<&str, ()> = leases.keys().map(|id| (id.as_str(), ())).collect();
    let mut mail = Vec::with_capacity(rows.messages.len());
    for row in rows.messages {
        let Some(lease) = leases.get(&row.message_id) else { continue };
        left.remove(row.message_id.as_str());
        let sender_id =
            row.from_account_id.as_ref().and_then(|id| names.get(id)).cloned().unwrap_or_default();
        mail.push(Mail {
            attempt: lease.attempt,
            lease_until: Timestamp::from(lease.lease_until).to_string(),
            message: CoordinatedMessage { sender_id, receiver_id: receiver_id.to_owned(), row },
        });
    }
    Ok((mail, left.into_keys().map(str::to_owned).collect()))
}

/// The coordinator ids of all senders and receivers.
pub(in crate::rpc) async fn names(
    tx: &mut Connection,
    messages: &[Message],
) -> Result<BTreeMap<String, String>, StoreError> {
    let ids = messages.iter().flat_map(|m| [m.from_account_id.as_deref(), m.to_account_id.as_deref()]);
    let mut ids: Vec<&str> = ids.flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    agents::names(tx, &ids).await
}

/// What didn't fit is as it was before.
pub(super) async fn give_back(
    tx: &mut Connection,
    recipient: &str,
    ids: &[String],
) -> Result<(), StoreError> {
    if ids.is_empty() { Ok(()) } else { agents::give_back(tx, recipient, ids).await }
}

pub(in crate::rpc) async fn ack(
    app: Arc<App>,
    call: Call,
    request: MailAckRequest,
) -> Result<MailAckResponse, RpcError> {
    let asked = request.message_ids.len() + request.failed.len();
    if asked > 1_000 {
        return Err(RpcError::with_detail(
            ErrorCode::InvalidField,
            "acknowledge at most 1000 messages at once",
        ));
    }
    if request.message_ids.iter().chain(&request.failed).any(|id| id.contains('\0')) {
        return Err(RpcError::with_detail(ErrorCode::InvalidField, "message_ids holds a NUL character"));
    }
    let failed = StoreError::query("mail_ack.transaction");
    let work = async {
        let agent = named(&app, "agent", &request.agent).await?;
        acts_for(&app, &call, request.account_id.as_deref(), &agent).await?;
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let done = agents::ack(&mut tx, &agent.account_id, &request.message_ids, None).await?;
        let refusal = (ErrorCode::HandlerError.as_str(), "the agent could not handle it");
        let refused = agents::ack(&mut tx, &agent.account_id, &request.failed, Some(refusal)).await?;
        tx.commit().await.map_err(&failed)?;
        Ok((agent, done, refused))
    };
    let (agent, done, refused) =
        app.within("db.mail_ack", QUERY_DEADLINE, ErrorCode::DeliveriesFailed, work).await?;
    tell_done(&app, &agent.account_id, &done).await;
    tell_refused(&app, &agent.account_id, &refused).await;
    let acknowledged: Vec<String> =
        done.iter().chain(&refused).map(|acked| acked.message_id.clone()).collect();
    let all = request.message_ids.into_iter().chain(request.failed);
    let unknown = all.filter(|id| !acknowledged.contains(id)).collect();
    Ok(MailAckResponse { acknowledged, unknown, generated_at: app.now().to_string() })
}

/// Senders learn that it was handled.
pub(super) async fn tell_done(app: &App, recipient: &str, done: &[Acked]) {
    let news = done.iter().filter(|acked| acked.now);
    let news = news.map(|acked| (acked.sender_account_id.clone(), acked.message_id.clone()));
    tell(app, recipient, news, ReceiptStatus::Processed).await;
}

async fn tell_refused(app: &App, recipient: &str, refused: &[Acked]) {
    for acked in refused.iter().filter(|acked| acked.now) {
        let Some(Ok(sender)) = acked.sender_account_id.clone().map(AccountId::new) else { continue };
        let failed = FailedMessage {
            message_id: acked.message_id.clone(),
            state: "rejected".to_owned(),
            code: ErrorCode::HandlerError.as_str().to_owned(),
            detail: "the agent could not handle it".to_owned(),
            recipient: Some(recipient.to_owned()),
        };
        let notice: StoredNotice = StoredNotice { failed: vec![failed], ..StoredNotice::at(app.now()) };
        crate::events::publish(app, Subject::Stored(sender), &notice).await;
    }
}

async fn tell(
    app: &App,
    recipient: &str,
    news: impl Iterator<Item = (Option<String>, String)>,
    status: ReceiptStatus,
) {
    let mut by_sender: BTreeMap<AccountId, Vec<HandledMessage>> = BTreeMap::new();
    for (sender, message_id) in news {
        let Some(Ok(sender)) = sender.map(AccountId::new) else { continue };
        let handled = HandledMessage { message_id, status: status.clone(), recipient: recipient.to_owned() };
        by_sender.entry(sender).or_default().push(handled);
    }
    for (sender, handled) in by_sender {
        for part in handled.chunks(MOST_TOLD) {
            let notice: StoredNotice = StoredNotice { handled: part.to_vec(), ..StoredNotice::at(app.now()) };
            crate::events::publish(app, Subject::Stored(sender.clone()), &notice).await;
        }
    }
}
