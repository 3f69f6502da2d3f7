//! What the server asks: who connects where, and with what proof.

use std::time::Duration;

use agentnet_proto::Timestamp;
use agentnet_proto::signature::PublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nkeys::{KeyPair, KeyPairType};
use serde::Deserialize;

use super::jwt::{self, JwtError};

/// How far the server's clock may be from ours.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(30);
const AUDIENCE: &str = "nats-authorization-request";
const KIND: &str = "authorization_request";
/// Longest text taken from the client itself; names go to logs.
const MAX_TEXT: usize = 256;

/// Why a request can't be answered at all: it isn't one of the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not a token of a server.
    #[error("the authorization request can't be read")]
    Jwt(#[source] JwtError),
    /// A token for something else, or of another server than it says.
    #[error("the token isn't an authorization request of the server that issued it")]
    NotARequest,
    /// Too old.
    #[error("the authorization request has expired; compare the clocks of nats-server and registry")]
    Expired,
}

/// Why the caller is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The server sent none, so the signature could be any old one.
    #[error("the server sent no nonce: its configuration needs an nkey user")]
    NoNonce,
    /// No key was presented.
    #[error("no key presented; connect with an agent's key")]
    NoKey,
    /// What was presented is no key.
    #[error("the key presented is not an Ed25519 user key")]
    KeyInvalid,
    /// The nonce wasn't signed by the key.
    #[error("the nonce was not signed by the key presented")]
    SignatureInvalid,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    aud: String,
    #[serde(default)]
    exp: i64,
    nats: Body,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    user_nkey: String,
    server_id: Server,
    #[serde(default)]
    client_info: Client,
    #[serde(default)]
    connect_opts: Options,
}

#[derive(Deserialize)]
struct Server {
    #[serde(default)]
    id: String,
}

#[derive(Default, Deserialize)]
struct Client {
    #[serde(default)]
    host: String,
    #[serde(default)]
    id: u64,
    #[serde(default)]
    nonce: String,
}

#[derive(Default, Deserialize)]
struct Options {
    #[serde(default)]
    nkey: String,
    #[serde(default)]
    sig: String,
    #[serde(default)]
    name: String,
}

/// A request of a server, its issuer verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The server; with `client_id` it names the connection, for ending it.
    pub server_id: String,
    /// The connection's number there.
    pub client_id: u64,
    /// The address it comes from.
    pub host: String,
    /// The name that the client gave its connection; anything.
    pub client_name: String,
    /// What the server calls the user; the answer must be about it.
    pub user_nkey: String,
    nonce: String,
    nkey: String,
    signature: String,
}

impl Request {
    /// Reads the server's token.
    ///
    /// # Errors
    /// [`RequestError`]; such a request gets no answer.
    pub fn decode(token: &[u8], now: Timestamp) -> Result<Self, RequestError> {
        let claims: Claims = jwt::verify_server(token).map_err(RequestError::Jwt)?;
        let Claims { iss, aud, exp, nats: body } = claims;
        let is_user = KeyPair::from_public_key(&body.user_nkey)
            .is_ok_and(|key| matches!(key.key_pair_type(), KeyPairType::User));
        if aud != AUDIENCE || body.kind != KIND || body.server_id.id != iss || !is_user {
            return Err(RequestError::NotARequest);
        }
        let expires = exp.checked_mul(1000).and_then(Timestamp::from_unix_millis);
        if expires.is_none_or(|at| at.saturating_add(CLOCK_TOLERANCE) < now) {
            return Err(RequestError::Expired);
        }
        let (client, options) = (body.client_info, body.connect_opts);
        Ok(Self {
            server_id: iss,
            client_id: client.id,
            host: short(&client.host),
            client_name: short(&options.name),
            user_nkey: body.user_nkey,
            nonce: client.nonce,
            nkey: options.nkey,
            signature: options.sig,
        })
    }

    /// The key of which the caller proved possession, by signing this connection's nonce with it. Passwords, tokens and
    /// JWTs that came along are not looked at.
    ///
    /// # Errors
    /// [`ProofError`]: the connection is to be refused.
    pub fn prove(&self) -> Result<PublicKey, ProofError> {
        if self.nkey.is_empty() || self.signature.is_empty() {
            return Err(ProofError::NoKey);
        }
        // The server leaves it out, too, where the client signed nothing; that has been seen to.
        if self.nonce.is_empty() {
            return Err(ProofError::NoNonce);
        }
        let key = PublicKey::from_nkey(&self.nkey).map_err(|_| ProofError::KeyInvalid)?;
        // Clients write either alphabet, and the server itself reads both.
        let signature = URL_SAFE_NO_PAD.decode(&self.signature).or_else(|_| STANDARD.decode(&self.signature));
        let signature = signature.ok().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        match signature {
            Some(signature) if key.verifies(self.nonce.as_bytes(), &signature) => Ok(key),
            _ => Err(ProofError::SignatureInvalid),
        }
    }
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use agentnet_proto::signature::SecretKey;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-11-21T10:00:00Z";

    fn now() -> Timestamp {
        Timestamp::parse(NOW).unwrap()
    }

    fn claims(server: &KeyPair, agent: &SecretKey, nonce: &str) -> Value {
        json!({
            "aud": AUDIENCE, "iss": server.public_key(), "exp": now().unix_millis() / 1000 + 2, "jti": "x",
            "nats": {
                "type": KIND, "version": 2, "user_nkey": KeyPair::new_user().public_key(),
                "server_id": {"id": server.public_key(), "name": "n", "host": "h", "version": "2.12.0"},
                "client_info": {"host": "127.0.0.1", "id": 7, "nonce": nonce, "kind": "Client"},
                "connect_opts": {
                    "nkey": agent.verifying().to_nkey(), "name": "bot\u{7}", "protocol": 1,
                    "sig": URL_SAFE_NO_PAD.encode(agent.sign_bytes(nonce.as_bytes())),
                },
            },
        })
    }

    fn decode(server: &KeyPair, claims: &Value) -> Result<Request, RequestError> {
        Request::decode(jwt::sign(server, claims).unwrap().as_bytes(), now())
    }

    #[test]
    fn a_request_is_read_and_its_key_proved() {
        let (server, agent) = (KeyPair::new_server(), SecretKey::from_seed(&[3; 32]));
        let request = decode(&server, &claims(&server, &agent, "n0nce")).unwrap();
        assert_eq!(
            (request.client_id, request.host.as_str(), request.client_name.as_str()),
            (7, "127.0.0.1", "bot")
        );
        assert_eq!(request.server_id, server.public_key());
        assert_eq!(request.prove(), Ok(agent.verifying()));
        let mut standard = claims(&server, &agent, "n0nce");
        standard["nats"]["connect_opts"]["sig"] = STANDARD.encode(agent.sign_bytes(b"n0nce")).into();
        assert_eq!(decode(&server, &standard).unwrap().prove(), Ok(agent.verifying()));
    }

    #[test]
    fn proofs_that_prove_nothing_are_refused() {
        let (server, agent) = (KeyPair::new_server(), SecretKey::from_seed(&[3; 32]));
        let other = SecretKey::from_seed(&[4; 32]);
        let check = |change: &dyn Fn(&mut Value), expected| {
            let mut claims = claims(&server, &agent, "n0nce");
            change(&mut claims["nats"]);
            assert_eq!(decode(&server, &claims).unwrap().prove(), Err(expected), "{claims}");
        };
        // Signed, but over nothing: what a server without nkey users makes of every client.
        let empty = claims(&server, &agent, "");
        assert_eq!(decode(&server, &empty).unwrap().prove(), Err(ProofError::NoNonce));
        check(&|nats| nats["client_info"] = json!({}), ProofError::NoNonce);
        check(&|nats| nats["client_info"]["nonce"] = "other".into(), ProofError::SignatureInvalid);
        check(&|nats| nats["connect_opts"] = json!({"user": "u", "pass": "p"}), ProofError::NoKey);
        check(&|nats| nats["connect_opts"]["sig"] = "".into(), ProofError::NoKey);
        check(&|nats| nats["connect_opts"]["sig"] = "AAAA".into(), ProofError::SignatureInvalid);
        check(
            &|nats| nats["connect_opts"]["nkey"] = other.verifying().to_nkey().into(),
            ProofError::SignatureInvalid,
        );
        check(
            &|nats| nats["connect_opts"]["nkey"] = KeyPair::new_account().public_key().into(),
            ProofError::KeyInvalid,
        );
        // The weak key under which one signature fits everything.
        let mut weak = claims(&server, &agent, "n0nce");
        let mut identity = [0; 32];
        identity[0] = 1;
        weak["nats"]["connect_opts"]["nkey"] = nkey_of(&identity).into();
        assert_eq!(decode(&server, &weak).unwrap().prove(), Err(ProofError::KeyInvalid));
    }

    /// Base32 of prefix, bytes and CRC-16, which the key types refuse to write.
    fn nkey_of(bytes: &[u8; 32]) -> String {
        let mut raw = vec![20 << 3];
        raw.extend_from_slice(bytes);
        let mut crc = 0_u16;
        for byte in &raw {
            crc ^= u16::from(*byte) << 8;
            for _ in 0..8 {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            }
        }
        raw.extend_from_slice(&crc.to_le_bytes());
        let bits: Vec<u8> = raw.iter().flat_map(|byte| (0..8).rev().map(move |i| (byte >> i) & 1)).collect();
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        bits.chunks(5)
            .map(|five| char::from(alphabet[five.iter().fold(0, |n, bit| n << 1 | usize::from(*bit))]))
            .collect()
    }

    #[test]
    fn tokens_for_something_else_are_no_requests() {
        let (server, agent) = (KeyPair::new_server(), SecretKey::from_seed(&[3; 32]));
        let check = |change: &dyn Fn(&mut Value), expected| {
            let mut claims = claims(&server, &agent, "n0nce");
            change(&mut claims);
            assert_eq!(decode(&server, &claims).unwrap_err(), expected, "{claims}");
        };
        check(&|c| c["aud"] = "other".into(), RequestError::NotARequest);
        check(&|c| c["nats"]["type"] = "user".into(), RequestError::NotARequest);
        check(
            &|c| c["nats"]["server_id"]["id"] = KeyPair::new_server().public_key().into(),
            RequestError::NotARequest,
        );
        check(&|c| c["nats"]["user_nkey"] = "".into(), RequestError::NotARequest);
        check(
            &|c| c["nats"]["user_nkey"] = KeyPair::new_account().public_key().into(),
            RequestError::NotARequest,
        );
        check(&|c| c["exp"] = (now().unix_millis() / 1000 - 31).into(), RequestError::Expired);
        check(&|c| c["exp"] = 0.into(), RequestError::Expired);
        check(&|c| c["exp"] = i64::MAX.into(), RequestError::Expired);
        check(&|c| c["nats"] = Value::Null, RequestError::Jwt(JwtError::Malformed));
        let slow_clock = &|c: &mut Value| c["exp"] = (now().unix_millis() / 1000 - 29).into();
        let mut late = claims(&server, &agent, "n");
        slow_clock(&mut late);
        assert!(decode(&server, &late).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever a server may sign.
        #[test]
        fn nothing_panics(
            nkey in "[A-Z2-7]{0,60}", user in "[A-Z2-7]{0,60}", sig in ".{0,100}", nonce in ".{0,20}", exp in any::<i64>(),
            raw in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let (server, agent) = (KeyPair::new_server(), SecretKey::from_seed(&[3; 32]));
            let mut claims = claims(&server, &agent, &nonce);
            claims["nats"]["connect_opts"]["sig"] = sig.into();
            claims["nats"]["connect_opts"]["nkey"] = nkey.into();
            let request = decode(&server, &claims).unwrap();
            prop_assert!(request.prove().is_err());
            claims["exp"] = exp.into();
            let _ = decode(&server, &claims);
            claims["nats"]["user_nkey"] = user.into();
            prop_assert!(decode(&server, &claims).is_err());
            prop_assert!(Request::decode(&raw, now()).is_err());
        }
    }

    /// The two implementations of NATS' key texts agree.
    #[test]
    fn our_key_texts_are_those_of_nkeys() {
        for byte in 0..32 {
            let key = SecretKey::from_seed(&[byte; 32]);
            let theirs = KeyPair::new_from_raw(KeyPairType::User, [byte; 32]).unwrap();
            assert_eq!(key.verifying().to_nkey(), theirs.public_key());
            assert_eq!(key.expose_nkey_seed(), theirs.seed().unwrap());
        }
    }
}
