//! How an agent gets its account: plan, prove, write, all in one transaction, again if somebody was faster.

use agentnet_proto::dev_auth::{AuthBlock, RegisterExpectation, check_register};
use agentnet_proto::rpc::EnrolmentToken;
use agentnet_proto::signature::PublicKey;
use agentnet_proto::{AccountChange, AccountEvent, ErrorCode, RpcError, Security, username};
use agentnet_store::accounts::{self, Plan, Presented, Wish};
use agentnet_store::sessions::{self, Session};
use agentnet_store::{StoreError, agents, blocks, capabilities, keys};

use crate::app::{App, Failed};
use crate::events::{announce_account, announce_keys};
use crate::signed::{self, Signed, unvalidated};
use crate::{access, enrolment};

/// Plans that may turn out stale before we give up. Each failure means that somebody else succeeded.
const MAX_ATTEMPTS: usize = 32;
/// Longest nonce. The original's have 32 characters.
const MAX_NONCE: usize = 128;

/// A session to be opened with the account, and the proof of who opens it.
pub(super) struct Opening<'a> {
    /// The signature v2, checked; the only one that counts where it is there.
    pub(super) signed: Option<&'a Signed>,
    /// The original's signature, if the request carries one.
    pub(super) auth: Option<&'a AuthBlock>,
    /// The key that asks, where NATS proved that it speaks for no account yet.
    pub(super) unknown_key: Option<&'a PublicKey>,
    /// Whether it comes as a guest.
    pub(super) is_guest: bool,
    /// Leave for it.
    pub(super) enrolment_token: Option<&'a EnrolmentToken>,
    /// The session's row; account and username are filled in.
    pub(super) session: &'a mut Session,
}

/// What was proved: whose key it is, and what may be used once.
struct Proof {
    public_key: String,
    nonce: String,
}

/// What an agent got.
pub(super) struct Settled {
    /// Its account.
    pub(super) plan: Plan,
    /// The key that was bound to it just now.
    pub(super) bound: Option<String>,
    /// Whether it blocks anybody.
    pub(super) blocks: bool,
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
        let signed = opening.as_ref().and_then(|opening| opening.signed);
        // A key that speaks for an account says which one is meant.
        let owner = match signed {
            Some(signed) => owner(app, &mut tx, signed, wish).await?,
            None => None,
        };
        let wish = match &owner {
            Some((account_id, username)) => Wish {
                account_id: Some(account_id),
                username: wish.username.or(Some(username)),
                agent_id: wish.agent_id,
            },
            None => *wish,
        };
        let plan = accounts::plan(&mut *tx, &wish, &*app.ids, attempt).await?;
        access::check_standing(app, &plan.account_id)?;
        check_name(&plan, opening.as_ref().is_some_and(|opening| opening.is_guest))?;
        let enrolled = match &opening {
            Some(opening) => {
                enrolment::enrol(app, &mut tx, &plan, opening.unknown_key, opening.enrolment_token).await?
            }
            None => None,
        };
        let denied = capabilities::denied(&mut *tx, presented.capabilities, &plan.account_id).await?;
        if !denied.is_empty() {
            return Err(super::capabilities::denied(&denied).into());
        }
        let proof = match &opening {
            Some(opening) if app.config.security.wants_signatures() => {
                let proof = prove(app, opening, presented, &wish, &plan)?;
                signed::spend_text(app, &mut tx, &plan.account_id, &proof.nonce).await?;
                if !plan.is_new() {
                    check_key(app, &mut tx, &plan, &proof.public_key).await?;
                } else {
                    check_new(app, &mut tx, &wish, &proof.public_key).await?;
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
        // A session that a gateway opens for somebody makes nobody an agent.
        if presented.metadata.get("via").and_then(serde_json::Value::as_str) != Some("gateway") {
            agents::ensure(&mut tx, &plan.account_id, app.now()).await?;
        }
        let mut bound = None;
        if let (Some(proof), true) = (proof, plan.is_new()) {
            keys::bind(&mut tx, &plan.account_id, &proof.public_key, app.now())
                .await
                .map_err(|error| unvalidated(app, &error))?;
            bound = Some(proof.public_key);
        }
        if let Some(opening) = &mut opening {
            opening.session.account_id = Some(plan.account_id.clone());
            opening.session.username = Some(plan.username.clone());
            sessions::open(&mut tx, opening.session).await?;
        }
        let blocks = !plan.is_new() && blocks::any(&mut *tx, &plan.account_id).await?;
        tx.commit().await.map_err(&failed)?;
        return Ok(Settled { plan, bound: bound.or(enrolled), blocks });
    }
    app.failures.log("register", "every plan was overtaken by other registrations");
    Err(RpcError::from(ErrorCode::IdentityFailed).into())
}

/// Guests have guests' names, and nobody else gets one. Who had such a name before keeps it.
fn check_name(plan: &Plan, is_guest: bool) -> Result<(), RpcError> {
    let has_guests_name = username::is_guest(&plan.username);
    if is_guest && !has_guests_name {
        let detail = format!("the username of a guest begins with {}", username::GUEST_PREFIX);
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    if !is_guest && has_guests_name && plan.current_username.as_ref() != Some(&plan.username) {
        return Err(ErrorCode::UsernameReserved.into());
    }
    Ok(())
}

/// The account that the key speaks for, and its username. Two registrations with one new key follow each other.
async fn owner(
    app: &App,
    tx: &mut agentnet_store::Connection,
    signed: &Signed,
    wish: &Wish<'_>,
) -> Result<Option<(String, String)>, Failed> {
    let key = signed.key.to_string();
    let now = app.now();
    let find = async |tx: &mut agentnet_store::Connection| {
        accounts::owner_of_key(tx, &key, now).await.map(|owner| owner.map(|owner| owner.standing))
    };
    let found = match find(tx).await? {
        Some(found) => Some(found),
        None => {
            keys::lock(tx, &key).await?;
            find(tx).await?
        }
    };
    match found {
        Some(owner) if wish.account_id.is_none_or(|id| id == owner.account_id) => {
            Ok(Some((owner.account_id, owner.username)))
        }
        Some(_) => {
            Err(mismatch("the key speaks for another account; every account has a key of its own").into())
        }
        None => Ok(None),
    }
}

/// Who opens the session, by its signature.
fn prove(
    app: &App,
    opening: &Opening<'_>,
    presented: &Presented<'_>,
    wish: &Wish<'_>,
    plan: &Plan,
) -> Result<Proof, RpcError> {
    if let Some(signed) = opening.signed {
        return Ok(Proof { public_key: signed.key.to_string(), nonce: signed.nonce.to_string() });
    }
    if app.config.security == Security::Secure {
        return Err(ErrorCode::AuthRequired.into());
    }
    let expected = RegisterExpectation {
        agent_id: presented.agent_id,
        name: presented.name,
        username_given: wish.username.is_some(),
        username: &plan.username,
        account_id: &plan.account_id,
    };
    let proof = check_register(opening.auth, &expected, app.now(), app.config.auth_max_skew)?;
    if proof.nonce.len() > MAX_NONCE || proof.nonce.contains('\0') {
        return Err(ErrorCode::AuthClaimsInvalid.into());
    }
    // As text, a weak key or another spelling of a key would be bound, and no signature of it ever be taken.
    if proof.public_key.parse::<PublicKey>().is_err() {
        return Err(ErrorCode::AuthPayloadInvalid.into());
    }
    Ok(Proof { public_key: proof.public_key.to_owned(), nonce: proof.nonce.to_owned() })
}

/// Only a new account binds its first key. One that exists without a key was made without proof, so no one can show
/// that it is theirs: an operator has to enrol a key.
async fn check_key(
    app: &App,
    tx: &mut agentnet_store::Connection,
    plan: &Plan,
    public_key: &str,
) -> Result<(), Failed> {
    let own = keys::active_key(&mut *tx, &plan.account_id).await.map_err(|error| unvalidated(app, &error))?;
    if own.as_deref() != Some(public_key) {
        // A login may have bound it.
        let spans = keys::spans_of(tx, public_key).await.map_err(|error| unvalidated(app, &error))?;
        if spans.iter().any(|span| span.account_id == plan.account_id && span.is_active(app.now())) {
            return Ok(());
        }
    }
    match own {
        Some(bound) if bound == public_key => Ok(()),
        Some(_) => Err(RpcError::from(ErrorCode::AuthPublicKeyMismatch).into()),
        None => {
            let detail = format!(
                "no key speaks for the account of {}; an operator has to bind one, or choose another username",
                plan.username
            );
            Err(mismatch(&detail).into())
        }
    }
}

/// A new account takes a key that never spoke for another one; original SDKs may have several accounts for one key. In
/// secure mode the network alone makes account ids.
async fn check_new(
    app: &App,
    tx: &mut agentnet_store::Connection,
    wish: &Wish<'_>,
    public_key: &str,
) -> Result<(), Failed> {
    if app.config.security == Security::Secure && wish.account_id.is_some() {
        let detail =
            "there is no such account, and the network makes the ids of new ones: leave account_id out";
        return Err(RpcError::with_detail(ErrorCode::InvalidAccountId, detail).into());
    }
    let spans = keys::spans_of(tx, public_key).await.map_err(|error| unvalidated(app, &error))?;
    if spans.iter().any(|span| !span.is_active(app.now())) {
        return Err(mismatch("the key was taken out of use; a key that ended is never bound again").into());
    }
    Ok(())
}

fn mismatch(detail: &str) -> RpcError {
    RpcError::with_detail(ErrorCode::AuthPublicKeyMismatch, detail)
}

/// Makes this and other replicas forget what they remember of the account.
pub(super) async fn announce(app: &App, Settled { plan, bound, .. }: &Settled) {
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
