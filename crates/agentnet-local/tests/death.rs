//! Nothing outlives its owner, however that ends.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::path::{Path, PathBuf};

use agentnet_local::{
    DataDir, Error, NatsOptions, NatsServer, PgOptions, PostgresServer,
    testing::{TestDb, TestNats},
};
use common::{Helper, alive, spacious_dir, until, wait_for_the_end};

/// As `agentnet up` does it.
fn start_in(dir: &DataDir) -> (NatsServer, PostgresServer) {
    let nats =
        NatsOptions { token: Some(dir.secrets().nats_token.clone()), ..NatsOptions::new(dir.nats_dir()) };
    let postgres = PgOptions::new(dir.postgres_dir(), dir.secrets().postgres_password.clone());
    (NatsServer::start(nats).unwrap(), PostgresServer::start(postgres).unwrap())
}

#[tokio::test]
#[ignore = "a helper of the tests below"]
async fn helper_up() {
    let Ok(dir) = std::env::var("HELPER_DIR") else { return };
    let dir = DataDir::open(Some(Path::new(&dir))).unwrap();
    let (nats, postgres) = start_in(&dir);
    postgres.create_database("kept").await.unwrap();
    println!("@{} {}", nats.pid().unwrap(), postgres.pid().unwrap());
    wait_for_the_end();
}

#[tokio::test]
async fn servers_end_when_we_are_killed_and_the_next_finds_the_data() {
    let root = spacious_dir();
    let dir = root.path().join("data dir");
    let mut helper = Helper::start("helper_up", &[("HELPER_DIR", dir.to_str().unwrap())]);
    let line = helper.line();
    let pids: Vec<u32> = line.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| alive(*pid)));

    // A second one is refused, by name.
    let error = DataDir::open(Some(&dir)).unwrap_err();
    assert!(matches!(error, Error::InUse { pid: Some(pid), .. } if pid == helper.child.id()), "{error:?}");
    assert!(error.to_string().contains(&helper.child.id().to_string()));

    helper.kill();
    // At once, while the watchdogs are still stopping the servers.
    let again = DataDir::open(Some(&dir)).unwrap();
    let (_nats, postgres) = start_in(&again);
    assert!(!pids.iter().any(|pid| alive(*pid)), "the start did not wait for the former servers");
    assert!(!postgres.create_database("kept").await.unwrap());
}

#[test]
fn servers_end_when_we_are_killed_and_nobody_comes() {
    let root = spacious_dir();
    let mut helper = Helper::start("helper_up", &[("HELPER_DIR", root.path().to_str().unwrap())]);
    let line = helper.line();
    let pids: Vec<u32> = line.split(' ').map(|pid| pid.parse().unwrap()).collect();
    helper.kill();
    until("both servers are gone", || !pids.iter().any(|pid| alive(*pid)));
    let name = root.path().to_str().unwrap().to_owned();
    until("so are their watchdogs", || {
        let output = std::process::Command::new("ps").args(["-eo", "args"]).output().unwrap();
        !String::from_utf8_lossy(&output.stdout).contains(&name)
    });
}

#[test]
#[ignore = "a helper of the test below"]
fn helper_nats() {
    if std::env::var_os("HELPER_NATS").is_none() {
        return;
    }
    let nats = TestNats::start();
    println!("@{} {}", nats.pid().unwrap(), nats.dir().display());
    wait_for_the_end();
}

#[test]
fn a_crashed_test_leaves_no_nats_behind() {
    let mut helper = Helper::start("helper_nats", &[("HELPER_NATS", "1")]);
    let line = helper.line();
    let (pid, dir) = line.split_once(' ').unwrap();
    assert!(alive(pid.parse().unwrap()) && Path::new(dir).exists());
    helper.kill();
    until("server and directory are gone", || !alive(pid.parse().unwrap()) && !Path::new(dir).exists());
}

#[tokio::test]
#[ignore = "a helper of the tests below"]
async fn helper_database() {
    if std::env::var_os("AGENTNET_TEST_OWNER").is_none() {
        return;
    }
    let database = TestDb::create().await;
    println!("@{}", database.url());
    wait_for_the_end();
}

#[test]
fn processes_of_one_run_share_a_cluster_that_ends_with_the_run() {
    // The run.
    let mut run = std::process::Command::new("sh")
        .args(["-c", "read line"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let owner = run.id().to_string();
    let base = std::env::temp_dir().join(format!("agentnet-test-{}", nix::unistd::geteuid()));
    let env = [("AGENTNET_TEST_OWNER", owner.as_str())];
    let mut helpers = [(); 3].map(|()| Helper::start("helper_database", &env));
    let urls: Vec<url::Url> = helpers.iter_mut().map(|helper| helper.line().parse().unwrap()).collect();
    assert!(urls.iter().all(|url| url.port() == urls[0].port()), "three clusters: {urls:?}");
    assert!(urls[0].path() != urls[1].path() && urls[1].path() != urls[2].path());
    let left = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&base).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{owner}-")))
            .collect()
    };
    assert_eq!(left().len(), 2, "{:?}", left());

    // The test binaries crash; the cluster stays for the next one of the same run.
    for helper in helpers {
        helper.kill();
    }
    let mut next = Helper::start("helper_database", &env);
    let url: url::Url = next.line().parse().unwrap();
    assert_eq!(url.port(), urls[0].port());
    let postmaster = server_pid(&left());
    assert!(alive(postmaster));
    next.kill();

    run.kill().unwrap();
    run.wait().unwrap();
    until("the cluster is gone", || left().is_empty() && !alive(postmaster));
}

fn server_pid(paths: &[PathBuf]) -> u32 {
    let dir = paths.iter().find(|path| path.is_dir()).unwrap();
    std::fs::read_to_string(dir.join("postgres/server.lock")).unwrap().trim().parse().unwrap()
}
