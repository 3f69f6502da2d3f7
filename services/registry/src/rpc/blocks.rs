//! `registry.block_add`, `.block_remove` and `.block_list`: whose messages an account refuses.

use std::sync::Arc;

use agentnet_proto::cursor::TextCursor;
use agentnet_proto::rpc::{
    BlockEvent, BlockListRequest, BlockListResponse, BlockRequest, BlockResponse, BlockedAccount, MAX_BLOCKS,
    clamp_limit,
};
use agentnet_proto::{AccountId, ErrorCode, RpcError, Subject};
use agentnet_store::StoreError;
use agentnet_store::blocks::{self, Blocking};

use super::fit::page;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::{access, events, redelivery};

pub(super) async fn add(app: Arc<App>, call: Call, request: BlockRequest) -> Result<BlockResponse, RpcError> {
    let failed = StoreError::query("agent_blocks.transaction");
    let work = async {
        let account = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let blocked = access::named(&app, "target", &request.target).await?;
        if blocked == account {
            return Err(
                RpcError::with_detail(ErrorCode::InvalidField, "an account can't block itself").into()
            );
        }
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let ended = match blocks::add(&mut tx, account.as_str(), blocked.as_str(), app.now()).await? {
            Blocking::New(ended) => Some(ended),
            Blocking::Before => None,
            Blocking::TooMany => {
                let detail = format!("an account blocks at most {MAX_BLOCKS} others; unblock some first");
                return Err(RpcError::with_detail(ErrorCode::LimitReached, detail).into());
            }
        };
        tx.commit().await.map_err(&failed)?;
        Ok((account, blocked, ended))
    };
    let (account, blocked, ended) =
        app.within("db.block_add", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let changed = ended.is_some();
    announce(&app, account, &blocked, true).await;
    if let Some(ended) = ended {
        redelivery::tell_senders(&app, ended).await;
    }
    Ok(answer(&app, &blocked, true, changed))
}

pub(super) async fn remove(
    app: Arc<App>,
    call: Call,
    request: BlockRequest,
) -> Result<BlockResponse, RpcError> {
    let work = async {
        let account = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let blocked = access::named(&app, "target", &request.target).await?;
        let changed = blocks::remove(app.store.pool(), account.as_str(), blocked.as_str()).await?;
        Ok((account, blocked, changed))
    };
    let (account, blocked, changed) =
        app.within("db.block_remove", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    announce(&app, account, &blocked, false).await;
    Ok(answer(&app, &blocked, false, changed))
}

pub(super) async fn list(
    app: Arc<App>,
    call: Call,
    request: BlockListRequest,
) -> Result<BlockListResponse, RpcError> {
    let account = access::owner(&app, &call, request.account_id.as_deref())?;
    let limit = clamp_limit(request.limit, 100, MAX_BLOCKS);
    let after = request.cursor.as_deref().and_then(TextCursor::decode).map(|TextCursor([id])| id);
    let work =
        async { Ok(blocks::list(app.store.pool(), account.as_str(), after.as_deref(), limit + 1).await?) };
    let found = app.within("db.block_list", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let rows = found.into_iter().map(|blocked| BlockedAccount {
        account_id: blocked.blocked_id,
        username: blocked.username,
        created_at: blocked.created_at.to_string(),
    });
    let cursor = |last: &BlockedAccount| TextCursor([last.account_id.clone()]).encode();
    let (blocked, next_cursor) = page(rows.collect(), limit, app.row_budget(), cursor);
    Ok(BlockListResponse { blocked, next_cursor, generated_at: app.now().to_string() })
}

fn answer(app: &App, blocked: &AccountId, now: bool, changed: bool) -> BlockResponse {
    BlockResponse {
        account_id: blocked.to_string(),
        blocked: now,
        changed,
        generated_at: app.now().to_string(),
    }
}

/// Tells the account's sessions, which refuse what comes to them live. Also when nothing changed: whoever asks again may
/// do so because these news were lost.
async fn announce(app: &App, account: AccountId, blocked: &AccountId, now: bool) {
    let event = BlockEvent { account_id: blocked.to_string(), blocked: now, at: app.now().to_string() };
    events::publish(app, Subject::Blocks(account), &event).await;
}
