//! How an agent gets its account: plan, prove, write, all in one transaction, again if somebody was faster.

use agentnet_proto::dev_auth::{AuthBlock, RegisterExpectation, check_register};
use agentnet_proto::rpc::EnrolmentToken;
use agentnet_proto::signature::PublicKey;
use agentnet_proto::{AccountChange, AccountEvent, ErrorCode, RpcError, Security};
use agentnet_store::accounts::{self, Plan, Presented, Wish};
use agentnet_store::sessions::{self, Session};
use agentnet_store::{StoreError, capabilities, keys};

use crate::app::{App, Failed, chain};
use crate::events::{announce_account, announce_keys};
use crate::{access, enrolment};

/// Plans that may turn out stale before we give up. Each failure means that somebody else succeeded.
const MAX_ATTEMPTS: usize = 32;
/// Longest nonce. The original's have 32 characters.
const MAX_NONCE: usize = 128;

/// A session to be opened with the account, and the proof of who opens it.
pub(super) struct Opening<'a> {
    /// The signature, if the request carries one.
    pub(super) auth: Option<&'a AuthBlock>,
    /// The key that asks, where NATS proved that it speaks for no account yet.
    pub(super) unknown_key: Option<&'a PublicKey>,
    /// Leave for it.
    pub(super) enrolment_token: Option<&'a EnrolmentToken>,
    /// The session's row; account and username are filled in.
    pub(super) session: &'a mut Session,
}

/// What an agent got.
pub(super) struct Settled {
    /// Its account.
    pub(super) plan: Plan,
    /// The key that was bound to it just now.
    pub(super) bound: Option<String>,
}

/// Finds or makes the account. With an opening the caller's proof is checked before anything is written (where the
/// network wants proofs), and the session's row is written in the same transaction.
pub(super) async fn settle(
    app: &App,
    wish: &Wish<'_>,
    presented: &Presented<'_>,
    mut opening: Option<Opening<'_>>,
) -> Result<Settled, Failed> {
    let failed = StoreError::query("register.transaction");
    for attempt in 0..MAX_ATTEMPTS {
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let plan = accounts::plan(&mut *tx, wish, &*app.ids, attempt).await?;
        access::check_standing(app, &plan.account_id)?;
        let enrolled = match &opening {
            Some(opening) => {
                enrolment::enrol(app, &mut tx, &plan, opening.unknown_key, opening.enrolment_token).await?
            }
            None => None,
        };
        let denied = capabilities::denied(&mut *tx, presented.capabilities, &plan.account_id).await?;
        if !denied.is_empty() {
            let detail = format!("only whom an operator grants it may serve {}", denied.join(", "));
            return Err(RpcError::with_detail(ErrorCode::CapabilityRestricted, detail).into());
        }
        let proof = match &opening {
            Some(opening) if app.config.security == Security::Signed => {
                let expected = RegisterExpectation {
                    agent_id: presented.agent_id,
                    name: presented.name,
                    username_given: wish.username.is_some(),
                    username: &plan.username,
                    account_id: &plan.account_id,
                };
                let proof = check_register(opening.auth, &expected, app.now(), app.config.auth_max_skew)
                    .map_err(RpcError::from)?;
                if proof.nonce.len() > MAX_NONCE || proof.nonce.contains('\0') {
                    return Err(RpcError::from(ErrorCode::AuthClaimsInvalid).into());
                }
                if !spend_nonce(app, &mut tx, &plan, proof.nonce).await? {
                    return Err(RpcError::from(ErrorCode::AuthNonceReplayed).into());
                }
                if !plan.is_new() {
                    check_key(app, &mut tx, &plan, proof.public_key).await?;
                }
                Some(proof)
            }
            _ => None,
        };
        if !accounts::apply(&mut tx, &plan, presented, app.now()).await? {
            // Rolled back when dropped; said explicitly so that the connection is free before the next try.
            tx.rollback().await.map_err(&failed)?;
            continue;
        }
        let mut bound = None;
        if let (Some(proof), true) = (proof, plan.is_new()) {
            keys::bind(&mut tx, &plan.account_id, proof.public_key, app.now())
                .await
                .map_err(|error| unvalidated(app, &error))?;
            bound = Some(proof.public_key.to_owned());
        }
        if let Some(opening) = &mut opening {
            opening.session.account_id = Some(plan.account_id.clone());
            opening.session.username = Some(plan.username.clone());
            sessions::open(&mut tx, opening.session).await?;
        }
        tx.commit().await.map_err(&failed)?;
        return Ok(Settled { plan, bound: bound.or(enrolled) });
    }
    app.failures.log("register", "every plan was overtaken by other registrations");
    Err(RpcError::from(ErrorCode::IdentityFailed).into())
}

async fn spend_nonce(
    app: &App,
    tx: &mut agentnet_store::Connection,
    plan: &Plan,
    nonce: &str,
) -> Result<bool, Failed> {
    keys::spend_nonce(tx, &plan.account_id, nonce, app.config.auth_nonce_ttl)
        .await
        .map_err(|error| unvalidated(app, &error))
}

/// Only a new account binds its first key. One that exists without a key was made without proof, so no one can show
/// that it is theirs: an operator has to enrol a key.
async fn check_key(
    app: &App,
    tx: &mut agentnet_store::Connection,
    plan: &Plan,
    public_key: &str,
) -> Result<(), Failed> {
    let code = ErrorCode::AuthPublicKeyMismatch;
    match keys::active_key(tx, &plan.account_id).await.map_err(|error| unvalidated(app, &error))? {
        Some(bound) if bound == public_key => Ok(()),
        Some(_) => Err(RpcError::from(code).into()),
        None => {
            let detail = format!(
                "the account of {} was made without a key; an operator has to bind one, or choose another username",
                plan.username
            );
            Err(RpcError::with_detail(code, detail).into())
        }
    }
}

/// Failures while checking a proof have a code of their own.
fn unvalidated(app: &App, error: &StoreError) -> Failed {
    app.failures.log("register.validate", &chain(error));
    Failed::Refused(ErrorCode::AuthValidationFailed.into())
}

/// Makes this and other replicas forget what they remember of the account.
pub(super) async fn announce(app: &App, Settled { plan, bound }: &Settled) {
    let mut usernames = vec![plan.username.clone()];
    usernames.extend(plan.current_username.clone().filter(|name| *name != plan.username));
    let names: Vec<&str> = usernames.iter().map(String::as_str).collect();
    // Here at once, so that the agent's next request sees what it just wrote.
    app.caches.forget(&plan.account_id, &names).await;
    let mut event =
        AccountEvent { account_id: plan.account_id.clone(), usernames, ..AccountEvent::default() };
    announce_account(app, &event).await;
    if bound.is_some() {
        (event.change, event.public_key) = (Some(AccountChange::Bound), bound.clone());
        announce_keys(app, &event).await;
    }
}
