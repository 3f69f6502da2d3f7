//! Short runs of the fault harness with real processes, and its negative controls. The long runs are in
//! docs/DURABILITY.md.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fs::{File, Permissions, set_permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

/// One run at a time: each is a network of a dozen processes.
fn turn() -> File {
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    // As root, Postgres runs as somebody else.
    set_permissions(dir.path(), Permissions::from_mode(0o711)).unwrap();
    dir
}

fn faults(dir: &TempDir, args: &[&str]) -> Output {
    let _turn = turn();
    let mut command = Command::new(env!("CARGO_BIN_EXE_faults"));
    // A slow machine must not fail a test: how long it took is the long runs' business.
    command.args(["--json", "--rate", "150", "--deadline", "90"]).args(args).arg("--dir").arg(dir.path());
    command.output().unwrap()
}

/// The JSON object that a run ends with.
fn outcome(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .unwrap_or_else(|_| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[track_caller]
fn promises_hold(args: &[&str], at_least_kills: u64) {
    let dir = directory();
    let output = faults(&dir, args);
    let report = outcome(&output);
    let text = String::from_utf8_lossy(&output.stdout);
    if report["lost"] != 0 || report["duplicated"] != 0 {
        eprintln!("journals, ledger and logs stay in {}", dir.keep().display());
    }
    for finding in ["lost", "duplicated", "untrue", "disordered", "miscounted", "stray", "unsettled"] {
        assert_eq!(report[finding], 0, "{finding}: {text}");
    }
    assert!(report["recovered_s"].is_f64(), "it never came to rest: {text}");
    assert!(report["acknowledged"].as_u64().unwrap() > 300, "{text}");
    assert_eq!(report["acknowledged"], report["handled"], "{text}");
    assert!(report["kills"].as_u64().unwrap() >= at_least_kills, "{text}");
}

#[test]
fn nothing_is_lost_when_persisters_die() {
    promises_hold(&["--seconds", "6", "--kill", "persister"], 2);
}

#[test]
fn nothing_is_lost_when_persisters_die_between_taking_and_committing() {
    promises_hold(&["--seconds", "6", "--scenario", "mid-commit"], 1);
}

#[test]
fn nothing_is_lost_when_registries_die() {
    promises_hold(&["--seconds", "5", "--kill", "registry"], 2);
}

#[test]
fn poison_ends_in_quarantine_and_nothing_else_does() {
    promises_hold(&["--seconds", "4", "--scenario", "poison"], 0);
}

/// A killed recipient's messages come back when its session counts as gone, which takes 40 s unless set.
const SOON_GONE: [&str; 4] =
    ["--service-env", "AGENT_TTL_SECONDS=6", "--service-env", "HEARTBEAT_INTERVAL_SECONDS=2"];

#[test]
fn nothing_is_lost_when_everything_dies() {
    promises_hold(&[&["--seconds", "8", "--kill", "all"], &SOON_GONE[..]].concat(), 2);
}

#[test]
fn nothing_is_lost_when_recipients_die() {
    promises_hold(&[&["--seconds", "6", "--kill", "agent"], &SOON_GONE[..]].concat(), 2);
}

#[test]
fn nothing_queued_in_a_file_is_lost_when_senders_die() {
    promises_hold(&["--seconds", "8", "--kill", "sender", "--seed", "1"], 3);
}

#[track_caller]
fn is_caught(args: &[&str], finding: &str) {
    let output = faults(&directory(), args);
    let report = outcome(&output);
    assert!(report[finding].as_u64().unwrap() > 0, "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn an_acknowledgement_before_the_commit_is_caught() {
    let args = ["--seconds", "5", "--scenario", "mid-commit", "--sabotage", "early-ack", "--deadline", "5"];
    is_caught(&args, "lost");
}

#[test]
fn recipients_without_dedupe_are_caught() {
    is_caught(&["--seconds", "4", "--kill", "none", "--sabotage", "no-dedupe"], "duplicated");
}

#[test]
fn senders_without_an_outbox_are_caught() {
    // A kill loses only what is on its way at that moment, which may be nothing: many kills, and much on its way.
    let often = ["--seconds", "10", "--every", "0.7", "--rate", "800", "--deadline", "5"];
    is_caught(&[&["--kill", "nats", "--sabotage", "no-outbox"], &often[..]].concat(), "lost");
}

#[test]
fn killed_senders_without_a_file_are_caught() {
    let args =
        ["--seconds", "8", "--kill", "sender", "--sabotage", "no-outbox", "--deadline", "5", "--seed", "1"];
    is_caught(&args, "lost");
}

#[test]
fn bad_arguments_are_refused_with_a_reason() {
    for (args, reason) in [
        (["--seconds", "0"], "a number above 0"),
        (["--rate", "many"], "a number above 0"),
        (["--kill", "everybody"], "possible values"),
        (["--service-env", "TTL"], "NAME=VALUE"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_faults")).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(reason), "{text}");
    }
}

/// Registries and workers die; every task that was acknowledged reaches exactly one end.
#[test]
fn no_task_is_lost_or_stuck_when_registries_and_workers_die() {
    let dir = directory();
    let output = faults(&dir, &["--tasks", "--seconds", "8", "--rate", "40"]);
    let report = outcome(&output);
    for finding in ["lost", "stuck", "not_ended_once", "wrong", "doubled", "ended_otherwise"] {
        assert_eq!(report[finding], 0, "{finding}: {report}");
    }
    assert!(output.status.success(), "{report}");
    assert!(report["kills"].as_u64().unwrap() >= 4, "{report}");
    assert!(report["acknowledged"].as_u64().unwrap() > 100, "{report}");
    assert!(report["attempts_lost"].as_u64().unwrap() > 0, "nobody was hit: {report}");
}
