//! Message blocks: content with a type and a status, as AgentCP's agents exchange it.
//!
//! A payload is one block, a list of blocks, or anything else. Types, states and fields that this version doesn't know
//! are kept as they came, so a block can be handed on by whoever understands half of it.
//!
//! ```
//! use agentnet_proto::{Block, BlockStatus, BlockType, Payload};
//!
//! let block = Block::text("rain at noon").status(BlockStatus::Success);
//! let payload = Payload::of(&block)?;
//! assert_eq!(payload.get(), r#"{"type":"text","status":"success","content":"rain at noon"}"#);
//! assert_eq!(payload.as_text().as_deref(), Some("rain at noon"));
//! assert_eq!(payload.blocks().unwrap_or_default()[0].block_type, BlockType::Text);
//! # Ok::<(), serde_json::Error>(())
//! ```

mod content;
mod names;

use std::fmt;

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value};

pub use content::{FileContent, ToolCall};
pub use names::{BlockStatus, BlockType};

use crate::{envelope::Payload, lenient::Extra, timestamp::Timestamp};

/// One part of a message's content.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Block {
    /// What it is.
    #[serde(rename = "type")]
    pub block_type: BlockType,
    /// How far its sender is with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<BlockStatus>,
    /// When it was made, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// The content: text, or an object of a shape that the type tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Payload>,
    /// Blocks of one id are states of one block: the later replaces the earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_id: Option<String>,
    /// How the content is written, such as `markdown` or `json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_format: Option<String>,
    /// Fields that this version doesn't know, and known ones of another type than it expects, as they came.
    #[serde(flatten)]
    #[schemars(with = "Map<String, Value>")]
    pub extra: Extra,
}

impl Block {
    /// A block of a type, with nothing in it.
    pub fn new(block_type: impl Into<BlockType>) -> Self {
        Self {
            block_type: block_type.into(),
            status: None,
            timestamp: None,
            content: None,
            block_id: None,
            type_format: None,
            extra: Extra::new(),
        }
    }

    fn of_text(block_type: BlockType, text: impl Into<String>) -> Self {
        Self::new(block_type).with(Value::String(text.into()))
    }

    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of_text(BlockType::Text, text)
    }

    /// The answer itself, among other blocks of one message.
    pub fn content(text: impl Into<String>) -> Self {
        Self::of_text(BlockType::Content, text)
    }

    /// A prompt for a model, or what it said.
    pub fn llm(text: impl Into<String>) -> Self {
        Self::of_text(BlockType::Llm, text)
    }

    /// What a model thought before it answered.
    pub fn reasoning(text: impl Into<String>) -> Self {
        Self::of_text(BlockType::ReasoningContent, text)
    }

    /// What was searched for, or what was found.
    pub fn search(content: impl Into<Value>) -> Self {
        Self::new(BlockType::Search).with(content)
    }

    /// What went wrong.
    pub fn error(text: impl Into<String>) -> Self {
        Self::of_text(BlockType::Error, text).status(BlockStatus::Error)
    }

    /// A file.
    pub fn file(file: &FileContent) -> Self {
        Self::new(BlockType::File).with(file.to_value())
    }

    /// A picture.
    pub fn image(file: &FileContent) -> Self {
        Self::new(BlockType::Image).with(file.to_value())
    }

    /// Sound.
    pub fn audio(file: &FileContent) -> Self {
        Self::new(BlockType::Audio).with(file.to_value())
    }

    /// A film.
    pub fn video(file: &FileContent) -> Self {
        Self::new(BlockType::Video).with(file.to_value())
    }

    /// A tool that a model wants called, or was called.
    pub fn tool_call(call: &ToolCall) -> Self {
        Self::new(BlockType::ToolCall).with(call.to_value())
    }

    /// Questions for a person; their answers come as [`form_result`](Self::form_result).
    pub fn form(fields: impl Into<Value>) -> Self {
        Self::new(BlockType::Form).with(fields)
    }

    /// The answers to a form.
    pub fn form_result(answers: impl Into<Value>) -> Self {
        Self::new(BlockType::FormResult).with(answers)
    }

    /// The text of a stream that is still being written, by the stream's id.
    pub fn event_stream(stream_id: impl Into<String>) -> Self {
        Self::of_text(BlockType::EventStream, stream_id).status(BlockStatus::Loading)
    }

    /// Sets the content.
    #[must_use]
    pub fn with(mut self, content: impl Into<Value>) -> Self {
        self.content = Some(Payload::from(content.into()));
        self
    }

    /// Sets the status.
    #[must_use]
    pub fn status(mut self, status: impl Into<BlockStatus>) -> Self {
        self.status = Some(status.into());
        self
    }

    /// Sets the id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.block_id = Some(id.into());
        self
    }

    /// Sets how the content is written.
    #[must_use]
    pub fn format(mut self, format: impl Into<String>) -> Self {
        self.type_format = Some(format.into());
        self
    }

    /// Sets when it was made.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.timestamp = Some(at.unix_millis());
        self
    }

    /// The content, if it is text.
    pub fn as_text(&self) -> Option<String> {
        self.content_as()
    }

    /// The content read as a type, such as [`FileContent`]; `None` if there is none or it has another shape.
    pub fn content_as<T: DeserializeOwned>(&self) -> Option<T> {
        self.content.as_ref()?.parse().ok()
    }
}

impl Payload {
    /// The blocks in it: one, or a list of at least one. `None` for any other payload.
    pub fn blocks(&self) -> Option<Vec<Block>> {
        match self.get().trim_start().as_bytes().first() {
            Some(b'{') => self.parse().ok().map(|block| vec![block]),
            Some(b'[') => self.parse().ok().filter(|blocks: &Vec<Block>| !blocks.is_empty()),
            _ => None,
        }
    }
}

/// The text of blocks, for who knows no others: what is text or the answer itself, one below the other.
pub(crate) fn text_of(blocks: &[Block]) -> Option<String> {
    let texts: Vec<String> =
        blocks.iter().filter(|block| block.block_type.is_text()).filter_map(Block::as_text).collect();
    if texts.is_empty() { None } else { Some(texts.join("\n")) }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BlockVisitor;

        impl<'de> Visitor<'de> for BlockVisitor {
            type Value = Block;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a `type`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Block, A::Error> {
                let mut members = Extra::new();
                while let Some((name, value)) = map.next_entry::<String, Payload>()? {
                    if members.insert(name.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("`{name}` stands twice")));
                    }
                }
                let block_type: String = take(&mut members, "type")
                    .filter(|text: &String| !text.is_empty())
                    .ok_or_else(|| A::Error::missing_field("type"))?;
                Ok(Block {
                    block_type: block_type.into(),
                    status: take::<String>(&mut members, "status").map(Into::into),
                    timestamp: take(&mut members, "timestamp"),
                    content: members.remove("content"),
                    block_id: take(&mut members, "block_id"),
                    type_format: take(&mut members, "type_format"),
                    extra: members,
                })
            }
        }

        deserializer.deserialize_map(BlockVisitor)
    }
}

/// Takes a member that has the expected type; another stays where it is.
fn take<T: DeserializeOwned>(members: &mut Extra, name: &str) -> Option<T> {
    let value = members.get(name)?.parse().ok()?;
    members.remove(name);
    Some(value)
}
