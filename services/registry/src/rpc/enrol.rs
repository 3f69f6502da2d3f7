//! `registry.enrol`: an operator makes a token that lets unknown keys register.

use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::rpc::{EnrolRequest, EnrolResponse, EnrolmentToken, clamp_limit};
use agentnet_proto::{AccountId, ErrorCode, RpcError};
use agentnet_store::enrolment::{self as store, NewToken};

use super::standing::target;
use crate::app::{App, QUERY_DEADLINE};
use crate::caller::Call;
use crate::{access, enrolment, validate};

const DAY: i64 = 24 * 60 * 60;
const MAX_USES: i64 = 10_000;

pub(super) async fn enrol(
    app: Arc<App>,
    call: Call,
    request: EnrolRequest,
) -> Result<EnrolResponse, RpcError> {
    validate::name("note", &request.note, validate::MAX_TITLE)?;
    let uses = if request.target.is_some() { 1 } else { clamp_limit(request.uses, 1, MAX_USES) };
    let seconds = clamp_limit(request.seconds, DAY, 30 * DAY);
    let token = EnrolmentToken::new(format!("enrol_{}{}", app.ids.nonce(), app.ids.nonce()));
    call.by_own_key()?;
    let work = async {
        let by = access::operator(&app, &call, request.account_id.as_deref()).await?;
        let account = match &request.target {
            None => None,
            Some(text) => {
                let found = target(&app, text).await?;
                if found.public_key.is_some() {
                    let detail = "a key speaks for that account already: revoke it first";
                    return Err(RpcError::with_detail(ErrorCode::AuthPublicKeyMismatch, detail).into());
                }
                Some(found.account_id)
            }
        };
        let new = NewToken {
            token_sha256: enrolment::hash(token.expose()),
            account_id: account.as_deref(),
            note: &request.note,
            created_by: by.as_ref().map(AccountId::as_str),
            uses: i32::try_from(uses).unwrap_or(1),
            lasts: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        };
        let expires_at = store::create(app.store.pool(), &new, app.now()).await?;
        Ok((account, expires_at, by))
    };
    let (account_id, expires_at, by) =
        app.within("db.enrol", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let by = by.as_ref().map_or("anyone", AccountId::as_str);
    tracing::info!(by, uses, seconds, account = account_id, "an enrolment token was made");
    Ok(EnrolResponse { token, account_id, uses, expires_at: expires_at.to_string() })
}
