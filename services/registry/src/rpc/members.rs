//! What the requests about members of threads share: one change, from who asks to who hears of it.

use agentnet_proto::rpc::{
    MOST_MEMBERS, MemberRole, MemberState, ThreadChange, ThreadEvent, ThreadMember, ThreadMembersResponse,
};
use agentnet_proto::{AccountId, ErrorCode, EventType, RpcError, Subject};
use agentnet_store::members::{self, Group, Member};
use agentnet_store::{Connection, StoreError};

use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::{access, events, validate};

/// The id of the thread a request is about.
pub(super) fn thread_id(text: &str) -> Result<(), RpcError> {
    super::required(text, ErrorCode::ThreadIdRequired)?;
    validate::name("thread_id", text, validate::MAX_QUERY)
}

/// The accounts that a request names.
pub(super) fn named(field: &str, accounts: &[String]) -> Result<(), RpcError> {
    if accounts.len() > MOST_MEMBERS {
        let detail = format!("{field} names more than {MOST_MEMBERS} accounts");
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    accounts.iter().try_for_each(|id| validate::account_id(id))
}

/// What a thread may say about itself.
pub(super) fn described(
    title: &str,
    subject: &str,
    metadata: Option<&serde_json::Map<String, serde_json::Value>>,
) -> Result<(), RpcError> {
    validate::name("title", title, validate::MAX_TITLE)?;
    validate::prose("subject", subject)?;
    metadata.map_or(Ok(()), |metadata| {
        validate::metadata("metadata", metadata, agentnet_proto::rpc::MAX_THREAD_METADATA)
    })
}

/// Who may change a thread. Whoever has nothing to do with it doesn't learn of it; operators may do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    /// Anybody for itself: what it does decides.
    Anyone,
    /// Owners and admins.
    Manage,
    /// Owners.
    Own,
}

/// Who changes what.
pub(super) struct Changing<'a> {
    /// Under which the work is timed.
    pub(super) operation: &'static str,
    pub(super) may: May,
    pub(super) thread_id: &'a str,
    /// Who asks, by its own word.
    pub(super) account_id: Option<&'a str>,
}

/// The thread that is being changed, locked.
pub(super) struct Locked {
    pub(super) group: Group,
    /// Who asks.
    pub(super) by: AccountId,
    /// How that account stands to the thread, if it ever did.
    pub(super) member: Option<Member>,
    /// Whether it is an owner there, or an operator.
    pub(super) owns: bool,
}

impl Locked {
    /// Whether anything may still be added to the thread.
    pub(super) fn check_open(&self) -> Result<(), Failed> {
        match self.group.closed_at {
            None => Ok(()),
            Some(_) => Err(RpcError::from(ErrorCode::ThreadClosed).into()),
        }
    }
}

/// What was changed.
pub(super) struct Change {
    pub(super) what: ThreadChange,
    /// For whom; nobody is news to nobody.
    pub(super) accounts: Vec<String>,
}

impl Change {
    pub(super) fn of(what: ThreadChange, accounts: Vec<String>) -> Self {
        Self { what, accounts }
    }
}

/// Finds out who asks, locks the thread, has `change` write, commits, and tells everybody concerned. The answer shows who
/// is in the thread then; to one who isn't any more, only how it stands.
pub(super) async fn change(
    app: &App,
    call: &Call,
    changing: Changing<'_>,
    change: impl AsyncFnOnce(&mut Connection, &Locked) -> Result<Change, Failed>,
) -> Result<ThreadMembersResponse, RpcError> {
    thread_id(changing.thread_id)?;
    let work = async {
        let by = access::actor(app, call, changing.account_id).await?;
        let mut tx =
            app.store.pool().begin().await.map_err(StoreError::query("agent_thread_members.begin"))?;
        let locked = lock(app, &mut tx, &changing, by).await?;
        let change = change(&mut tx, &locked).await?;
        let group = members::group(&mut *tx, changing.thread_id).await?.ok_or(Failed::NotFound)?;
        let present = members::members(&mut *tx, changing.thread_id).await?;
        let own = members::member(&mut *tx, changing.thread_id, locked.by.as_str()).await?;
        tx.commit().await.map_err(StoreError::query("agent_thread_members.commit"))?;
        Ok((group, present, own, change, locked.by))
    };
    let (group, present, own, change, by) =
        app.within(changing.operation, QUERY_DEADLINE, ErrorCode::ThreadFailed, work).await?;
    let told = answer(app, group.clone(), present);
    announce(app, &told, change, &by).await;
    Ok(match own {
        // Who the others are is no business of one who isn't in it.
        Some(own) if !matches!(own.state, MemberState::Joined | MemberState::Invited) => {
            answer(app, group, vec![own])
        }
        _ => told,
    })
}

async fn lock(
    app: &App,
    tx: &mut Connection,
    changing: &Changing<'_>,
    by: AccountId,
) -> Result<Locked, Failed> {
    let group = members::lock(&mut *tx, changing.thread_id).await?.ok_or(Failed::NotFound)?;
    let member = members::member(&mut *tx, changing.thread_id, by.as_str()).await?;
    let role = member.as_ref().filter(|member| member.state == MemberState::Joined).map(|member| member.role);
    let mut locked = Locked { group, by, member, owns: role == Some(MemberRole::Owner) };
    let fits = match changing.may {
        May::Anyone => true,
        May::Manage => locked.owns || role == Some(MemberRole::Admin),
        May::Own => locked.owns,
    };
    if !fits {
        locked.owns = access::is_operator(app, &locked.by).await?;
    }
    match (fits || locked.owns, role, changing.may) {
        (true, ..) => Ok(locked),
        (false, Some(_), May::Own) => {
            Err(RpcError::with_detail(ErrorCode::Forbidden, "only an owner of the thread may do this").into())
        }
        (false, Some(_), _) => {
            let detail = "only an owner or admin of the thread may do this";
            Err(RpcError::with_detail(ErrorCode::Forbidden, detail).into())
        }
        (false, None, _) => Err(Failed::NotFound),
    }
}

/// The refusal of one more member.
pub(super) fn full(app: &App) -> RpcError {
    let detail = format!("a thread has at most {} members and invited", app.config.thread_members_max);
    RpcError::with_detail(ErrorCode::ThreadFull, detail)
}

pub(super) fn answer(app: &App, group: Group, members: Vec<Member>) -> ThreadMembersResponse {
    ThreadMembersResponse {
        thread_id: group.thread_id,
        title: group.title,
        subject: group.subject,
        public: group.public,
        metadata: group.metadata,
        closed_at: group.closed_at.map(|at| at.to_string()),
        closed_by: group.closed_by,
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
pub(super) async fn announce(app: &App, answer: &ThreadMembersResponse, change: Change, by: &AccountId) {
    if change.accounts.is_empty() {
        return;
    }
    let present = answer.members.iter().map(|member| member.account_id.clone());
    let mut hearers: Vec<String> = change.accounts.iter().cloned().chain(present).collect();
    hearers.sort_unstable();
    hearers.dedup();
    let event = ThreadEvent {
        thread_id: answer.thread_id.clone(),
        change: change.what,
        title: answer.title.clone(),
        account_ids: change.accounts,
        by: by.to_string(),
        at: app.now().to_string(),
    };
    events::publish(app, Subject::Event(EventType::Threads), &event).await;
    for account in hearers.into_iter().filter_map(|id| AccountId::new(id).ok()) {
        events::publish(app, Subject::Threads(account), &event).await;
    }
}
