//! The checks of `dev-ed25519-v1`: each code, and which of two faults is named first.

use std::time::Duration;

use agentnet_proto::Timestamp;
use agentnet_proto::dev_auth::{
    AuthBlock, MessageClaims, RegisterClaims, RegisterExpectation, SecretKey, check_message,
    check_message_signature, check_register,
};
use agentnet_proto::error::ErrorCode;
use serde_json::json;

const SIGNED_AT: &str = "2026-02-21T08:00:00Z";
const SKEW: Duration = Duration::from_secs(120);

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

fn claims() -> RegisterClaims<'static> {
    RegisterClaims {
        agent_id: "agent_a",
        name: "Agent A",
        username: "@Agent_A",
        account_id: "acct_1",
        timestamp: SIGNED_AT,
        nonce: "n1",
    }
}

fn expected() -> RegisterExpectation<'static> {
    RegisterExpectation {
        agent_id: "agent_a",
        name: "Agent A",
        username_given: true,
        username: "agent_a",
        account_id: "acct_1",
    }
}

fn now(offset_ms: i64) -> Timestamp {
    Timestamp::parse(SIGNED_AT).unwrap_or(Timestamp::MIN).saturating_add_millis(offset_ms)
}

fn code_of(claims: &RegisterClaims<'_>) -> Option<ErrorCode> {
    let auth = AuthBlock::sign(&key(), claims.to_claims());
    check_register(Some(&auth), &expected(), now(0), SKEW).err()
}

#[test]
fn a_good_register_proves_key_and_nonce() {
    let auth = AuthBlock::sign(&key(), claims().to_claims());
    for offset in [-120_000, 0, 120_000] {
        let proof = check_register(Some(&auth), &expected(), now(offset), SKEW).unwrap();
        assert_eq!((proof.public_key, proof.nonce), (key().public_key().as_str(), "n1"));
    }
    let mut more = claims().to_claims();
    more.insert("extra".to_owned(), "signed too".to_owned());
    assert!(check_register(Some(&AuthBlock::sign(&key(), more)), &expected(), now(0), SKEW).is_ok());
}

#[test]
fn register_faults_are_named_in_the_originals_order() {
    let check = |auth: &AuthBlock| check_register(Some(auth), &expected(), now(0), SKEW).err();
    assert_eq!(check_register(None, &expected(), now(0), SKEW), Err(ErrorCode::AuthRequired));

    // One fault more each time, from the last check to the first: the newest must be the one named.
    let mut auth = AuthBlock::sign(&key(), claims().to_claims());
    auth.signature = AuthBlock::sign(&SecretKey::from_seed(&[8; 32]), claims().to_claims()).signature;
    assert_eq!(check(&auth), Some(ErrorCode::AuthSignatureInvalid));
    for (name, value, code) in [
        ("timestamp", "2026-02-21T08:02:00.000001Z", ErrorCode::AuthClaimsTimestampSkew),
        ("timestamp", "2026-02-21T07:57:59.999999Z", ErrorCode::AuthClaimsTimestampSkew),
        ("timestamp", "today", ErrorCode::AuthClaimsTimestampInvalid),
        ("account_id", "acct_2", ErrorCode::AuthClaimsAccountMismatch),
        ("username", "agent_b", ErrorCode::AuthClaimsUsernameMismatch),
        ("name", "Agent B", ErrorCode::AuthClaimsNameMismatch),
        ("agent_id", "agent_b", ErrorCode::AuthClaimsAgentMismatch),
        ("nonce", "", ErrorCode::AuthClaimsInvalid),
    ] {
        auth.claims.insert(name.to_owned(), value.to_owned());
        assert_eq!(check(&auth), Some(code), "{name}={value}");
    }
    auth.claims.clear();
    assert_eq!(check(&auth), Some(ErrorCode::AuthPayloadInvalid));
    "dev-rsa".clone_into(&mut auth.scheme);
    assert_eq!(check(&auth), Some(ErrorCode::AuthSchemeInvalid));
}

#[test]
fn an_empty_username_or_account_claim_leaves_it_open() {
    assert_eq!(code_of(&RegisterClaims { account_id: "", ..claims() }), None);
    let unnamed = RegisterClaims { username: "", ..claims() };
    assert_eq!(code_of(&unnamed), Some(ErrorCode::AuthClaimsUsernameMismatch));
    let auth = AuthBlock::sign(&key(), unnamed.to_claims());
    let open = RegisterExpectation { username_given: false, ..expected() };
    assert!(check_register(Some(&auth), &open, now(0), SKEW).is_ok());
}

fn message() -> MessageClaims<'static> {
    MessageClaims {
        message_id: "m1",
        from_account_id: "acct_1",
        to_agent: "capability:x",
        kind: "direct",
        schema_version: "1.1",
        idempotency_key: "k",
        payload_sha256: "00",
        ..MessageClaims::default()
    }
}

#[test]
fn message_faults_are_named_in_the_originals_order() {
    let auth = AuthBlock::sign(&key(), message().to_claims());
    assert_eq!(check_message(None, Some(&auth)), Err(ErrorCode::AuthMissingFromAccount));
    assert_eq!(check_message(Some(""), Some(&auth)), Err(ErrorCode::AuthMissingFromAccount));
    assert_eq!(check_message(Some("acct_1"), None), Err(ErrorCode::AuthMissing));
    assert_eq!(check_message(Some("acct_1"), Some(&auth)), Ok(&auth));

    let mut bad = auth.clone();
    bad.signature.clear();
    assert_eq!(check_message(Some("acct_1"), Some(&bad)), Err(ErrorCode::AuthPayloadInvalid));
    bad.scheme.clear();
    assert_eq!(check_message(Some("acct_1"), Some(&bad)), Err(ErrorCode::AuthSchemeInvalid));

    let bound = key().public_key();
    let check = |auth: &AuthBlock, key: &str| check_message_signature(auth, key, &message());
    assert_eq!(check(&auth, &bound), Ok(()));
    assert_eq!(check(&bad, &bound), Err(ErrorCode::AuthSignatureInvalid));
    bad.claims.insert("kind".to_owned(), "reply".to_owned());
    assert_eq!(check(&bad, &bound), Err(ErrorCode::AuthClaimsMismatch));
    assert_eq!(check(&bad, &format!("{bound}=")), Err(ErrorCode::AuthPublicKeyMismatch));
}

#[test]
fn the_twelve_claim_form_is_accepted_and_nothing_between() {
    let bound = key().public_key();
    let legacy = AuthBlock::sign(&key(), message().to_legacy_claims());
    assert_eq!(legacy.claims.len(), 12);
    assert_eq!(check_message_signature(&legacy, &bound, &message()), Ok(()));
    let mut thirteen = message().to_claims();
    thirteen.remove("schema_version");
    let thirteen = AuthBlock::sign(&key(), thirteen);
    let refused = Err(ErrorCode::AuthClaimsMismatch);
    assert_eq!(check_message_signature(&thirteen, &bound, &message()), refused);
}

#[test]
fn padding_is_optional_where_it_is_decoded() {
    let mut auth = AuthBlock::sign(&key(), claims().to_claims());
    auth.signature.push_str("==");
    auth.public_key.push('=');
    assert!(auth.verifies());
    assert!(SecretKey::from_base64(&format!("{}=", key().expose_base64())).is_ok());
    for text in ["", "AAAA", "!", &"A".repeat(44), &"A".repeat(100_000)] {
        assert!(SecretKey::from_base64(text).is_err());
    }
}

#[test]
fn a_weak_key_verifies_nothing() {
    // The identity point: under the lenient rule the signature (identity, 0) fits every message.
    let mut auth = AuthBlock::sign(&key(), claims().to_claims());
    auth.public_key = format!("AQ{}", "A".repeat(41));
    auth.signature = format!("AQ{}", "A".repeat(84));
    assert!(!auth.verifies());
}

#[test]
fn a_block_survives_the_wire_and_odd_ones_end_empty() {
    let auth = AuthBlock::sign(&key(), claims().to_claims());
    let value = serde_json::to_value(&auth).unwrap();
    assert_eq!(value, serde_json::Value::Object(auth.to_map()));
    assert_eq!(serde_json::from_value::<AuthBlock>(value).unwrap(), auth);

    let odd = json!({"scheme": 1, "claims": {"a": null, "b": true, "c": 7, "d": "x"}, "signature": ["x"]});
    let odd: AuthBlock = serde_json::from_value(odd).unwrap();
    assert_eq!((odd.scheme.as_str(), odd.public_key.as_str(), odd.signature.as_str()), ("", "", ""));
    let values: Vec<&str> = odd.claims.values().map(String::as_str).collect();
    assert_eq!(values, ["None", "True", "7", "x"]);
}

#[test]
fn debug_hides_the_secret() {
    let shown = format!("{:?}", key());
    assert!(shown.contains(&key().public_key()), "{shown}");
    assert!(!shown.contains(&key().expose_base64()) && !shown.contains("7, 7"), "{shown}");
}
