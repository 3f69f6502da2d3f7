//! The original's key files: `<dir>/<name>.json` with `private_key` and `public_key`, used as they are in `DEV_AUTH`.

use std::{
    fs,
    io::{ErrorKind as Io, Write as _},
    path::{Path, PathBuf},
};

use agentnet_proto::dev_auth::SecretKey;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};

/// `DEV_AUTH_KEY_DIR` when unset.
pub const DEFAULT_KEY_DIR: &str = ".keys";

/// The file name of a username's or agent's key, as the original makes it.
pub fn key_file_name(name: &str) -> String {
    let safe: String = name
        .chars()
        .map(|c| if c.is_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' })
        .collect();
    format!("{}.json", safe.trim_matches(['.', '_', '-']))
}

#[derive(Deserialize)]
struct KeyFile {
    private_key: SecretString,
    public_key: String,
}

/// Reads the key in `dir`, or makes one, readable by its owner only.
pub(crate) fn load_or_create(dir: &Path, name: &str) -> Result<SecretKey, Error> {
    let path = dir.join(key_file_name(name));
    match fs::read(&path) {
        Ok(text) => parse(&path, &text),
        Err(error) if error.kind() == Io::NotFound => create(dir, &path),
        Err(error) => Err(failed("can't be read", &path).source_of(error)),
    }
}

fn failed(what: &str, path: &Path) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("the key file {} {what}", path.display()))
}

pub(super) fn parse(path: &Path, text: &[u8]) -> Result<SecretKey, Error> {
    // The error of the parser could quote the file; it is left out.
    let file: KeyFile = serde_json::from_slice(text)
        .map_err(|_| failed("isn't a JSON object with `private_key` and `public_key`", path))?;
    let key = SecretKey::from_base64(file.private_key.expose_secret())
        .map_err(|e| failed("holds no ed25519 key", path).source_of(e))?;
    if key.public_key() == file.public_key.trim_end_matches('=') {
        Ok(key)
    } else {
        Err(failed("holds a public key that doesn't belong to its private key", path))
    }
}

/// The text of the key's file.
pub(super) fn text(key: &SecretKey) -> Zeroizing<String> {
    let secret = Zeroizing::new(key.expose_base64());
    Zeroizing::new(format!(
        "{{\n  \"private_key\": \"{}\",\n  \"public_key\": \"{}\"\n}}",
        *secret,
        key.public_key()
    ))
}

fn create(dir: &Path, path: &Path) -> Result<SecretKey, Error> {
    let create_failed = |e: std::io::Error| failed("can't be created", path).source_of(e);
    fs::create_dir_all(dir).map_err(create_failed)?;
    let key = SecretKey::generate();
    let text = text(&key);
    // Written aside and linked into place: whoever reads meanwhile sees a whole file or none, and of two processes
    // that start at once both use the key of the first.
    let aside = PathBuf::from(format!("{}.{}.tmp", path.display(), std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(&aside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::hard_link(&aside, path));
    let _ = fs::remove_file(&aside);
    match written {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == Io::AlreadyExists => {
            parse(path, &fs::read(path).map_err(|e| failed("can't be read", path).source_of(e))?)
        }
        Err(error) => Err(create_failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_originals() {
        assert_eq!(key_file_name("weather_bot"), "weather_bot.json");
        assert_eq!(key_file_name("../a b/c"), "a_b_c.json");
        assert_eq!(key_file_name("._-x-_."), "x.json");
    }

    #[test]
    fn a_key_is_made_once_and_read_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let first = load_or_create(&keys, "bot").unwrap();
        let second = load_or_create(&keys, "bot").unwrap();
        assert_eq!(first.public_key(), second.public_key());
        assert_ne!(load_or_create(&keys, "other").unwrap().public_key(), first.public_key());
        assert_eq!(fs::read_dir(&keys).unwrap().count(), 2, "nothing else is left behind");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(keys.join("bot.json")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_broken_file_is_refused_without_showing_it() {
        let dir = tempfile::tempdir().unwrap();
        let pair =
            format!(r#"{{"private_key":"{}","public_key":"x"}}"#, SecretKey::generate().expose_base64());
        for text in ["", "[]", r#"{"private_key":"s3cret","public_key":"x"}"#, &pair] {
            fs::write(dir.path().join("bot.json"), text).unwrap();
            let error = load_or_create(dir.path(), "bot").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains("bot.json"), "{error}");
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
    }
}
