//! What is logged and how.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use agentnet_proto::log_level;

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
    /// `AGENTNET_LOG_FILE`: where the log goes instead of standard error. It is written on at its end, and never begun
    /// anew here: that is for the system's log rotation, with a restart.
    pub file: Option<PathBuf>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            filter: log_level::directives("info").unwrap_or_default(),
            format: LogFormat::Text,
            file: None,
        }
    }
}

impl LogConfig {
    /// Reads the section.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let value = env.string("LOG_LEVEL", "INFO");
        let filter = log_level::directives(&value)
            .filter(|directives| tracing_subscriber::EnvFilter::try_new(directives).is_ok())
            .ok_or_else(|| ConfigError::Invalid {
                variable: "LOG_LEVEL".to_owned(),
                value,
                expected: log_level::EXPECTED.to_owned(),
            })?;
        let file = env.get("AGENTNET_LOG_FILE").map(PathBuf::from);
        if let Some(path) = &file
            && let Err(error) = open(path)
        {
            return Err(ConfigError::Invalid {
                variable: "AGENTNET_LOG_FILE".to_owned(),
                value: path.display().to_string(),
                expected: format!("a file that can be written ({error})"),
            });
        }
        let format = env.choice(
            "AGENTNET_LOG_FORMAT",
            LogFormat::Text,
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        )?;
        Ok(Self { filter, format, file })
    }
}

/// The log's file, which is for its owner only: it names accounts and addresses.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
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
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &Path| {
            LogConfig::from_env(&Env::from_pairs([("AGENTNET_LOG_FILE", &*path.to_string_lossy())]))
        };
        let path = dir.path().join("service.log");
        assert_eq!(at(&path).unwrap().file, Some(path));
        let error = at(&dir.path().join("no/such/dir.log")).unwrap_err();
        assert_eq!(error.variable(), "AGENTNET_LOG_FILE");
        let json = LogConfig::from_env(&Env::from_pairs([("AGENTNET_LOG_FORMAT", "JSON")])).unwrap();
        assert_eq!(json.format, LogFormat::Json);
    }
}
