//! The directory of identities.

use std::{
    fs,
    path::{Path, PathBuf},
};

use agentnet_proto::{SharedClock, SystemClock, Timestamp, signature::PublicKey, signature::SecretKey};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{
    DIR_VARIABLE, ExportFormat, Identity, IdentityError, MAX_RETIRED, Origin, RetiredKey, document::Document,
    name::file_name, original, private_file, text,
};

/// Most files that [`IdentityStore::list`] looks at.
const MAX_LISTED: usize = 10_000;

/// A directory of identity files. Everything it does is blocking: files, and for a password some tenths of a second.
///
/// Changes take a lock, so that of two processes that rotate one key neither loses the other's.
#[derive(Debug, Clone)]
pub struct IdentityStore {
    dir: PathBuf,
    original_dir: Option<PathBuf>,
    clock: SharedClock,
}

/// One file of the directory.
#[derive(Debug)]
pub struct Listed {
    /// The file.
    pub path: PathBuf,
    /// What it says, or what is wrong with it.
    pub found: Result<Found, IdentityError>,
}

/// What a file says about itself. Nothing in it has been proved: that takes the key.
#[derive(Debug, Clone)]
pub struct Found {
    /// The identity's name.
    pub name: String,
    /// Its public key.
    pub public_key: PublicKey,
    /// When it was made; key files of the original don't say.
    pub created_at: Option<Timestamp>,
    /// Whether it takes a password to use it.
    pub is_encrypted: bool,
    /// What kind of file it is.
    pub origin: Origin,
}

impl IdentityStore {
    /// The directory `dir`, made when the first identity is.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), original_dir: None, clock: SystemClock::shared() }
    }

    /// Reads key files of the original in `dir` where there is no identity of the name.
    #[must_use]
    pub fn with_originals(mut self, dir: impl Into<PathBuf>) -> Self {
        self.original_dir = Some(dir.into());
        self
    }

    /// Takes the time of creation and rotation from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// The directory that [`DIR_VARIABLE`] names, else `identities` in the user's data directory; the original's files
    /// in `DEV_AUTH_KEY_DIR`, else `.keys`.
    ///
    /// # Errors
    /// [`IdentityError::NoDirectory`].
    pub fn from_env() -> Result<Self, IdentityError> {
        Self::from_lookup(&|name| std::env::var(name).ok())
    }

    /// [`Self::from_env`] with another environment.
    ///
    /// # Errors
    /// [`IdentityError::NoDirectory`].
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, IdentityError> {
        let set = |name: &str| lookup(name).filter(|value| !value.trim().is_empty()).map(PathBuf::from);
        let dir = match set(DIR_VARIABLE) {
            Some(dir) => dir,
            None => directories::ProjectDirs::from("", "", "agentnet")
                .ok_or(IdentityError::NoDirectory)?
                .data_local_dir()
                .join("identities"),
        };
        let originals = set("DEV_AUTH_KEY_DIR").unwrap_or_else(|| original::DEFAULT_KEY_DIR.into());
        Ok(Self::new(dir).with_originals(originals))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of the identity `name`, whether it exists or not.
    ///
    /// # Errors
    /// [`IdentityError::NameInvalid`].
    pub fn path_of(&self, name: &str) -> Result<PathBuf, IdentityError> {
        Ok(self.dir.join(file_name(name)?))
    }

    /// The original's key file of `name`, whether it exists or not; `None` where none are read.
    pub fn original_path_of(&self, name: &str) -> Option<PathBuf> {
        self.original_dir.as_ref().map(|dir| dir.join(original::key_file_name(name)))
    }

    /// Makes an identity, encrypted when there is a password.
    ///
    /// # Errors
    /// [`IdentityError::Exists`], also for a key file of the original; [`IdentityError::NameTaken`]; what the disk says.
    pub fn create(&self, name: &str, password: Option<&SecretString>) -> Result<Identity, IdentityError> {
        let path = self.path_of(name)?;
        if self.original(name)?.is_some() && self.read(&path)?.is_none() {
            return Err(IdentityError::Exists { name: name.to_owned() });
        }
        let identity = Identity {
            name: name.to_owned(),
            key: SecretKey::generate(),
            retired: Vec::new(),
            created_at: None,
            origin: Origin::Store,
        };
        self.place(identity, password)
    }

    /// Reads an identity. A password that the file doesn't need is not looked at.
    ///
    /// # Errors
    /// [`IdentityError::NotFound`], [`IdentityError::PasswordRequired`], [`IdentityError::PasswordWrong`],
    /// [`IdentityError::Damaged`], [`IdentityError::TooOpen`], and others.
    pub fn load(&self, name: &str, password: Option<&SecretString>) -> Result<Identity, IdentityError> {
        let path = self.path_of(name)?;
        if let Some(document) = self.read_named(&path, name)? {
            return document.open(&path, password);
        }
        match self.original(name)? {
            Some((_, key)) => Ok(Identity {
                name: name.to_owned(),
                key,
                retired: Vec::new(),
                created_at: None,
                origin: Origin::Original,
            }),
            None => Err(self.not_found(name)),
        }
    }

    /// [`Self::load`], else [`Self::create`]. Of several processes that start at once all get the same key.
    ///
    /// # Errors
    /// As both.
    pub fn open_or_create(
        &self,
        name: &str,
        password: Option<&SecretString>,
    ) -> Result<Identity, IdentityError> {
        match self.load(name, password) {
            Err(IdentityError::NotFound { .. }) => match self.create(name, password) {
                Err(IdentityError::Exists { .. }) => self.load(name, password),
                created => created,
            },
            loaded => loaded,
        }
    }

    /// What the file of `name` says about itself, without its password.
    ///
    /// # Errors
    /// As [`Self::load`], the password aside.
    pub fn find(&self, name: &str) -> Result<Found, IdentityError> {
        if let Some(document) = self.read_named(&self.path_of(name)?, name)? {
            return Ok(Found::of(&document));
        }
        let (_, key) = self.original(name)?.ok_or_else(|| self.not_found(name))?;
        Ok(Found::original(name, &key))
    }

    /// Every identity, by name; files that can't be read are listed with the reason. The original's key files come
    /// last, as far as no identity stands before them.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn list(&self) -> Result<Vec<Listed>, IdentityError> {
        private_file::check_dir(&self.dir)?;
        let mut listed: Vec<Listed> = json_files(&self.dir)?
            .into_iter()
            .filter_map(|path| {
                let found = self.read(&path).transpose()?.map(|document| Found::of(&document));
                Some(Listed { path, found })
            })
            .collect();
        for path in self.original_dir.as_deref().map_or(Ok(Vec::new()), json_files)? {
            let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            let is_known = listed.iter().any(|one| one.found.as_ref().is_ok_and(|found| found.name == name));
            if !is_known && let Some(key) = read_original(&path).transpose() {
                let found = key.map(|key| Found::original(name, &key));
                listed.push(Listed { path, found });
            }
        }
        Ok(listed)
    }

    /// Replaces the key by a new one. The old one stays in the file, because the network wants its signature for the
    /// change; [`Self::forget_retired`] drops it afterwards.
    ///
    /// # Errors
    /// As [`Self::load`]; [`IdentityError::TooManyKeys`]; [`IdentityError::ReadOnly`] for a file of the original.
    pub fn rotate(&self, name: &str, password: Option<&SecretString>) -> Result<Identity, IdentityError> {
        self.change(name, password, |identity, now| {
            if identity.retired.len() >= MAX_RETIRED {
                return Err(IdentityError::TooManyKeys { name: name.to_owned() });
            }
            let key = std::mem::replace(&mut identity.key, SecretKey::generate());
            identity.retired.insert(0, RetiredKey { key, retired_at: now });
            Ok(())
        })
    }

    /// Drops the keys that were replaced, once the network has bound the current one.
    ///
    /// # Errors
    /// As [`Self::load`]; [`IdentityError::ReadOnly`] for a file of the original.
    pub fn forget_retired(
        &self,
        name: &str,
        password: Option<&SecretString>,
    ) -> Result<Identity, IdentityError> {
        self.change(name, password, |identity, _| {
            identity.retired.clear();
            Ok(())
        })
    }

    /// Removes an identity, also a damaged or encrypted one. Its key is gone.
    ///
    /// # Errors
    /// [`IdentityError::NotFound`]; [`IdentityError::NameTaken`] when the file is another's;
    /// [`IdentityError::ReadOnly`] for a file of the original.
    pub fn delete(&self, name: &str) -> Result<(), IdentityError> {
        let path = self.path_of(name)?;
        if !private_file::check_dir(&self.dir)? {
            return Err(self.absent(name));
        }
        let _lock = private_file::lock(&self.dir)?;
        match self.read_named(&path, name) {
            Ok(None) => return Err(self.absent(name)),
            Err(error @ IdentityError::NameTaken { .. }) => return Err(error),
            Ok(Some(_)) | Err(_) => {}
        }
        fs::remove_file(&path).map_err(IdentityError::io("remove", path))
    }

    /// Writes an identity out as text that holds its secret key. `password` opens the file, `seal` encrypts the text
    /// (of [`ExportFormat::Identity`] only).
    ///
    /// # Errors
    /// As [`Self::load`]; [`IdentityError::PasswordEmpty`].
    pub fn export(
        &self,
        name: &str,
        format: ExportFormat,
        password: Option<&SecretString>,
        seal: Option<&SecretString>,
    ) -> Result<Zeroizing<String>, IdentityError> {
        text::export(&self.load(name, password)?, format, self.clock.now(), seal)
    }

    /// Takes in what [`Self::export`] wrote, a key file of the original or a NATS user seed. `name` is needed where the
    /// text has none, and wins where it has; `password` opens the text, `seal` encrypts the new file.
    ///
    /// # Errors
    /// [`IdentityError::NotAnIdentity`], [`IdentityError::NameMissing`], [`IdentityError::Exists`], and those of
    /// [`Self::load`].
    pub fn import(
        &self,
        text: &str,
        name: Option<&str>,
        password: Option<&SecretString>,
        seal: Option<&SecretString>,
    ) -> Result<Identity, IdentityError> {
        self.place(text::import(text, name, password)?, seal)
    }

    /// Writes a new file.
    fn place(
        &self,
        mut identity: Identity,
        password: Option<&SecretString>,
    ) -> Result<Identity, IdentityError> {
        let path = self.path_of(&identity.name)?;
        let created_at = *identity.created_at.get_or_insert_with(|| self.clock.now());
        let content = Document::write(&identity, created_at, password)?;
        private_file::ensure_dir(&self.dir)?;
        if private_file::write(&path, &content, false)? {
            return Ok(identity);
        }
        self.read_named(&path, &identity.name)?;
        Err(IdentityError::Exists { name: identity.name })
    }

    fn change(
        &self,
        name: &str,
        password: Option<&SecretString>,
        change: impl FnOnce(&mut Identity, Timestamp) -> Result<(), IdentityError>,
    ) -> Result<Identity, IdentityError> {
        let path = self.path_of(name)?;
        if !private_file::check_dir(&self.dir)? {
            return Err(self.absent(name));
        }
        let _lock = private_file::lock(&self.dir)?;
        let document = self.read_named(&path, name)?.ok_or_else(|| self.absent(name))?;
        let (is_encrypted, created_at) = (document.sealed.is_some(), document.created_at);
        let mut identity = document.open(&path, password)?;
        change(&mut identity, self.clock.now())?;
        let content = Document::write(&identity, created_at, password.filter(|_| is_encrypted))?;
        private_file::write(&path, &content, true)?;
        Ok(identity)
    }

    /// Nothing of that name that could be changed.
    fn absent(&self, name: &str) -> IdentityError {
        match self.original(name) {
            Ok(Some((path, _))) => IdentityError::ReadOnly { path },
            Err(error) => error,
            Ok(None) => self.not_found(name),
        }
    }

    fn not_found(&self, name: &str) -> IdentityError {
        IdentityError::NotFound { name: name.to_owned(), dir: self.dir.clone() }
    }

    fn read(&self, path: &Path) -> Result<Option<Document>, IdentityError> {
        if !private_file::check_dir(&self.dir)? {
            return Ok(None);
        }
        let Some(text) = private_file::read(path, true)? else { return Ok(None) };
        Document::parse(path, &text).map(Some)
    }

    /// The document at `path`, which must be of the identity `name`.
    fn read_named(&self, path: &Path, name: &str) -> Result<Option<Document>, IdentityError> {
        match self.read(path)? {
            Some(document) if document.name != name => {
                Err(IdentityError::NameTaken { name: name.to_owned(), by: document.name })
            }
            found => Ok(found),
        }
    }

    /// The original's key of that name.
    fn original(&self, name: &str) -> Result<Option<(PathBuf, SecretKey)>, IdentityError> {
        let Some(path) = self.original_path_of(name) else { return Ok(None) };
        Ok(read_original(&path)?.map(|key| (path, key)))
    }
}

impl Found {
    fn of(document: &Document) -> Self {
        Self {
            name: document.name.clone(),
            public_key: document.public_key,
            created_at: Some(document.created_at),
            is_encrypted: document.sealed.is_some(),
            origin: Origin::Store,
        }
    }

    fn original(name: &str, key: &SecretKey) -> Self {
        Self {
            name: name.to_owned(),
            public_key: key.verifying(),
            created_at: None,
            is_encrypted: false,
            origin: Origin::Original,
        }
    }
}

/// The original made its files as the umask said, so theirs may be readable by others.
fn read_original(path: &Path) -> Result<Option<SecretKey>, IdentityError> {
    let Some(text) = private_file::read(path, false)? else { return Ok(None) };
    let damaged = |_| IdentityError::damaged(path, "it is no key file of the original AgentNet");
    original::parse(path, &text).map(Some).map_err(damaged)
}

/// The JSON files of a directory, in order; none where there is no directory.
fn json_files(dir: &Path) -> Result<Vec<PathBuf>, IdentityError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(IdentityError::io("read", dir)(error)),
    };
    let mut paths: Vec<PathBuf> = entries
        .take(MAX_LISTED)
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    Ok(paths)
}
