//! What the requests share that change how an account stands.

use agentnet_proto::rpc::{AccountStanding, StandingRequest, StandingResponse};
use agentnet_proto::username::normalize_username;
use agentnet_proto::{AccountChange, AccountEvent, AccountId, ErrorCode, RpcError};
use agentnet_store::standing::{self, Standing};

use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::{access, events, validate};

/// Finds the target, has `change` write, and tells everybody.
pub(super) async fn change(
    app: &App,
    call: &Call,
    request: &StandingRequest,
    news: AccountChange,
    change: impl AsyncFnOnce(Option<&AccountId>, &Standing) -> Result<(), Failed>,
) -> Result<StandingResponse, RpcError> {
    validate::query("target", &request.target)?;
    if request.target.is_empty() {
        return Err(RpcError::with_detail(
            ErrorCode::InvalidField,
            "target is required: an account id or username",
        ));
    }
    let work = async {
        let by = access::operator(app, call, request.account_id.as_deref()).await?;
        let username = normalize_username(request.target.trim_start_matches('@'));
        let db = app.store.pool();
        let target = standing::find(db, &request.target, &username).await?.ok_or(Failed::NotFound)?;
        change(by.as_ref(), &target).await?;
        let now = standing::find(db, &target.account_id, "").await?.ok_or(Failed::NotFound)?;
        Ok((by, now))
    };
    let (by, now) = app.within("db.standing", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let by = by.as_ref().map_or("anyone", AccountId::as_str);
    tracing::info!(
        by,
        account = now.account_id,
        role = now.role,
        status = now.status,
        "an account's standing changed"
    );
    let event = AccountEvent {
        account_id: now.account_id.clone(),
        usernames: vec![now.username.clone()],
        change: Some(news),
        public_key: None,
    };
    // Here at once, so that the next request meets it.
    events::take_account(app, &event).await;
    events::announce_keys(app, &event).await;
    Ok(StandingResponse { account: row(app, now), generated_at: app.now().to_string() })
}

pub(super) fn row(app: &App, standing: Standing) -> AccountStanding {
    let configured = standing.public_key.is_some_and(|key| app.config.operator_keys.contains(&key));
    AccountStanding {
        account_id: standing.account_id,
        username: standing.username,
        role: if configured { access::OPERATOR.to_owned() } else { standing.role },
        status: standing.status,
        configured,
    }
}
