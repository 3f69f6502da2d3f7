//! NATS' JWTs: `{"typ":"JWT","alg":"ed25519-nkey"}`, issued by an nkey that the claims themselves name.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::{KeyPair, KeyPairType};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest token read, in bytes. The server's requests have 2 KiB and what TLS certificates add.
const MAX_BYTES: usize = 64 * 1024;

#[derive(Serialize, Deserialize)]
struct Header {
    typ: String,
    alg: String,
}

#[derive(Deserialize)]
struct Issued {
    #[serde(default)]
    iss: String,
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Not three parts of base64url with JSON in them, or too long.
    #[error("not a JWT")]
    Malformed,
    /// Another algorithm than `ed25519-nkey`.
    #[error("a JWT of another type or algorithm")]
    Algorithm,
    /// The issuer is no server's key.
    #[error("a JWT that no server issued")]
    Issuer,
    /// Not the issuer's signature.
    #[error("a JWT whose signature doesn't verify")]
    Signature,
}

/// Reads a token issued by any server, which the signature proves to be the claims' `iss`.
pub(super) fn verify_server<C: DeserializeOwned>(token: &[u8]) -> Result<C, JwtError> {
    if token.len() > MAX_BYTES {
        return Err(JwtError::Malformed);
    }
    let token = std::str::from_utf8(token).map_err(|_| JwtError::Malformed)?;
    let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(JwtError::Malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Malformed);
    let (header, claims, signature) = (decode(header)?, decode(claims)?, decode(signature)?);
    let header: Header = serde_json::from_slice(&header).map_err(|_| JwtError::Malformed)?;
    if !header.typ.eq_ignore_ascii_case("jwt") || header.alg != "ed25519-nkey" {
        return Err(JwtError::Algorithm);
    }
    let Issued { iss } = serde_json::from_slice(&claims).map_err(|_| JwtError::Malformed)?;
    let key = KeyPair::from_public_key(&iss).map_err(|_| JwtError::Issuer)?;
    if !matches!(key.key_pair_type(), KeyPairType::Server) {
        return Err(JwtError::Issuer);
    }
    key.verify(signed.as_bytes(), &signature).map_err(|_| JwtError::Signature)?;
    serde_json::from_slice(&claims).map_err(|_| JwtError::Malformed)
}

/// Writes a token. `None` only for a key pair without its seed.
pub(super) fn sign<C: Serialize>(issuer: &KeyPair, claims: &C) -> Option<String> {
    let header = Header { typ: "JWT".to_owned(), alg: "ed25519-nkey".to_owned() };
    let part = |json: Vec<u8>| URL_SAFE_NO_PAD.encode(json);
    let header = part(serde_json::to_vec(&header).ok()?);
    let mut token = format!("{header}.{}", part(serde_json::to_vec(claims).ok()?));
    let signature = issuer.sign(token.as_bytes()).ok()?;
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Some(token)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(token: &str) -> Result<Value, JwtError> {
        verify_server(token.as_bytes())
    }

    #[test]
    fn only_what_the_issuer_signed_is_read() {
        let server = KeyPair::new_server();
        let claims = json!({"iss": server.public_key(), "x": 1});
        let token = sign(&server, &claims).unwrap();
        assert_eq!(read(&token), Ok(claims.clone()));
        let parts: Vec<&str> = token.split('.').collect();
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let other = encode(&json!({"iss": server.public_key(), "x": 2}));
        assert_eq!(read(&format!("{}.{other}.{}", parts[0], parts[2])), Err(JwtError::Signature));
        for alg in ["none", "EdDSA", "ed25519"] {
            let header = encode(&json!({"typ": "JWT", "alg": alg}));
            assert_eq!(read(&format!("{header}.{}.{}", parts[1], parts[2])), Err(JwtError::Algorithm));
        }
        // Signed by somebody else than the one it names.
        let stranger = KeyPair::new_server();
        assert_eq!(read(&sign(&stranger, &claims).unwrap()), Err(JwtError::Signature));
        // A key of another kind, or none.
        let account = KeyPair::new_account();
        let by_account = sign(&account, &json!({"iss": account.public_key()})).unwrap();
        assert_eq!(read(&by_account), Err(JwtError::Issuer));
        assert_eq!(read(&sign(&server, &json!({})).unwrap()), Err(JwtError::Issuer));
        assert_eq!(read(&sign(&server, &json!("x")).unwrap()), Err(JwtError::Malformed));
        for text in ["", ".", "..", "a.b.c", parts[0], &token[..token.len() - 1], &"x".repeat(MAX_BYTES + 1)]
        {
            assert!(read(text).is_err());
        }
    }

    /// As the decoders of `agentnet-proto`: 20,000 unless `PROPTEST_CASES` asks for more.
    fn config() -> ProptestConfig {
        let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
        ProptestConfig {
            cases: asked.unwrap_or(20_000),
            failure_persistence: None,
            ..ProptestConfig::default()
        }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), json in ".{0,100}") {
            let _ = verify_server::<Value>(&bytes);
            let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
            let token = format!("{header}.{}.{}", URL_SAFE_NO_PAD.encode(json), URL_SAFE_NO_PAD.encode(&bytes));
            prop_assert!(read(&token).is_err());
        }
    }
}
