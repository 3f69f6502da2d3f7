//! The data directory of `agentnet up`.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use agentnet_local::{DataDir, Error};
use common::spacious_dir;
use secrecy::ExposeSecret;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn secrets_are_made_once_and_private() {
    let root = spacious_dir();
    let path = root.path().join("deep/er");
    let first = DataDir::open(Some(&path)).unwrap();
    let token = first.secrets().nats_token.expose_secret().to_owned();
    let password = first.secrets().postgres_password.expose_secret().to_owned();
    let own = first.secret("more").unwrap().expose_secret().to_owned();
    assert_eq!(token.len(), 43);
    assert!(token != password && token != own);
    assert_eq!(mode(&path.join("secrets")), 0o700);
    for name in ["nats-token", "postgres-password", "more"] {
        assert_eq!(mode(&path.join("secrets").join(name)), 0o600, "{name}");
    }
    let expected = if nix::unistd::geteuid().is_root() { 0o711 } else { 0o700 };
    assert_eq!(mode(&path), expected);
    assert!(!format!("{first:?}").contains(&token));
    drop(first);

    fs::set_permissions(path.join("secrets/nats-token"), PermissionsExt::from_mode(0o644)).unwrap();
    let second = DataDir::open(Some(&path)).unwrap();
    assert_eq!(second.secrets().nats_token.expose_secret(), token);
    assert_eq!(second.secrets().postgres_password.expose_secret(), password);
    assert_eq!(second.secret("more").unwrap().expose_secret(), own);
    assert_eq!(mode(&path.join("secrets/nats-token")), 0o600);
}

#[test]
fn two_at_once_are_told_apart_by_pid() {
    let root = spacious_dir();
    let first = DataDir::open(Some(root.path())).unwrap();
    let error = DataDir::open(Some(root.path())).unwrap_err();
    assert!(matches!(error, Error::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error:?}");
    drop(first);
    DataDir::open(Some(root.path())).unwrap();
}

#[test]
fn a_file_in_the_way_is_named() {
    let root = spacious_dir();
    let path = root.path().join("file");
    fs::write(&path, "").unwrap();
    let error = DataDir::open(Some(&path)).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
    assert_eq!(error.code(), "io");
}
