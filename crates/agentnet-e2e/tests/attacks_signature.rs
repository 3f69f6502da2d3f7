//! Attacks on what signatures protect, over a whole network in signed mode. `docs/SECURITY.md` lists them.
//!
//! Everybody here has the network's token and hears everything, as in signed mode everybody does: the attacker repeats,
//! changes and forges. Each attack is looked for at the recipient, under its code, and in the quarantine.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentnet::{
    AgentNode, ErrorKind, Identity, Stage,
    proto::{
        Clock as _, Envelope, SystemClock, Timestamp,
        signature::{HEADER, Purpose, SignatureHeader},
    },
};
use agentnet_local::testing::eventually;
use async_nats::{HeaderMap, Message};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sqlx::PgPool;
use support::{SECOND, SOON, Stack, identity, until};

struct World {
    stack: Stack,
    pool: PgPool,
    alice: AgentNode,
    alice_id: Identity,
    bob: AgentNode,
    bob_id: Identity,
    handled: Arc<AtomicUsize>,
}

impl World {
    async fn start() -> Self {
        let stack = Stack::signed().await;
        let pool = sqlx::postgres::PgPoolOptions::new()
            .max_connections(2)
            .connect(stack.database_url())
            .await
            .unwrap();
        let (alice_id, bob_id) = (identity("alice"), identity("bob"));
        let handled = Arc::new(AtomicUsize::new(0));
        let bob = bob(&stack, &bob_id, &handled).await;
        let alice = stack.node("alice").identity(alice_id.clone()).start().await.unwrap();
        Self { stack, pool, alice, alice_id, bob, bob_id, handled }
    }

    fn handled(&self) -> usize {
        self.handled.load(Ordering::SeqCst)
    }

    fn bob_inbox(&self) -> String {
        format!("account.{}.inbox", self.bob.account_id())
    }

    /// A genuine message of alice's to bob that nobody has seen yet: body and signature.
    fn genuine(&self, change: impl FnOnce(&mut Value)) -> (Vec<u8>, String) {
        let now = SystemClock.now();
        let id = format!("{:032x}", rand::random::<u128>());
        let mut envelope = json!({
            "message_id": id, "from_agent": "alice", "from_account_id": self.alice.account_id(),
            "from_session_tag": self.alice.session_tag(), "to_agent": self.bob.account_id(),
            "to_account_id": self.bob.account_id(), "payload": {"text": "genuine"}, "sent_at": now.to_string(),
            "ttl_ms": 30_000, "trace_id": id, "thread_id": format!("thread_{id}"), "kind": "direct",
            "schema_version": "1.2",
        });
        change(&mut envelope);
        let body = envelope.to_string().into_bytes();
        let signature = sign(&self.alice_id, &Purpose::Message, &body);
        (body, signature)
    }

    async fn publish(&self, subject: &str, signature: Option<&str>, body: impl Into<bytes::Bytes>) {
        let mut headers = HeaderMap::new();
        if let Some(signature) = signature {
            headers.insert(HEADER, signature);
        }
        self.stack.raw.publish_with_headers(subject.to_owned(), headers, body.into()).await.unwrap();
        self.stack.raw.flush().await.unwrap();
    }

    async fn quarantined(&self, code: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM agent_quarantine WHERE code = $1")
            .bind(code)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    async fn stored(&self, message_id: &str) -> bool {
        let sql = "SELECT count(*) FROM agent_messages WHERE message_id = $1";
        sqlx::query_scalar::<_, i64>(sql).bind(message_id).fetch_one(&self.pool).await.unwrap() == 1
    }

    /// Bob doesn't take it, and the network doesn't store it, both for that reason.
    async fn refused(&self, what: &str, code: &str, subject: &str, signature: Option<&str>, body: Vec<u8>) {
        let (before, kept) = (unproved(&self.bob, code), self.quarantined(code).await);
        self.publish(subject, signature, body).await;
        let counted = || std::future::ready((unproved(&self.bob, code) > before).then_some(()));
        tokio::time::timeout(SOON, eventually(SOON, counted)).await.unwrap_or_else(|_| {
            panic!("{what}: bob took it, or has another reason: {:?}", self.bob.metrics_snapshot().unproved)
        });
        eventually(SOON, || async { (self.quarantined(code).await > kept).then_some(()) }).await;
        assert_eq!(self.handled(), 0, "{what}");
    }
}

async fn bob(stack: &Stack, id: &Identity, handled: &Arc<AtomicUsize>) -> AgentNode {
    let handled = handled.clone();
    let bob = stack.node("bob").identity(id.clone()).no_rate_limit().on_message(move |message| {
        let handled = handled.clone();
        async move {
            handled.fetch_add(1, Ordering::SeqCst);
            if message.wants_reply() {
                message.reply(json!({"text": "yes"})).await?;
            }
            Ok(())
        }
    });
    bob.start().await.unwrap()
}

fn sign(identity: &Identity, purpose: &Purpose<'_>, body: &[u8]) -> String {
    SignatureHeader::sign(identity.key(), purpose, &"e2e".parse().unwrap(), body).to_string()
}

fn unproved(node: &AgentNode, code: &str) -> u64 {
    node.metrics_snapshot().unproved.get(code).copied().unwrap_or_default()
}

/// Until the network has said that the message is stored.
async fn until_told_stored(notices: &mut async_nats::Subscriber, id: &str) {
    loop {
        let notice = support::next_json(notices).await;
        if notice["message_ids"].as_array().is_some_and(|ids| ids.contains(&json!(id))) {
            return;
        }
    }
}

fn id_of(body: &[u8]) -> String {
    serde_json::from_slice::<Value>(body).unwrap()["message_id"].as_str().unwrap().to_owned()
}

fn changed(body: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(body).unwrap();
    change(&mut value);
    value.to_string().into_bytes()
}

#[tokio::test]
async fn what_was_changed_after_signing_is_nobodys() {
    let world = World::start().await;
    let inbox = world.bob_inbox();
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 9] = [
        ("payload", |m| m["payload"] = json!({"text": "pay mallory"})),
        ("thread", |m| m["thread_id"] = "another".into()),
        ("kind", |m| m["kind"] = "request".into()),
        ("ttl", |m| m["ttl_ms"] = 3_000_000.into()),
        ("sent_at", |m| m["sent_at"] = SystemClock.now().to_string().into()),
        ("sender's session", |m| m["from_session_tag"] = "another".into()),
        ("idempotency key", |m| m["idempotency_key"] = "another".into()),
        ("message_id", |m| m["message_id"] = "f".repeat(32).into()),
        ("where the reply goes", |m| m["reply_to"] = "account.acct_x.replies.t".into()),
    ];
    for (what, change) in changes {
        let (body, signature) = world.genuine(|_| {});
        world.refused(what, "auth_signature_invalid", &inbox, Some(&signature), changed(&body, change)).await;
        assert!(!world.stored(&id_of(&body)).await);
    }
    // A recipient that was changed to bob: written for somebody else.
    let (body, signature) = world.genuine(|m| {
        m["to_agent"] = "acct_somebody".into();
        m["to_account_id"] = "acct_somebody".into();
    });
    let to_bob = changed(&body, |m| {
        m["to_agent"] = world.bob.account_id().into();
        m["to_account_id"] = world.bob.account_id().into();
    });
    world.refused("recipient", "auth_signature_invalid", &inbox, Some(&signature), to_bob).await;
    // As it is, it may lie in his inbox, and isn't his.
    world.publish(&inbox, Some(&signature), body.clone()).await;
    until(|| unproved(&world.bob, "wrong_recipient") == 1).await;
    assert_eq!(world.handled(), 0);
    // In the history it is where its sender wanted it.
    eventually(SOON, || async { world.stored(&id_of(&body)).await.then_some(()) }).await;
    let recipient: String =
        sqlx::query_scalar("SELECT recipient FROM agent_deliveries WHERE message_id = $1")
            .bind(id_of(&body))
            .fetch_one(&world.pool)
            .await
            .unwrap();
    assert_eq!(recipient, "acct_somebody");
}

#[tokio::test]
async fn a_signature_of_the_wrong_kind_is_none() {
    let world = World::start().await;
    let inbox = world.bob_inbox();
    let (body, signature) = world.genuine(|_| {});
    let old_scheme = signature.replacen("v2", "v1", 1);
    let mallory = identity("mallory");
    let _mallory = world.stack.node("mallory").identity(mallory.clone()).start().await.unwrap();
    let other_network =
        SignatureHeader::sign(world.alice_id.key(), &Purpose::Message, &"elsewhere".parse().unwrap(), &body);
    let cases = [
        ("removed", "auth_missing", None),
        ("downgraded", "auth_scheme_invalid", Some(old_scheme)),
        ("cut", "auth_payload_invalid", Some(signature[..80].to_owned())),
        (
            "made for a receipt",
            "auth_signature_invalid",
            Some(sign(&world.alice_id, &Purpose::Receipt, &body)),
        ),
        ("made for a hello", "auth_signature_invalid", Some(sign(&world.alice_id, &Purpose::Hello, &body))),
        ("made for another network", "auth_signature_invalid", Some(other_network.to_string())),
        ("of another's key", "auth_public_key_mismatch", Some(sign(&mallory, &Purpose::Message, &body))),
    ];
    for (what, code, signature) in cases {
        world.refused(what, code, &inbox, signature.as_deref(), body.clone()).await;
    }
    // Who signs must be named, and known.
    let (nameless, signature) = world.genuine(|m| m["from_account_id"] = Value::Null);
    world.refused("nameless", "auth_missing_from_account", &inbox, Some(&signature), nameless).await;
    let (unknown, signature) = world.genuine(|m| m["from_account_id"] = "acct_unknown".into());
    world.refused("unknown", "auth_key_not_found", &inbox, Some(&signature), unknown).await;
    // A forged block doesn't help where the header is gone.
    let forged = changed(&body, |m| {
        m["auth"] = json!({
            "scheme": "dev-ed25519-v1", "public_key": world.alice_id.key().public_key(),
            "claims": {"message_id": m["message_id"]}, "signature": "A".repeat(86),
        });
    });
    world.refused("downgraded to a block", "auth_claims_mismatch", &inbox, None, forged).await;
}

#[tokio::test]
async fn a_badly_signed_copy_first_does_not_harm_the_real_one() {
    let world = World::start().await;
    let inbox = world.bob_inbox();
    let (body, signature) = world.genuine(|_| {});
    let mut told = world.stack.listen(format!("account.{}.>", world.alice.account_id())).await;
    let forged = changed(&body, |m| m["payload"] = json!({"text": "forged"}));
    world.refused("forged", "auth_signature_invalid", &inbox, Some(&signature), forged.clone()).await;
    world.refused("unsigned", "auth_missing", &inbox, None, forged).await;
    world.publish(&inbox, Some(&signature), body.clone()).await;
    until(|| world.handled() == 1).await;
    eventually(SOON, || async { world.stored(&id_of(&body)).await.then_some(()) }).await;
    // Alice heard nothing but good of it.
    let stored = loop {
        let message = tokio::time::timeout(SOON, told.next()).await.unwrap().unwrap();
        let notice: Value = serde_json::from_slice(&message.payload).unwrap();
        assert!(notice.get("failed").is_none() && notice["status"] != "rejected", "{notice}");
        if message.subject.ends_with(".stored") {
            break notice;
        }
    };
    assert_eq!(stored["message_ids"], json!([id_of(&body)]));
}

#[tokio::test]
async fn repetitions_are_handled_once() {
    let world = World::start().await;
    let inbox = world.bob_inbox();
    let (body, signature) = world.genuine(|m| m["ttl_ms"] = 600_000.into());
    let mut receipts = world.stack.listen(format!("account.{}.receipts", world.alice.account_id())).await;
    for _ in 0..3 {
        world.publish(&inbox, Some(&signature), body.clone()).await;
    }
    until(|| world.bob.metrics_snapshot().duplicate_count == 2).await;
    assert_eq!(world.handled(), 1);
    // After its time to live.
    let past = SystemClock.now().saturating_sub(Duration::from_secs(5));
    let (old, old_signature) = world.genuine(|m| {
        m["sent_at"] = past.to_string().into();
        m["ttl_ms"] = 1_000.into();
    });
    world.publish(&inbox, Some(&old_signature), old).await;
    // Bob began after it was sent: what is older than himself doesn't come in live.
    until(|| unproved(&world.bob, "duplicate") == 1 || world.bob.metrics_snapshot().expired_count == 1).await;
    // After a restart, when nothing is remembered.
    world.bob.close().await.unwrap();
    eventually(SOON, || async {
        let sql = "SELECT state FROM agent_deliveries WHERE message_id = $1";
        let state: String = sqlx::query_scalar(sql).bind(id_of(&body)).fetch_one(&world.pool).await.ok()?;
        (state == "processed").then_some(())
    })
    .await;
    // Senders may write whole seconds, so for so long a repetition could be news.
    let again =
        Timestamp::parse(serde_json::from_slice::<Value>(&body).unwrap()["sent_at"].as_str().unwrap())
            .unwrap();
    eventually(SOON, || {
        let is_later = SystemClock.now() > again.saturating_add(2 * SECOND);
        std::future::ready(is_later.then_some(()))
    })
    .await;
    let bob = bob(&world.stack, &world.bob_id, &world.handled).await;
    world.publish(&inbox, Some(&signature), body.clone()).await;
    until(|| unproved(&bob, "duplicate") == 1).await;
    assert_eq!(world.handled(), 1);
    drop(receipts.next().await);
}

#[tokio::test]
async fn a_message_from_the_future_is_refused() {
    let world = World::start().await;
    let inbox = world.bob_inbox();
    let mut receipts = world.stack.listen(format!("account.{}.receipts", world.alice.account_id())).await;
    let mut code_of = async |change: fn(&mut Value)| {
        let (body, signature) = world.genuine(change);
        world.publish(&inbox, Some(&signature), body).await;
        support::next_json(&mut receipts).await["code"].as_str().unwrap_or_default().to_owned()
    };
    let ahead = |m: &mut Value| {
        m["sent_at"] = SystemClock.now().saturating_add(Duration::from_secs(60)).to_string().into();
    };
    assert_eq!(code_of(ahead).await, "sent_at_in_future");
    assert_eq!(code_of(|m| m["ttl_ms"] = 2_592_000_001_i64.into()).await, "ttl_too_long");
    assert_eq!(code_of(|m| m["ttl_ms"] = Value::Null).await, "missing_ttl");
    assert_eq!(world.handled(), 0);
}

#[tokio::test]
async fn ids_and_keys_cannot_be_used_up_by_others() {
    let world = World::start().await;
    let mallory_id = identity("mallory");
    let mallory = world.stack.node("mallory").identity(mallory_id.clone()).start().await.unwrap();
    let mut at_alice = world.stack.listen(format!("account.{}.>", world.alice.account_id())).await;
    let mut stored = world.stack.listen(format!("account.{}.stored", world.alice.account_id())).await;
    // Mallory takes the id that alice is about to use, to the same recipient and under her own name.
    let (body, signature) = world.genuine(|m| m["idempotency_key"] = "order-7".into());
    let stolen = changed(&body, |m| {
        m["from_account_id"] = mallory.account_id().into();
        m["payload"] = json!({"text": "first"});
    });
    let stolen_signature = sign(&mallory_id, &Purpose::Message, &stolen);
    let mut at_mallory = world.stack.listen(format!("account.{}.stored", mallory.account_id())).await;
    world.publish(&world.bob_inbox(), Some(&stolen_signature), stolen).await;
    until(|| world.handled() == 1).await;
    // Which of two is in the history is decided by who is checked first, not by who was sent first.
    until_told_stored(&mut at_mallory, &id_of(&body)).await;
    world.publish(&world.bob_inbox(), Some(&signature), body.clone()).await;
    // Bob handles hers all the same, and alice hears that the history has another message under the id.
    until(|| world.handled() == 2).await;
    let failed = loop {
        let notice = support::next_json(&mut at_alice).await;
        if notice["failed"].is_array() {
            break notice["failed"][0].clone();
        }
    };
    assert_eq!(
        (&failed["code"], &failed["message_id"]),
        (&json!("message_id_conflict"), &json!(id_of(&body)))
    );
    // Her own second message under the same key is the same operation, whatever it says.
    let (second, signature) = world.genuine(|m| {
        m["idempotency_key"] = "order-7".into();
        m["payload"] = json!({"text": "other content"});
    });
    world.publish(&world.bob_inbox(), Some(&signature), second.clone()).await;
    loop {
        let receipt = support::next_json(&mut at_alice).await;
        if receipt["message_id"] == json!(id_of(&second)) && receipt["status"] == "rejected" {
            assert_eq!(receipt["code"], "duplicate");
            break;
        }
    }
    assert_eq!(world.handled(), 2);
    // And under the same id with other content it conflicts.
    until_told_stored(&mut stored, &id_of(&second)).await;
    let error = world.alice.send("@bob", json!({"text": "other"})).message_id(id_of(&second)).await;
    assert_eq!(error.unwrap_err().code(), "message_id_conflict");
}

#[tokio::test]
async fn forged_receipts_change_nothing() {
    let world = World::start().await;
    let mallory_id = identity("mallory");
    let mallory = world.stack.node("mallory").identity(mallory_id.clone()).start().await.unwrap();
    // Bob is away, so nobody genuine answers.
    world.bob.close().await.unwrap();
    let handle = world.alice.send("@bob", json!({"text": "hi"})).queued().await.unwrap();
    handle.until(Stage::Stored).await.unwrap();
    let id = handle.message_id().to_owned();
    let to_alice = format!("account.{}.receipts", world.alice.account_id());
    let receipt = |from: &str, more: &Value| {
        let mut receipt = json!({
            "message_id": id, "status": "processed", "event_at": SystemClock.now().to_string(),
            "from_account_id": from, "from_session_tag": "registry_forged", "to_account_id": world.alice.account_id(),
            "to_agent": world.bob.account_id(), "schema_version": "1.2",
        });
        for (name, value) in more.as_object().unwrap() {
            receipt[name] = value.clone();
        }
        receipt.to_string().into_bytes()
    };
    let bobs = receipt(world.bob.account_id(), &json!({}));
    // As an original SDK's, which don't sign: but no such session of bob's is known.
    let original = receipt(world.bob.account_id(), &json!({"schema_version": null, "to_agent": null}));
    let signed_by_mallory = sign(&mallory_id, &Purpose::Receipt, &bobs);
    let made_for_a_message = sign(&world.bob_id, &Purpose::Message, &bobs);
    let cases = [
        ("unsigned", "auth_missing", None, &bobs),
        ("as an original's", "auth_missing", None, &original),
        ("mallory's signature", "auth_public_key_mismatch", Some(signed_by_mallory), &bobs),
        ("another purpose", "auth_signature_invalid", Some(made_for_a_message), &bobs),
    ];
    for (what, code, signature, body) in cases {
        let (before, kept) = (unproved(&world.alice, code), world.quarantined(code).await);
        world.publish(&to_alice, signature.as_deref(), body.clone()).await;
        until(|| unproved(&world.alice, code) > before).await;
        eventually(SOON, || async { (world.quarantined(code).await > kept).then_some(()) }).await;
        assert_eq!(handle.delivery().stage, Some(Stage::Stored), "{what}");
    }
    // Mallory's own, well signed: about a delivery that isn't hers. And bob's own about other content.
    let mallorys = receipt(mallory.account_id(), &json!({}));
    let signature = sign(&mallory_id, &Purpose::Receipt, &mallorys);
    world.publish(&to_alice, Some(&signature), mallorys).await;
    let other = receipt(world.bob.account_id(), &json!({"body_sha256": "0".repeat(64)}));
    let signature = sign(&world.bob_id, &Purpose::Receipt, &other);
    world.publish(&to_alice, Some(&signature), other).await;
    let genuine = receipt(world.bob.account_id(), &json!({"status": "accepted"}));
    let signature = sign(&world.bob_id, &Purpose::Receipt, &genuine);
    world.publish(&to_alice, Some(&signature), genuine).await;
    until(|| handle.delivery().stage == Some(Stage::Accepted)).await;
    let state: String = eventually(SOON, || async {
        let sql = "SELECT state FROM agent_deliveries WHERE message_id = $1 AND recipient = $2";
        let row: Option<String> = sqlx::query_scalar(sql)
            .bind(&id)
            .bind(world.bob.account_id())
            .fetch_optional(&world.pool)
            .await
            .unwrap();
        row.filter(|state| state != "pending")
    })
    .await;
    assert_eq!(state, "accepted");
}

#[tokio::test]
async fn replies_count_from_whom_they_were_asked_of_only() {
    let world = World::start().await;
    let mallory_id = identity("mallory");
    let mallory = world.stack.node("mallory").identity(mallory_id.clone()).start().await.unwrap();
    world.bob.close().await.unwrap();
    // Mallory hears the request and is faster than anybody.
    let mut requests = world.stack.listen(world.bob_inbox()).await;
    let forge = async {
        let request: Message = tokio::time::timeout(SOON, requests.next()).await.unwrap().unwrap();
        let asked = Envelope::decode(&request.payload).unwrap();
        let subject = request.reply.unwrap().to_string();
        let reply = |from: &str| {
            json!({
                "message_id": format!("{:032x}", rand::random::<u128>()), "from_agent": "bob", "from_account_id": from,
                "to_agent": world.alice.account_id(), "to_account_id": world.alice.account_id(), "kind": "reply",
                "payload": {"text": "forged"}, "sent_at": SystemClock.now().to_string(), "ttl_ms": 30_000,
                "parent_message_id": asked.message_id, "schema_version": "1.2",
            })
            .to_string()
            .into_bytes()
        };
        let bobs = reply(world.bob.account_id());
        world.publish(&subject, None, bobs.clone()).await;
        let signature = sign(&mallory_id, &Purpose::Message, &bobs);
        world.publish(&subject, Some(&signature), bobs).await;
        let own = reply(mallory.account_id());
        let signature = sign(&mallory_id, &Purpose::Message, &own);
        world.publish(&subject, Some(&signature), own).await;
    };
    let ask =
        world.alice.request("@bob", json!({"text": "?"})).timeout(2 * SECOND).receipt_timeout(2 * SECOND);
    let (answer, ()) = tokio::join!(ask.into_future(), forge);
    let error = answer.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::NoResponder), "{error}");
    assert_eq!(world.alice.metrics_snapshot().replies_refused_count, 3);
    assert_eq!(unproved(&world.alice, "auth_missing"), 1);
    assert_eq!(unproved(&world.alice, "auth_public_key_mismatch"), 1);
}

#[tokio::test]
async fn a_reply_subject_of_another_is_not_answered() {
    let world = World::start().await;
    let mut elsewhere = world.stack.listen("account.acct_victim.>".to_owned()).await;
    let mut at_alice = world.stack.listen(format!("account.{}.receipts", world.alice.account_id())).await;
    for subject in
        ["account.acct_victim.inbox", "account.acct_victim.replies.t", "$JS.API.STREAM.DELETE.AGENTNET"]
    {
        let (body, signature) = world.genuine(|m| {
            m["kind"] = "request".into();
            m["reply_to"] = subject.into();
        });
        world.publish(&world.bob_inbox(), Some(&signature), body).await;
        // The handler can't answer, and fails: `reply_subject_forbidden` in bob's log.
        loop {
            let receipt = support::next_json(&mut at_alice).await;
            if receipt["status"] == "rejected" {
                assert_eq!(receipt["code"], "handler_error");
                break;
            }
        }
    }
    assert!(tokio::time::timeout(SECOND / 2, elsewhere.next()).await.is_err());
}

#[tokio::test]
async fn strange_json_is_refused_whoever_signs_it() {
    let world = World::start().await;
    let twice = |field: &str, body: &[u8]| {
        let text = String::from_utf8(body.to_vec()).unwrap();
        format!("{{\"{field}\":\"twice\",{}", &text[1..]).into_bytes()
    };
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let (body, _) = world.genuine(|_| {});
    let text = String::from_utf8(body.clone()).unwrap();
    let cases = [
        twice("to_account_id", &body),
        twice("from_account_id", &body),
        twice("unknown", &twice("unknown", &body)),
        text.replace("{\"text\":\"genuine\"}", &deep).into_bytes(),
        text.replace("30000", "1e999").into_bytes(),
    ];
    for body in cases {
        let before = world.bob.metrics_snapshot().dropped_count;
        let kept = world.quarantined("invalid_envelope").await;
        let signature = sign(&world.alice_id, &Purpose::Message, &body);
        world.publish(&world.bob_inbox(), Some(&signature), body.clone()).await;
        until(|| world.bob.metrics_snapshot().dropped_count > before).await;
        eventually(SOON, || async { (world.quarantined("invalid_envelope").await > kept).then_some(()) })
            .await;
    }
    assert_eq!(world.handled(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_for_a_capability_counts_from_who_serves_it() {
    let world = World::start().await;
    let mallory_id = identity("mallory");
    let mallory = world.stack.node("mallory").identity(mallory_id.clone()).start().await.unwrap();
    // Nobody serves it yet.
    let handle = world.alice.send("capability:sums", json!({"text": "1+1"})).queued().await.unwrap();
    handle.until(Stage::Stored).await.unwrap();
    let receipt = |status: &str| {
        let receipt = json!({
            "message_id": handle.message_id(), "status": status, "event_at": SystemClock.now().to_string(),
            "from_account_id": mallory.account_id(), "from_session_tag": mallory.session_tag(),
            "to_account_id": world.alice.account_id(), "to_agent": "capability:sums", "schema_version": "1.2",
        });
        receipt.to_string().into_bytes()
    };
    let to_alice = format!("account.{}.receipts", world.alice.account_id());
    for status in ["accepted", "processed", "rejected"] {
        let body = receipt(status);
        let signature = sign(&mallory_id, &Purpose::Receipt, &body);
        world.publish(&to_alice, Some(&signature), body).await;
    }
    // The persister has met them once it has stored what came after.
    mallory.send("@alice", json!({"text": "after"})).until(Stage::Stored).await.unwrap();
    let state = || async {
        let sql =
            "SELECT state FROM agent_deliveries WHERE message_id = $1 AND recipient = 'capability:sums'";
        sqlx::query_scalar::<_, String>(sql).bind(handle.message_id()).fetch_one(&world.pool).await.unwrap()
    };
    assert_eq!(state().await, "pending");
    // Nor does the sender's own node believe them.
    eventually(SOON, || async { unproved(&world.alice, "wrong_recipient") >= 3 }).await;
    assert_eq!(handle.delivery().stage, Some(Stage::Stored));
    assert!(handle.delivery().refusal.is_none());
    // So whoever comes to serve it still gets it, and is believed.
    let carol_id = identity("carol");
    let carol = world.stack.node("carol").identity(carol_id).capability("sums");
    let carol = carol.on_message(|_| async { Ok(()) }).start().await.unwrap();
    eventually(SOON, || async { (state().await == "processed").then_some(()) }).await;
    let done = tokio::time::timeout(SOON, handle.until(Stage::Processed)).await.unwrap().unwrap();
    assert_eq!(done.stage, Some(Stage::Processed));
    carol.close().await.unwrap();
}

#[tokio::test]
async fn what_a_capability_was_asked_is_answered_by_who_serves_it() {
    let world = World::start().await;
    let (mallory_id, carol_id) = (identity("mallory"), identity("carol"));
    let mallory = world.stack.node("mallory").identity(mallory_id.clone()).start().await.unwrap();
    let (go, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = std::sync::Mutex::new(Some(gate));
    let carol = world.stack.node("carol").identity(carol_id).capability("sums").on_message(move |message| {
        let gate = gate.lock().unwrap().take();
        async move {
            if let Some(gate) = gate {
                gate.await?;
            }
            message.reply(json!({"text": "2"})).await?;
            Ok(())
        }
    });
    let carol = carol.start().await.unwrap();
    // Mallory hears the request, as everybody does in signed mode, and is faster.
    let mut requests = world.stack.listen("agent.capability.sums".to_owned()).await;
    let forge = async {
        let request: Message = tokio::time::timeout(SOON, requests.next()).await.unwrap().unwrap();
        let asked = Envelope::decode(&request.payload).unwrap();
        for kind in ["reply", "error"] {
            let reply = json!({
                "message_id": format!("{:032x}", rand::random::<u128>()), "from_agent": "mallory",
                "from_account_id": mallory.account_id(), "to_agent": world.alice.account_id(),
                "to_account_id": world.alice.account_id(), "kind": kind, "payload": {"text": "3"},
                "sent_at": SystemClock.now().to_string(), "ttl_ms": 30_000,
                "parent_message_id": asked.message_id, "schema_version": "1.2",
            });
            let body = reply.to_string().into_bytes();
            let signature = sign(&mallory_id, &Purpose::Message, &body);
            world.publish(request.reply.as_ref().unwrap(), Some(&signature), body).await;
        }
        eventually(SOON, || async { unproved(&world.alice, "wrong_recipient") == 2 }).await;
        go.send(()).unwrap();
    };
    let ask = world.alice.request("capability:sums", json!({"text": "1+1"})).timeout(SOON);
    let (answer, ()) = tokio::join!(ask.into_future(), forge);
    assert_eq!(answer.unwrap().text().as_deref(), Some("2"));
    // Once an operator has it taken from her, carol's word counts no more either.
    let operator = world.stack.node("operator").identity(world.stack.identity("operator"));
    let operator = operator.start().await.unwrap();
    let restrict = agentnet::proto::rpc::CapabilityRestrictRequest {
        capability: "sums".to_owned(),
        ..Default::default()
    };
    operator.registry().capability_restrict(&restrict).await.unwrap();
    eventually(SOON, || async {
        let asked = world.alice.request("capability:sums", json!({"text": "1+1"})).timeout(SECOND);
        asked.await.is_err() && unproved(&world.alice, "wrong_recipient") > 2
    })
    .await;
    carol.close().await.unwrap();
}

#[tokio::test]
async fn an_answer_is_read_as_it_is_written_by_who_serves_the_capability() {
    let world = World::start().await;
    let (mallory_id, carol_id) = (identity("mallory"), identity("carol"));
    let mallory = world.stack.node("mallory").identity(mallory_id.clone()).start().await.unwrap();
    let (go, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = std::sync::Mutex::new(Some(gate));
    let carol = world.stack.node("carol").identity(carol_id).capability("sums").on_message(move |message| {
        let gate = gate.lock().unwrap().take();
        async move {
            gate.ok_or("asked once")?.await?;
            drop(message.reply_stream(futures_util::stream::iter(["it's ", "2"])).await?);
            Ok(())
        }
    });
    let carol = carol.start().await.unwrap();
    let mut requests = world.stack.listen("agent.capability.sums".to_owned()).await;
    let forge = async {
        let request: Message = tokio::time::timeout(SOON, requests.next()).await.unwrap().unwrap();
        let asked: Value = serde_json::from_slice(&request.payload).unwrap();
        let id = asked["reply_stream"].as_str().unwrap();
        let frame = json!({
            "type": "stream_delta", "stream_id": id, "delta": "it's 3", "seq": 0,
            "from_account_id": mallory.account_id(),
        });
        let body = frame.to_string().into_bytes();
        let signature = sign(&mallory_id, &Purpose::Stream, &body);
        let subject = format!("account.{}.stream.{id}", world.alice.account_id());
        world.publish(&subject, Some(&signature), body).await;
        until(|| world.alice.metrics_snapshot().frames_refused_count == 1).await;
        go.send(()).unwrap();
    };
    let ask = async {
        let answer = world.alice.request_stream("capability:sums", json!({"text": "1+1"})).await.unwrap();
        answer.finish().await.unwrap()
    };
    let (whole, ()) = tokio::join!(ask, forge);
    assert_eq!(whole.text, "it's 2");
    carol.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_copies_of_a_suspended_account_are_nobodys() {
    let world = World::start().await;
    let operator = world.stack.identity("operator");
    let operator = world.stack.node("operator").identity(operator).start().await.unwrap();
    // Bob knows alice's key, and that she may speak.
    world.alice.send("@bob", json!({"text": "before"})).until(Stage::Processed).await.unwrap();
    let target = agentnet::proto::rpc::StandingRequest { target: "alice".to_owned(), ..Default::default() };
    operator.registry().suspend(&target).await.unwrap();
    let handled = world.handled();
    let before = unproved(&world.bob, "suspended");
    // She is still connected: in signed mode the token is everybody's. What she says goes nowhere as soon as the news
    // has come.
    eventually(SOON, || async {
        let (body, signature) = world.genuine(|_| {});
        world.publish(&world.bob_inbox(), Some(&signature), body).await;
        (unproved(&world.bob, "suspended") > before).then_some(())
    })
    .await;
    let settled = world.handled();
    assert!(settled <= handled + 1, "at most what came before the news");
    operator.registry().resume(&target).await.unwrap();
    eventually(SOON, || async {
        let (body, signature) = world.genuine(|_| {});
        world.publish(&world.bob_inbox(), Some(&signature), body).await;
        (world.handled() > settled).then_some(())
    })
    .await;
}
