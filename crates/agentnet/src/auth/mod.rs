//! Signatures. One module per scheme; the node asks this one.

mod dev;
mod key_file;

pub(crate) use dev::DevAuth;
pub use key_file::{DEFAULT_KEY_DIR, key_file_name};
