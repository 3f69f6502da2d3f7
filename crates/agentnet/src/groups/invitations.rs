//! Answering invitations, without missing those that came while the agent was away.

use std::{
    collections::BTreeSet,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentnet_proto::rpc::{Conversation, ConversationListRequest, MemberState, ThreadJoinRequest};
use tokio::{sync::Notify, time::timeout};

use crate::{
    error::Error,
    inbox::HandlerError,
    node::{AgentNode, Inner},
};

/// How soon invitations are looked at again after the registry didn't answer or a handler failed.
const RETRY: Duration = Duration::from_secs(5);
/// Pages of invitations that are looked at in one round.
const MAX_PAGES: usize = 50;
/// Most invitations that are remembered as left for later.
const MAX_LATER: usize = 1_024;

/// An invitation to a thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Invitation {
    /// The thread as it stands for this account.
    pub thread: Conversation,
}

impl Invitation {
    /// The thread.
    pub fn thread_id(&self) -> &str {
        &self.thread.thread_id
    }

    /// Who invited this account.
    pub fn invited_by(&self) -> Option<&str> {
        self.thread.invited_by.as_deref()
    }
}

/// What a handler of invitations says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvitationAnswer {
    /// Join.
    Accept,
    /// Decline.
    Decline,
    /// Leave it open; somebody else answers it, or nobody does.
    Later,
}

type Handler = Arc<
    dyn Fn(Invitation) -> Pin<Box<dyn Future<Output = Result<InvitationAnswer, HandlerError>> + Send>>
        + Send
        + Sync,
>;

/// Who answers invitations, and whether there are any.
#[derive(Default)]
pub(crate) struct Invitations {
    handler: Mutex<Option<Handler>>,
    /// Threads whose invitation was left for later.
    later: Mutex<BTreeSet<String>>,
    news: Notify,
}

impl fmt::Debug for Invitations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitations").finish_non_exhaustive()
    }
}

impl Invitations {
    /// There may be a new invitation: to this thread, if it is known.
    pub(crate) fn wake(&self, thread_id: Option<&str>) {
        if let Some(thread_id) = thread_id {
            self.later.lock().unwrap_or_else(PoisonError::into_inner).remove(thread_id);
        }
        self.news.notify_one();
    }

    fn handler(&self) -> Option<Handler> {
        self.handler.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_for_later(&self, thread_id: &str) -> bool {
        self.later.lock().unwrap_or_else(PoisonError::into_inner).contains(thread_id)
    }

    fn leave(&self, thread_id: &str) {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        if later.len() >= MAX_LATER {
            later.clear();
        }
        later.insert(thread_id.to_owned());
    }
}

/// Answers invitations one after the other, for as long as the node runs.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut all_answered = true;
    loop {
        let news = inner.invitations.news.notified();
        if all_answered {
            news.await;
        } else {
            let _ = timeout(RETRY, news).await;
        }
        let Some(handler) = inner.invitations.handler() else { continue };
        all_answered = match inner.answer_all(&handler).await {
            Ok(all_answered) => all_answered,
            Err(error) => {
                tracing::debug!(%error, "invitations couldn't be read; trying on");
                false
            }
        };
    }
}

impl Inner {
    /// Whether every invitation got its answer.
    async fn answer_all(&self, handler: &Handler) -> Result<bool, Error> {
        let mut request = ConversationListRequest {
            account_id: Some(self.account.to_string()),
            state: Some(MemberState::Invited),
            limit: Some(100),
            ..ConversationListRequest::default()
        };
        let mut all_answered = true;
        for _ in 0..MAX_PAGES {
            let page = self.registry.conversation_list(&request).await?;
            for thread in page.conversations {
                if !self.invitations.is_for_later(&thread.thread_id) {
                    all_answered &= self.answer_one(handler, thread).await;
                }
            }
            request.cursor = page.next_cursor;
            if request.cursor.is_none() {
                break;
            }
        }
        Ok(all_answered)
    }

    async fn answer_one(&self, handler: &Handler, thread: Conversation) -> bool {
        let thread_id = thread.thread_id.clone();
        let answer = match handler(Invitation { thread }).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%error, thread_id, "the handler of invitations failed; trying it again");
                return false;
            }
        };
        let request =
            ThreadJoinRequest { account_id: Some(self.account.to_string()), thread_id: thread_id.clone() };
        let done = match answer {
            InvitationAnswer::Accept => self.registry.thread_join(&request).await,
            InvitationAnswer::Decline => self.registry.thread_leave(&request).await,
            InvitationAnswer::Later => {
                self.invitations.leave(&thread_id);
                return true;
            }
        };
        match done {
            Ok(_) => true,
            Err(error) if error.is_retryable() => {
                tracing::debug!(%error, thread_id, "an invitation couldn't be answered; trying on");
                false
            }
            // Taken back or closed meanwhile: there is nothing left to answer.
            Err(error) => {
                tracing::debug!(%error, thread_id, "an invitation is none any more");
                true
            }
        }
    }
}

/// Invitations to threads.
impl AgentNode {
    /// Accepts every invitation, those that wait already and those that come.
    pub fn accept_invitations(&self) {
        self.on_invitation(|_| async { Ok(InvitationAnswer::Accept) });
    }

    /// Asks a handler about every invitation, those that wait already and those that come, one after the other. It takes the
    /// place of an earlier one. What it fails at it is asked again, after 5 s.
    pub fn on_invitation<F, Fut>(&self, handler: F)
    where
        F: Fn(Invitation) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<InvitationAnswer, HandlerError>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |invitation| Box::pin(handler(invitation)));
        *self.inner.invitations.handler.lock().unwrap_or_else(PoisonError::into_inner) = Some(handler);
        self.inner.invitations.wake(None);
    }
}
