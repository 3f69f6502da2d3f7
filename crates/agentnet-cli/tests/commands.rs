//! Every command against a network of its own, as people and scripts use them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use expectrl::{Expect as _, session::OsSession};
use serde_json::Value;
use support::{Ran, SOON, agents::shared, wait_for};

fn run(args: &[&str]) -> Ran {
    shared().place.run(args)
}

#[test]
fn list_shows_names_as_registered() {
    run(&["list"]).exits(0).says("echo_bot").says("Écho Bot 天気").says("echo, chat").says("sessions online");
    let json = run(&["list", "--json", "--capability", "echo"]).exits(0).json();
    let agents = json["agents"].as_array().unwrap();
    assert_eq!(agents.len(), 1);
    assert_eq!(agents[0]["name"], "Écho Bot 天気");
    assert_eq!(agents[0]["username"], "echo_bot");
    assert_eq!(agents[0]["capabilities"], serde_json::json!(["echo", "chat"]));
    assert!(agents[0]["session_tag"].is_string() && json["generated_at"].is_string());
    let one = run(&["list", "--json", "--limit", "1"]).exits(0).json();
    assert_eq!(one["agents"].as_array().unwrap().len(), 1);
    let cursor = one["next_cursor"].as_str().unwrap();
    let next = run(&["list", "--json", "--limit", "1", "--cursor", cursor]).exits(0).json();
    assert_ne!(next["agents"][0]["session_tag"], one["agents"][0]["session_tag"]);
    run(&["list", "--limit", "1"]).exits(0).says(&format!("--cursor {cursor}"));
    run(&["list", "--capability", "nobody_has_this"]).exits(0).says("Nobody is online");
}

#[test]
fn search_and_profile() {
    run(&["search", "--query", "ÉCHO", "--online-only"]).exits(0).says("echo_bot");
    run(&["search", "--q", "no such name"]).exits(0).says("No account fits");
    let json = run(&["search", "--json", "--query", "echo_b", "--status", "online"]).exits(0).json();
    assert_eq!((json["query"].as_str(), json["limit"].as_i64()), (Some("echo_b"), Some(20)));
    let found = &json["results"][0];
    assert_eq!((found["username"].as_str(), found["online"].as_bool()), (Some("echo_bot"), Some(true)));
    let account = found["account_id"].as_str().unwrap();
    run(&["profile", "--account-id", account]).exits(0).says("Écho Bot 天気").says("Sessions");
    let json = run(&["profile", "--json", "--username", "@Echo_Bot"]).exits(0).json();
    assert_eq!(json["profile"]["account_id"], account);
    assert_eq!(json["profile"]["online_sessions"].as_array().unwrap().len(), 1);
    let ran = run(&["profile", "--username", "nobody"]).exits(2).warns("error: not_found:").warns("hint:");
    assert_eq!(ran.stdout, "");
    let json = run(&["profile", "--json", "--username", "nobody"]).exits(2).json();
    assert_eq!((json["error"].as_str(), json["retryable"].as_bool()), (Some("not_found"), Some(false)));
    assert!(json["detail"].is_string() && json["hint"].is_string());
}

#[test]
fn metrics_are_shown() {
    run(&["metrics"]).exits(0).says("Not stored yet").says("p95");
    let json = run(&["metrics", "--json"]).exits(0).json();
    assert_eq!(json["server_id"], "registry");
    assert!(json["handlers"]["list"]["calls"].is_u64() && json["db_write_queue"]["size"].is_u64());
}

#[test]
fn send_says_what_is_true() {
    let sent = run(&["send", "--to-username", "echo_bot", "{\"text\":\"hi\"}"]).exits(0);
    assert!(["accepted", "processed"].contains(&sent.stdout.lines().next().unwrap()), "{}", sent.stdout);
    let json = run(&["send", "--json", "--to-capability", "echo", "--thread-id", "thread_cap", "[1]"])
        .exits(0)
        .json();
    assert_eq!((json["thread_id"].as_str(), json["stored"].as_bool()), (Some("thread_cap"), Some(true)));
    assert!(["accepted", "processed"].contains(&json["stage"].as_str().unwrap()));
    assert_eq!(json["message_id"].as_str().unwrap().len(), 32);

    let absent = ["send", "--receipt-timeout", "0.3", "--to-account", "acct_absent", "{}"];
    run(&absent).exits(0).says("stored, not yet accepted");
    let json = run(&["send", "--json", "--receipt-timeout", "0.3", "--to-account", "acct_absent", "{}"])
        .exits(0)
        .json();
    assert_eq!((json["stage"].as_str(), json["stored"].as_bool()), (Some("stored"), Some(true)));

    let json = run(&["send", "--json", "--no-ack", "--to-username", "echo_bot", "\"fire and forget\""])
        .exits(0)
        .json();
    assert!(json["stage"].is_null());
    let id = json["message_id"].as_str().unwrap().to_owned();
    wait_for(SOON, "what was not waited for", || {
        run(&["message-search", "--json", "--q", "forget"]).stdout.contains(&id)
    });

    let sent = shared()
        .place
        .run_with_input(&["send", "--to-username", "echo_bot", "-"], Some("{\"from\":\"stdin\"}\n"));
    sent.exits(0);
}

#[test]
fn send_refuses_clearly() {
    run(&["send", "--to-username", "echo_bot", "hello"]).exits(1).warns("Payload must be valid JSON");
    let json = run(&["send", "--json", "--to-username", "echo_bot", "{"]).exits(1).json();
    assert_eq!(json["error"], "invalid_json");
    run(&["send", "--to-username", "nobody_of_that_name", "{}"])
        .exits(2)
        .warns("error: not_found:")
        .warns("hint:");
    run(&["send", "--to-account", "a.b", "{}"]).exits(2).warns("error: invalid_account_id:");
    run(&["send", "--to-capability", "a b", "{}"]).exits(2).warns("error: invalid_capability:");
    run(&["send", "--to-username", "--", "{}"]).exits(2);
    let large = format!("\"{}\"", "x".repeat(100_000));
    let larger = format!("[{large},{large},{large}]");
    let ran = shared().place.run_with_input(&["send", "--to-username", "echo_bot", "-"], Some(&larger));
    ran.exits(2).warns("error: payload_too_large:");
    run(&["send", "--to-username", "faulty_bot", "{}"]).exits(0);
}

#[test]
fn request_prints_the_reply_or_says_why_there_is_none() {
    run(&["request", "--to-username", "echo_bot", "{\"text\":\"ping\"}"])
        .exits(0)
        .says("echo_bot replied")
        .says("echo: ping");
    let json = run(&[
        "request",
        "--json",
        "--to-capability",
        "echo",
        "--thread-id",
        "thread_req",
        "{\"text\":\"x\",\"n\":1.50}",
    ]);
    let json = json.exits(0).json();
    assert_eq!((json["kind"].as_str(), json["thread_id"].as_str()), (Some("reply"), Some("thread_req")));
    assert_eq!(json["payload"]["text"], "echo: x");
    assert_eq!(json["from_agent"], "echo_bot");

    let ran = run(&["request", "--to-username", "mute_bot", "--timeout", "0.6", "{}"])
        .exits(1)
        .warns("no reply within 0.6 s");
    assert!(ran.stderr.contains("hint:") && ran.stdout.is_empty());
    run(&["request", "--to-username", "faulty_bot", "{}"]).exits(2).warns("error: handler_error:");
    run(&["request", "--to-account", "acct_absent", "{}"]).exits(2).warns("error: no_responder:");
    run(&["request", "--to-username", "echo_bot", "not json"]).exits(1).warns("Payload must be valid JSON");
}

#[test]
fn threads_and_messages_come_from_postgres() {
    let thread = "thread_history_test";
    for number in 1..=3 {
        let text = format!("{{\"text\":\"quokka number {number}\"}}");
        run(&["send", "--to-username", "echo_bot", "--thread-id", thread, &text]).exits(0);
    }
    let status = ["thread-status", "--thread-id", thread];
    wait_for(SOON, "three messages", || {
        run(&["thread-status", "--json", "--thread-id", thread]).json()["message_count"] == 3
    });
    run(&status).exits(0).says("Messages      3").says("cli_sender").says("echo_bot").says("Checkpoint");
    let old = run(&["thread-status", "--thread-id", thread, "--soft-limit-tokens", "1"]).exits(0);
    assert!(old.stderr.contains("deprecated"));
    run(&["thread-status", "--thread-id", "thread_none"]).exits(2).warns("error: not_found:");

    run(&["threads", "--query", "HISTORY_TEST"])
        .exits(0)
        .says("Thread ID")
        .says("Tail Msgs")
        .says("Tokens~")
        .says(thread);
    let json =
        run(&["threads", "--json", "--participant-username", "echo_bot", "--query", thread]).exits(0).json();
    assert_eq!(json["results"][0]["message_count"], 3);
    assert_eq!(json["results"][0]["participants"].as_array().unwrap().len(), 2);
    run(&["threads", "--query", "no_such_thread"]).exits(0).says("No thread fits");

    let page = run(&["thread-messages", "--json", "--thread-id", thread, "--limit", "2"]).exits(0).json();
    let texts: Vec<&str> = texts(&page);
    assert_eq!(texts, ["quokka number 3", "quokka number 2"]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest =
        run(&["thread-messages", "--json", "--thread-id", thread, "--limit", "2", "--cursor", cursor]).json();
    assert_eq!((self::texts(&rest), rest["next_cursor"].is_null()), (vec!["quokka number 1"], true));
    let people = run(&["thread-messages", "--thread-id", thread, "--limit", "2"]).exits(0);
    people
        .says("cli_sender")
        .says("echo_bot")
        .says("quokka number 3")
        .says(&format!("next page: --cursor {cursor}"));
    run(&["thread-messages", "--thread-id", "thread_none"]).exits(0).says("No message fits");

    let json = run(&["message-search", "--json", "--q", "Quokka 2", "--kind", "direct"]).exits(0).json();
    assert_eq!(self::texts(&json), ["quokka number 2"]);
    assert_eq!(json["filters"]["q"], "Quokka 2");
    run(&["message-search", "--q", "quokka", "--to-ts", "2001-01-01"]).exits(0).says("No message fits");
    run(&["message-search", "--from-ts", "yesterday"]).exits(2).warns("error: from_ts_invalid:");
}

fn texts(page: &Value) -> Vec<&str> {
    page["messages"].as_array().unwrap().iter().map(|row| row["payload"]["text"].as_str().unwrap()).collect()
}

/// Starts `watch` and waits until it is subscribed.
fn watch(args: &[&str]) -> std::process::Child {
    let mut command = shared().place.command(args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("watching "), "{line}");
    // Kept open: closing it would be noticed.
    child.stderr = Some(stderr.into_inner());
    child
}

fn output(mut child: std::process::Child) -> (i32, String) {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code().unwrap_or(-1), text)
}

#[test]
fn watch_shows_messages_and_receipts() {
    let subject = format!("account.{}.inbox", shared().echo.account_id());
    let child = watch(&["watch", "--subject", &subject, "--max-messages", "1"]);
    run(&["send", "--to-username", "echo_bot", "{\"text\":\"seen by watch\"}"]).exits(0);
    let (code, text) = output(child);
    assert_eq!(code, 0);
    assert!(text.contains("cli_sender → echo_bot") || text.contains("→ echo_bot  "), "{text}");
    assert!(text.lines().count() == 1 && !text.contains('\u{1b}'), "{text}");

    let child =
        watch(&["watch", "--receipts", "--subject", &subject, "--include-payload", "--max-messages", "3"]);
    run(&["send", "--to-username", "echo_bot", "{\"text\":\"with receipts\"}"]).exits(0);
    assert_eq!(output(child).0, 0);
    run(&["watch", "--subject", "a b"]).exits(2).warns("error: invalid_subject:");
}

#[test]
fn watch_prints_json_lines() {
    let subject = format!("account.{}.inbox", shared().echo.account_id());
    for (flag, payload) in [(None, Value::Null), (Some("--include-payload"), serde_json::json!("spaced\n"))] {
        let mut args = vec!["watch", "--json", "--subject", &subject, "--max-messages", "1"];
        args.extend(flag);
        let mut command = shared().place.command(&args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // It says nothing before the first message, so messages are sent until it has seen one.
        wait_for(SOON, "the end of watch", || {
            run(&["send", "--no-ack", "--to-username", "echo_bot", "{\n\"text\":\"spaced\\n\"}"]).exits(0);
            child.try_wait().unwrap()
        });
        let (code, text) = output(child);
        assert_eq!((code, text.lines().count()), (0, 1), "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["subject"], subject.as_str());
        assert_eq!(line["message"]["payload"]["text"], payload);
        assert!(line["message"]["message_id"].is_string() && line["observed_at"].is_string());
    }
}

/// Chats are sessions of one account: what comes for one may be given to the other.
static CHATS: Mutex<()> = Mutex::new(());

#[test]
fn chat_takes_piped_lines() {
    let _alone = CHATS.lock().unwrap_or_else(PoisonError::into_inner);
    let chat = |args: &[&str], input: &str| {
        let mut all = vec!["chat", "--to-username", "echo_bot"];
        all.extend(args);
        shared().place.run_with_input(&all, Some(input))
    };
    let ran = chat(
        &["--thread-id", "thread_chat_a"],
        "one\n\n/showthread\n/thread thread_chat_b\n two \n/quit\nnever\n",
    )
    .exits(0);
    assert_eq!(ran.stdout, "echo: one\nthread thread_chat_a\necho: two\n");
    let stored = |thread: &str| {
        run(&["thread-messages", "--json", "--thread-id", thread]).json()["messages"]
            .as_array()
            .unwrap()
            .len()
    };
    wait_for(SOON, "both sides of both threads", || {
        stored("thread_chat_a") == 2 && stored("thread_chat_b") == 2
    });

    let ran = chat(&["--raw"], "one\n/showthread").exits(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(serde_json::from_str::<Value>(lines[0]).unwrap()["text"], "echo: one");
    assert!(
        lines[1].starts_with("thread thread_cli_") && lines[1].len() == "thread thread_cli_".len() + 26,
        "{lines:?}"
    );

    let lines = chat(&["--json"], "one\n").exits(0).json_lines();
    assert_eq!((lines.len(), lines[0]["kind"].as_str()), (1, Some("reply")));
    // A script that got no answer hears of it.
    let mute = |input| {
        shared().place.run_with_input(&["chat", "--to-username", "mute_bot", "--timeout", "0.4"], Some(input))
    };
    mute("anybody?\n").exits(1).warns("no reply within 0.4 s");
    mute("/nonsense\n").exits(0).warns("/help");
}

#[test]
fn chat_on_a_terminal() {
    let _alone = CHATS.lock().unwrap_or_else(PoisonError::into_inner);
    let place = shared().place;
    let mut command = place.command(&["chat", "--to-username", "echo_bot", "--color", "never"]);
    command
        .env("TERM", "xterm")
        .env("AGENTNET_CHAT_HISTORY", place.file("pty_history"))
        .stdin(Stdio::inherit());
    let mut chat = OsSession::spawn(command).unwrap();
    chat.set_expect_timeout(Some(SOON));
    chat.expect("talking with echo_bot in thread_cli_").unwrap();
    chat.expect("you> ").unwrap();
    chat.send("first wrods\u{7f}\u{7f}\u{7f}\u{7f}ords\r").unwrap();
    chat.expect("echo_bot  echo: first words").unwrap();
    chat.expect("you> ").unwrap();

    // A message that comes by itself stands above the line that is being typed.
    chat.send("half a li").unwrap();
    chat.expect("half a li").unwrap();
    let echo = &shared().echo;
    let sent = shared()
        .runtime
        .block_on(async { echo.send("cli_chat", serde_json::json!({"text": "by the way"})).await });
    assert!(sent.unwrap().is_accepted());
    chat.expect("echo_bot in thread_").unwrap();
    chat.expect("by the way").unwrap();
    chat.send("ne\r").unwrap();
    chat.expect("echo: half a line").unwrap();

    chat.send("/showthread\r").unwrap();
    chat.expect("thread thread_cli_").unwrap();
    chat.send("\u{1b}[A\u{1b}[A\r").unwrap();
    chat.expect("echo: half a line").unwrap();
    chat.send("/quit\r").unwrap();
    chat.expect(expectrl::Eof).unwrap();
    let status = chat.get_process().wait().unwrap();
    assert!(matches!(status, expectrl::process::unix::WaitStatus::Exited(_, 0)), "{status:?}");
    let history = place.file("pty_history");
    assert_eq!(std::fs::metadata(&history).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(history).unwrap().contains("first words"));
}

#[test]
fn ctrl_c_is_exit_code_130() {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    let mut child = watch(&["watch"]);
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let status = wait_for(SOON, "the end of watch", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
}

#[test]
fn nothing_of_the_network_commands_the_terminal() {
    for args in [
        &["list", "--color", "never"][..],
        &["list", "--json"],
        &["search", "--query", "hostile", "--color", "never"],
        &["profile", "--username", "hostile_bot", "--color", "never"],
        &["profile", "--username", "hostile_bot", "--json"],
        &["request", "--to-username", "hostile_bot", "--color", "never", "{}"],
        &["request", "--to-username", "hostile_bot", "--json", "{}"],
    ] {
        let ran = run(args).exits(0);
        let bad = ran.stdout.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(bad, None, "{args:?}: {}", ran.stdout);
    }
    let json = run(&["profile", "--username", "hostile_bot", "--json"]).json();
    assert_eq!(json["profile"]["display_name"], "evil\u{202e}name");
    assert!(json["profile"]["metadata"].to_string().contains("\\u001b[2J\u{9b}31m"), "{json}");
    let said =
        shared().place.run_with_input(&["chat", "--to-username", "hostile_bot"], Some("hi\n")).exits(0);
    assert_eq!(said.stdout, "\\x1b]0;owned\\x07\\x9b2Jboo\n");
}

#[test]
fn runs_at_the_same_time_do_not_disturb_each_other() {
    let runs: Vec<_> = (0..6)
        .map(|number| {
            std::thread::spawn(move || {
                let text = format!("{{\"text\":\"parallel {number}\"}}");
                let args = ["request", "--to-username", "echo_bot", "--json", &text];
                let json = run(&args).exits(0).json();
                assert_eq!(json["payload"]["text"], format!("echo: parallel {number}"));
                let sent = run(&["send", "--json", "--to-username", "echo_bot", &text]).exits(0).json();
                assert_ne!(sent["stage"], "stored", "{sent}");
            })
        })
        .collect();
    for run in runs {
        run.join().unwrap();
    }
}

#[test]
fn colours_are_for_terminals_and_those_who_ask() {
    assert!(!run(&["list"]).stdout.contains('\u{1b}'));
    assert!(run(&["list", "--color", "always"]).stdout.contains('\u{1b}'));
    let mut command = shared().place.command(&["list"]);
    let output = command.env("NO_COLOR", "1").output().unwrap();
    assert!(!String::from_utf8(output.stdout).unwrap().contains('\u{1b}'));
    // One line for each session, however long.
    let listed = run(&["list"]).exits(0);
    assert_eq!(listed.stdout.lines().filter(|line| line.contains("echo_bot")).count(), 1);
}

#[test]
fn no_network_is_said_at_once() {
    let started = std::time::Instant::now();
    let ran = run(&["--nats-url", "nats://s3cret@127.0.0.1:1", "list"]).exits(2);
    assert!(
        ran.stderr.contains("error: nats_unavailable:") && ran.stderr.contains("hint:"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("s3cret"));
    for args in [
        &["send", "--to-username", "x", "{}"][..],
        &["request", "--to-username", "x", "{}"],
        &["chat", "--to-username", "x"],
        &["watch"],
    ] {
        let mut all = vec!["--nats-url", "nats://127.0.0.1:1"];
        all.extend(args);
        run(&all).exits(2).warns("error: nats_unavailable:");
    }
    assert!(started.elapsed() < Duration::from_secs(20));

    // NATS without a registry.
    let nats = agentnet_local::testing::TestNats::start();
    let started = std::time::Instant::now();
    for args in [&["list"][..], &["send", "--to-username", "x", "{}"], &["chat", "--to-username", "x"]] {
        let url = nats.url();
        let mut all = vec!["--nats-url", url.as_str()];
        all.extend(args);
        run(&all).exits(2).warns("error: registry_unavailable:").warns("hint:");
    }
    assert!(started.elapsed() < Duration::from_secs(20));
    let wrong = shared().url.replacen("nats://", "nats://wr0ng", 1);
    let ran = run(&["--nats-url", &wrong, "list"]).exits(2).warns("error: nats_refused:");
    assert!(!ran.stderr.contains("wr0ng"));
    run(&["--nats-url", "http://tok3n@h", "list"]).exits(2).warns("hint:");
}

#[test]
fn help_and_completions() {
    let help = run(&[]).exits(0).says("Usage:").says("Commands:");
    assert!(help.stdout.contains("thread-messages"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        run(&["completions", shell]).exits(0).says("thread-messages");
    }
    run(&["send"]).exits(2);
    run(&["--version"]).exits(0).says("agentnet ");
}
