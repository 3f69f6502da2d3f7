//! `registry.peer_add`, `.peer_remove` and `.peer_list`: whom an account knows.

use std::sync::Arc;

use agentnet_proto::cursor::TextCursor;
use agentnet_proto::rpc::{
    MAX_PEERS, Peer, PeerAddRequest, PeerAddResponse, PeerListRequest, PeerListResponse, PeerRemoveRequest,
    PeerRemoveResponse, clamp_limit,
};
use agentnet_proto::{AccountId, ErrorCode, RpcError, Security};
use agentnet_store::StoreError;
use agentnet_store::peers::{self, Added};

use super::agents;
use super::fit::page;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::{access, validate};

pub(super) async fn add(
    app: Arc<App>,
    call: Call,
    request: PeerAddRequest,
) -> Result<PeerAddResponse, RpcError> {
    let failed = StoreError::query("agent_peers.transaction");
    if let Some(note) = &request.note {
        validate::prose("note", note)?;
    }
    let work = async {
        let account = whose(&app, &call, request.account_id.as_deref(), request.agent.as_deref()).await?;
        let peer = peer_of(&app, &request.peer).await?;
        if peer == account {
            return Err(
                RpcError::with_detail(ErrorCode::InvalidField, "an account is no peer of itself").into()
            );
        }
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let (owner, note) = (account.as_str(), request.note.as_deref());
        let added = peers::add(&mut tx, owner, peer.as_str(), note, app.now()).await?;
        if added == Added::TooMany {
            let detail = format!("an account has at most {MAX_PEERS} peers; remove some first");
            return Err(RpcError::with_detail(ErrorCode::LimitReached, detail).into());
        }
        let found = peers::one(&mut *tx, owner, peer.as_str()).await?.ok_or(Failed::NotFound)?;
        tx.commit().await.map_err(&failed)?;
        Ok((found, added == Added::New))
    };
    let (peer, added) = app.within("db.peer_add", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    Ok(PeerAddResponse { peer: row(&app, peer), added, generated_at: app.now().to_string() })
}

pub(super) async fn remove(
    app: Arc<App>,
    call: Call,
    request: PeerRemoveRequest,
) -> Result<PeerRemoveResponse, RpcError> {
    let work = async {
        let account = whose(&app, &call, request.account_id.as_deref(), request.agent.as_deref()).await?;
        let peer = peer_of(&app, &request.peer).await?;
        let removed = peers::remove(app.store.pool(), account.as_str(), peer.as_str()).await?;
        Ok((peer, removed))
    };
    let (peer, removed) =
        app.within("db.peer_remove", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    Ok(PeerRemoveResponse { account_id: peer.to_string(), removed, generated_at: app.now().to_string() })
}

pub(super) async fn list(
    app: Arc<App>,
    call: Call,
    request: PeerListRequest,
) -> Result<PeerListResponse, RpcError> {
    let account = access::owner(&app, &call, request.account_id.as_deref())?;
    let limit = clamp_limit(request.limit, 50, 200);
    let after = request.cursor.as_deref().and_then(TextCursor::decode).map(|TextCursor([id])| id);
    let work =
        async { Ok(peers::list(app.store.pool(), account.as_str(), after.as_deref(), limit + 1).await?) };
    let found = app.within("db.peer_list", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let rows = found.into_iter().map(|peer| row(&app, peer)).collect();
    let (peers, next_cursor) =
        page(rows, limit, app.row_budget(), |last: &Peer| TextCursor([last.account_id.clone()]).encode());
    Ok(PeerListResponse { peers, next_cursor, generated_at: app.now().to_string() })
}

/// Whose peers change: the asking account's, or those of an agent that it registered.
async fn whose(
    app: &App,
    call: &Call,
    claimed: Option<&str>,
    agent: Option<&str>,
) -> Result<AccountId, Failed> {
    let Some(agent) = agent else { return access::actor(app, call, claimed).await };
    let agent = agents::named(app, "agent", agent).await?;
    agents::acts_for(app, call, claimed, &agent).await?;
    Ok(AccountId::new(agent.account_id).map_err(RpcError::from)?)
}

/// Whom a request means. On an open network anybody may say that they are any account, so one that isn't there yet may
/// be noted by its id as well.
async fn peer_of(app: &App, text: &str) -> Result<AccountId, Failed> {
    match access::named(app, "peer", text).await {
        Err(Failed::Refused(error))
            if error.code() == Some(ErrorCode::NotFound) && app.config.security == Security::Open =>
        {
            AccountId::new(text).map_err(|_| error.into())
        }
        found => found,
    }
}

fn row(app: &App, peer: peers::Peer) -> Peer {
    Peer {
        online: app.presence.account(&peer.peer_id).0 > 0,
        account_id: peer.peer_id,
        username: peer.username,
        display_name: peer.display_name,
        avatar_url: peer.avatar_url.filter(|url| !url.is_empty()),
        note: peer.note,
        created_at: peer.created_at.to_string(),
        updated_at: peer.updated_at.to_string(),
    }
}
