//! `agentnet up` as a process: start, stop, crash, and what it leaves behind.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
    sync::OnceLock,
};

use nix::sys::signal::Signal;
use support::{Place, SOON, command_lines, wait_for};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// What a server answers to a plain GET.
fn http_get(url: &str, path: &str) -> String {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Nobody may sit on the usual ports of NATS and Postgres while we are on them; somebody may already, which is as good.
/// Held until the last test has ended, so that none finds the ports free again.
fn take_usual_ports() {
    static TAKEN: OnceLock<[Option<TcpListener>; 2]> = OnceLock::new();
    TAKEN.get_or_init(|| [4222, 5432].map(|port| TcpListener::bind(("127.0.0.1", port)).ok()));
}

#[test]
fn a_network_starts_stops_and_finds_its_data_again() {
    take_usual_ports();
    let place = Place::new();
    let up = place.up(&["--open"]);

    assert!(up.stderr().contains("port 4222 is taken"), "{}", up.stderr());
    let ready = up.ready();
    let nats_url = ready["nats_url"].as_str().unwrap();
    assert!(nats_url.starts_with("nats://") && !nats_url.ends_with(":4222"));
    assert!(ready["database_url"].as_str().unwrap().starts_with("postgres://"));
    let gateway = ready["gateway_url"].as_str().unwrap();
    let health = http_get(gateway, "/health");
    assert!(health.starts_with("HTTP/1.1 200") && health.contains(r#""status":"healthy""#), "{health}");
    assert!(http_get(gateway, "/docs/").contains("swagger-ui"));
    assert_eq!((mode(&place.file("ready.json")), mode(&place.file("context.json"))), (0o600, 0o600));
    assert!(up.stdout().contains("AgentNet is up") && up.stdout().contains("mode  open"), "{}", up.stdout());

    // Secrets are in files and URLs, never in what other users can see.
    let token = nats_url.trim_start_matches("nats://").split('@').next().unwrap();
    let password = ready["database_url"].as_str().unwrap().split([':', '@']).nth(2).unwrap();
    assert!(token.len() >= 32 && password.len() >= 32);
    let seen = command_lines().join("\n");
    assert!(!seen.contains(token) && !seen.contains(password));
    assert!(!up.stderr().contains(token) && !up.stderr().contains(password));
    let log = fs::read_to_string(place.file("data/logs/agentnet.log")).unwrap();
    assert!(!log.is_empty() && !log.contains(token) && !log.contains(password), "{log}");
    assert_eq!(mode(&place.file("data/logs/agentnet.log")), 0o600);

    // The second terminal needs no flags.
    place.run(&["list"]).exits(0).says("Nobody is online");
    place.run(&["-v", "list"]).exits(0).warns("named by `agentnet up`");
    place
        .run(&[
            "send",
            "--to-account",
            "acct_later",
            "--thread-id",
            "thread_kept",
            "{\"text\":\"kept words\"}",
        ])
        .exits(0);
    place.run(&["message-search", "--q", "kept"]).exits(0).says("kept words");

    // Two networks can't share their data.
    let dir = place.file("data");
    let second = place.run(&["up", "--data-dir", dir.to_str().unwrap()]).exits(2).warns("data_dir_in_use");
    assert!(
        second.stderr.contains(&up.pid.to_string()) && second.stderr.contains("hint:"),
        "{}",
        second.stderr
    );

    up.signal(Signal::SIGINT);
    assert_eq!(up.wait().code(), Some(0));
    assert!(place.processes().is_empty(), "{:?}", place.processes());
    assert!(!place.file("ready.json").exists() && !place.file("context.json").exists());
    let err = fs::read_to_string(place.file("up.err")).unwrap();
    let order = ["services stopped", "NATS stopped", "Postgres stopped"].map(|step| err.find(step).unwrap());
    assert!(order.is_sorted(), "{err}");

    // Now with keys: the same person, who is an operator, reads it all without a flag.
    let up = place.up(&[]);
    assert!(up.stdout().contains("mode  secure") && up.stdout().contains("an operator"), "{}", up.stdout());
    let ready = up.ready();
    assert_eq!(ready["mode"], "secure");
    assert!(!ready["nats_url"].as_str().unwrap().contains('@'), "no token");
    place.run(&["message-search", "--q", "kept"]).exits(0).says("kept words");
    place.run(&["threads"]).exits(0).says("thread_kept");
    place.run(&["metrics"]).exits(0);
    place.run(&["list"]).exits(0).says("Nobody is online");
    // No secret of it is where others look.
    let mut secrets: Vec<String> = fs::read_dir(place.file("data/secrets"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            fs::read_to_string(path).unwrap().trim().to_owned()
        })
        .collect();
    assert!(secrets.len() >= 8, "{secrets:?}");
    let deployment = fs::read_to_string(place.file("data/secrets/deployment")).unwrap();
    // The network's name is told to whoever asks.
    secrets.retain(|secret| *secret != deployment.trim());
    let log = fs::read_to_string(place.file("data/logs/agentnet.log")).unwrap();
    let nats_log = fs::read_to_string(place.file("data/nats/nats.log")).unwrap();
    let seen = [command_lines().join("\n"), up.stdout(), up.stderr(), log, nats_log];
    for secret in &secrets {
        assert!(secret.len() >= 32 && seen.iter().all(|text| !text.contains(secret)));
    }
    // A stranger without a key, or with the token of another mode, stays outside.
    let url = ready["nats_url"].as_str().unwrap();
    let with_token = url.replace("nats://", "nats://some_token@");
    let mut stranger = place.command(&["--nats-url", &with_token, "list"]);
    let refused = stranger.env("AGENTNET_SECURITY", "open").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("nats_refused"), "{said}");
    up.signal(Signal::SIGTERM);
    assert_eq!(up.wait().code(), Some(0));
    assert!(place.processes().is_empty(), "{:?}", place.processes());
}

/// The network started last is the one that commands mean, as long as it runs; whoever ends takes nothing away that is
/// another's.
#[test]
fn of_two_networks_the_later_one_is_meant() {
    take_usual_ports();
    let first = Place::new();
    let second = Place::beside(&first);
    let up = first.up(&["--open"]);
    let later = second.up(&["--open"]);
    let url = |up: &support::Up<'_>| up.ready()["nats_url"].as_str().unwrap().to_owned();
    let (url_of_first, url_of_second) = (url(&up), url(&later));
    assert_ne!(url_of_first, url_of_second);
    let send = |thread: &str| {
        let args = ["send", "--no-ack", "--to-account", "acct_x", "--thread-id", thread, "{}"];
        first.run(&args).exits(0);
    };
    let has = |url: &str, thread: &str| {
        let ran = first.run(&["--nats-url", url, "threads", "--query", thread]).exits(0);
        ran.stdout.contains(thread)
    };
    send("thread_one");
    wait_for(SOON, "words in the later network", || has(&url_of_second, "thread_one"));
    assert!(!has(&url_of_first, "thread_one"));
    // The older one goes: the later one stays known.
    up.signal(Signal::SIGINT);
    assert_eq!(up.wait().code(), Some(0));
    send("thread_two");
    wait_for(SOON, "words in the one that is left", || has(&url_of_second, "thread_two"));
    // One that came still later goes: the one that is left is meant again.
    let up = first.up(&["--open"]);
    let url_of_first = url(&up);
    send("thread_three");
    wait_for(SOON, "words in the newest", || has(&url_of_first, "thread_three"));
    up.signal(Signal::SIGINT);
    assert_eq!(up.wait().code(), Some(0));
    send("thread_four");
    wait_for(SOON, "words in the one that is left", || has(&url_of_second, "thread_four"));
    later.signal(Signal::SIGINT);
    assert_eq!(later.wait().code(), Some(0));
    assert!(!first.file("context.json").exists());
}

#[test]
fn a_port_that_was_asked_for_and_is_taken_is_an_error() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = place.file("data");
    for flag in ["--nats-port", "--pg-port"] {
        let ran = place.run(&["up", "--data-dir", dir.to_str().unwrap(), flag, &port]).exits(2);
        assert!(ran.stderr.contains("port_taken") && ran.stderr.contains(&port), "{flag}: {}", ran.stderr);
    }
    assert!(place.processes().is_empty(), "{:?}", place.processes());
    assert!(!place.file("context.json").exists());
}

#[test]
fn killed_it_leaves_no_process_and_a_hint() {
    take_usual_ports();
    let place = Place::new();
    let up = place.up(&[]);
    assert!(place.processes().len() > 2);
    up.signal(Signal::SIGKILL);
    up.wait();
    wait_for(SOON, "the end of the servers", || place.processes().is_empty());
    // Its files stay, and are known to be stale.
    assert!(place.file("context.json").exists());
    let ran = place.run(&["--nats-url", "nats://t@127.0.0.1:1", "list"]).exits(2);
    assert!(
        ran.stderr.contains("nats_unavailable") && ran.stderr.contains("check --nats-url"),
        "{}",
        ran.stderr
    );
    let ran = place.run(&["list"]).exits(2);
    assert!(ran.stderr.contains("has ended") || ran.stderr.contains("nats_"), "{}", ran.stderr);
    // The next one takes over.
    let up = place.up(&[]);
    place.run(&["list"]).exits(0);
    // A second Ctrl-C doesn't wait for anything, and still leaves nothing.
    up.signal(Signal::SIGINT);
    up.signal(Signal::SIGINT);
    assert!([Some(0), Some(130)].contains(&up.wait().code()));
    wait_for(SOON, "the end of the servers", || place.processes().is_empty());
}

#[test]
fn what_crashes_is_started_again() {
    take_usual_ports();
    let place = Place::new();
    let up = place.up(&[]);
    let mut watch = place.command(&["watch", "--subject", "account.acct_x.inbox", "--max-messages", "1"]);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(watch.stderr.take().unwrap()).lines();
    assert!(stderr.next().unwrap().unwrap().starts_with("watching account.acct_x.inbox"));
    for program in ["nats-server", "postgres"] {
        let pid = pid_of(&place, program);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        wait_for(SOON, program, || {
            let line = if program == "postgres" { "Postgres runs again" } else { "NATS runs again" };
            up.stderr().contains(line)
        });
        // Both the cached and the stored answer.
        wait_for(SOON, "answers", || place.run(&["list"]).code == 0 && place.run(&["search"]).code == 0);
        assert_ne!(pid_of(&place, program), pid);
    }
    let sent =
        ["send", "--to-account", "acct_x", "--receipt-timeout", "0.2", "{\"text\":\"after the crash\"}"];
    wait_for(SOON, "a stored message", || place.run(&sent).code == 0);
    // `watch` has lived through both, and comes back when it is let in again.
    wait_for(SOON, "the end of watch", || {
        let _ = place.run(&sent);
        watch.try_wait().unwrap()
    });
    let mut seen = String::new();
    watch.stdout.take().unwrap().read_to_string(&mut seen).unwrap();
    assert!(seen.contains("after the crash"), "{seen}");
    let said: Vec<String> = stderr.map_while(Result::ok).collect();
    assert!(said.iter().any(|line| line.contains("connection is back")), "{said:?}");
    up.signal(Signal::SIGINT);
    assert_eq!(up.wait().code(), Some(0));
    assert!(place.processes().is_empty(), "{:?}", place.processes());
}

/// Pid of a server of this place, not of its watchdog.
fn pid_of(place: &Place, program: &str) -> i32 {
    let needle = place.path().to_string_lossy().into_owned();
    wait_for(SOON, program, || {
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let line = String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).ok()?).into_owned();
            let exe = line.split('\0').next()?.to_owned();
            (exe.ends_with(program) && line.contains(&needle)).then_some(pid)
        })
    })
}

#[test]
fn the_demo_talks_within_seconds() {
    take_usual_ports();
    let place = Place::new();
    let up = place.up(&["--demo"]);
    wait_for(SOON, "three agents", || {
        place.run(&["list", "--json"]).json()["agents"].as_array().unwrap().len() == 3
    });
    place.run(&["list"]).exits(0).says("Rob Researcher").says("research, chat");
    // Replies are heard by nobody but who asked.
    wait_for(SOON, "words and receipts on the terminal", || {
        let shown = up.stdout();
        shown.contains("planner → researcher") && shown.contains("✓ researcher processed")
    });
    wait_for(SOON, "a thread", || place.run(&["threads"]).stdout.contains("thread_demo_tides_"));
    wait_for(SOON, "words in Postgres", || {
        place.run(&["message-search", "--q", "tide harbour"]).stdout.contains("New subject")
    });
    place
        .run_with_input(&["chat", "--to-username", "critic"], Some("help\nthe earth is flat\n"))
        .exits(0)
        .says("I understand")
        .says("Who says so")
        .says("the earth is flat");
    up.signal(Signal::SIGINT);
    assert_eq!(up.wait().code(), Some(0));
    let err = fs::read_to_string(place.file("up.err")).unwrap();
    assert!(err.find("agents stopped").unwrap() < err.find("services stopped").unwrap(), "{err}");
    assert!(place.processes().is_empty(), "{:?}", place.processes());
}

#[test]
fn http_is_served_over_tls_when_asked_for() {
    take_usual_ports();
    let place = Place::new();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (place.file("cert.pem"), place.file("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let up = place.up(&["--open", "--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()]);
    let ready = up.ready();
    let gateway = ready["gateway_url"].as_str().unwrap();
    assert!(gateway.starts_with("https://"), "{gateway}");
    // What isn't TLS is answered with nothing that is HTTP.
    let mut plain = TcpStream::connect(gateway.trim_start_matches("https://")).unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // The end may come as a reset.
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
}

#[test]
fn bad_settings_are_named_before_anything_starts() {
    let place = Place::new();
    let dir = place.file("data");
    let spoilt = place.file("nats-server");
    fs::write(&spoilt, "#!/bin/sh\necho nats-server: v2.9.0\n").unwrap();
    fs::set_permissions(&spoilt, fs::Permissions::from_mode(0o755)).unwrap();
    for (variable, value, code) in [
        ("AGENTNET_NATS_BIN", "/nowhere/nats-server", "server_override_invalid"),
        ("AGENTNET_NATS_BIN", spoilt.to_str().unwrap(), "server_override_invalid"),
        ("AGENTNET_PG_BIN", "/nowhere", "server_override_invalid"),
        ("LOG_LEVEL", "loud", "usage"),
        ("AGENTNET_LOG_FORMAT", "xml", "usage"),
    ] {
        let mut command = place.command(&["up", "--data-dir", dir.to_str().unwrap()]);
        let output = command.env(variable, value).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{variable}={value}: {stderr}");
        assert!(stderr.contains(code) && stderr.contains(variable), "{variable}={value}: {stderr}");
        assert!(stderr.contains("hint:"), "{stderr}");
    }
    assert!(place.processes().is_empty(), "{:?}", place.processes());
    assert!(!place.file("context.json").exists());
}

#[test]
fn up_says_what_it_does_not_take() {
    let place = Place::new();
    place.run(&["up", "--nats-url", "nats://x@h:1"]).exits(2).warns("--nats-port");
    place.run(&["up", "--tls-cert", "cert.pem"]).exits(2).warns("--tls-key");
    let file = place.file("no/such/dir");
    fs::write(place.file("no"), "a file").unwrap();
    let ran = place.run(&["up", "--data-dir", file.to_str().unwrap()]).exits(2).warns("error: io");
    assert!(ran.stderr.contains("hint:"), "{}", ran.stderr);
}
