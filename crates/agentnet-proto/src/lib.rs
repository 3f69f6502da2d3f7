//! Placeholder.

pub mod clock;
pub mod cursor;
pub mod ids;
pub mod pyjson;
mod pystr;
pub mod timestamp;
pub mod username;
