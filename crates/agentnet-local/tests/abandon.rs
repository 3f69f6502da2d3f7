//! Giving up while a package client is at work. In a binary of its own: nothing is installed afterwards.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::{fs, path::Path};

use agentnet_local::{Search, abandon_installs, testing::eventually};
use common::{PATIENCE, script};
use nix::{sys::signal::kill, unistd::Pid};

fn leftovers(cache: &Path) -> Vec<String> {
    let names = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('.')).collect()
}

#[tokio::test]
async fn package_clients_end_with_their_children_and_leave_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (bin, cache) = (root.path().join("bin"), root.path().join("cache"));
    fs::create_dir(&bin).unwrap();
    // What an installation left that was killed, and what isn't ours.
    fs::create_dir_all(cache.join(".installing-nats-server-2.15.1-killed/deep")).unwrap();
    fs::create_dir(cache.join(".other")).unwrap();
    let pids = root.path().join("pids");
    let told = pids.display();
    script(
        &bin.join("python3"),
        &format!("/bin/sleep 600 & echo $$ $! > {told}.new; /bin/mv {told}.new {told}; wait"),
    );
    // Were it asked, it would say so.
    script(&bin.join("pip3"), &format!("echo asked > {told}.second"));
    let mut search = Search::from_lookup(|name| (name == "AGENTNET_CACHE_DIR").then(|| cache.clone().into()));
    (search.nats_usual, search.path) = (Vec::new(), vec![bin]);
    let installing = tokio::task::spawn_blocking(move || search.nats());
    let running: Vec<i32> = eventually(PATIENCE, || async {
        let text = fs::read_to_string(&pids).ok()?;
        Some(text.split_whitespace().map(|pid| pid.parse().unwrap()).collect())
    })
    .await;
    assert_eq!(running.len(), 2);
    assert_eq!(leftovers(&cache).len(), 2, "{:?}", leftovers(&cache));
    tokio::task::spawn_blocking(abandon_installs).await.unwrap();
    assert_eq!(leftovers(&cache), [".other"]);
    for pid in running {
        eventually(PATIENCE, || async { !is_running(pid) }).await;
    }
    let error = installing.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("given up"), "{error}");
    assert!(!root.path().join("pids.second").exists());
}

/// A child that nobody has waited for yet is dead all the same.
fn is_running(pid: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let is_zombie =
        state.is_some_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')));
    !is_zombie && kill(Pid::from_raw(pid), None).is_ok()
}
