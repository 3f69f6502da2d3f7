//! Requests that carry signature v2: reading them, and taking each only once.

use agentnet_proto::signature::{
    Deployment, HEADER, NONCE_HEADER, Nonce, PublicKey, Purpose, SignatureHeader,
};
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_store::{Connection, StoreError, keys};
use async_nats::HeaderMap;

use crate::app::{App, Failed, chain};
use crate::caller::Call;

/// Who signed a request, and what makes it differ from its repetition. The signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    /// Whose signature it is. Whom the key speaks for is another question.
    pub(crate) key: PublicKey,
    /// To be spent once.
    pub(crate) nonce: Nonce,
}

/// The signature headers of a request, in their order.
pub(crate) fn headers(headers: Option<&HeaderMap>) -> impl Iterator<Item = &str> {
    headers.into_iter().flat_map(|headers| headers.get_all(HEADER)).map(|value| value.as_str())
}

/// Whether the request carries a signature v2.
pub(crate) fn is_signed(call: &Call) -> bool {
    headers(call.headers.as_ref()).next().is_some()
}

/// Checks a request with one signature.
///
/// # Errors
/// `auth_required` without any, `auth_claims_invalid` without a nonce, `auth_payload_invalid` for several or one that
/// can't be read, `auth_scheme_invalid`, `auth_signature_invalid`.
pub(crate) fn one(
    call: &Call,
    deployment: &Deployment,
    purpose: impl Fn(&Nonce) -> Purpose<'_>,
) -> Result<Signed, RpcError> {
    let nonce = nonce(call)?;
    let mut found = headers(call.headers.as_ref());
    let header = found.next().ok_or(ErrorCode::AuthRequired)?;
    if found.next().is_some() {
        return Err(ErrorCode::AuthPayloadInvalid.into());
    }
    let key = verify(header, &purpose(&nonce), deployment, call)?;
    Ok(Signed { key, nonce })
}

/// As [`one`], of a request with two signatures under one nonce.
///
/// # Errors
/// As [`one`].
pub(crate) fn both(
    call: &Call,
    deployment: &Deployment,
    first: impl Fn(&Nonce) -> Purpose<'_>,
    second: impl Fn(&Nonce) -> Purpose<'_>,
) -> Result<[Signed; 2], RpcError> {
    let nonce = nonce(call)?;
    let found: Vec<&str> = headers(call.headers.as_ref()).take(3).collect();
    let (one, two) = match found.as_slice() {
        [one, two] => (*one, *two),
        [] => return Err(ErrorCode::AuthRequired.into()),
        _ => return Err(ErrorCode::AuthPayloadInvalid.into()),
    };
    let one = verify(one, &first(&nonce), deployment, call)?;
    let two = verify(two, &second(&nonce), deployment, call)?;
    Ok([Signed { key: one, nonce: nonce.clone() }, Signed { key: two, nonce }])
}

fn nonce(call: &Call) -> Result<Nonce, RpcError> {
    if !is_signed(call) {
        return Err(ErrorCode::AuthRequired.into());
    }
    let mut found = call.headers.iter().flat_map(|headers| headers.get_all(NONCE_HEADER));
    match (found.next().and_then(|value| value.as_str().parse().ok()), found.next()) {
        (Some(nonce), None) => Ok(nonce),
        _ => {
            let detail = format!("a signed request carries one nonce in the header {NONCE_HEADER}");
            Err(RpcError::with_detail(ErrorCode::AuthClaimsInvalid, detail))
        }
    }
}

fn verify(
    header: &str,
    purpose: &Purpose<'_>,
    deployment: &Deployment,
    call: &Call,
) -> Result<PublicKey, RpcError> {
    let header: SignatureHeader = header.parse().map_err(refused)?;
    header.verify(purpose, deployment, &call.body).map_err(refused)?;
    Ok(header.key)
}

fn refused(error: agentnet_proto::signature::SignatureError) -> RpcError {
    RpcError::with_detail(error.code(), error.to_string())
}

/// Whether the request was made now.
///
/// # Errors
/// `auth_claims_timestamp_skew`.
pub(crate) fn is_fresh(app: &App, signed: &Signed) -> Result<(), RpcError> {
    if signed.nonce.is_fresh(app.now(), app.config.auth_max_skew) {
        Ok(())
    } else {
        Err(ErrorCode::AuthClaimsTimestampSkew.into())
    }
}

/// Takes the request for the account: once, over all replicas.
///
/// # Errors
/// `auth_nonce_replayed`; `auth_validation_failed` when Postgres can't tell.
pub(crate) async fn spend(
    app: &App,
    tx: &mut Connection,
    account_id: &str,
    signed: &Signed,
) -> Result<(), Failed> {
    spend_text(app, tx, account_id, signed.nonce.as_str()).await
}

/// As [`spend`], of any nonce.
pub(crate) async fn spend_text(
    app: &App,
    tx: &mut Connection,
    account_id: &str,
    nonce: &str,
) -> Result<(), Failed> {
    let is_first = keys::spend_nonce(tx, account_id, nonce, app.config.auth_nonce_ttl)
        .await
        .map_err(|error| unvalidated(app, &error))?;
    if is_first { Ok(()) } else { Err(RpcError::from(ErrorCode::AuthNonceReplayed).into()) }
}

/// Failures while checking a proof have a code of their own.
pub(crate) fn unvalidated(app: &App, error: &StoreError) -> Failed {
    app.failures.log("auth.validate", &chain(error));
    Failed::Refused(ErrorCode::AuthValidationFailed.into())
}
