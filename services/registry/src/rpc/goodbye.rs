//! `registry.goodbye`: a session ends. Published, heard by every replica.

use std::sync::Arc;

use agentnet_proto::rpc::Goodbye;
use agentnet_proto::signature::Purpose;
use agentnet_service::rpc::decode_object;
use bytes::Bytes;

use super::whose::{self, Verdict};
use crate::app::App;
use crate::caller::Call;
use crate::validate;

/// Takes a goodbye; `false` when it names no session, or not one of its sender's.
pub(crate) async fn goodbye(app: Arc<App>, call: Call, body: Bytes) -> bool {
    let Ok(goodbye) = decode_object::<Goodbye>(&body) else { return false };
    let tag = &goodbye.session_tag;
    if tag.is_empty() || validate::name("session_tag", tag, validate::MAX_TITLE).is_err() {
        return false;
    }
    match whose::may_speak(&app, &call, tag, None, &Purpose::Goodbye).await {
        Verdict::Yes => {
            app.presence.goodbye(tag);
            true
        }
        Verdict::No => false,
        Verdict::AskStore(question) => {
            let tag = goodbye.session_tag;
            tokio::spawn(async move {
                if question.answer(&app).await {
                    app.presence.goodbye(&tag);
                }
            });
            true
        }
    }
}
