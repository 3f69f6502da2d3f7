//! What the requests about members of threads share.

use agentnet_proto::rpc::{MemberState, ThreadEvent, ThreadMember, ThreadMembersResponse};
use agentnet_proto::{AccountId, ErrorCode, EventType, RpcError, Subject};
use agentnet_store::members::{self, Group, Member};
use agentnet_store::{Connection, StoreError, Transaction};

use crate::app::{App, Failed};
use crate::{access, events, validate};

/// Most accounts that one request may name.
const MAX_NAMED: usize = agentnet_proto::rpc::MAX_MEMBERS;

/// The id of the thread a request is about.
pub(super) fn thread_id(text: &str) -> Result<(), RpcError> {
    super::required(text, ErrorCode::ThreadIdRequired)?;
    validate::name("thread_id", text, validate::MAX_QUERY)
}

/// The accounts that a request names.
pub(super) fn named(field: &str, accounts: &[String]) -> Result<(), RpcError> {
    if accounts.len() > MAX_NAMED {
        let detail = format!("{field} names more than {MAX_NAMED} accounts");
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    accounts.iter().try_for_each(|id| validate::account_id(id))
}

/// The thread, locked, and how `account` stands to it. Whoever has nothing to do with it doesn't learn of it.
pub(super) async fn lock(
    tx: &mut Connection,
    thread_id: &str,
    account: &AccountId,
) -> Result<(Group, Option<Member>), Failed> {
    let group = members::lock(&mut *tx, thread_id).await?.ok_or(Failed::NotFound)?;
    let member = members::member(&mut *tx, thread_id, account.as_str()).await?;
    Ok((group, member))
}

/// As [`lock`], for what only owners may do, and operators.
pub(super) async fn lock_as_owner(
    app: &App,
    tx: &mut Connection,
    thread_id: &str,
    account: &AccountId,
) -> Result<Group, Failed> {
    let (group, member) = lock(tx, thread_id, account).await?;
    let is_in = |member: &Member| member.state == MemberState::Joined;
    match member.filter(is_in).map(|member| member.role) {
        Some(agentnet_proto::rpc::MemberRole::Owner) => Ok(group),
        _ if access::is_operator(app, account).await? => Ok(group),
        Some(_) => {
            Err(RpcError::with_detail(ErrorCode::Forbidden, "only an owner of the thread may do this").into())
        }
        None => Err(Failed::NotFound),
    }
}

/// Begins a change.
pub(super) async fn begin(app: &App) -> Result<Transaction, StoreError> {
    app.store.pool().begin().await.map_err(StoreError::query("agent_thread_members.begin"))
}

/// Ends it.
pub(super) async fn commit(tx: Transaction) -> Result<(), StoreError> {
    tx.commit().await.map_err(StoreError::query("agent_thread_members.commit"))
}

pub(super) fn answer(app: &App, group: Group, members: Vec<Member>) -> ThreadMembersResponse {
    ThreadMembersResponse {
        thread_id: group.thread_id,
        title: group.title,
        public: group.public,
        members: members.into_iter().map(row).collect(),
        generated_at: app.now().to_string(),
    }
}

fn row(member: Member) -> ThreadMember {
    ThreadMember {
        account_id: member.account_id,
        username: Some(member.username),
        role: member.role,
        state: member.state,
        invited_by: member.invited_by,
        created_at: member.created_at.to_string(),
        updated_at: member.updated_at.to_string(),
    }
}

/// Tells the members, those concerned, operators and gateways. News, not proof: whoever hears it asks again.
pub(super) async fn announce(
    app: &App,
    answer: &ThreadMembersResponse,
    change: MemberState,
    account_ids: Vec<String>,
    by: &AccountId,
) {
    if account_ids.is_empty() {
        return;
    }
    let present = answer.members.iter().map(|member| member.account_id.clone());
    let mut hearers: Vec<String> = account_ids.iter().cloned().chain(present).collect();
    hearers.sort_unstable();
    hearers.dedup();
    let event = ThreadEvent {
        thread_id: answer.thread_id.clone(),
        change,
        account_ids,
        by: by.to_string(),
        at: app.now().to_string(),
    };
    events::publish(app, Subject::Event(EventType::Threads), &event).await;
    for account in hearers.into_iter().filter_map(|id| AccountId::new(id).ok()) {
        events::publish(app, Subject::Threads(account), &event).await;
    }
}
