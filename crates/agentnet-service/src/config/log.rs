//! What is logged and how.

use super::{ConfigError, Env};

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `LOG_LEVEL`: a level (`INFO`; the Python names `WARNING` and `CRITICAL` work too) or filter directives
    /// such as `info,sqlx=debug`.
    pub filter: String,
    /// `AGENTNET_LOG_FORMAT`: `text` or `json`.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: quieten("info"), format: LogFormat::Text }
    }
}

impl LogConfig {
    /// Reads the section.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let value = env.string("LOG_LEVEL", "INFO");
        let filter = match value.to_ascii_lowercase().as_str() {
            "trace" | "notset" => quieten("trace"),
            "debug" => quieten("debug"),
            "info" => quieten("info"),
            "warn" | "warning" => "warn".to_owned(),
            "error" | "critical" | "fatal" => "error".to_owned(),
            "off" => "off".to_owned(),
            directives
                if tracing_subscriber::EnvFilter::try_new(directives).is_ok() && directives.contains('=') =>
            {
                value
            }
            _ => {
                return Err(ConfigError::Invalid {
                    variable: "LOG_LEVEL".to_owned(),
                    value,
                    expected: "TRACE, DEBUG, INFO, WARNING, ERROR, OFF or directives such as info,sqlx=debug"
                        .to_owned(),
                });
            }
        };
        let format = env.choice(
            "AGENTNET_LOG_FORMAT",
            LogFormat::Text,
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        )?;
        Ok(Self { filter, format })
    }
}

/// The client library repeats every connection event that [`crate::nats`] already logs once.
fn quieten(level: &str) -> String {
    format!("{level},async_nats=warn,sqlx=warn,hyper=warn,rustls=warn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_python_and_directives() {
        let read = |value: &str| LogConfig::from_env(&Env::from_pairs([("LOG_LEVEL", value)]));
        assert_eq!(read("WARNING").unwrap().filter, "warn");
        assert_eq!(read("info,sqlx=debug").unwrap().filter, "info,sqlx=debug");
        assert!(read("debug").unwrap().filter.starts_with("debug,"));
        assert!(read("loud").unwrap_err().to_string().contains("LOG_LEVEL=\"loud\""));
        let json = LogConfig::from_env(&Env::from_pairs([("AGENTNET_LOG_FORMAT", "JSON")])).unwrap();
        assert_eq!(json.format, LogFormat::Json);
    }
}
