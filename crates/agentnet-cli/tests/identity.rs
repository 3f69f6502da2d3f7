//! `agentnet identity` as people and scripts use it. Needs no network.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use expectrl::{Expect as _, session::OsSession};
use serde_json::Value;

struct Home(tempfile::TempDir);

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn warns(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} in {}", self.stderr);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.file(name), text).unwrap();
        self.file(name).to_str().unwrap().to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentnet"));
        command
            .arg("identity")
            .args(args)
            .env("AGENTNET_IDENTITY_DIR", self.file("ids"))
            .env("DEV_AUTH_KEY_DIR", self.file(".keys"))
            .env_remove("AGENTNET_IDENTITY_PASSWORD");
        command
    }

    fn run_with(&self, mut command: Command, input: Option<&str>) -> Ran {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().unwrap();
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(input.as_bytes()).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(self.command(args), None)
    }

    /// In a terminal of its own.
    fn terminal(&self, args: &[&str]) -> OsSession {
        let mut session = expectrl::Session::spawn(self.command(args)).unwrap();
        session.set_expect_timeout(Some(Duration::from_secs(60)));
        session
    }
}

/// The prompt turns echo off before it reads, but writes itself a moment earlier or later; what is typed too early
/// would be echoed by the terminal.
fn type_hidden(session: &mut OsSession, prompt: &str, text: &str) {
    session.expect(prompt).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while session.get_process().get_echo().unwrap() {
        assert!(std::time::Instant::now() < deadline, "echo stays on");
        std::thread::yield_now();
    }
    session.send_line(text).unwrap();
}

/// Everything up to the end, and the exit code.
fn rest(session: &mut OsSession) -> (String, i32) {
    let found = session.expect(expectrl::Eof).unwrap();
    let text = String::from_utf8_lossy(found.as_bytes()).into_owned();
    match session.get_process().wait().unwrap() {
        expectrl::process::unix::WaitStatus::Exited(_, code) => (text, code),
        other => panic!("{other:?}: {text}"),
    }
}

#[test]
fn created_listed_shown_rotated_deleted() {
    let home = Home::new();
    let empty = home.run(&["list", "--json"]).exits(0).json();
    assert_eq!(empty["identities"], serde_json::json!([]));
    assert!(home.run(&["list"]).exits(0).stdout.contains("No identities in"));
    let made = home.run(&["create", "bot", "--json"]).exits(0).json();
    let key = made["public_key"].as_str().unwrap();
    assert_eq!(key.len(), 43);
    assert!(made["nkey"].as_str().unwrap().starts_with('U') && made["encrypted"] == false);
    let file = PathBuf::from(made["file"].as_str().unwrap());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    home.run(&["create", "bot"]).exits(2).warns("identity_exists").warns("hint:");
    home.run(&["create", "Bot"]).exits(2).warns("identity_name_taken");
    home.run(&["create", "../../x\u{1b}[2J"]).exits(2).warns("identity_name_invalid");
    let listed = home.run(&["list"]).exits(0).stdout;
    assert!(listed.contains("bot") && listed.contains(key), "{listed}");
    let shown = home.run(&["show", "bot"]).exits(0).stdout;
    assert!(shown.contains(key) && !shown.contains("Replaced"), "{shown}");

    let rotated = home.run(&["rotate", "bot", "--json"]).exits(0).json();
    assert_ne!(rotated["public_key"], made["public_key"]);
    assert_eq!(rotated["retired"][0]["public_key"], made["public_key"]);
    assert!(home.run(&["show", "bot"]).exits(0).stdout.contains("Replaced key"));

    home.run(&["delete", "bot"]).exits(2).warns("not_confirmed");
    home.run(&["delete", "nobody", "--yes"]).exits(2).warns("identity_not_found");
    home.run(&["delete", "bot", "--yes"]).exits(0);
    home.run(&["show", "bot"]).exits(2).warns("identity_not_found");
}

#[test]
fn nothing_but_export_prints_a_secret() {
    let home = Home::new();
    home.run(&["create", "bot"]).exits(0);
    let text = home.run(&["export", "bot"]).exits(0).stdout;
    let document: Value = serde_json::from_str(&text).unwrap();
    let secret = document["keys"]["private_key"].as_str().unwrap().to_owned();
    let seed = home.run(&["export", "bot", "--format", "nkey-seed"]).exits(0).stdout;
    assert!(seed.starts_with("SU") && seed.trim().len() == 58);
    for args in [
        &["list"][..],
        &["show", "bot"],
        &["list", "--json", "-vv"],
        &["rotate", "bot"],
        &["show", "bot", "--json"],
    ] {
        let ran = home.run(args).exits(0);
        for hidden in [secret.as_str(), seed.trim()] {
            assert!(!ran.stdout.contains(hidden) && !ran.stderr.contains(hidden), "{args:?}");
        }
    }
    // Passwords can't be arguments.
    for args in [&["create", "x", "--password", "p"][..], &["create", "x", "--encrypt=p"]] {
        home.run(args).exits(2).warns("unexpected");
    }
}

#[test]
fn exported_files_are_private_and_can_be_imported_elsewhere() {
    let home = Home::new();
    let key = home.run(&["create", "bot", "--json"]).exits(0).json()["public_key"].clone();
    let (old, new) = (home.write("old", "old password\n"), home.write("new", "new password\n"));
    let out = home.file("bot.key");
    let out = out.to_str().unwrap();
    let exported = home.run(&["export", "bot", "-o", out, "--new-password-file", &old, "--json"]).exits(0);
    assert_eq!(exported.json()["file"], out);
    assert_eq!(fs::metadata(out).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(out).unwrap().contains("argon2id"));
    home.run(&["export", "bot", "-o", out]).exits(2).warns("identity_io");
    home.run(&["export", "bot", "--format", "original", "--encrypt"]).exits(2).warns("identity_format_plain");

    let other = Home::new();
    other.run(&["import", out]).exits(2).warns("identity_password_required");
    other.run(&["import", out, "--password-file", &new]).exits(2).warns("identity_password_wrong");
    let args = ["import", out, "--password-file", &old, "--new-password-file", &new, "--json"];
    let imported = other.run(&args).exits(0).json();
    assert_eq!((&imported["public_key"], &imported["encrypted"]), (&key, &Value::Bool(true)));
    other.run(&["rotate", "bot"]).exits(2).warns("identity_password_required");
    other.run(&["rotate", "bot", "--password-file", &old]).exits(2).warns("identity_password_wrong");
    let mut by_environment = other.command(&["rotate", "bot", "--json"]);
    by_environment.env("AGENTNET_IDENTITY_PASSWORD", "new password");
    let rotated = other.run_with(by_environment, None).exits(0).json();
    assert_eq!((&rotated["encrypted"], &rotated["retired"][0]["public_key"]), (&Value::Bool(true), &key));

    let seed = home.run(&["export", "bot", "--format", "nkey-seed"]).exits(0).stdout;
    let piped = |args: &[&str]| other.run_with(other.command(args), Some(&seed));
    piped(&["import", "-"]).exits(2).warns("identity_name_missing").warns("--name");
    assert_eq!(piped(&["import", "-", "--name", "seeded", "--json"]).exits(0).json()["public_key"], key);
    other.run_with(other.command(&["import", "-"]), Some("rubbish")).exits(2).warns("identity_unreadable");
    home.run(&["create", "x", "--new-password-file", &home.write("empty", "\n")])
        .exits(2)
        .warns("identity_password_empty");
    home.run(&["create", "x", "--new-password-file", "/nowhere"]).exits(2).warns("identity_password_file");
    home.run(&["create", "x", "--encrypt"]).exits(2).warns("identity_password_required");
}

#[test]
fn key_files_of_the_original_are_shown_and_taken_in() {
    let home = Home::new();
    home.run(&["create", "bot"]).exits(0);
    fs::create_dir(home.file(".keys")).unwrap();
    let path = home.file(".keys/legacy_bot.json");
    let path = path.to_str().unwrap();
    home.run(&["export", "bot", "--format", "original", "-o", path]).exits(0);
    let listed = home.run(&["list", "--json"]).exits(0).json();
    assert_eq!(listed["identities"][1]["kind"], "original");
    home.run(&["rotate", "legacy_bot"]).exits(2).warns("identity_read_only");
    let imported = home.run(&["import", path, "--json"]).exits(0).json();
    assert_eq!(
        (imported["name"].as_str(), imported["kind"].as_str()),
        (Some("legacy_bot"), Some("identity"))
    );
    assert!(home.run(&["rotate", "legacy_bot"]).exits(0).stdout.contains("Replaced key"));
}

#[test]
fn a_damaged_file_is_listed_with_its_reason() {
    let home = Home::new();
    home.run(&["create", "good"]).exits(0);
    home.run(&["create", "bad"]).exits(0);
    fs::write(home.file("ids/bad.json"), "{").unwrap();
    let listed = home.run(&["list"]).exits(0).warns("bad.json");
    assert!(listed.stdout.contains("good"));
    assert_eq!(home.run(&["list", "--json"]).exits(0).json()["unreadable"][0]["error"], "identity_damaged");
    fs::set_permissions(home.file("ids/good.json"), fs::Permissions::from_mode(0o644)).unwrap();
    home.run(&["show", "good"]).exits(2).warns("identity_too_open").warns("chmod 600");
    home.run(&["delete", "bad", "--yes"]).exits(0);
}

#[test]
fn passwords_are_typed_unseen_and_secrets_shown_only_after_a_yes() {
    let home = Home::new();
    let mut create = home.terminal(&["create", "bot", "--encrypt"]);
    type_hidden(&mut create, "New password: ", "hush hush");
    type_hidden(&mut create, "Again: ", "hush");
    let (text, code) = rest(&mut create);
    assert!(code == 2 && text.contains("identity_passwords_differ") && !text.contains("hush"), "{text}");

    let mut create = home.terminal(&["create", "bot", "--encrypt"]);
    type_hidden(&mut create, "New password: ", "hush hush");
    type_hidden(&mut create, "Again: ", "hush hush");
    let (text, code) = rest(&mut create);
    assert!(code == 0 && text.contains("Encrypted") && !text.contains("hush"), "{text}");

    let mut rotate = home.terminal(&["rotate", "bot"]);
    type_hidden(&mut rotate, "Password of bot: ", "hush hush");
    assert_eq!(rest(&mut rotate).1, 0);

    let mut export = home.terminal(&["export", "bot"]);
    export.expect("[y/N]").unwrap();
    export.send_line("n").unwrap();
    let (text, code) = rest(&mut export);
    assert!(code == 2 && !text.contains("private_key"), "{text}");

    let mut export = home.terminal(&["export", "bot"]);
    export.expect("[y/N]").unwrap();
    export.send_line("y").unwrap();
    type_hidden(&mut export, "Password of bot: ", "hush hush");
    let (text, code) = rest(&mut export);
    assert!(code == 0 && text.contains("private_key"), "{text}");

    let mut delete = home.terminal(&["delete", "bot"]);
    delete.expect("[y/N]").unwrap();
    delete.send_line("yes").unwrap();
    assert_eq!(rest(&mut delete).1, 0);
    home.run(&["show", "bot"]).exits(2);
}
