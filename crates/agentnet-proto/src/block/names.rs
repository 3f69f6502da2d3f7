//! The names that blocks carry.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

macro_rules! names {
    ($(#[$meta:meta])* $name:ident, $($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)+
            /// One that this version doesn't know.
            Other(String),
        }

        impl $name {
            /// The names that this version knows.
            pub const KNOWN: &'static [&'static str] = &[$($text,)+];

            /// The name as it stands on the wire.
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $text,)+ Self::Other(text) => text }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text { $($text => Self::$variant,)+ other => Self::Other(other.to_owned()) }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::from(text.as_str())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "examples": Self::KNOWN})
            }
        }
    };
}

names! {
    /// What a block is.
    BlockType,
    /// Plain text.
    Text = "text",
    /// The answer itself, among other blocks.
    Content = "content",
    /// A prompt for a model, or what it said.
    Llm = "llm",
    /// What a model thought before it answered.
    ReasoningContent = "reasoning_content",
    /// A search or its results.
    Search = "search",
    /// What went wrong.
    Error = "error",
    /// A file; see [`FileContent`](super::FileContent).
    File = "file",
    /// A picture.
    Image = "image",
    /// A film.
    Video = "video",
    /// Sound.
    Audio = "audio",
    /// A tool that is to be called; see [`ToolCall`](super::ToolCall).
    ToolCall = "tool_call",
    /// Text that is still being written, by the stream's id.
    EventStream = "text/event-stream",
    /// Questions for a person.
    Form = "form",
    /// The answers to a form.
    FormResult = "form_result",
    /// A proposal to add an agent.
    AddAgent = "add_agent",
    /// A proposal to order something.
    CreateOrder = "create_order",
    /// An order.
    Order = "order",
    /// Whether somebody is there.
    Ping = "ping",
    /// Somebody is.
    PingResult = "ping_result",
}

impl BlockType {
    /// Whether its content, if it is a string, is text for the reader.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text | Self::Content | Self::Llm)
    }
}

names! {
    /// How far a block's sender is with it.
    BlockStatus,
    /// Complete.
    Success = "success",
    /// More is coming under the same id.
    Loading = "loading",
    /// Failed.
    Error = "error",
    /// Given up at somebody's wish.
    Cancel = "cancel",
    /// Material is being read.
    Reading = "reading",
    /// What was found is being improved.
    Optimizing = "optimizing",
}
