//! Streamed texts on the command line, between processes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, Stdio},
    sync::{Arc, Mutex, OnceLock, mpsc},
};

use agentnet::{AgentNode, Incoming, On, StreamReader};
use futures_util::{StreamExt as _, stream};
use support::{Ran, SOON, agents::shared};
use tokio::sync::Semaphore;

fn run(args: &[&str]) -> Ran {
    shared().place.run(args)
}

/// An agent that answers in two parts, and says the second when it is let; and that reads streams.
struct Poet {
    _node: AgentNode,
    /// Lets it go on.
    go_on: Arc<Semaphore>,
    /// What it reads, piece by piece.
    read: Mutex<mpsc::Receiver<String>>,
}

fn poet() -> &'static Poet {
    static POET: OnceLock<Poet> = OnceLock::new();
    POET.get_or_init(|| {
        let go_on = Arc::new(Semaphore::new(0));
        let (say, read) = mpsc::channel();
        let (gate, say) = (Arc::clone(&go_on), Mutex::new(say));
        let node = AgentNode::builder("poet_bot")
            .nats_url(&shared().url)
            .no_rate_limit()
            .on_message(move |message: Incoming| {
                let gate = Arc::clone(&gate);
                async move {
                    let second = stream::once(async move {
                        gate.acquire().await.unwrap().forget();
                        "are \u{1b}[2Jred"
                    });
                    drop(message.reply_stream(stream::iter(["Roses "]).chain(second)).await?);
                    Ok(())
                }
            })
            .on_stream(On::Any, move |_, mut stream: StreamReader| {
                let say = say.lock().unwrap().clone();
                async move {
                    while let Some(delta) = stream.next_delta().await {
                        let _ = say.send(delta?);
                    }
                    let _ = say.send("END".to_owned());
                    Ok(())
                }
            });
        let node = shared().runtime.block_on(node.start()).unwrap();
        Poet { _node: node, go_on, read: Mutex::new(read) }
    })
}

fn spawn(args: &[&str]) -> Child {
    let mut command = shared().place.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads until the output ends so; with a deadline, as the rest may never come.
fn read_until(from: &mut (impl std::io::Read + Send), end: &str) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(end.as_bytes()) {
        assert_eq!(from.read(&mut byte).unwrap(), 1, "it ended: {}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

// One test: the poet answers one after the other.
#[test]
fn streams_are_shown_as_they_come() {
    let poet = poet();
    // Of a request: the second part is only said once the first was seen.
    let mut child = spawn(&["request", "--to-username", "poet_bot", "{\"text\":\"a poem\"}"]);
    let mut stdout = child.stdout.take().unwrap();
    assert_eq!(read_until(&mut stdout, "Roses "), "Roses ");
    poet.go_on.add_permits(1);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("are \\x1b[2Jred\n"), "{rest:?}");
    assert!(rest.contains("replied in thread_") && !rest.contains('\u{1b}'), "{rest:?}");
    assert!(child.wait().unwrap().success());
    // Programs get the whole envelope.
    poet.go_on.add_permits(1);
    let json = run(&["request", "--json", "--to-username", "poet_bot", "{}"]).exits(0).json();
    assert_eq!(
        (json["kind"].as_str(), json["payload"]["text"].as_str()),
        (Some("reply"), Some("Roses are \u{1b}[2Jred"))
    );

    // Of a chat.
    let mut child = spawn(&["chat", "--to-username", "poet_bot"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"a poem\n").unwrap();
    let mut stdout = child.stdout.take().unwrap();
    assert_eq!(read_until(&mut stdout, "Roses "), "Roses ");
    poet.go_on.add_permits(1);
    assert_eq!(read_until(&mut stdout, "\n"), "are \\x1b[2Jred\n");
    stdin.write_all(b"/quit\n").unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "it isn't shown once more");
    assert!(child.wait().unwrap().success());

    // Of standard input: what is written is read at once.
    let watcher = watch_streams();
    let mut child =
        spawn(&["send", "--stream", "--json", "--thread-id", "typed", "--to-username", "poet_bot"]);
    let mut stdin = child.stdin.take().unwrap();
    let read = poet.read.lock().unwrap();
    for text in ["first line\n", "wörd"] {
        stdin.write_all(text.as_bytes()).unwrap();
        let mut heard = String::new();
        while heard != text {
            heard += &read.recv_timeout(SOON).unwrap();
        }
    }
    drop(stdin);
    assert_eq!(read.recv_timeout(SOON).unwrap(), "END");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sent: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((sent["thread_id"].as_str(), sent["stored"].as_bool()), (Some("typed"), Some(true)));
    let rows = run(&["thread-messages", "--json", "--thread-id", "typed"]).exits(0).json();
    assert_eq!(rows["messages"][0]["message_id"], sent["message_id"]);
    assert_eq!(rows["messages"][0]["payload"]["text"], "first line\nwörd");
    // And seen by who watches.
    let seen = watcher.join().unwrap();
    assert!(seen.contains("cli_sender ⇢ poet_bot  first line"), "{seen}");

    // Bad input.
    run(&["send", "--stream", "--to-username", "poet_bot", "{}"]).exits(2);
    run(&["send", "--to-username", "poet_bot"]).exits(2);
    let child = spawn(&["send", "--stream", "--to-username", "poet_bot"]);
    let output = {
        child.stdin.as_ref().unwrap().write_all(b"a\xff").unwrap();
        child.wait_with_output().unwrap()
    };
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && stderr.contains("error: stream_broken"), "{stderr}");
}

/// Watches until a piece of text has passed.
fn watch_streams() -> std::thread::JoinHandle<String> {
    let mut child = spawn(&["watch", "--streams"]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("watching ") && line.contains("account.*.stream.*"), "{line}");
    std::thread::spawn(move || {
        let mut text = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        while !text.contains("wörd") {
            assert!(stdout.read_line(&mut text).unwrap() > 0, "{text}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        text
    })
}
