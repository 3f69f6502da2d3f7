//! `registry.peer_graph`: who noted whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentnet_proto::cursor::TextCursor;
use agentnet_proto::rpc::{PeerGraphRequest, PeerGraphResponse};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::agents;

use crate::access;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::rpc::agents::{acts_for, named};

/// Pairs of one page.
const PAGE: i64 = 2_000;

pub(in crate::rpc) async fn graph(
    app: Arc<App>,
    call: Call,
    request: PeerGraphRequest,
) -> Result<PeerGraphResponse, RpcError> {
    let after: Option<TextCursor<2>> = request.cursor.as_deref().and_then(TextCursor::decode);
    let work = async {
        let of = match request.agent.as_deref() {
            Some(text) => {
                let agent = named(&app, "agent", text).await?;
                acts_for(&app, &call, request.account_id.as_deref(), &agent).await?;
                Some(agent.account_id)
            }
            None => {
                access::operator_reads(&app, &call).await?;
                None
            }
        };
        let after = after.as_ref().map_or(("", ""), |TextCursor([account, peer])| (account, peer));
        Ok(agents::peers(app.store.pool(), of.as_deref(), after, PAGE + 1).await?)
    };
    let mut pairs = app.within("db.peer_graph", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let more = pairs.len() as i64 > PAGE;
    pairs.truncate(PAGE as usize);
    let next_cursor = pairs
        .last()
        .filter(|_| more)
        .map(|[account, peer, ..]| TextCursor([account.clone(), peer.clone()]).encode());
    let mut connections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for [_, _, agent, peer] in pairs {
        connections.entry(agent).or_default().push(peer);
    }
    Ok(PeerGraphResponse { connections, next_cursor, generated_at: app.now().to_string() })
}
