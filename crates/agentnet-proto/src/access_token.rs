//! Access tokens: what shows a gateway who a request comes from. A JWT with one algorithm, EdDSA over Ed25519.
//!
//! The registry signs them ([`sign`]); gateways verify them locally ([`verify`]) with the keys that
//! [`token_keys`](crate::rpc::TokenKeys) answers. There is no choice of algorithm anywhere, so there is none to confuse
//! (ADR 0008 has why this is no library).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    error::ErrorCode,
    rpc::TokenKey,
    secret_text::SecretText,
    signature::{PublicKey, SecretKey},
    timestamp::Timestamp,
};

/// `aud` of every access token.
pub const AUDIENCE: &str = "agentnet-gateway";
/// How long an access token is good.
pub const LIFETIME: Duration = Duration::from_secs(1800);
/// How far ahead of the reader's clock `iat` may be.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// Longest token that is looked at, in bytes.
pub const MAX_BYTES: usize = 4096;

const ALGORITHM: &str = "EdDSA";

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The network's name (its deployment).
    pub iss: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// The account's id.
    pub sub: String,
    /// The account's username.
    pub username: String,
    /// `user`, `agent` or `operator`.
    pub role: String,
    /// The login it belongs to: it ends with a logout, and so does what it was good for.
    pub sid: String,
    /// Names this token.
    pub jti: String,
    /// When it was made, seconds since 1970.
    pub iat: i64,
    /// From when on it is no good, seconds since 1970.
    pub exp: i64,
    /// What it may be used for, with spaces between; absent for everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl AccessClaims {
    /// What the token may be used for; `None` for everything.
    #[must_use]
    pub fn scopes(&self) -> Option<Vec<String>> {
        self.scope.as_ref().map(|scope| scope.split(' ').map(str::to_owned).collect())
    }

    /// Whether the token may be used for `scope`.
    #[must_use]
    pub fn allows(&self, scope: &str) -> bool {
        self.scope.as_ref().is_none_or(|all| all.split(' ').any(|one| one == scope))
    }
}

/// Why a token doesn't count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url, too long, or its head or claims can't be read.
    #[error("the text is no access token")]
    Malformed,
    /// Its head names another algorithm than EdDSA, or an extension that must be understood.
    #[error("access tokens are signed with EdDSA and nothing else")]
    Algorithm,
    /// Its head names no key, or one that isn't the network's (any more).
    #[error("the token's key isn't one of this network's")]
    UnknownKey,
    /// The signature isn't the key's.
    #[error("the token's signature doesn't verify")]
    Signature,
    /// It is another network's.
    #[error("the token is another network's")]
    Issuer,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// It is from the future.
    #[error("the token is from the future; check both clocks")]
    NotYetValid,
    /// Its time is over.
    #[error("the token has expired; refresh it or log in again")]
    Expired,
}

impl TokenError {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Malformed => ErrorCode::TokenMalformed,
            Self::Algorithm => ErrorCode::TokenAlgorithmInvalid,
            Self::UnknownKey => ErrorCode::TokenKeyUnknown,
            Self::Signature => ErrorCode::TokenSignatureInvalid,
            Self::Issuer => ErrorCode::TokenIssuerInvalid,
            Self::Audience => ErrorCode::TokenAudienceInvalid,
            Self::NotYetValid => ErrorCode::TokenNotYetValid,
            Self::Expired => ErrorCode::TokenExpired,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    /// Extensions that must be understood: none is.
    #[serde(default, skip_serializing)]
    crit: Option<serde_json::Value>,
}

/// The name of a key: its thumbprint (RFC 7638 and 8037).
#[must_use]
pub fn key_id(key: &PublicKey) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{key}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
}

/// The key as [`token_keys`](crate::rpc::TokenKeys) answers it.
#[must_use]
pub fn token_key(key: &PublicKey, not_after: Timestamp) -> TokenKey {
    TokenKey {
        kty: "OKP".to_owned(),
        crv: "Ed25519".to_owned(),
        alg: ALGORITHM.to_owned(),
        usage: "sig".to_owned(),
        kid: key_id(key),
        x: key.to_string(),
        not_after: not_after.to_string(),
    }
}

/// Writes a token.
///
/// # Errors
/// [`TokenError::Malformed`] when it would be longer than what [`verify`] takes.
pub fn sign(key: &SecretKey, claims: &AccessClaims) -> Result<SecretText, TokenError> {
    let head = Head {
        alg: ALGORITHM.to_owned(),
        typ: Some("JWT".to_owned()),
        kid: Some(key_id(&key.verifying())),
        crit: None,
    };
    let part = |json: serde_json::Result<Vec<u8>>| {
        json.map(|json| URL_SAFE_NO_PAD.encode(json)).map_err(|_| TokenError::Malformed)
    };
    let mut token = format!("{}.{}", part(serde_json::to_vec(&head))?, part(serde_json::to_vec(claims))?);
    let signature = key.sign(token.as_bytes());
    token.push('.');
    token.push_str(&signature);
    if token.len() > MAX_BYTES { Err(TokenError::Malformed) } else { Ok(SecretText::new(token)) }
}

/// Reads a token that one of `keys` signed for this network and that is good `now`. Whether its login has ended since is
/// for the registry to say.
///
/// # Errors
/// The first check that fails, in the order of [`TokenError`].
pub fn verify(
    token: &str,
    keys: &[TokenKey],
    issuer: &str,
    now: Timestamp,
) -> Result<AccessClaims, TokenError> {
    let claims = verify_ever(token, keys, issuer, now)?;
    let second = now.unix_millis().div_euclid(1000);
    if second >= claims.exp { Err(TokenError::Expired) } else { Ok(claims) }
}

/// As [`verify`], also of a token whose time is over.
///
/// # Errors
/// As [`verify`], without [`TokenError::Expired`].
pub fn verify_ever(
    token: &str,
    keys: &[TokenKey],
    issuer: &str,
    now: Timestamp,
) -> Result<AccessClaims, TokenError> {
    if token.len() > MAX_BYTES {
        return Err(TokenError::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (head, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
    let (head, claims, signature) = (decode(head)?, decode(claims)?, decode(signature)?);
    let head: Head = serde_json::from_slice(&head).map_err(|_| TokenError::Malformed)?;
    if head.alg != ALGORITHM || head.crit.is_some() {
        return Err(TokenError::Algorithm);
    }
    let kid = head.kid.ok_or(TokenError::UnknownKey)?;
    let key = keys.iter().find(|key| key.kid == kid).ok_or(TokenError::UnknownKey)?;
    if Timestamp::parse(&key.not_after).is_none_or(|end| end <= now) {
        return Err(TokenError::UnknownKey);
    }
    let key: PublicKey = key.x.parse().map_err(|_| TokenError::UnknownKey)?;
    let signature: [u8; 64] = signature.try_into().map_err(|_| TokenError::Signature)?;
    if !key.verifies(signed.as_bytes(), &signature) {
        return Err(TokenError::Signature);
    }
    let claims: AccessClaims = serde_json::from_slice(&claims).map_err(|_| TokenError::Malformed)?;
    if claims.iss != issuer {
        return Err(TokenError::Issuer);
    }
    if claims.aud != AUDIENCE {
        return Err(TokenError::Audience);
    }
    if claims.iat > now.saturating_add(CLOCK_SKEW).unix_millis().div_euclid(1000) {
        return Err(TokenError::NotYetValid);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn now() -> Timestamp {
        Timestamp::from_unix_millis(NOW * 1000).unwrap()
    }

    fn claims() -> AccessClaims {
        AccessClaims {
            iss: "agentnet".to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: "acct_01kahj000000000000000000ab".to_owned(),
            username: "ann".to_owned(),
            role: "user".to_owned(),
            sid: "sid_1".to_owned(),
            jti: "j".to_owned(),
            iat: NOW,
            exp: NOW + 1800,
            scope: None,
        }
    }

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn known(seed: u8) -> Vec<TokenKey> {
        vec![token_key(&key(seed).verifying(), now().saturating_add(LIFETIME))]
    }

    fn read(token: &str) -> Result<AccessClaims, TokenError> {
        verify(token, &known(1), "agentnet", now())
    }

    fn forged(head: &Value, claims: &Value, by: &SecretKey) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(head), part(claims));
        format!("{signed}.{}", by.sign(signed.as_bytes()))
    }

    /// RFC 8037, appendix A.3.
    #[test]
    fn keys_are_named_by_their_thumbprint() {
        let key: PublicKey = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".parse().unwrap();
        assert_eq!(key_id(&key), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn what_was_signed_is_read() {
        let token = sign(&key(1), &claims()).unwrap();
        assert_eq!(read(token.expose()), Ok(claims()));
        let scoped = AccessClaims { scope: Some("read send".to_owned()), ..claims() };
        assert!(scoped.allows("send") && !scoped.allows("manage") && claims().allows("manage"));
    }

    /// Of two signed parts that differ in one thing only, each is refused for that thing.
    #[test]
    fn each_fault_has_its_code() {
        let kid = key_id(&key(1).verifying());
        let head = json!({"alg": "EdDSA", "typ": "JWT", "kid": kid});
        let good = serde_json::to_value(claims()).unwrap();
        assert!(read(&forged(&head, &good, &key(1))).is_ok());
        for alg in ["none", "None", "HS256", "RS256", "ES256", "eddsa", ""] {
            let head = json!({"alg": alg, "kid": kid});
            assert_eq!(read(&forged(&head, &good, &key(1))), Err(TokenError::Algorithm), "{alg}");
        }
        let unsigned = forged(&json!({"alg": "none"}), &good, &key(1));
        let (unsigned, _) = unsigned.rsplit_once('.').unwrap();
        assert_eq!(read(&format!("{unsigned}.")), Err(TokenError::Algorithm));
        let critical = json!({"alg": "EdDSA", "kid": kid, "crit": ["b64"]});
        assert_eq!(read(&forged(&critical, &good, &key(1))), Err(TokenError::Algorithm));
        assert_eq!(read(&forged(&json!({"alg": "EdDSA"}), &good, &key(1))), Err(TokenError::UnknownKey));
        assert_eq!(read(sign(&key(2), &claims()).unwrap().expose()), Err(TokenError::UnknownKey));
        // Another key under the name of a known one, and a key of its own in the head.
        assert_eq!(read(&forged(&head, &good, &key(2))), Err(TokenError::Signature));
        let own = json!({"alg": "EdDSA", "kid": kid, "jwk": token_key(&key(2).verifying(), now())});
        assert_eq!(read(&forged(&own, &good, &key(2))), Err(TokenError::Signature));
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            read(&forged(&head, &claims, &key(1)))
        };
        assert_eq!(with("iss", json!("other")), Err(TokenError::Issuer));
        assert_eq!(with("aud", json!("agentnet-other")), Err(TokenError::Audience));
        assert_eq!(with("aud", json!([AUDIENCE, "x"])), Err(TokenError::Malformed));
        assert_eq!(with("iat", json!(NOW + 61)), Err(TokenError::NotYetValid));
        assert_eq!(with("exp", json!(NOW)), Err(TokenError::Expired));
        assert_eq!(with("exp", json!("soon")), Err(TokenError::Malformed));
        assert_eq!(with("sub", Value::Null), Err(TokenError::Malformed));
        assert!(with("exp", json!(NOW + 1)).is_ok());
    }

    #[test]
    fn a_key_whose_time_is_over_verifies_nothing() {
        let token = sign(&key(1), &claims()).unwrap();
        let keys = vec![token_key(&key(1).verifying(), now())];
        assert_eq!(verify(token.expose(), &keys, "agentnet", now()), Err(TokenError::UnknownKey));
    }

    #[test]
    fn what_is_cut_or_too_long_is_none() {
        let token = sign(&key(1), &claims()).unwrap();
        let token = token.expose();
        assert!(read(&token[..token.len() - 1]).is_err());
        for text in ["", ".", "..", "a.b", "a.b.c", &format!("{token}.x"), &"x".repeat(MAX_BYTES + 1)] {
            assert_eq!(read(text), Err(TokenError::Malformed), "{text}");
        }
        let long = AccessClaims { username: "x".repeat(MAX_BYTES), ..claims() };
        assert_eq!(sign(&key(1), &long), Err(TokenError::Malformed));
    }
}
