//! How people name the level of a log: the one reading of `LOG_LEVEL` and `--log-level`.

/// What [`directives`] takes, for messages to people.
pub const EXPECTED: &str = "TRACE, DEBUG, INFO, WARNING, ERROR, OFF or directives such as info,sqlx=debug";

/// The filter directives of a level in any case, Python's names (`WARNING`, `CRITICAL`) among them. Text with a `=` is
/// directives already, which whoever filters by them checks. `None` for anything else.
pub fn directives(text: &str) -> Option<String> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "trace" | "notset" => quieten("trace"),
        "debug" => quieten("debug"),
        "info" => quieten("info"),
        "warn" | "warning" => "warn".to_owned(),
        "error" | "critical" | "fatal" => "error".to_owned(),
        "off" => "off".to_owned(),
        other if other.contains('=') => text.trim().to_owned(),
        _ => return None,
    })
}

/// Libraries repeat what is logged once already.
fn quieten(level: &str) -> String {
    format!("{level},async_nats=warn,sqlx=warn,hyper=warn,rustls=warn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_python_and_directives() {
        assert_eq!(directives(" WARNING").as_deref(), Some("warn"));
        assert_eq!(directives("info,sqlx=Debug").as_deref(), Some("info,sqlx=Debug"));
        assert!(directives("debug").is_some_and(|text| text.starts_with("debug,async_nats=warn")));
        assert_eq!(directives("loud"), None);
        assert_eq!(directives(""), None);
    }
}
