//! `registry.message_history`: messages by sender and receiver, newest first.
//!
//! Whoever isn't an operator reads what it sent and was sent, and what the agents that it registered did.

use std::sync::Arc;

use agentnet_proto::cursor::MessageCursor;
use agentnet_proto::envelope::THREAD_PREFIX;
use agentnet_proto::rpc::{CoordinatedMessage, MessageHistoryRequest, MessageHistoryResponse, clamp_limit};
use agentnet_proto::{AccountId, ErrorCode, RpcError, Security};
use agentnet_store::StoreError;
use agentnet_store::agents::{self, Agent, HistoryFilter, Way};

use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::{Call, Caller};
use crate::rpc::agents::{mail::names, named};
use crate::rpc::message_rows::rows;
use crate::rpc::via;
use crate::validate;

/// Most that may be left out.
const MAX_OFFSET: i64 = 100_000;

pub(in crate::rpc) async fn history(
    app: Arc<App>,
    call: Call,
    request: MessageHistoryRequest,
) -> Result<MessageHistoryResponse, RpcError> {
    validate::queries(&[("message_id", &request.message_id)])?;
    let limit = clamp_limit(request.limit, 100, 1_000);
    let offset = request.offset.unwrap_or(0);
    if !(0..=MAX_OFFSET).contains(&offset) {
        let detail = format!("offset is 0 to {MAX_OFFSET}; go on with the cursor");
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    let after = request.cursor.as_deref().and_then(MessageCursor::decode);
    let budget = app.row_budget();
    let work = async {
        let reader = reader(&app, &call).await?;
        let sender = end(&app, "sender", request.sender.as_deref()).await?;
        let receiver = end(&app, "receiver", request.receiver.as_deref()).await?;
        let ends = (sender.as_ref(), receiver.as_ref());
        let closed_for = eyes(reader.as_ref(), ends.0, ends.1);
        let filter = HistoryFilter {
            ways: ways(reader.as_ref(), ends.0, ends.1),
            message_id: request.message_id.as_deref(),
            reader: closed_for.as_ref(),
        };
        let page = agents::history(app.store.pool(), &filter, after.as_ref(), offset, limit, budget).await?;
        let vias = via::of(&app, &page.messages).await?;
        let mut db = app.store.pool().acquire().await.map_err(StoreError::Unavailable)?;
        let names = names(&mut db, &page.messages).await?;
        Ok((page, vias, names, receiver))
    };
    let (page, vias, names, receiver) =
        app.within("db.message_history", QUERY_DEADLINE, ErrorCode::MessageSearchFailed, work).await?;
    let rows = rows(page, &vias, budget);
    let name = |id: Option<&String>| id.map(|id| names.get(id).unwrap_or(id).clone());
    let messages = rows.messages.into_iter().map(|row| CoordinatedMessage {
        sender_id: name(row.from_account_id.as_ref()).unwrap_or_default(),
        receiver_id: match (name(row.to_account_id.as_ref()), &receiver) {
            (Some(receiver), _) => receiver,
            (None, Some(receiver)) => receiver.name.clone(),
            (None, None) => match row.to_agent.strip_prefix(THREAD_PREFIX) {
                Some(thread) => format!("broadcast:{thread}"),
                None => row.to_agent.clone(),
            },
        },
        row,
    });
    Ok(MessageHistoryResponse {
        messages: messages.collect(),
        next_cursor: rows.next_cursor,
        generated_at: app.now().to_string(),
    })
}

/// Who reads; `None` reads everything.
async fn reader(app: &App, call: &Call) -> Result<Option<AccountId>, Failed> {
    match (app.config.security, &call.caller) {
        (Security::Open, _) => Ok(None),
        (_, Caller::Account(account)) if access::is_operator(app, account).await? => Ok(None),
        (_, Caller::Account(account)) => Ok(Some(account.clone())),
        (_, Caller::Anyone | Caller::Key(_)) => {
            let detail = "this request must be signed with the key of the account that asks";
            Err(RpcError::with_detail(ErrorCode::AuthRequired, detail).into())
        }
    }
}

/// One end of a message.
struct End {
    account_id: String,
    name: String,
    owner_id: Option<String>,
}

/// An agent, or else any account: people send messages, too.
async fn end(app: &App, field: &str, text: Option<&str>) -> Result<Option<End>, Failed> {
    let Some(text) = text else { return Ok(None) };
    let missing = match named(app, field, text).await {
        Ok(agent) => {
            let Agent { account_id, agent_id: name, owner_id, .. } = agent;
            return Ok(Some(End { account_id, name, owner_id }));
        }
        Err(Failed::Refused(error)) if error.code() == Some(ErrorCode::NotFound) => error,
        Err(failed) => return Err(failed),
    };
    match access::named(app, field, text).await {
        Ok(account) => {
            Ok(Some(End { account_id: account.to_string(), name: text.to_owned(), owner_id: None }))
        }
        Err(Failed::Refused(error)) if error.code() == Some(ErrorCode::NotFound) => Err(missing.into()),
        Err(failed) => Err(failed),
    }
}

/// With whose membership of threads is read: the reader's own, or that of an agent it registered.
fn eyes(reader: Option<&AccountId>, sender: Option<&End>, receiver: Option<&End>) -> Option<AccountId> {
    let reader = reader?;
    let owned =
        [sender, receiver].into_iter().flatten().find(|a| a.owner_id.as_deref() == Some(reader.as_str()));
    Some(owned.and_then(|agent| AccountId::new(&*agent.account_id).ok()).unwrap_or_else(|| reader.clone()))
}

/// From whom to whom the reader may see what was asked for.
fn ways<'a>(
    reader: Option<&'a AccountId>,
    sender: Option<&'a End>,
    receiver: Option<&'a End>,
) -> Vec<Way<'a>> {
    let (from, to) = (sender.map(|a| a.account_id.as_str()), receiver.map(|a| a.account_id.as_str()));
    let Some(reader) = reader.map(AccountId::as_str) else { return vec![Way { from, to }] };
    let is_own = |agent: &End| agent.account_id == reader || agent.owner_id.as_deref() == Some(reader);
    if sender.is_some_and(is_own) || receiver.is_some_and(is_own) {
        return vec![Way { from, to }];
    }
    let me = Some(reader);
    match (from, to) {
        (None, None) => vec![Way { from: me, to: None }, Way { from: None, to: me }],
        (Some(_), None) => vec![Way { from, to: me }],
        (None, Some(_)) => vec![Way { from: me, to }],
        (Some(_), Some(_)) => Vec::new(),
    }
}
