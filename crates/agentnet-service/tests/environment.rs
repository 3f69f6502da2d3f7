//! `.env.example` names every variable that a program of the workspace reads, and no other.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends there")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// How variables of ours and of the original begin.
const PREFIXES: [&str; 18] = [
    "ACCOUNT_RESOLVE_",
    "AGENTNET_",
    "AGENT_",
    "DATABASE_URL",
    "DB_WRITE_",
    "DEV_AUTH",
    "GATEWAY_",
    "GC_INTERVAL_",
    "GUEST_RETENTION_",
    "HEARTBEAT_",
    "LOG_LEVEL",
    "NATS_URL",
    "PERSISTER_",
    "REGISTRY_",
    "SESSION_RETENTION_",
    "TASK_RETENTION_",
    "THREAD_",
    "TOKEN_ESTIMATE_",
];
/// Read by tests and benches only.
const OF_TESTS: [&str; 3] = ["AGENTNET_TEST_", "AGENTNET_BENCH_", "AGENTNET_FAULTS_"];
/// Read by compose and its images, or by nobody any more.
const ELSEWHERE: [&str; 6] =
    ["AGENTNET_BIND", "AGENTNET_HOST", "HTTP_PORT", "NATS_PORT", "POSTGRES_DB", "POSTGRES_USER"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// String literals of the programs that look like variables.
fn read_by_programs() -> BTreeSet<String> {
    let mut files = Vec::new();
    for group in ["crates", "services"] {
        for package in fs::read_dir(root().join(group)).unwrap() {
            sources(&package.unwrap().path().join("src"), &mut files);
        }
    }
    assert!(files.len() > 100, "{} files", files.len());
    let is_name = |text: &&str| {
        text.contains('_') && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    files
        .iter()
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            text.split('"').filter(is_name).map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        .filter(|name| !OF_TESTS.iter().any(|prefix| name.starts_with(prefix)))
        .collect()
}

#[test]
fn the_example_names_every_variable_once() {
    let text = fs::read_to_string(root().join(".env.example")).unwrap();
    let mut named = BTreeSet::new();
    for line in text.lines() {
        let Some((name, _)) = line.trim_start_matches('#').split_once('=') else { continue };
        if !name.starts_with(' ') {
            assert!(named.insert(name.to_owned()), "{name} stands twice");
        }
    }
    let wanted: BTreeSet<String> =
        read_by_programs().into_iter().chain(ELSEWHERE.map(str::to_owned)).collect();
    let missing: Vec<_> = wanted.difference(&named).collect();
    let unknown: Vec<_> = named.difference(&wanted).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}; read by nobody: {unknown:?}");
}
