//! Whatever bytes are sent to whatever method: there is an answer, and it is one JSON object.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod support;

use agentnet_proto::rpc::RpcMethod;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use support::World;

/// Every method that is answered.
fn methods() -> Vec<RpcMethod> {
    let published = [RpcMethod::Hello, RpcMethod::Goodbye];
    RpcMethod::ALL.iter().copied().filter(|method| !published.contains(method)).collect()
}

const FIELDS: [&str; 19] = [
    "agent_id",
    "name",
    "username",
    "account_id",
    "capabilities",
    "metadata",
    "auth",
    "query",
    "limit",
    "capability",
    "online_only",
    "status",
    "thread_id",
    "cursor",
    "q",
    "kind",
    "from_ts",
    "to_ts",
    "participant_username",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|f| json!(f)),
        any::<String>().prop_map(Value::from),
        "[a-z0-9_.*>@ %-]{0,20}".prop_map(Value::from),
        "\\PC{0,4}\u{0}\\PC{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("\\PC{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Vec<u8>> {
    let fields = proptest::collection::hash_map(proptest::sample::select(&FIELDS[..]), value(), 0..6);
    fields.prop_map(|map| {
        let map = map.into_iter().map(|(name, value)| (name.to_owned(), value));
        Value::Object(map.collect()).to_string().into_bytes()
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let broken = (object(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, byte)| {
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes
    });
    prop_oneof![
        3 => object(),
        2 => broken,
        1 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => value().prop_map(|value| value.to_string().into_bytes()),
    ]
}

#[test]
fn every_request_is_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let registry = runtime.block_on(world.registry(&[]));
    let mut runner = TestRunner::new(Config { cases: 600, failure_persistence: None, ..Config::default() });
    let cases = (proptest::sample::select(methods()), body());
    runner
        .run(&cases, |(method, body)| {
            let answer = runtime.block_on(world.call_raw(method.as_str(), body));
            prop_assert!(answer.is_object());
            // Bad input is the sender's fault, never a failure in here.
            let code = answer["error"].as_str().unwrap_or_default();
            prop_assert!(
                code != "internal" && !code.ends_with("_failed") && !code.starts_with("failed"),
                "{}",
                answer
            );
            Ok(())
        })
        .unwrap();
    // The same for publishes: nothing comes back, and nothing breaks.
    runner
        .run(&(proptest::sample::select(&["hello", "goodbye"][..]), body()), |(method, body)| {
            let published = world.client.publish(format!("registry.{method}"), body.into());
            runtime.block_on(published).unwrap();
            Ok(())
        })
        .unwrap();
    runtime.block_on(async {
        for body in ["", "{", "nope", "{\"agent_id\":\"\\ud800\"}", "{\"agent_id\":tru}"] {
            let answer = world.call_raw("register", body).await;
            let expected = if body.is_empty() { "agent_id is required" } else { "invalid_json" };
            assert_eq!(answer["error"], expected, "{body}");
        }
        assert!(world.call("list", json!({})).await["agents"].is_array());
        registry.stop().await;
    });
}
