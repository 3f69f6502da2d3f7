//! Every RPC's request and response stays what it is through JSON: what one side writes the other reads, whole.
//!
//! Samples are made from the types' own JSON Schemas, with every member filled, so that a member added to a type is
//! covered without a line here. An `impl Rpc` must be listed in [`all`].

#![expect(clippy::unwrap_used, reason = "a test ends there")]

use std::collections::BTreeSet;

use agentnet_proto::rpc::{self, Rpc, RpcMethod};
use schemars::{JsonSchema, schema_for};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

/// Methods that are published and not answered: their bodies have types, but no pair.
const UNANSWERED: [RpcMethod; 2] = [RpcMethod::Hello, RpcMethod::Goodbye];

/// The method of a pair, after its types were taken through JSON.
fn pair<R: Rpc>() -> RpcMethod
where
    R::Request: JsonSchema,
    R::Response: JsonSchema,
{
    round_trip::<R::Request>(R::METHOD.as_str());
    round_trip::<R::Response>(R::METHOD.as_str());
    R::METHOD
}

macro_rules! pairs {
    ($($name:ident),+ $(,)?) => { [$(pair::<rpc::$name>()),+] };
}

/// Every [`Rpc`].
fn all() -> BTreeSet<&'static str> {
    let methods = pairs!(
        Register,
        Network,
        List,
        Search,
        GetProfile,
        ResolveAccount,
        ResolveKey,
        ThreadList,
        ThreadStatus,
        ThreadMessages,
        MessageSearch,
        Deliveries,
        Redrive,
        Why,
        ThreadCreate,
        ThreadInvite,
        ThreadJoin,
        ThreadLeave,
        ThreadEject,
        ThreadMembers,
        OperatorGrant,
        OperatorRevoke,
        OperatorList,
        Suspend,
        Resume,
        ProfileUpdate,
        Enrol,
        CapabilityRestrict,
        CapabilityGrant,
        CapabilityRevoke,
        CapabilityList,
        Evidence,
        Rotate,
        Revoke,
        Metrics,
        AgentRegister,
        AgentDiscover,
        AgentShow,
        AgentReport,
        AgentStats,
        MailFetch,
        MailAck,
        WebhookClaim,
        WebhookReport,
        MessageRoute,
        MessageHistory,
        BroadcastOpen,
        PeerGraph,
        Feed,
        ThreadUpdate,
        ThreadRole,
        ThreadClose,
        ThreadRead,
        ConversationList,
        ApiKeyCreate,
        ApiKeyList,
        ApiKeyRevoke,
        ApiKeyLogin,
        UserLogin,
        UserRefresh,
        UserLogout,
        UserSession,
        WsTicketCreate,
        WsTicketRedeem,
        TokenKeys,
        UserCreate,
        UserList,
        UserSetPassword,
        UserDisable,
        UserEnable,
        BlobBegin,
        BlobWrite,
        BlobCommit,
        BlobHead,
        BlobRead,
        BlobList,
        BlobDelete,
        BlobShare,
        BlockAdd,
        BlockRemove,
        BlockList,
        DataPut,
        DataGet,
        DataList,
        DataDelete,
        Online,
        PeerAdd,
        PeerRemove,
        PeerList,
        TaskSubmit,
        TaskGet,
        TaskList,
        TaskCancel,
        TaskAccept,
        TaskHeartbeat,
        TaskProgress,
        TaskComplete,
        TaskFail,
        TaskQueues,
        TaskQueueClear,
        TaskStats,
        SetTaskStrategy,
        SetStatus,
        StatusList,
    );
    methods.into_iter().map(RpcMethod::as_str).collect()
}

#[test]
fn every_rpc_type_survives_json_whole() {
    let listed = all();
    for method in RpcMethod::ALL {
        let is_listed = listed.contains(method.as_str());
        assert_eq!(is_listed, !UNANSWERED.contains(method), "registry.{method}: list its `Rpc` in `all`");
    }
    round_trip::<rpc::AgentInfo>("hello");
    round_trip::<rpc::Goodbye>("goodbye");
}

fn round_trip<T: Serialize + DeserializeOwned + JsonSchema>(method: &str) {
    let schema = schema_for!(T).to_value();
    let defs = schema["$defs"].clone();
    for filled in [Filled::All, Filled::Required] {
        let sample = sample(&schema, &defs, "", filled);
        let read: T = serde_json::from_value(sample.clone())
            .unwrap_or_else(|error| panic!("{method}: {error} in {sample}"));
        let written = serde_json::to_value(&read).unwrap();
        if filled == Filled::All {
            assert_eq!(written, sample, "{method}: what was written isn't what was read");
        }
        // Also what has been left out comes back as it was.
        let again: T = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), written, "{method}");
        // Members of newer versions are no error.
        let mut newer = written;
        newer.as_object_mut().unwrap().insert("of_a_newer_version".to_owned(), json!({"a": [1]}));
        assert!(serde_json::from_value::<T>(newer).is_ok(), "{method} refuses members it doesn't know");
    }
}

/// How much of an object is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    All,
    Required,
}

/// A value that the schema describes, none of them a default.
fn sample(schema: &Value, defs: &Value, name: &str, filled: Filled) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.trim_start_matches("#/$defs/");
        return sample(&defs[name], defs, name, filled);
    }
    if let Some(fixed) = schema.get("const") {
        return fixed.clone();
    }
    if let Some(one) = schema["enum"].as_array().and_then(|all| all.iter().rfind(|one| !one.is_null())) {
        return one.clone();
    }
    for any in ["anyOf", "oneOf", "allOf"] {
        let choices = schema[any].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(choice) = choices.iter().rfind(|choice| choice["type"] != "null") {
            return sample(choice, defs, name, filled);
        }
    }
    match kind(schema) {
        "string" => json!(format!("some {name}").trim_end()),
        "integer" => json!(7),
        "number" => json!(1.5),
        "boolean" => json!(true),
        "array" => json!([sample(&schema["items"], defs, name, filled)]),
        "object" => object(schema, defs, filled),
        // Anything goes.
        _ => json!({"any": ["thing", 1, null]}),
    }
}

/// The type, of which `null` is at most one more.
fn kind(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(one) => one,
        Value::Array(several) => {
            several.iter().filter_map(Value::as_str).find(|t| *t != "null").unwrap_or("any")
        }
        _ => "any",
    }
}

fn object(schema: &Value, defs: &Value, filled: Filled) -> Value {
    let required: BTreeSet<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut object = Map::new();
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        if filled == Filled::All || required.contains(name.as_str()) {
            object.insert(name.clone(), sample(member, defs, name, filled));
        }
    }
    match &schema["additionalProperties"] {
        Value::Object(values) => {
            let values = Value::Object(values.clone());
            object.insert("a key".to_owned(), sample(&values, defs, "value", filled));
        }
        Value::Bool(true) => {
            object.insert("a key".to_owned(), json!([1, "a"]));
        }
        _ => {}
    }
    Value::Object(object)
}
