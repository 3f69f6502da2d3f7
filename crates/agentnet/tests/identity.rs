//! Identity files on a real file system.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use agentnet::identity::{
    DIR_VARIABLE, ExportFormat, IdentityStore, KDF_ITERATIONS, KDF_LANES, KDF_MEMORY_KIB, MAX_RETIRED, Origin,
};
use agentnet::{
    IdentityError,
    proto::{ManualClock, Timestamp},
};
use secrecy::SecretString;
use serde_json::Value;

struct Place {
    dir: tempfile::TempDir,
    clock: ManualClock,
}

impl Place {
    fn new() -> Self {
        let start = Timestamp::parse("2026-11-21T10:00:00Z").unwrap();
        Self { dir: tempfile::tempdir().unwrap(), clock: ManualClock::new(start) }
    }

    fn store(&self) -> IdentityStore {
        IdentityStore::new(self.ids()).with_originals(self.originals()).with_clock(self.clock.shared())
    }

    fn ids(&self) -> PathBuf {
        self.dir.path().join("data/identities")
    }

    fn originals(&self) -> PathBuf {
        self.dir.path().join(".keys")
    }

    fn write_original(&self, file: &str, text: &str) {
        fs::create_dir_all(self.originals()).unwrap();
        fs::write(self.originals().join(file), text).unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn code<T: std::fmt::Debug>(result: Result<T, IdentityError>) -> &'static str {
    result.unwrap_err().code()
}

fn document(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

const ORIGINAL_SEED: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
const ORIGINAL_PUBLIC: &str = "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w";

fn original_text() -> String {
    format!("{{\n  \"private_key\": \"{ORIGINAL_SEED}\",\n  \"public_key\": \"{ORIGINAL_PUBLIC}\"\n}}")
}

#[test]
fn made_once_and_read_afterwards_in_private_files() {
    let place = Place::new();
    let store = place.store();
    assert_eq!(code(store.load("Weather Bot", None)), "identity_not_found");
    assert!(!place.ids().exists(), "reading makes nothing");
    let made = store.open_or_create("Weather Bot", None).unwrap();
    let read = place.store().open_or_create("Weather Bot", None).unwrap();
    assert_eq!(made.public_key(), read.public_key());
    assert_eq!((read.name(), read.origin()), ("Weather Bot", Origin::Store));
    assert_eq!(read.created_at().unwrap().to_string(), "2026-11-21T10:00:00Z");
    let path = place.ids().join("weather_bot.json");
    assert_eq!((mode(&path), mode(&place.ids())), (0o600, 0o700));
    assert_eq!(fs::read_dir(place.ids()).unwrap().count(), 1, "nothing else is left behind");
    assert_eq!(code(store.create("Weather Bot", None)), "identity_exists");
    assert_ne!(store.create("other", None).unwrap().public_key(), made.public_key());
    let document = document(&path);
    assert_eq!(document["format"], "agentnet-identity");
    assert_eq!(document["version"], 1);
    assert_eq!(document["public_key"], made.public_key().to_string());
}

#[test]
fn names_that_share_a_file_are_told_apart() {
    let place = Place::new();
    let store = place.store();
    let made = store.create("weather_bot", None).unwrap();
    for other in ["Weather_Bot", "weather bot", "../weather/bot", "-weather_bot"] {
        let error = store.open_or_create(other, None).unwrap_err();
        assert!(matches!(&error, IdentityError::NameTaken { by, .. } if by == "weather_bot"), "{error}");
        for code in [
            code(store.create(other, None)),
            code(store.rotate(other, None)),
            code(store.delete(other)),
            code(store.import(&original_text(), Some(other), None, None)),
        ] {
            assert_eq!(code, "identity_name_taken");
        }
    }
    assert_eq!(store.load("weather_bot", None).unwrap().public_key(), made.public_key());
    for bad in ["", "..", "a\0b", "天気"] {
        assert_eq!(code(store.open_or_create(bad, None)), "identity_name_invalid");
    }
}

#[test]
fn a_password_is_needed_and_must_be_the_right_one() {
    let place = Place::new();
    let store = place.store();
    let password = SecretString::from("correct horse");
    let made = store.create("bot", Some(&password)).unwrap();
    let path = place.ids().join("bot.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains(&made.key().expose_base64()), "the key isn't in the file");
    let sealed = &document(&path)["sealed"];
    assert_eq!(sealed["kdf"]["memory_kib"], KDF_MEMORY_KIB);
    assert_eq!(sealed["kdf"]["iterations"], KDF_ITERATIONS);
    assert_eq!(sealed["kdf"]["lanes"], KDF_LANES);
    const { assert!(KDF_MEMORY_KIB >= 19 * 1024, "below what OWASP asks for") };

    assert_eq!(code(store.load("bot", None)), "identity_password_required");
    assert_eq!(code(store.load("bot", Some(&"wrong".into()))), "identity_password_wrong");
    assert_eq!(code(store.create("empty", Some(&"".into()))), "identity_password_empty");
    assert_eq!(store.load("bot", Some(&password)).unwrap().public_key(), made.public_key());
    let found = store.find("bot").unwrap();
    assert!(found.is_encrypted && found.public_key == made.public_key(), "known without the password");

    // Rotation keeps it encrypted, under fresh salt and nonce.
    let rotated = store.rotate("bot", Some(&password)).unwrap();
    let after = document(&path);
    assert_ne!(after["sealed"]["kdf"]["salt"], sealed["kdf"]["salt"]);
    assert_ne!(after["sealed"]["nonce"], sealed["nonce"]);
    let text = fs::read_to_string(&path).unwrap();
    for key in [rotated.key(), made.key()] {
        assert!(!text.contains(&key.expose_base64()));
    }
    assert_eq!(
        store.load("bot", Some(&password)).unwrap().retired()[0].key.public_key(),
        made.key().public_key()
    );
}

#[test]
fn every_change_to_a_file_is_noticed() {
    let place = Place::new();
    let store = place.store();
    let password = SecretString::from("correct horse");
    store.create("plain", None).unwrap();
    store.create("sealed", Some(&password)).unwrap();
    let other = store.create("other", None).unwrap().public_key().to_string();
    type Change<'a> = &'a dyn Fn(&mut Value);
    let foreign: Change = &|d| d["format"] = "x".into();
    let newer: Change = &|d| d["version"] = 2.into();
    let swapped: Change = &|d| d["public_key"] = other.clone().into();
    let weak: Change = &|d| d["public_key"] = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into();
    let keyless: Change = &|d| {
        let map = d.as_object_mut().unwrap();
        map.remove("keys");
        map.remove("sealed");
    };
    let mut cases: Vec<(&str, Change, &str)> = Vec::new();
    for name in ["plain", "sealed"] {
        cases.push((name, foreign, "identity_damaged"));
        cases.push((name, newer, "identity_version_unsupported"));
        cases.push((name, weak, "identity_damaged"));
        cases.push((name, keyless, "identity_damaged"));
    }
    let halved: Change = &|d| d["keys"]["private_key"] = "AAAA".into();
    cases.push(("plain", swapped, "identity_damaged"));
    cases.push(("plain", halved, "identity_damaged"));
    let redated: Change = &|d| d["created_at"] = "2020-01-01T00:00:00Z".into();
    let greedy: Change = &|d| d["sealed"]["kdf"]["memory_kib"] = u32::MAX.into();
    let cheaper: Change = &|d| d["sealed"]["kdf"]["iterations"] = 1.into();
    let cut: Change = &|d| d["sealed"]["data"] = "AAAA".into();
    let method: Change = &|d| d["sealed"]["cipher"] = "rot13".into();
    let salt: Change = &|d| d["sealed"]["kdf"]["salt"] = "AA".into();
    cases.push(("sealed", swapped, "identity_password_wrong"));
    cases.push(("sealed", redated, "identity_password_wrong"));
    cases.push(("sealed", cheaper, "identity_password_wrong"));
    cases.push(("sealed", cut, "identity_password_wrong"));
    cases.push(("sealed", greedy, "identity_damaged"));
    cases.push(("sealed", method, "identity_damaged"));
    cases.push(("sealed", salt, "identity_damaged"));
    for (name, change, expected) in cases {
        let path = place.ids().join(format!("{name}.json"));
        let good = fs::read(&path).unwrap();
        let mut changed: Value = serde_json::from_slice(&good).unwrap();
        change(&mut changed);
        fs::write(&path, changed.to_string()).unwrap();
        let error = store.load(name, Some(&password)).unwrap_err();
        assert_eq!(error.code(), expected, "{name}: {changed}");
        assert_eq!(code(store.open_or_create(name, Some(&password))), expected, "it is never made anew");
        fs::write(&path, &good).unwrap();
    }
    for name in ["plain", "sealed"] {
        store.load(name, Some(&password)).expect("as it was");
    }
}

#[test]
fn damaged_files_are_refused_without_showing_them_and_can_be_deleted() {
    let place = Place::new();
    let store = place.store();
    store.create("bot", None).unwrap();
    let path = place.ids().join("bot.json");
    let big = vec![b' '; 100_000];
    for content in [&b""[..], b"[]", b"{\"private_key\":\"s3cret\"}", b"\xff\xfe", b"s3cret", &big] {
        fs::write(&path, content).unwrap();
        let error = store.load("bot", None).unwrap_err();
        assert_eq!(error.code(), "identity_damaged");
        assert!(error.to_string().contains("bot.json"), "{error}");
        assert!(!format!("{error:?} {error}").contains("s3cret"));
        let agent_error = agentnet::Error::from(error);
        assert!(!format!("{agent_error:?}").contains("s3cret"));
    }
    let listed = store.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].found.as_ref().unwrap_err().code(), "identity_damaged");
    store.delete("bot").unwrap();
    assert_eq!(code(store.delete("bot")), "identity_not_found");
    assert_eq!(code(place.store().delete("never")), "identity_not_found");
    // A pipe would make the reader wait for ever.
    nix_fifo(&path);
    assert_eq!(code(store.load("bot", None)), "identity_damaged");
}

fn nix_fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg("-m").arg("600").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn what_others_may_read_or_change_is_refused() {
    let place = Place::new();
    let store = place.store();
    store.create("bot", None).unwrap();
    let path = place.ids().join("bot.json");
    for open in [0o644, 0o640, 0o604, 0o660, 0o610] {
        set_mode(&path, open);
        let error = store.load("bot", None).unwrap_err();
        assert_eq!(error.code(), "identity_too_open", "{open:o}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert_eq!(code(store.rotate("bot", None)), "identity_too_open");
        assert_eq!(code(store.open_or_create("bot", None)), "identity_too_open");
    }
    set_mode(&path, 0o600);
    for open in [0o777, 0o770, 0o702] {
        set_mode(&place.ids(), open);
        let error = store.load("bot", None).unwrap_err();
        assert_eq!(error.code(), "identity_too_open", "{open:o}");
        assert!(error.to_string().contains("chmod 700"), "{error}");
        for code in [code(store.create("new", None)), code(store.list()), code(store.delete("bot"))] {
            assert_eq!(code, "identity_too_open");
        }
    }
    // Names may be seen: the files themselves stay closed.
    set_mode(&place.ids(), 0o755);
    store.load("bot", None).unwrap();
    assert_eq!(mode(&place.ids()), 0o755, "nothing is changed behind the owner's back");
}

#[test]
fn rotation_keeps_the_old_keys_until_they_are_forgotten() {
    let place = Place::new();
    let store = place.store();
    let first = store.create("bot", None).unwrap();
    place.clock.advance(Duration::from_secs(60));
    let second = store.rotate("bot", None).unwrap();
    assert_ne!(second.public_key(), first.public_key());
    let read = store.load("bot", None).unwrap();
    assert_eq!(read.public_key(), second.public_key());
    assert_eq!(read.created_at(), first.created_at());
    assert_eq!(read.retired().len(), 1);
    assert_eq!(read.retired()[0].key.verifying(), first.public_key());
    assert_eq!(read.retired()[0].retired_at.to_string(), "2026-11-21T10:01:00Z");
    for _ in 1..MAX_RETIRED {
        store.rotate("bot", None).unwrap();
    }
    let full = store.load("bot", None).unwrap();
    assert_eq!(full.retired().len(), MAX_RETIRED);
    assert_eq!(full.retired().last().unwrap().key.verifying(), first.public_key(), "the last one first");
    assert_eq!(code(store.rotate("bot", None)), "identity_too_many_keys");
    assert_eq!(store.load("bot", None).unwrap().public_key(), full.public_key(), "a refusal changes nothing");
    let forgotten = store.forget_retired("bot", None).unwrap();
    assert!(forgotten.retired().is_empty() && forgotten.public_key() == full.public_key());
    assert!(store.load("bot", None).unwrap().retired().is_empty());
    assert_eq!(mode(&place.ids().join("bot.json")), 0o600);
}

#[test]
fn all_who_start_at_once_get_one_key_and_no_rotation_is_lost() {
    let place = Place::new();
    let keys: Vec<String> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| place.store().open_or_create("bot", None).unwrap().public_key().to_string())
            })
            .collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    std::thread::scope(|scope| {
        for _ in 0..MAX_RETIRED {
            scope.spawn(|| place.store().rotate("bot", None).unwrap());
        }
    });
    assert_eq!(place.store().load("bot", None).unwrap().retired().len(), MAX_RETIRED);
}

#[test]
fn the_originals_key_files_are_read_and_left_alone() {
    let place = Place::new();
    let store = place.store();
    place.write_original("weather_bot.json", &original_text());
    let key = store.open_or_create("weather_bot", None).unwrap();
    assert_eq!(key.public_key().to_string(), ORIGINAL_PUBLIC);
    assert_eq!((key.origin(), key.created_at()), (Origin::Original, None));
    assert!(!place.ids().exists());
    assert_eq!(code(store.create("weather_bot", None)), "identity_exists");
    assert_eq!(code(store.rotate("weather_bot", None)), "identity_read_only");
    assert_eq!(code(store.delete("weather_bot")), "identity_read_only");
    let listed = store.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].found.as_ref().unwrap().origin, Origin::Original);
    // Taken in, it stands before the original's.
    let imported = store.import(&original_text(), Some("weather_bot"), None, None).unwrap();
    assert_eq!(imported.public_key(), key.public_key());
    assert_eq!(store.load("weather_bot", None).unwrap().origin(), Origin::Store);
    assert_eq!(store.list().unwrap().len(), 1);
    store.rotate("weather_bot", None).unwrap();
    assert_eq!(fs::read_to_string(place.originals().join("weather_bot.json")).unwrap(), original_text());

    place.write_original("broken.json", "{\"private_key\":\"s3cret\",\"public_key\":\"x\"}");
    let error = store.open_or_create("broken", None).unwrap_err();
    assert_eq!(error.code(), "identity_damaged");
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[test]
fn what_is_exported_can_be_imported() {
    let place = Place::new();
    let store = place.store();
    let (first, second) = (SecretString::from("first"), SecretString::from("second"));
    store.create("bot", Some(&first)).unwrap();
    let bot = store.rotate("bot", Some(&first)).unwrap();
    assert_eq!(code(store.export("bot", ExportFormat::Identity, None, None)), "identity_password_required");
    for format in [ExportFormat::Original, ExportFormat::NkeySeed] {
        let text = store.export("bot", format, Some(&first), None).unwrap();
        let elsewhere = Place::new();
        assert_eq!(code(elsewhere.store().import(&text, None, None, None)), "identity_name_missing");
        let copy = elsewhere.store().import(&text, Some("copy"), None, None).unwrap();
        assert_eq!((copy.name(), copy.public_key()), ("copy", bot.public_key()));
        assert_eq!(elsewhere.store().load("copy", None).unwrap().public_key(), bot.public_key());
    }
    let text = store.export("bot", ExportFormat::Identity, Some(&first), Some(&second)).unwrap();
    assert!(!text.contains(&bot.key().expose_base64()));
    let elsewhere = Place::new();
    assert_eq!(code(elsewhere.store().import(&text, None, None, None)), "identity_password_required");
    assert_eq!(code(elsewhere.store().import(&text, None, Some(&first), None)), "identity_password_wrong");
    assert!(!elsewhere.ids().exists());
    let copy = elsewhere.store().import(&text, None, Some(&second), None).unwrap();
    assert_eq!((copy.name(), copy.public_key(), copy.retired().len()), ("bot", bot.public_key(), 1));
    assert_eq!(copy.created_at(), bot.created_at());
    elsewhere.store().load("bot", None).expect("imported without a password");
    assert_eq!(code(elsewhere.store().import(&text, None, Some(&second), None)), "identity_exists");
    elsewhere.store().import(&text, Some("named"), Some(&second), Some(&first)).unwrap();
    assert_eq!(code(elsewhere.store().load("named", None)), "identity_password_required");
    for nothing in ["", "hello", "{}", "[]", "SUAAA", ORIGINAL_SEED] {
        assert_eq!(code(store.import(nothing, Some("x"), None, None)), "identity_unreadable", "{nothing}");
    }
}

/// A file of version 1 made by another implementation (Python's argon2-cffi and PyNaCl) from `docs/IDENTITY.md`.
/// Files like it are in users' homes: every later version has to open it.
#[test]
fn a_file_of_another_implementation_opens() {
    let place = Place::new();
    let store = place.store();
    store.create("makes_the_directory", None).unwrap();
    let path = place.ids().join("weather_bot.json");
    fs::write(&path, include_str!("vectors/identity_v1.json")).unwrap();
    set_mode(&path, 0o600);
    let read = store.load("Weather Bot", Some(&"correct horse battery staple".into())).unwrap();
    assert_eq!(read.public_key().to_string(), "5JWObRf2waToJwZU2Q0XKwh8qTjfl2fVeLWkKpv9HPM");
    assert_eq!(read.retired()[0].key.public_key(), ORIGINAL_PUBLIC);
    assert_eq!(read.retired()[0].retired_at.to_string(), "2026-11-21T10:01:00.250000Z");
    assert_eq!(code(store.load("Weather Bot", Some(&"correct horse".into()))), "identity_password_wrong");
}

#[test]
fn debug_shows_no_secret() {
    let place = Place::new();
    let store = place.store();
    let password = SecretString::from("correct horse");
    let first = store.create("bot", Some(&password)).unwrap();
    let bot = store.rotate("bot", Some(&password)).unwrap();
    let shown = format!("{store:?} {bot:?} {:?} {:?}", bot.retired(), store.list().unwrap());
    for secret in [&first, &bot] {
        assert!(shown.contains(&secret.public_key().to_string()));
        assert!(!shown.contains(&secret.key().expose_base64()));
    }
}

#[test]
fn the_directory_comes_from_the_environment() {
    let named = |pairs: &'static [(&str, &str)]| {
        move |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    };
    let store = IdentityStore::from_lookup(&named(&[(DIR_VARIABLE, "/some/where")])).unwrap();
    assert_eq!(store.dir(), Path::new("/some/where"));
    let store = IdentityStore::from_lookup(&named(&[(DIR_VARIABLE, " ")])).unwrap();
    assert!(store.dir().ends_with("agentnet/identities"), "{}", store.dir().display());
}

#[test]
fn a_link_in_the_directory_leads_to_no_surprise() {
    let place = Place::new();
    let store = place.store();
    store.create("bot", None).unwrap();
    let target = place.dir.path().join("outside.json");
    fs::rename(place.ids().join("bot.json"), &target).unwrap();
    symlink(&target, place.ids().join("bot.json")).unwrap();
    let before = fs::read(&target).unwrap();
    store.load("bot", None).unwrap();
    assert_eq!(code(store.create("bot", None)), "identity_exists");
    store.rotate("bot", None).unwrap();
    assert_eq!(fs::read(&target).unwrap(), before, "what the link led to is not written through it");
    assert_eq!(mode(&place.ids().join("bot.json")), 0o600);
}
