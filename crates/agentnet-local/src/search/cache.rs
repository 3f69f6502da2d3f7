//! Where installed binaries are kept.

use std::path::PathBuf;

use crate::user;

/// Per user; for root a place that the user Postgres runs as can enter.
pub(super) fn default_dir() -> Option<PathBuf> {
    if user::is_root() {
        return Some(PathBuf::from("/var/cache/agentnet"));
    }
    directories::ProjectDirs::from("", "", "agentnet").map(|dirs| dirs.cache_dir().to_owned())
}
