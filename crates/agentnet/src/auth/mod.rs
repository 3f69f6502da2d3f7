//! Signatures. One module per scheme; the node asks this one.

mod dev;

pub use crate::identity::original::{DEFAULT_KEY_DIR, key_file_name};
pub(crate) use dev::DevAuth;
