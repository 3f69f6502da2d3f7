//! `registry.conversation_list`: an account's threads with members, latest activity first, with what it hasn't read.

use std::sync::Arc;

use agentnet_proto::cursor::MessageCursor;
use agentnet_proto::rpc::{
    Conversation, ConversationListRequest, ConversationListResponse, MemberState, clamp_limit,
};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::conversations::{self, ConversationFilter};

use super::fit::fit;
use crate::access;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;

pub(super) async fn conversation_list(
    app: Arc<App>,
    call: Call,
    request: ConversationListRequest,
) -> Result<ConversationListResponse, RpcError> {
    let account = access::owner(&app, &call, request.account_id.as_deref())?;
    let state = match request.state {
        None => None,
        Some(MemberState::Invited) => Some("invited"),
        Some(MemberState::Joined) => Some("joined"),
        Some(MemberState::Left | MemberState::Ejected | MemberState::Other) => {
            return Err(RpcError::with_detail(ErrorCode::InvalidField, "state is invited or joined"));
        }
    };
    let limit = clamp_limit(request.limit, 20, 100);
    let after = request.cursor.as_deref().and_then(MessageCursor::decode);
    let work = async {
        let filter = ConversationFilter {
            account_id: account.as_str(),
            state,
            unread_only: request.unread_only,
            after: after.as_ref().map(|cursor| (cursor.sent_at, cursor.message_id.as_str())),
            limit: limit + 1,
        };
        Ok(conversations::list(app.store.pool(), &filter).await?)
    };
    let found = app.within("db.conversation_list", QUERY_DEADLINE, ErrorCode::ThreadFailed, work).await?;
    let cursors: Vec<MessageCursor> = found
        .iter()
        .map(|row| MessageCursor { sent_at: row.activity(), message_id: row.thread_id.clone() })
        .collect();
    let fetched = found.len();
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut conversations: Vec<Conversation> = found.into_iter().take(most).map(row).collect();
    let cut = fit(&mut conversations, app.row_budget());
    let last = conversations.len().checked_sub(1).and_then(|last| cursors.get(last));
    let next_cursor =
        if cut || fetched > conversations.len() { last.map(MessageCursor::encode) } else { None };
    Ok(ConversationListResponse { conversations, next_cursor, generated_at: app.now().to_string() })
}

fn row(row: conversations::Conversation) -> Conversation {
    Conversation {
        thread_id: row.thread_id,
        title: row.title,
        subject: row.subject,
        public: row.public,
        metadata: row.metadata,
        role: row.role,
        state: row.state,
        invited_by: row.invited_by,
        members: row.members,
        message_count: row.message_count,
        unread: row.unread,
        read_up_to: row.read_up_to,
        last_message_at: row.last_message_at.map(|at| at.to_string()),
        created_at: row.created_at.to_string(),
        updated_at: row.updated_at.to_string(),
        closed_at: row.closed_at.map(|at| at.to_string()),
    }
}
