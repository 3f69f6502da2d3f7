//! Blocks: the names of the seed, one or many, and nothing lost on the way through.

use agentnet_proto::{Block, BlockStatus, BlockType, FileContent, Payload, Timestamp, ToolCall};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

#[test]
fn types_and_states_of_the_seed() {
    let types = "llm content search reasoning_content error file image tool_call text/event-stream video audio form \
                 form_result add_agent create_order order ping text";
    for name in types.split_whitespace() {
        let block: Block = serde_json::from_value(json!({"type": name})).unwrap();
        assert!(!matches!(block.block_type, BlockType::Other(_)), "{name}");
        assert_eq!(serde_json::to_value(&block).unwrap(), json!({"type": name}));
    }
    for name in ["success", "loading", "cancel", "error", "reading", "optimizing"] {
        assert!(!matches!(BlockStatus::from(name), BlockStatus::Other(_)), "{name}");
        assert_eq!(BlockStatus::from(name).as_str(), name);
    }
    assert_eq!(BlockType::from("hologram"), BlockType::Other("hologram".to_owned()));
}

#[test]
fn constructors_make_what_agents_expect() {
    let at = Timestamp::from_unix_millis(1_700_000_000_000).unwrap();
    let text = Block::text("hi").status(BlockStatus::Success).id("b1").format("markdown").at(at);
    assert_eq!(
        serde_json::to_value(&text).unwrap(),
        json!({"type": "text", "status": "success", "timestamp": 1_700_000_000_000_i64, "content": "hi",
               "block_id": "b1", "type_format": "markdown"})
    );
    let file = FileContent { name: "a.png".into(), media_type: "image/png".into(), ..FileContent::default() };
    let image = Block::image(&file);
    assert_eq!(
        serde_json::to_value(&image).unwrap(),
        json!({"type": "image", "content": {"name": "a.png", "type": "image/png"}})
    );
    assert_eq!(image.content_as::<FileContent>().unwrap(), file);
    let call =
        ToolCall { id: "c1".into(), name: "add".into(), arguments: json!([1, 2]), ..ToolCall::default() };
    assert_eq!(Block::tool_call(&call).content_as::<ToolCall>().unwrap(), call);
    assert_eq!(Block::error("no").status.unwrap(), BlockStatus::Error);
    assert_eq!(Block::event_stream("s1").status.unwrap(), BlockStatus::Loading);
    assert_eq!(Block::new("order").with(json!({"n": 1})).content.unwrap().get(), r#"{"n":1}"#);
}

#[test]
fn a_payload_is_one_block_or_a_list_or_none() {
    let payload = |text: &str| Payload::from_text(text.to_owned()).unwrap();
    assert_eq!(payload(r#"{"type":"text","content":"a"}"#).blocks().unwrap(), [Block::text("a")]);
    let list = payload(
        r#"[{"type":"reasoning_content","content":"hm"},{"type":"content","content":"a"},
                           {"type":"text","content":"b"},{"type":"text","content":{"x":1}}]"#,
    );
    assert_eq!(list.blocks().unwrap().len(), 4);
    assert_eq!(list.as_text().as_deref(), Some("a\nb"), "what a model thought isn't its answer");
    for other in [
        r#"{"text":"a"}"#,
        "[]",
        "3",
        r#""type""#,
        "null",
        r#"{"type":""}"#,
        r#"{"type":3}"#,
        r#"{"type":"text","type":"file"}"#,
        r#"[{"type":"text"},3]"#,
        r#"[["type"]]"#,
    ] {
        assert_eq!(payload(other).blocks(), None, "{other}");
    }
    assert_eq!(payload(r#"{"text":"a"}"#).as_text().as_deref(), Some("a"));
    assert_eq!(payload(r#"{"type":"file","content":"a"}"#).as_text(), None);
}

#[test]
fn a_known_field_of_another_type_is_no_error_and_stays() {
    let text = r#"{"type":"text","status":7,"timestamp":"soon","content":null,"block_id":null,"type_format":[1.50]}"#;
    let block: Block = serde_json::from_str(text).unwrap();
    assert_eq!((&block.status, block.timestamp, &block.block_id), (&None, None, &None));
    let again: Value = serde_json::from_str(&serde_json::to_string(&block).unwrap()).unwrap();
    assert_eq!(again, serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(block.extra["type_format"].get(), "[1.50]", "byte for byte");
}

#[test]
fn blocks_satisfy_their_schema() {
    let schema = schemars::schema_for!(Block).to_value();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&json!({"type": "hologram", "status": "blinking", "angle": 3})));
    assert!(validator.is_valid(&serde_json::to_value(Block::form(json!([{"ask": "age"}]))).unwrap()));
    assert!(!validator.is_valid(&json!({"status": "success"})));
    assert!(!validator.is_valid(&json!({"type": 1})));
}

/// JSON whose numbers and strings have more than one spelling.
fn raw() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("1.50".to_owned()),
        Just("1E5".to_owned()),
        Just("-0".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        Just("\"\\u0041\\/\"".to_owned()),
        Just("null".to_owned()),
        Just("{ \"b\" : [ ] , \"a\":1}".to_owned()),
        any::<String>().prop_map(|s| Value::String(s).to_string()),
    ]
}

proptest! {
    #[test]
    fn unknown_fields_and_contents_pass_through_byte_for_byte(
        kind in "[a-z/_]{1,20}",
        content in raw(),
        fields in proptest::collection::btree_map("x_[a-zé]{1,8}", raw(), 0..5),
    ) {
        let mut text = format!("{{\"type\":\"{kind}\",\"content\":{content}");
        for (name, value) in &fields {
            text += &format!(",\"{name}\":{value}");
        }
        text += "}";
        let block: Block = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(block.block_type.as_str(), &kind);
        prop_assert_eq!(serde_json::to_string(&block).unwrap(), text);
    }

    #[test]
    fn any_json_is_blocks_or_not_without_panic(text in any::<String>()) {
        if let Ok(payload) = Payload::from_text(text) {
            let _ = (payload.blocks(), payload.as_text());
        }
    }

    #[test]
    fn what_is_written_reads_back(
        kind in prop_oneof![proptest::sample::select(BlockType::KNOWN).prop_map(str::to_owned), "[a-z]{1,9}"],
        status in proptest::option::of("[a-z]{1,9}"),
        timestamp in proptest::option::of(any::<i64>()),
        content in proptest::option::of(any::<String>()),
        id in proptest::option::of(any::<String>()),
        more in proptest::collection::btree_map("x[a-z]{1,5}", any::<i64>(), 0..3),
    ) {
        let mut block = Block::new(kind);
        block.status = status.map(Into::into);
        block.timestamp = timestamp;
        block.content = content.map(|text| Payload::from(Value::String(text)));
        block.block_id = id;
        block.extra = more.into_iter().map(|(name, n)| (name, Payload::from(json!(n)))).collect();
        let text = serde_json::to_string(&block).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Block>(&text).unwrap(), &block);
        let _: Map<String, Value> = serde_json::from_str(&text).unwrap();
    }
}
