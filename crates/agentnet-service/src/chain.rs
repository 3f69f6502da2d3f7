//! Errors for logs.

use std::{error::Error, fmt::Write as _};

/// An error and its causes in one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String can't fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn causes_follow_what_they_caused() {
        let inner = Layer("connection refused", None);
        let error = Layer("not stored", Some(Box::new(Layer("no database", Some(Box::new(inner))))));
        assert_eq!(chain(&error), "not stored: no database: connection refused");
    }
}
