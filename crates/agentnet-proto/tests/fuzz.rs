//! Decoders of everything that strangers send: whatever the bytes are, they answer, and what they accept reads back.
//!
//! 20,000 inputs each; `PROPTEST_CASES` asks for more (docs/SECURITY.md has the command for a million).
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use agentnet_proto::{
    AccountEvent, Envelope, Receipt, Security, StoredNotice, Subject, Timestamp, access_token,
    dev_auth::AuthBlock,
    pyjson::payload_sha256,
    rpc::{self, Rpc},
    signature::{Deployment, MessageProof, Nonce, PublicKey, SecretKey, SignatureHeader},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::{collection::vec, prelude::*, sample::select};
use serde::{Serialize, de::DeserializeOwned};

const SEEDS: [&str; 8] = [
    r#"{"message_id":"m","from_agent":"a","from_account_id":"acct_a","to_agent":"acct_b","payload":{"text":"hi"},"sent_at":"2026-02-21T08:00:00Z","ttl_ms":30000,"kind":"direct","schema_version":"1.2"}"#,
    r#"{"message_id":"m","payload":[1,1.0,1e400,-0,"\ud800"],"auth":{"scheme":"dev-ed25519-v1","public_key":"k","claims":{"a":null,"b":[1]},"signature":"s"},"to_agent":"capability:x"}"#,
    r#"{"message_id":"m","status":"processed","event_at":"","from_account_id":"a","body_sha256":"00"}"#,
    r#"{"status":"stored","message_ids":["m"],"event_at":"","receipts":[{"message_id":"m","status":"accepted"}],"failed":[]}"#,
    r#"{"agent_id":"a","name":"A","capabilities":["x"],"metadata":{"a":{"b":1}},"auth":{}}"#,
    r#"{"account_id":"acct_a","public_key":"AAAA","history":true,"limit":10,"cursor":"abc"}"#,
    r#"{"account_id":"acct_a","usernames":["a"],"change":"rotated","public_key":"k"}"#,
    r#"{"thread_id":"t","q":"words","from_ts":"2026-02-21","limit":"many"}"#,
];

/// Pieces that break naive readers.
const PIECES: [&str; 14] = [
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "1e999999",
    "-99999999999999999999999999",
    "\"\\ud800\"",
    "\\u0000",
    "null",
    "\"message_id\":\"twice\",",
    "}",
    "{",
    "\u{feff}",
    "\u{202e}",
    "NaN",
    "\"a\":{",
    "\0",
];

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let edit = prop_oneof![
        (any::<proptest::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| (at, vec![byte])),
        (any::<proptest::sample::Index>(), select(&PIECES[..]))
            .prop_map(|(at, text)| (at, text.as_bytes().to_vec())),
        (any::<proptest::sample::Index>(), 100..400_usize).prop_map(|(at, n)| (at, b"[".repeat(n))),
    ];
    let edited = (select(&SEEDS[..]), vec((edit, any::<bool>()), 0..6)).prop_map(|(seed, edits)| {
        let mut bytes = seed.as_bytes().to_vec();
        for ((at, piece), replaces) in edits {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            let end = if replaces { (at + piece.len()).min(bytes.len()) } else { at };
            bytes.splice(at..end, piece);
        }
        bytes
    });
    prop_oneof![4 => edited, 1 => vec(any::<u8>(), 0..200)]
}

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(20_000), failure_persistence: None, ..ProptestConfig::default() }
}

/// What is accepted is written and read again alike.
fn reads_back<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        let text = serde_json::to_string(&value).unwrap();
        let again: T = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }
}

fn request<R: Rpc>(bytes: &[u8]) {
    reads_back::<R::Request>(bytes);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn envelopes_and_their_proofs(bytes in hostile(), header in ".{0,150}") {
        let Ok(envelope) = Envelope::decode(&bytes) else { return Ok(()) };
        let _ = (envelope.addressee(), envelope.unfit_field(), envelope.ttl(), envelope.effective_expiry());
        let _ = payload_sha256(envelope.payload.get());
        let key = SecretKey::from_seed(&[7; 32]).verifying();
        for header in [None, Some(header.as_str())] {
            for security in [Security::Signed, Security::Secure] {
                if let Ok(proof) = MessageProof::of(&envelope, header, security) {
                    prop_assert!(proof.check(&key, &Deployment::default(), &envelope, &bytes).is_err());
                }
            }
        }
        let again = Envelope::decode(&envelope.encode().unwrap()).unwrap();
        prop_assert_eq!(again.encode().unwrap(), envelope.encode().unwrap());
    }

    #[test]
    fn receipts_notices_and_events(bytes in hostile()) {
        reads_back::<Receipt>(&bytes);
        reads_back::<StoredNotice>(&bytes);
        reads_back::<AccountEvent>(&bytes);
        reads_back::<rpc::AgentInfo>(&bytes);
        reads_back::<rpc::Goodbye>(&bytes);
        if let Ok(block) = serde_json::from_slice::<AuthBlock>(&bytes) {
            prop_assert!(!block.verifies());
        }
    }

    #[test]
    fn requests(bytes in hostile()) {
        request::<rpc::Register>(&bytes);
        request::<rpc::List>(&bytes);
        request::<rpc::Search>(&bytes);
        request::<rpc::ResolveAccount>(&bytes);
        request::<rpc::ResolveKey>(&bytes);
        request::<rpc::ThreadList>(&bytes);
        request::<rpc::ThreadMessages>(&bytes);
        request::<rpc::MessageSearch>(&bytes);
        request::<rpc::Deliveries>(&bytes);
        request::<rpc::Redrive>(&bytes);
        request::<rpc::Evidence>(&bytes);
        request::<rpc::Rotate>(&bytes);
        request::<rpc::Revoke>(&bytes);
        request::<rpc::ThreadCreate>(&bytes);
        request::<rpc::UserCreate>(&bytes);
        request::<rpc::UserLogin>(&bytes);
        request::<rpc::UserLogout>(&bytes);
        request::<rpc::ApiKeyCreate>(&bytes);
    }

    /// Whatever stands in a token's parts, a signature of another key makes none.
    #[test]
    fn access_tokens(bytes in hostile(), json in ".{0,200}", tail in hostile()) {
        let key = SecretKey::from_seed(&[7; 32]).verifying();
        let (now, end) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH.saturating_add(access_token::LIFETIME));
        let keys = [access_token::token_key(&key, end)];
        let read = |token: &str| access_token::verify(token, &keys, "agentnet", now).is_err();
        prop_assert!(read(&String::from_utf8_lossy(&bytes)));
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let head = format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, access_token::key_id(&key));
        for head in [head.as_bytes(), &bytes, json.as_bytes()] {
            for claims in [json.as_bytes(), &bytes] {
                let token = format!("{}.{}.{}", part(head), part(claims), part(&tail));
                prop_assert!(read(&token));
            }
        }
    }

    #[test]
    fn subjects_headers_and_keys(text in ".{0,200}", bytes in hostile()) {
        for text in [text.as_str(), &String::from_utf8_lossy(&bytes)] {
            let _ = (text.parse::<Subject>(), text.parse::<SignatureHeader>(), text.parse::<Nonce>());
            let _ = (text.parse::<PublicKey>(), PublicKey::from_nkey(text), text.parse::<Deployment>());
        }
    }
}
