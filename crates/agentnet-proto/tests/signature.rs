//! Signature v2: known answers of another implementation, and that nothing but the signed thing verifies.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::str::FromStr as _;
use std::time::Duration;

use agentnet_proto::rpc::RpcMethod;
use agentnet_proto::signature::{
    Deployment, Nonce, PublicKey, Purpose, SecretKey, SignatureError, SignatureHeader, signing_bytes,
};
use agentnet_proto::{ErrorCode, IdGen as _, ManualClock, SeededIds, Timestamp};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/signature_v2.json")).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}

fn nonce(value: &Value) -> Nonce {
    value["nonce"].as_str().unwrap_or("0-00000000000000000000000000000000").parse().unwrap()
}

fn purpose<'a>(value: &Value, nonce: &'a Nonce) -> Purpose<'a> {
    match text(value, "purpose") {
        "message" => Purpose::Message,
        "receipt" => Purpose::Receipt,
        "hello" => Purpose::Hello,
        "goodbye" => Purpose::Goodbye,
        "register" => Purpose::Register(nonce),
        "rotate" => Purpose::Rotate(nonce),
        "rotate-new" => Purpose::RotateNew(nonce),
        "revoke" => Purpose::Revoke(nonce),
        "rpc" => Purpose::Rpc { method: RpcMethod::parse(text(value, "method")).unwrap(), nonce },
        other => panic!("{other}"),
    }
}

fn secret(vectors: &Value, index: usize) -> SecretKey {
    SecretKey::from_seed(&unhex(text(&vectors["keys"][index], "seed")).try_into().unwrap())
}

#[test]
fn known_answers() {
    let vectors = vectors();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 14);
    for case in cases {
        let key = secret(&vectors, usize::try_from(case["key"].as_u64().unwrap()).unwrap());
        let nonce = nonce(case);
        let purpose = purpose(case, &nonce);
        let deployment = text(case, "deployment").parse().unwrap();
        let body = unhex(text(case, "body_hex"));
        let bytes = signing_bytes(&purpose, &deployment, &body);
        assert_eq!(hex(&Sha256::digest(&bytes)), text(case, "signed_sha256"), "{case}");
        let header = SignatureHeader::sign(&key, &purpose, &deployment, &body);
        assert_eq!(header.to_string(), text(case, "header"));
        let parsed: SignatureHeader = text(case, "header").parse().unwrap();
        assert_eq!(parsed.verify(&purpose, &deployment, &body), Ok(()));
    }
    // Every case against every other: nothing verifies but its own.
    for (i, one) in cases.iter().enumerate() {
        let header: SignatureHeader = text(one, "header").parse().unwrap();
        for (j, other) in cases.iter().enumerate() {
            let nonce = nonce(other);
            let verified = header.verify(
                &purpose(other, &nonce),
                &text(other, "deployment").parse().unwrap(),
                &unhex(text(other, "body_hex")),
            );
            let same_content = i == j || (i < 2 && j < 2);
            assert_eq!(verified.is_ok(), same_content, "{i} {j}");
        }
    }
}

#[test]
fn keys_have_one_text_and_one_nkey() {
    let vectors = vectors();
    for (index, known) in vectors["keys"].as_array().unwrap().iter().enumerate() {
        let key = secret(&vectors, index);
        let public = key.verifying();
        assert_eq!(public.to_string(), text(known, "public_key"));
        assert_eq!(key.public_key(), text(known, "public_key"));
        assert_eq!(public.to_nkey(), text(known, "nkey"));
        assert_eq!(key.expose_nkey_seed(), text(known, "nkey_seed"));
        assert_eq!(PublicKey::from_nkey(text(known, "nkey")), Ok(public));
        assert_eq!(SecretKey::from_nkey_seed(text(known, "nkey_seed")).unwrap().verifying(), public);
        assert_eq!(PublicKey::from_str(text(known, "public_key")), Ok(public));
        for other in [format!("{public}="), format!(" {public}"), public.to_nkey(), String::new()] {
            assert!(PublicKey::from_str(&other).is_err(), "{other}");
        }
        let seed = text(known, "nkey_seed");
        for other in
            [seed.to_lowercase(), format!("{seed}A"), format!("{seed}="), public.to_string(), String::new()]
        {
            assert!(PublicKey::from_nkey(&other).is_err());
            assert!(SecretKey::from_nkey_seed(&other).is_err());
        }
        assert!(PublicKey::from_nkey(seed).is_err(), "a seed is no public key");
        assert!(SecretKey::from_nkey_seed(&public.to_nkey()).is_err());
    }
    // The last character of 43 carries two bits that must be zero.
    let public = secret(&vectors, 0).verifying().to_string();
    let spellings = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*b"-_");
    let accepted =
        spellings.filter(|last| PublicKey::from_str(&format!("{}{}", &public[..42], *last as char)).is_ok());
    let same = accepted.filter(|last| {
        PublicKey::from_str(&format!("{}{}", &public[..42], *last as char)).unwrap()
            == secret(&vectors, 0).verifying()
    });
    assert_eq!(same.count(), 1);
}

#[test]
fn weak_and_uncanonical_keys_are_no_keys() {
    let vectors = vectors();
    let refused = vectors["refused_keys"].as_array().unwrap();
    assert_eq!(refused.len(), 14);
    for key in refused {
        let bytes: [u8; 32] = unhex(key.as_str().unwrap()).try_into().unwrap();
        assert!(PublicKey::from_bytes(&bytes).is_err(), "{key}");
    }
}

#[test]
fn a_malleated_signature_is_refused() {
    let key = SecretKey::from_seed(&[7; 32]);
    let deployment = "net".parse().unwrap();
    let mut header = SignatureHeader::sign(&key, &Purpose::Message, &deployment, b"body");
    // s + L, the second root of the verification equation.
    let order = unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut carry = 0;
    for (s, l) in header.signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*s) + u16::from(l) + carry;
        (*s, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    assert_eq!(header.verify(&Purpose::Message, &deployment, b"body"), Err(SignatureError::Invalid));
}

#[test]
fn each_fault_of_a_header_has_its_code() {
    let key = SecretKey::from_seed(&[1; 32]);
    let good = SignatureHeader::sign(&key, &Purpose::Message, &"net".parse().unwrap(), b"x").to_string();
    let (public, signature) = good[3..].split_once(' ').unwrap();
    for (text, code) in [
        (String::new(), ErrorCode::AuthSchemeInvalid),
        ("v2".to_owned(), ErrorCode::AuthSchemeInvalid),
        (format!("v1 {public} {signature}"), ErrorCode::AuthSchemeInvalid),
        (format!("V2 {public} {signature}"), ErrorCode::AuthSchemeInvalid),
        (format!(" {good}"), ErrorCode::AuthSchemeInvalid),
        (format!("v2  {public} {signature}"), ErrorCode::AuthPayloadInvalid),
        (format!("v2 {public}"), ErrorCode::AuthPayloadInvalid),
        (format!("{good} "), ErrorCode::AuthPayloadInvalid),
        (format!("{good}="), ErrorCode::AuthPayloadInvalid),
        (format!("{good}\n"), ErrorCode::AuthPayloadInvalid),
        (format!("v2 {signature} {public}"), ErrorCode::AuthPayloadInvalid),
        (format!("v2 {} {signature}", "A".repeat(43)), ErrorCode::AuthPayloadInvalid),
    ] {
        assert_eq!(text.parse::<SignatureHeader>().unwrap_err().code(), code, "{text:?}");
    }
    assert_eq!(SignatureError::Invalid.code(), ErrorCode::AuthSignatureInvalid);
}

#[test]
fn nonces_are_fresh_for_a_while() {
    let clock = ManualClock::new(Timestamp::from_unix_millis(1_795_258_800_000).unwrap());
    let ids = SeededIds::new(1, clock.shared());
    let nonce = Nonce::new(&clock, &ids);
    assert_ne!(Nonce::new(&clock, &ids), nonce);
    assert_eq!(nonce.to_string().parse(), Ok(nonce.clone()));
    let skew = Duration::from_secs(30);
    let at = |offset_ms| nonce.issued_at().saturating_add_millis(offset_ms);
    for (offset, fresh) in [(0, true), (30_000, true), (-30_000, true), (30_001, false), (-30_001, false)] {
        assert_eq!(nonce.is_fresh(at(offset), skew), fresh, "{offset}");
    }
    let random = ids.nonce();
    for bad in [
        String::new(),
        random.clone(),
        format!("-{random}"),
        format!("+1-{random}"),
        format!("01-{random}"),
        format!("1--{random}"),
        format!("1-{}", random.to_uppercase()),
        format!("1-{random}0"),
        format!("9999999999999999-{random}"),
        format!("999999999999999-{random}"),
    ] {
        assert!(bad.parse::<Nonce>().is_err(), "{bad}");
    }
}

#[test]
fn names_of_networks_are_plain() {
    for good in ["a", "01kahj", "My-Net_1.example", &"x".repeat(64)] {
        assert_eq!(good.parse::<Deployment>().unwrap().as_str(), good);
    }
    for bad in ["", "a b", "é", "a\0", "a/b", &"x".repeat(65)] {
        assert!(bad.parse::<Deployment>().is_err(), "{bad:?}");
    }
}

/// Everything a signature covers, in a form that tests can change.
#[derive(Debug, Clone, PartialEq)]
struct Signed {
    kind: usize,
    method: RpcMethod,
    nonce: Nonce,
    deployment: Deployment,
    body: Vec<u8>,
}

const KINDS: usize = 9;

impl Signed {
    fn purpose(&self) -> Purpose<'_> {
        let nonce = &self.nonce;
        [
            Purpose::Message,
            Purpose::Receipt,
            Purpose::Hello,
            Purpose::Goodbye,
            Purpose::Register(nonce),
            Purpose::Rotate(nonce),
            Purpose::RotateNew(nonce),
            Purpose::Revoke(nonce),
            Purpose::Rpc { method: self.method, nonce },
        ][self.kind]
    }

    fn bytes(&self) -> Vec<u8> {
        signing_bytes(&self.purpose(), &self.deployment, &self.body)
    }
}

prop_compose! {
    fn signed()(
        kind in 0..KINDS,
        method in select(RpcMethod::ALL),
        millis in 0..4_000_000_000_000_u64,
        random in "[0-9a-f]{32}",
        deployment in "[A-Za-z0-9_.-]{1,64}",
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) -> Signed {
        let nonce = format!("{millis}-{random}").parse().unwrap();
        Signed { kind, method, nonce, deployment: deployment.parse().unwrap(), body }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_signed_verifies_over_its_text(signed in signed(), seed in any::<[u8; 32]>()) {
        let header = SignatureHeader::sign(&SecretKey::from_seed(&seed), &signed.purpose(), &signed.deployment, &signed.body);
        let parsed: SignatureHeader = header.to_string().parse().unwrap();
        prop_assert_eq!(parsed, header);
        prop_assert_eq!(parsed.verify(&signed.purpose(), &signed.deployment, &signed.body), Ok(()));
    }

    #[test]
    fn no_flipped_bit_verifies(signed in signed(), seed in any::<[u8; 32]>(), at in any::<Index>(), bit in 0..8_u8) {
        let header = SignatureHeader::sign(&SecretKey::from_seed(&seed), &signed.purpose(), &signed.deployment, &signed.body);
        let mut forged = header;
        forged.signature[at.index(64)] ^= 1 << bit;
        prop_assert!(forged.verify(&signed.purpose(), &signed.deployment, &signed.body).is_err());
        let mut key = *header.key.as_bytes();
        key[at.index(32)] ^= 1 << bit;
        if let Ok(key) = PublicKey::from_bytes(&key) {
            let forged = SignatureHeader { key, ..header };
            prop_assert!(forged.verify(&signed.purpose(), &signed.deployment, &signed.body).is_err());
        }
        let mut body = signed.body.clone();
        if body.is_empty() { body.push(0) } else { let i = at.index(body.len()); body[i] ^= 1 << bit }
        prop_assert!(header.verify(&signed.purpose(), &signed.deployment, &body).is_err());
    }

    #[test]
    fn another_purpose_network_method_or_nonce_does_not_verify(
        signed in signed(), other in signed(), seed in any::<[u8; 32]>(),
    ) {
        let header = SignatureHeader::sign(&SecretKey::from_seed(&seed), &signed.purpose(), &signed.deployment, &signed.body);
        for swapped in [
            Signed { kind: other.kind, ..signed.clone() },
            Signed { deployment: other.deployment.clone(), ..signed.clone() },
            Signed { method: other.method, ..signed.clone() },
            Signed { nonce: other.nonce.clone(), ..signed.clone() },
            other,
        ] {
            let same = swapped.purpose() == signed.purpose()
                && swapped.deployment == signed.deployment && swapped.body == signed.body;
            prop_assert_eq!(header.verify(&swapped.purpose(), &swapped.deployment, &swapped.body).is_ok(), same);
        }
    }

    /// The layout is unambiguous: also where a body imitates the fields before it.
    #[test]
    fn different_input_has_different_bytes(one in signed(), other in signed(), cut in any::<Index>()) {
        let same = one.purpose() == other.purpose() && one.deployment == other.deployment && one.body == other.body;
        prop_assert_eq!(one.bytes() == other.bytes(), same);
        let whole = one.bytes();
        let imitation = Signed { body: whole[cut.index(whole.len())..].to_vec(), ..one.clone() };
        prop_assert_eq!(imitation.bytes() == whole, imitation.body == one.body);
    }

    #[test]
    fn nkeys_read_back_and_no_changed_character_is_one(seed in any::<[u8; 32]>(), at in any::<Index>(), to in select(&b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[..])) {
        let key = SecretKey::from_seed(&seed);
        let nkey = key.verifying().to_nkey();
        prop_assert_eq!(PublicKey::from_nkey(&nkey), Ok(key.verifying()));
        let mut changed = nkey.clone().into_bytes();
        changed[at.index(56)] = to;
        let changed = String::from_utf8(changed).unwrap();
        prop_assert_eq!(PublicKey::from_nkey(&changed).is_ok(), changed == nkey);
    }

    #[test]
    fn nothing_panics_on_arbitrary_text(text in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for text in [text.clone(), String::from_utf8_lossy(&bytes).into_owned(), format!("v2 {text}"), format!("v2 {text} {text}")] {
            let _ = text.parse::<SignatureHeader>();
            let _ = text.parse::<PublicKey>();
            let _ = text.parse::<Nonce>();
            let _ = text.parse::<Deployment>();
            let _ = PublicKey::from_nkey(&text);
            let _ = SecretKey::from_nkey_seed(&text);
        }
        if let Some(bytes) = bytes.first_chunk() {
            let _ = PublicKey::from_bytes(bytes);
        }
    }
}
