//! Accounts of the gateways: `AGENTNET_GATEWAY_KEYS` names their keys, and the registry makes their accounts, so that
//! nobody else gets their role.

use agentnet_store::users::{self, NewPerson};
use agentnet_store::{StoreError, accounts, keys};

use crate::app::{App, Failed};
use crate::cache::Miss;

/// The role that lets an account log people in, and nothing else.
pub(crate) const GATEWAY: &str = "gateway";
/// Usernames tried for one account.
const ATTEMPTS: usize = 32;

/// Why a gateway has no account.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Postgres.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key is an operator's, or a login's.
    #[error("a key in AGENTNET_GATEWAY_KEYS speaks for the operator {0}; give the gateway a key of its own")]
    Taken(String),
    /// Every username that was tried is taken.
    #[error("no username is free for a gateway")]
    NoName,
}

/// Makes the accounts that are missing.
///
/// # Errors
/// Postgres; a key that is an operator's.
pub(crate) async fn ensure(app: &App) -> Result<(), GatewayError> {
    for key in &app.config.gateway_keys {
        ensure_one(app, key).await?;
    }
    Ok(())
}

async fn ensure_one(app: &App, key: &str) -> Result<(), GatewayError> {
    let failed = StoreError::query("gateways.transaction");
    let mut tx = app.store.pool().begin().await.map_err(&failed)?;
    keys::lock(&mut tx, key).await?;
    let now = app.now();
    if let Some(owner) = accounts::owner_of_key(&mut *tx, key, now).await? {
        // One that the gateway registered before the configuration named it, perhaps.
        if owner.standing.role == GATEWAY
            || users::make_gateway(&mut tx, &owner.standing.account_id, now).await?
        {
            tx.commit().await.map_err(&failed)?;
            return Ok(());
        }
        return Err(GatewayError::Taken(owner.standing.username));
    }
    let account_id = app.ids.account_id();
    for attempt in 0..ATTEMPTS {
        let username = match attempt {
            0 => GATEWAY.to_owned(),
            _ => format!("{GATEWAY}-{}", app.ids.suffix(6)),
        };
        let account = NewPerson {
            account_id: &account_id,
            username: &username,
            display_name: "Gateway",
            role: GATEWAY,
        };
        if users::create_service(&mut tx, &account, now).await? {
            keys::bind(&mut tx, &account_id, key, now).await?;
            tx.commit().await.map_err(&failed)?;
            tracing::info!(account_id, username, "made the account of a gateway");
            return Ok(());
        }
    }
    Err(GatewayError::NoName)
}

/// Whether the account is a gateway's.
pub(crate) async fn is_gateway(app: &App, account_id: &str) -> Result<bool, Failed> {
    match app.caches.account(&app.store, account_id).await {
        Ok(known) => Ok(known.role == GATEWAY),
        Err(Miss::NotFound) => Ok(false),
        Err(failed) => Err(failed.into()),
    }
}
