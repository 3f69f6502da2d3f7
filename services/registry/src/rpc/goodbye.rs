//! `registry.goodbye`: a session ends. Published, heard by every replica.

use std::sync::Arc;

use agentnet_proto::rpc::Goodbye;
use agentnet_service::rpc::decode_object;
use bytes::Bytes;

use crate::app::App;
use crate::caller::Call;
use crate::validate;

/// Takes a goodbye; `false` when it names no session.
pub(crate) async fn goodbye(app: Arc<App>, _: Call, body: Bytes) -> bool {
    let Ok(goodbye) = decode_object::<Goodbye>(&body) else { return false };
    let tag = &goodbye.session_tag;
    if tag.is_empty() || validate::name("session_tag", tag, validate::MAX_TITLE).is_err() {
        return false;
    }
    app.presence.goodbye(tag);
    true
}
