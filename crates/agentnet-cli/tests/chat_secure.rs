//! `chat` on a secure network, where connections are renewed.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdin, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use support::{Place, SOON, wait_for};

/// A chat whose input stays open, and what it printed.
struct Chat {
    child: Child,
    _input: ChildStdin,
    said: Arc<Mutex<String>>,
}

impl Chat {
    fn start(place: &Place, thread_id: &str) -> Self {
        let mut command = place.command(&["chat", "--to-capability", "nothing", "--thread-id", thread_id]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let said = Arc::<Mutex<String>>::default();
        let (heard, output) = (Arc::clone(&said), BufReader::new(child.stdout.take().unwrap()));
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                heard.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self { _input: child.stdin.take().unwrap(), child, said }
    }

    fn says(&self, text: &str) -> bool {
        self.said.lock().unwrap().contains(text)
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two chats of one account share its mail: each message comes to one of them. Whichever that is, the chat of the thread
/// shows it, also when its connection is another one than at first: they last two seconds here.
#[test]
fn a_chat_shows_its_threads_messages_whichever_session_takes_them_over_renewals() {
    let place = Place::new();
    let _up = place.up_with(&[], &[("AGENTNET_CONNECTION_SECONDS", "2")]);
    let (here, _elsewhere) = (Chat::start(&place, "thread_here"), Chat::start(&place, "thread_elsewhere"));
    let username = wait_for(SOON, "both chats", || {
        let agents = place.run(&["list", "--json"]).exits(0).json()["agents"].as_array().unwrap().clone();
        let chats: Vec<_> = agents.iter().filter(|agent| agent["agent_id"] == "cli_chat").collect();
        (chats.len() == 2).then(|| chats[0]["username"].as_str().unwrap().to_owned())
    });
    let (started, mut sent) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(8) || sent < 12 {
        let text = format!("note-{sent}.");
        place
            .run(&[
                "send",
                "--to-username",
                &username,
                "--thread-id",
                "thread_here",
                &format!("{{\"text\": \"{text}\"}}"),
            ])
            .exits(0);
        sent += 1;
        wait_for(SOON, &text, || here.says(&text));
    }
}
