//! JSON as the original's Python reads and writes it.

mod escape;

pub(crate) use escape::write_string;
