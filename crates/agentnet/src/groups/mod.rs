//! Threads with members, as a node sees them: whom a message to a thread goes to, and who may post there.

mod calls;
mod invitations;
mod members_heard;

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
    time::Duration,
};

use agentnet_proto::{
    AccountId, Addressee, Envelope, ErrorCode,
    rpc::{MemberState, ThreadChange, ThreadEvent, ThreadMembersRequest},
};
use tokio::{sync::broadcast, time::Instant};

pub use self::invitations::{Invitation, InvitationAnswer};
pub(crate) use self::invitations::{Invitations, run as answer_invitations};
use crate::{
    error::{Error, ErrorKind},
    node::Inner,
    send::{Draft, Route},
    target::Target,
};

/// How long members are remembered. The registry tells of changes; this is for what nobody heard.
pub(crate) const GROUP_LIFE: Duration = Duration::from_secs(10);
/// Most threads whose members are remembered.
pub(crate) const MAX_GROUPS: usize = 1_024;
/// How long the network tries to reach the members of a thread unless the sender says otherwise.
pub(crate) const GROUP_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// News of threads that are kept for a reader that is behind.
const MAX_NEWS: usize = 256;

/// Who is in a thread, and whether anybody still posts there.
pub(crate) type Members = Arc<KnownGroup>;

/// What the registry said about a thread that this account is in.
#[derive(Debug)]
pub(crate) struct KnownGroup {
    pub(crate) members: BTreeSet<AccountId>,
    pub(crate) closed: bool,
}

/// Where news of threads go.
pub(crate) fn news() -> broadcast::Sender<ThreadEvent> {
    broadcast::channel(MAX_NEWS).0
}

/// Whether a message to a thread may be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Post {
    /// From a member, or no message to a thread.
    Fine,
    /// From somebody who isn't a member.
    Stranger,
    /// The registry doesn't say. The network knows, and delivers what members posted.
    Unknown,
}

impl Inner {
    /// The members of a thread that this account is in; `None` when the registry doesn't say.
    pub(crate) async fn members(&self, thread_id: &str) -> Option<Members> {
        let known = self
            .groups
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(thread_id, Instant::now())
            .cloned();
        if let Some(members) = known {
            return members;
        }
        let request = ThreadMembersRequest { thread_id: thread_id.to_owned() };
        let found = match self.registry.thread_members(&request).await {
            Ok(answer) => {
                let joined = answer.members.into_iter().filter(|member| member.state == MemberState::Joined);
                let members = joined.filter_map(|member| AccountId::new(member.account_id).ok()).collect();
                Some(Arc::new(KnownGroup { members, closed: answer.closed_at.is_some() }))
            }
            Err(error) if error.code() == ErrorCode::NotFound.as_str() => None,
            Err(error) => {
                tracing::debug!(%error, thread_id, "the members of a thread are not known");
                return None;
            }
        };
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).insert(
            thread_id,
            found.clone(),
            Instant::now(),
        );
        found
    }

    /// The registry says that a thread changed, or somebody's standing to it.
    pub(crate) fn thread_changed(&self, event: ThreadEvent) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(&event.thread_id);
        if event.change == ThreadChange::Invited
            && event.account_ids.iter().any(|id| id == self.account.as_str())
        {
            self.invitations.wake(Some(&event.thread_id));
        }
        // Nobody listens, or not fast enough: what they need they ask for.
        let _ = self.thread_news.send(event);
    }

    /// Whether the sender may post where it did. What the network delivers again it has checked.
    pub(crate) async fn check_post(&self, envelope: &Envelope) -> Post {
        let Ok(Addressee::Thread(thread_id)) = envelope.addressee() else { return Post::Fine };
        let Some(group) = self.members(&thread_id).await else { return Post::Unknown };
        let members = &group.members;
        let is_member = |id: &str| AccountId::new(id).is_ok_and(|id| members.contains(&id));
        let is_meant = envelope.to_members.is_empty()
            || envelope.to_members.iter().any(|id| id == self.account.as_str());
        match envelope.from_account_id.as_deref() {
            // What was posted before the thread was closed the network delivers.
            Some(from) if is_member(from) && (group.closed || !is_meant) => Post::Unknown,
            Some(from) if is_member(from) && members.contains(&self.account) => Post::Fine,
            _ => Post::Stranger,
        }
    }

    /// Where a message to a thread goes first: to the other members, as far as they are known.
    pub(crate) async fn thread_route(&self, thread_id: String) -> Result<Route, Error> {
        let group = self.members(&thread_id).await;
        if group.as_ref().is_some_and(|group| group.closed) {
            return Err(Error::of(ErrorCode::ThreadClosed, ErrorCode::ThreadClosed.meaning().trim()));
        }
        let others = group.iter().flat_map(|group| &group.members).filter(|id| **id != self.account);
        Ok(Route::Thread(thread_id, others.cloned().collect()))
    }

    /// Has a message to a thread go to some of its members only.
    pub(crate) async fn narrow(
        &self,
        route: &mut Route,
        draft: &mut Draft,
        to_members: Vec<Result<Target, Error>>,
    ) -> Result<(), Error> {
        let Route::Thread(thread_id, others) = route else {
            let detail = "to_members is for messages to a thread";
            return Err(Error::new(ErrorKind::InvalidArgument, detail));
        };
        let mut named = BTreeSet::new();
        for target in to_members {
            named.insert(match target? {
                Target::Account(id) => id,
                Target::Username(name) => self.resolve_username(&name).await?,
                other => {
                    let detail = format!("{other} is no account; name members by id or username");
                    return Err(Error::new(ErrorKind::InvalidTarget, detail));
                }
            });
        }
        if let Some(group) = self.members(thread_id).await
            && let Some(stranger) = named.iter().find(|id| !group.members.contains(*id))
        {
            let detail = format!("{stranger} isn't a member of the thread; invite it first");
            return Err(Error::of(ErrorCode::NotAMember, detail));
        }
        others.retain(|id| named.contains(id));
        draft.to_members = named.into_iter().map(|id| id.to_string()).collect();
        Ok(())
    }
}
