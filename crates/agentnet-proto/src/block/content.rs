//! Shapes of contents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a file, image, audio or video block says. Fields that aren't known are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileContent {
    /// The file's name. Never a path: whoever saves the file checks it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Its content, for small files; `encode` says how.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// What is in it, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its media type.
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// How `content` is encoded, such as `base64`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub encode: String,
    /// Other fields.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a tool_call block says. Fields that aren't known are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// Which call it is, so that the result can name it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The tool.
    #[serde(default)]
    pub name: String,
    /// What it is called with.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub arguments: Value,
    /// What it answered.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub result: Value,
    /// Other fields.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl FileContent {
    pub(super) fn to_value(&self) -> Value {
        value_of(self)
    }
}

impl ToolCall {
    pub(super) fn to_value(&self) -> Value {
        value_of(self)
    }
}

/// Strings, values and a map of them always are JSON.
fn value_of<T: Serialize>(content: &T) -> Value {
    serde_json::to_value(content).unwrap_or_default()
}
