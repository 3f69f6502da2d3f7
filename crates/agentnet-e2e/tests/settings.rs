//! `.env.example` lists every variable that the services, the client and the command line read.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What the names of our variables start with.
const PREFIXES: &[&str] = &[
    "AGENTNET_",
    "AGENT_",
    "ACCOUNT_RESOLVE_",
    "DATABASE_",
    "DB_WRITE_",
    "DEV_AUTH",
    "GC_",
    "HEARTBEAT_",
    "LOG_LEVEL",
    "NATS_URL",
    "PERSISTER_",
    "REGISTRY_",
    "SESSION_",
    "THREAD_",
    "TOKEN_",
];
/// Read by tests and the fault harness only, or of no concern to an operator.
const INTERNAL: &[&str] = &["AGENTNET_TEST_OWNER"];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn variables_read(root: &Path) -> BTreeSet<String> {
    let mut files = Vec::new();
    for group in ["crates", "services"] {
        for entry in fs::read_dir(root.join(group)).unwrap() {
            let path = entry.unwrap().path();
            if !path.ends_with("agentnet-e2e") && path.join("src").is_dir() {
                sources(&path.join("src"), &mut files);
            }
        }
    }
    let mut names = BTreeSet::new();
    for file in files {
        for (at, literal) in fs::read_to_string(&file).unwrap().split('"').enumerate() {
            let is_name = at % 2 == 1
                && !literal.is_empty()
                && literal.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            if is_name && literal.contains('_') && PREFIXES.iter().any(|p| literal.starts_with(p)) {
                names.insert(literal.to_owned());
            }
        }
    }
    names
}

#[test]
fn the_example_lists_every_variable() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let listed: BTreeSet<String> = fs::read_to_string(root.join(".env.example"))
        .unwrap()
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('='))
        .map(|(name, _)| name.trim().to_owned())
        .collect();
    let read = variables_read(&root);
    assert!(
        read.contains("DATABASE_URL") && read.contains("AGENT_TTL_SECONDS"),
        "the scan finds nothing: {read:?}"
    );
    let missing: Vec<_> =
        read.iter().filter(|n| !listed.contains(*n) && !INTERNAL.contains(&n.as_str())).collect();
    assert!(missing.is_empty(), ".env.example lacks {missing:?}");
}
