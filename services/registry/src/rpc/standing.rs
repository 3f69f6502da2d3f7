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
    let work = async {
        let by = access::operator(app, call, request.account_id.as_deref()).await?;
        let db = app.store.pool();
        let target = target(app, &request.target).await?;
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

/// The account that a request means, by its id or username.
pub(super) async fn target(app: &App, text: &str) -> Result<Standing, Failed> {
    validate::query("target", text)?;
    if text.is_empty() {
        let detail = "target is required: an account id or username";
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail).into());
    }
    let username = normalize_username(text.trim_start_matches('@'));
    standing::find(app.store.pool(), text, &username).await?.ok_or(Failed::NotFound)
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
