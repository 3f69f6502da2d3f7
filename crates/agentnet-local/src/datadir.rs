//! What `agentnet up` keeps between runs.
//!
//! ```text
//! <data dir>/       0700; 0711 for root, so that the user Postgres runs as reaches its own part
//!   lock            pid of the `up` that runs here
//!   secrets/        0700, files 0600, made once
//!   identities/     0700, made by whoever makes the first one
//!   nats/           0700
//!   postgres/       0700, given to the user Postgres runs as
//! ```

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};

use crate::{Error, Result, error::io, files, lock, user};

/// A second `up` fails at once, but one that is just ending gets a moment.
const PATIENCE: Duration = Duration::from_millis(500);

/// The secrets that the servers need.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Token of the NATS server in the open and signed modes.
    pub nats_token: SecretString,
    /// Password of the Postgres superuser.
    pub postgres_password: SecretString,
}

/// A locked data directory. The lock ends with this value, or with the process however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    secrets: Secrets,
    _lock: File,
}

impl DataDir {
    /// Opens a data directory, making it and its secrets if they are new. Without a path: per user, and
    /// `/var/lib/agentnet` for root.
    ///
    /// # Errors
    /// `InUse` with the pid if another process has it open; `NotReachable` if, as root, the user that Postgres
    /// runs as cannot come here; `Io`.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => default_dir()?,
        };
        let run_as = user::unprivileged()?;
        files::create_dir(&path, if run_as.is_some() { 0o711 } else { 0o700 })?;
        let path = fs::canonicalize(&path).map_err(io("find", &path))?;
        if let Some(user) = &run_as {
            user.require_reach(&path)?;
        }
        let lock = lock::acquire_signed(&path.join("lock"), PATIENCE)?;
        let dir = path.join("secrets");
        files::create_dir(&dir, 0o700)?;
        let secrets = Secrets {
            nats_token: keep_secret(&dir, "nats-token")?,
            postgres_password: keep_secret(&dir, "postgres-password")?,
        };
        Ok(Self { path, secrets, _lock: lock })
    }

    /// The directory itself, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For [`crate::NatsOptions`].
    pub fn nats_dir(&self) -> PathBuf {
        self.path.join("nats")
    }

    /// For [`crate::PgOptions`].
    pub fn postgres_dir(&self) -> PathBuf {
        self.path.join("postgres")
    }

    /// The servers' secrets, the same at every opening.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// One more secret, made at the first call and found again later. `name` is a file name.
    ///
    /// # Errors
    /// `Io`.
    pub fn secret(&self, name: &str) -> Result<SecretString> {
        keep_secret(&self.path.join("secrets"), name)
    }

    /// As [`Self::secret`], for one that isn't just any text: `make` makes it.
    ///
    /// # Errors
    /// `Io`.
    pub fn secret_made_by(&self, name: &str, make: impl FnOnce() -> SecretString) -> Result<SecretString> {
        keep(&self.path.join("secrets"), name, make)
    }

    /// Identities of the person who runs the network here and of the demo's agents.
    pub fn identities_dir(&self) -> PathBuf {
        self.path.join("identities")
    }
}

fn keep_secret(dir: &Path, name: &str) -> Result<SecretString> {
    keep(dir, name, files::random_secret)
}

fn keep(dir: &Path, name: &str, make: impl FnOnce() -> SecretString) -> Result<SecretString> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => {
            // It may have been restored from a backup with other permissions.
            files::set_mode(&path, 0o600)?;
            Ok(text.trim().to_owned().into())
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("read", &path)(error)),
        _ => {
            let secret = make();
            files::write_private(&path, secret.expose_secret().as_bytes())?;
            Ok(secret)
        }
    }
}

fn default_dir() -> Result<PathBuf> {
    if user::is_root() {
        return Ok(PathBuf::from("/var/lib/agentnet"));
    }
    let dirs = directories::ProjectDirs::from("", "", "agentnet");
    dirs.map(|dirs| dirs.data_local_dir().to_owned()).ok_or_else(|| Error::Io {
        doing: "find",
        path: PathBuf::from("$HOME"),
        source: std::io::Error::new(std::io::ErrorKind::NotFound, "HOME is not set: name a data directory"),
    })
}
