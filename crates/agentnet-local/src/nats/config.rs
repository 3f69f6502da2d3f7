//! Options of a nats-server and the configuration file they become.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};

use crate::NatsBinary;

/// When JetStream flushes to disk what it has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncInterval {
    /// After every write: an acknowledged message survives a power cut.
    Always,
    /// In the background at this interval (the server's own default is two minutes). A crash of the server
    /// alone loses nothing either way; the kernel has the data.
    Every(Duration),
}

/// How to run a nats-server. All is loopback and free ports unless said otherwise.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// Directory of this server: configuration, log, lock and JetStream files. Created 0700 if missing.
    pub dir: PathBuf,
    /// `dir` is removed, too, if this process dies without having stopped the server. For tests.
    pub temporary: bool,
    /// Address to listen on.
    pub host: String,
    /// Client port; `None` takes a free one, and keeps it across restarts.
    pub port: Option<u16>,
    /// HTTP monitoring port on 127.0.0.1; `None` takes a free one.
    pub monitor_port: Option<u16>,
    /// Token that clients must present. Written to the 0600 configuration file only.
    pub token: Option<SecretString>,
    /// Whether JetStream is on.
    pub jetstream: bool,
    /// Disk flushes of JetStream.
    pub sync: SyncInterval,
    /// Largest message, bytes.
    pub max_payload: u32,
    /// Most bytes JetStream may store on disk; `None` leaves it to the server (three quarters of what is free).
    pub max_file_store: Option<u64>,
    /// More configuration, appended as it is: `accounts`, `authorization` (then leave `token` empty), limits.
    pub extra_config: String,
    /// The binary; `None` searches for one, see [`crate::Search`].
    pub binary: Option<NatsBinary>,
    /// Limit for the start, until the first client could connect.
    pub start_timeout: Duration,
    /// Limit for an orderly stop, after which the server is killed.
    pub stop_timeout: Duration,
}

impl NatsOptions {
    /// The defaults, with everything kept in `dir`: loopback, free ports, no token, 1 MiB payloads.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            temporary: false,
            host: "127.0.0.1".to_owned(),
            port: None,
            monitor_port: None,
            token: None,
            jetstream: true,
            sync: SyncInterval::Every(Duration::from_secs(120)),
            max_payload: 1 << 20,
            max_file_store: None,
            extra_config: String::new(),
            binary: None,
            start_timeout: Duration::from_secs(20),
            stop_timeout: Duration::from_secs(10),
        }
    }

    /// The configuration file. It holds the token.
    pub(super) fn render(&self, name: &str, port: u16, monitor_port: u16, dir: &Path) -> String {
        let quoted = |path: &Path| quote(&path.to_string_lossy());
        let sync = match self.sync {
            SyncInterval::Always => "always".to_owned(),
            SyncInterval::Every(interval) => quote(&format!("{}ms", interval.as_millis().max(1))),
        };
        let mut text = format!(
            "server_name: {}\nhost: {}\nport: {port}\nhttp: \"127.0.0.1:{monitor_port}\"\n\
             log_file: {}\nlogfile_size_limit: 10MB\nlogfile_max_num: 3\nlogtime_utc: true\n\
             max_payload: {}\n",
            quote(name),
            quote(&self.host),
            quoted(&log_path(dir)),
            self.max_payload,
        );
        // Writing to a String cannot fail.
        if self.jetstream {
            let store = quoted(&dir.join("jetstream"));
            let _ = writeln!(text, "jetstream {{\n  store_dir: {store}\n  sync_interval: {sync}");
            if let Some(bytes) = self.max_file_store {
                let _ = writeln!(text, "  max_file_store: {bytes}");
            }
            text.push_str("}\n");
        }
        if let Some(token) = &self.token {
            let _ = writeln!(text, "authorization {{ token: {} }}", quote(token.expose_secret()));
        }
        text.push_str(&self.extra_config);
        text.push('\n');
        text
    }
}

/// The server's own log, kept to 3 x 10 MB by the server.
pub(super) fn log_path(dir: &Path) -> PathBuf {
    dir.join("nats.log")
}

fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_would_end_a_string() {
        assert_eq!(quote(r#"a "b" \c"#), r#""a \"b\" \\c""#);
    }

    #[test]
    fn debug_hides_the_token() {
        let options = NatsOptions { token: Some("hush-hush".into()), ..NatsOptions::new("/tmp/x") };
        assert!(!format!("{options:?}").contains("hush"));
        assert!(options.render("n", 1, 2, Path::new("/tmp/x")).contains("token: \"hush-hush\""));
    }
}
