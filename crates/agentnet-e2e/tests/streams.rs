//! Streamed texts over real services: in every mode, to accounts, threads and requesters, over cut connections.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentnet::{
    AgentNode, AgentNodeBuilder, Error, ErrorKind, Incoming, On, RegistryClient, StreamReader, StreamedText,
    proto::{StreamFrame, Subject, stream::StreamStart},
};
use agentnet_e2e::faults::proxy::{Proxy, Shape};
use agentnet_local::testing::eventually;
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::json;
use support::{SECOND, SOON, Stack, original, until};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

/// What a reader was given, one delta after the other, and how it ended.
type Read = (Vec<String>, Result<StreamedText, Error>);

/// Text as it comes out of the channel.
fn source(mut from: UnboundedReceiver<String>) -> impl Stream<Item = String> {
    stream::poll_fn(move |cx| from.poll_recv(cx))
}

/// Words of different lengths, some of them odd.
fn words(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n} wörd\u{1F600}\"\n")).collect()
}

/// Reads along to the end; says each delta at once.
async fn read(mut stream: StreamReader, live: Option<UnboundedSender<String>>) -> Read {
    let mut deltas = Vec::new();
    loop {
        match stream.next_delta().await {
            Some(Ok(delta)) => {
                if let Some(live) = &live {
                    let _ = live.send(delta.clone());
                }
                deltas.push(delta);
            }
            Some(Err(error)) => return (deltas, Err(error)),
            None => return (deltas, stream.finish().await),
        }
    }
}

/// An agent that reads streams, what it read, and what comes as it comes.
struct Listener {
    node: AgentNode,
    reads: UnboundedReceiver<Read>,
    live: UnboundedReceiver<String>,
    messages: Arc<Mutex<Vec<Option<String>>>>,
}

impl Listener {
    async fn of(builder: AgentNodeBuilder) -> Self {
        let (done, reads) = unbounded_channel();
        let (said, live) = unbounded_channel();
        let messages = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&messages);
        let node = builder
            .on_stream(On::Any, move |_, stream| {
                let (done, said) = (done.clone(), said.clone());
                async move {
                    let _ = done.send(read(stream, Some(said)).await);
                    Ok(())
                }
            })
            .on_message(move |message: Incoming| {
                heard.lock().unwrap().push(message.text());
                async { Ok(()) }
            })
            .start()
            .await
            .unwrap();
        Self { node, reads, live, messages }
    }

    async fn read(&mut self) -> Read {
        timeout(SOON, self.reads.recv()).await.expect("no stream ended").unwrap()
    }

    async fn heard(&mut self) -> String {
        timeout(SOON, self.live.recv()).await.expect("no delta came").unwrap()
    }
}

/// How the thread's stream began, once that is stored.
async fn began(stack: &Stack, registry: &RegistryClient, thread: &str) -> StreamStart {
    eventually(SOON, || async { !stack.stored(registry, thread).await.is_empty() }).await;
    let rows = stack.stored(registry, thread).await;
    match StreamFrame::of_payload(&rows[0].payload) {
        Some(StreamFrame::Start(start)) => start,
        other => panic!("{other:?}"),
    }
}

async fn three_modes() -> Vec<Stack> {
    vec![Stack::start().await, Stack::signed().await, Stack::secure(&[]).await]
}

async fn plain(stack: &Stack, name: &str) -> AgentNode {
    stack.node(name).on_message(|_| async { Ok(()) }).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_read_while_it_is_written_and_stored_once_in_every_mode() {
    for stack in three_modes().await {
        let alice = stack.node("alice").start().await.unwrap();
        let mut bob = Listener::of(stack.node("bob")).await;
        let (say, said) = unbounded_channel();
        let thread = "live";
        let sending = async {
            let sent = alice.send_stream("@bob", source(said)).thread(thread).metadata("model", "m1");
            sent.await.unwrap()
        };
        let talking = async {
            // Each word is only said when the one before has been heard. Far more of them than the rate limit's 10.
            for word in words(60) {
                say.send(word.clone()).unwrap();
                assert_eq!(bob.heard().await, word);
            }
            drop(say);
        };
        let (sent, ()) = tokio::join!(sending, talking);
        let text = words(60).concat();
        assert_eq!((&sent.text, sent.deltas, sent.cancelled), (&text, 60, false));
        let (deltas, ended) = bob.read().await;
        let ended = ended.unwrap();
        assert_eq!((deltas, &ended.text), (words(60), &text));
        assert_eq!(ended.message_id.as_deref(), Some(sent.delivery.message_id.as_str()));
        assert!(sent.delivery.stored);

        // Two messages: that it began, and all of it. Only the latter was waited for.
        let registry = bob.node.registry();
        eventually(SOON, || async { stack.stored(registry, thread).await.len() >= 2 }).await;
        let rows = stack.stored(registry, thread).await;
        assert_eq!(rows.len(), 2, "{rows:?}");
        let whole = rows.iter().find(|row| row.message_id == sent.delivery.message_id).unwrap();
        assert_eq!((whole.kind.as_str(), whole.payload.as_text()), ("stream", Some(text)));
        assert!(bob.messages.lock().unwrap().is_empty(), "the stream's handler had it");
        assert_eq!(bob.node.metrics_snapshot().frames_refused_count, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_piece_by_piece_in_every_mode() {
    for stack in three_modes().await {
        let alice = stack.node("alice").start().await.unwrap();
        let (say, said) = unbounded_channel();
        let said = Mutex::new(Some(said));
        let _poet = stack
            .node("poet")
            .capability("poetry")
            .on_message(move |message: Incoming| {
                let said = said.lock().unwrap().take();
                async move {
                    match said {
                        Some(said) => drop(message.reply_stream(source(said)).await?),
                        None => drop(message.reply_stream(stream::iter(["at ", "once"])).await?),
                    }
                    Ok(())
                }
            })
            .start()
            .await
            .unwrap();
        say.send("Roses ".to_owned()).unwrap();
        let mut answer = alice.request_stream("@poet", json!({"text": "a poem"})).await.unwrap();
        assert_eq!(answer.next_delta().await.unwrap().unwrap(), "Roses ");
        say.send("are red".to_owned()).unwrap();
        assert_eq!(answer.next_delta().await.unwrap().unwrap(), "are red");
        drop(say);
        assert!(answer.next_delta().await.is_none());
        let whole = answer.finish().await.unwrap();
        let reply = whole.reply.unwrap();
        assert_eq!((whole.text.as_str(), reply.text().as_deref()), ("Roses are red", Some("Roses are red")));
        assert_eq!(
            (reply.envelope().kind.as_str(), whole.message_id.as_deref()),
            ("reply", Some(reply.message_id()))
        );
        // Of whoever has the capability, too; and a plain request gets the whole.
        let whole = alice.request_stream("capability:poetry", "more").await.unwrap().finish().await.unwrap();
        assert_eq!(whole.text, "at once");
        let reply = alice.request("@poet", "more").await.unwrap();
        assert_eq!(reply.text().as_deref(), Some("at once"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_of_a_thread_reads_along_and_nobody_else_does() {
    let stack = Stack::secure(&[]).await;
    let alice = stack.node("alice").start().await.unwrap();
    let mut bob = Listener::of(stack.node("bob")).await;
    let mut cat = Listener::of(stack.node("cat")).await;
    let eve = plain(&stack, "eve").await;
    let members = [bob.node.account_id(), cat.node.account_id()];
    let thread = alice.create_thread("plans", &members).await.unwrap().thread_id;
    bob.node.join_thread(&thread).await.unwrap();
    cat.node.join_thread(&thread).await.unwrap();
    let (say, said) = unbounded_channel();
    let sending = async { alice.send_stream(format!("thread:{thread}"), source(said)).await.unwrap() };
    let listening = async {
        say.send("one ".to_owned()).unwrap();
        assert_eq!((bob.heard().await, cat.heard().await), ("one ".into(), "one ".into()));
        // What eve asks of it, knowing its id, isn't answered.
        let start = began(&stack, bob.node.registry(), &thread).await;
        let mut spied = eve.follow_stream(alice.account_id(), &start).unwrap();
        until(|| alice.metrics_snapshot().frames_refused_count > 0).await;
        say.send("two".to_owned()).unwrap();
        assert_eq!((bob.heard().await, cat.heard().await), ("two".into(), "two".into()));
        assert!(timeout(Duration::from_millis(300), spied.next_delta()).await.is_err(), "eve reads along");
        drop(say);
    };
    let (sent, ()) = tokio::join!(sending, listening);
    for reader in [&mut bob, &mut cat] {
        let (_, ended) = reader.read().await;
        let ended = ended.unwrap();
        assert_eq!(
            (ended.text.as_str(), ended.message_id),
            ("one two", Some(sent.delivery.message_id.clone()))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_handler_of_streams_gets_the_finished_text_once() {
    let stack = Stack::start().await;
    let alice = stack.node("alice").start().await.unwrap();
    let texts = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&texts);
    let _bob = stack
        .node("bob")
        .on_message(move |message: Incoming| {
            heard.lock().unwrap().push(message.text());
            async { Ok(()) }
        })
        .start()
        .await
        .unwrap();
    let sent = alice.send_stream("@bob", stream::iter(["a", "b", "c"])).await.unwrap();
    assert!(sent.delivery.is_accepted());
    until(|| *texts.lock().unwrap() == [Some("abc".to_owned())]).await;
    let again = alice.send_stream("@bob", stream::iter(Vec::<String>::new())).await.unwrap();
    assert_eq!((again.text.as_str(), again.deltas), ("", 0));
    until(|| *texts.lock().unwrap() == [Some("abc".to_owned()), Some(String::new())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threads_message_handler_comes_before_a_general_handler_of_streams() {
    let stack = Stack::start().await;
    let alice = stack.node("alice").start().await.unwrap();
    let mut bob = Listener::of(stack.node("bob")).await;
    let texts = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&texts);
    let guard = bob.node.add_handler(On::thread("t"), move |message: Incoming| {
        heard.lock().unwrap().push(message.text());
        async { Ok(()) }
    });
    alice.send_stream("@bob", stream::iter(["x"])).thread("t").await.unwrap();
    until(|| *texts.lock().unwrap() == [Some("x".to_owned())]).await;
    guard.unwrap().remove();
    alice.send_stream("@bob", stream::iter(["y"])).thread("t").await.unwrap();
    assert_eq!(bob.read().await.0, ["y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_reads_the_whole_when_it_comes() {
    let stack = Stack::start().await;
    let alice = stack.node("alice").start().await.unwrap();
    let gone = plain(&stack, "bob").await;
    gone.close().await.unwrap();
    let sent =
        alice.send_stream("@bob", stream::iter(words(20))).ttl(Duration::from_secs(600)).await.unwrap();
    assert!(sent.delivery.stored && !sent.delivery.is_accepted());
    // Even if its sender is gone.
    alice.close().await.unwrap();
    let mut bob = Listener::of(stack.node("bob")).await;
    let (deltas, ended) = bob.read().await;
    assert_eq!((deltas.concat(), ended.unwrap().text), (words(20).concat(), words(20).concat()));
    assert!(bob.messages.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_late_sees_the_start() {
    let stack = Stack::secure(&[]).await;
    let alice = stack.node("alice").start().await.unwrap();
    let mut bob = Listener::of(stack.node("bob")).await;
    let (say, said) = unbounded_channel();
    let sending = async { alice.send_stream("@bob", source(said)).thread("late").await.unwrap() };
    let joining = async {
        for word in words(30) {
            say.send(word).unwrap();
            bob.heard().await;
        }
        // Another session of the account.
        let second = stack.node("bob").start().await.unwrap();
        let start = began(&stack, second.registry(), "late").await;
        let late = second.follow_stream(alice.account_id(), &start).unwrap();
        assert_eq!(
            second.follow_stream(alice.account_id(), &start).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
        let (live, mut heard) = unbounded_channel();
        let late = tokio::spawn(read(late, Some(live)));
        assert_eq!(timeout(SOON, heard.recv()).await.unwrap().unwrap(), words(1)[0]);
        say.send("end".to_owned()).unwrap();
        drop(say);
        let (deltas, ended) = late.await.unwrap();
        assert_eq!(deltas.concat(), words(30).concat() + "end");
        assert_eq!(deltas.len(), 31);
        ended.unwrap()
    };
    let (sent, late) = tokio::join!(sending, joining);
    assert_eq!(late.text, sent.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_the_source() {
    let stack = Stack::secure(&[]).await;
    let alice = stack.node("alice").start().await.unwrap();
    let bob = stack
        .node("bob")
        .on_stream(On::Any, |_, mut stream: StreamReader| async move {
            let first = stream.next_delta().await.unwrap()?;
            assert_eq!(stream.cancel().await?, first);
            Ok(())
        })
        .start()
        .await
        .unwrap();
    // Goes on for ever by itself.
    let (say, said) = unbounded_channel();
    say.send("once".to_owned()).unwrap();
    let sent = timeout(SOON, async { alice.send_stream("@bob", source(said)).thread("c").await.unwrap() });
    let sent = sent.await.expect("the cancel doesn't stop it");
    assert_eq!((sent.text.as_str(), sent.cancelled), ("once", true));
    let rows = stack.stored(bob.registry(), "c").await;
    assert_eq!(rows[0].payload.value()["cancelled"], true);
    assert!(say.is_closed(), "the source is dropped");

    // A requester cancels, too; what was said is the reply.
    let (ended, mut outcome) = unbounded_channel();
    let _poet = stack
        .node("poet")
        .on_message(move |message: Incoming| {
            let ended = ended.clone();
            async move {
                let endless = stream::iter(["la "]).chain(stream::pending());
                let sent = message.reply_stream(endless).await?;
                let _ = ended.send((sent.cancelled, sent.text));
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    let mut answer = alice.request_stream("@poet", "sing").await.unwrap();
    assert_eq!(answer.next_delta().await.unwrap().unwrap(), "la ");
    answer.cancel().await.unwrap();
    assert_eq!(timeout(SOON, outcome.recv()).await.unwrap().unwrap(), (true, "la ".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_cancels_leaves_the_others_reading() {
    let stack = Stack::start().await;
    let alice = stack.node("alice").start().await.unwrap();
    let mut bob = Listener::of(stack.node("bob")).await;
    let (left, mut has_left) = unbounded_channel();
    let cat = stack.node("cat").on_stream(On::Any, move |_, mut stream: StreamReader| {
        let left = left.clone();
        async move {
            let _ = stream.next_delta().await;
            stream.cancel().await?;
            let _ = left.send(());
            Ok(())
        }
    });
    let cat = cat.start().await.unwrap();
    let thread =
        alice.create_thread("t", &[bob.node.account_id(), cat.account_id()]).await.unwrap().thread_id;
    bob.node.join_thread(&thread).await.unwrap();
    cat.join_thread(&thread).await.unwrap();
    let (say, said) = unbounded_channel();
    let sending = async { alice.send_stream(format!("thread:{thread}"), source(said)).await.unwrap() };
    let talking = async {
        say.send("one ".to_owned()).unwrap();
        timeout(SOON, has_left.recv()).await.unwrap().unwrap();
        say.send("two".to_owned()).unwrap();
        drop(say);
    };
    let (sent, ()) = tokio::join!(sending, talking);
    assert!(!sent.cancelled);
    assert_eq!(bob.read().await.1.unwrap().text, "one two");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_put_words_into_anothers_mouth() {
    let stack = Stack::secure(&[]).await;
    let alice = stack.node("alice").start().await.unwrap();
    let mallory = stack.node("mallory").start().await.unwrap();
    let mut bob = Listener::of(stack.node("bob")).await;
    let (say, said) = unbounded_channel();
    let sending = async { alice.send_stream("@bob", source(said)).thread("m").await.unwrap() };
    let attacking = async {
        say.send("true ".to_owned()).unwrap();
        bob.heard().await;
        let start = began(&stack, bob.node.registry(), "m").await;
        // The permission lets any agent publish there; only the signature tells. Unsigned, and signed for another
        // purpose; as alice, and as herself.
        let client = mallory.connection().client();
        let to_bob = stream_subject(&bob.node, &start.stream_id);
        let to_alice = stream_subject(&alice, &start.stream_id);
        let end = json!({"type": "stream_end", "stream_id": start.stream_id, "seq": 1});
        let frames = [
            (
                &to_bob,
                json!({"type": "stream_delta", "stream_id": start.stream_id, "delta": "false ", "seq": 1}),
            ),
            (&to_bob, end),
            (&to_bob, json!({"type": "stream_error", "stream_id": start.stream_id, "error": "busy"})),
            (&to_alice, json!({"type": "stream_cancel", "stream_id": start.stream_id})),
        ];
        let signature = {
            let signer = agentnet::Signer::new(&stack.identity("mallory"), "e2e".parse().unwrap());
            signer.public_key()
        };
        for (subject, frame) in &frames {
            let is_control = frame["type"] == "stream_cancel";
            let as_other = if is_control { bob.node.account_id() } else { alice.account_id() };
            for from in [as_other, mallory.account_id()] {
                let mut frame = frame.clone();
                frame["from_account_id"] = from.into();
                let body = frame.to_string();
                client.publish((*subject).clone(), body.clone().into()).await.unwrap();
                let mut headers = async_nats::HeaderMap::new();
                let forged = format!("v2 {signature} {}", "A".repeat(86));
                headers.insert("Agentnet-Signature", forged.as_str());
                client.publish_with_headers((*subject).clone(), headers, body.into()).await.unwrap();
            }
        }
        client.flush().await.unwrap();
        // Three frames under alice's name, twice each; what mallory says as herself isn't even checked.
        until(|| bob.node.metrics_snapshot().frames_refused_count >= 6).await;
        until(|| alice.metrics_snapshot().frames_refused_count >= 2).await;
        say.send("words".to_owned()).unwrap();
        drop(say);
    };
    let (sent, ()) = tokio::join!(sending, attacking);
    assert!(!sent.cancelled);
    let (deltas, ended) = bob.read().await;
    assert_eq!((deltas, ended.unwrap().text), (vec!["true ".into(), "words".into()], "true words".into()));
}

fn stream_subject(node: &AgentNode, stream_id: &str) -> String {
    let account = agentnet::proto::AccountId::new(node.account_id()).unwrap();
    Subject::Stream(account, agentnet::proto::Token::new(stream_id).unwrap()).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_isnt_a_frame_changes_nothing() {
    let stack = Stack::start().await;
    let alice = stack.node("alice").start().await.unwrap();
    let mut bob = Listener::of(stack.node("bob")).await;
    let (say, said) = unbounded_channel();
    let sending = async { alice.send_stream("@bob", source(said)).thread("b").await.unwrap() };
    let attacking = async {
        say.send("a".to_owned()).unwrap();
        bob.heard().await;
        let start = began(&stack, &stack.registry(), "b").await;
        let id = start.stream_id;
        let (alices, bobs) = (alice.account_id(), bob.node.account_id());
        let subject = stream_subject(&bob.node, &id);
        let delta = |seq: u64| json!({"type": "stream_delta", "stream_id": id, "delta": "x", "seq": seq, "from_account_id": alices});
        let mut other = delta(1);
        other["stream_id"] = "other".into();
        let mut nobody = delta(1);
        nobody["from_account_id"] = json!("a.b");
        let mut huge = delta(1);
        huge["delta"] = "x".repeat(70_000).into();
        let refused = [json!(null), json!([1]), json!({"type": "stream_delta"}), other, nobody, huge];
        let count = refused.len() as u64;
        for body in refused {
            stack.publish(subject.clone(), &body).await;
        }
        // A frame that says something impossible, frames that were there before, and words of readers to a reader.
        for body in [
            delta(u64::MAX),
            delta(0),
            json!({"type": "stream_resume", "stream_id": id, "seq": u64::MAX, "from_account_id": alices}),
            json!({"type": "stream_cancel", "stream_id": id, "from_account_id": bobs}),
        ] {
            stack.publish(subject.clone(), &body).await;
        }
        until(|| bob.node.metrics_snapshot().frames_refused_count == count).await;
        say.send("b".to_owned()).unwrap();
        drop(say);
    };
    let (sent, ()) = tokio::join!(sending, attacking);
    let (deltas, ended) = bob.read().await;
    assert_eq!((deltas.concat(), ended.unwrap().text, sent.cancelled), ("ab".into(), "ab".into(), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_and_a_sender_that_stops_break_the_stream() {
    let stack = Stack::secure(&[]).await;
    let alice = stack.node("alice").start().await.unwrap();
    let mut bob = Listener::of(stack.node("bob").stream_silence(3 * SECOND)).await;
    let failing = stream::iter([Ok("so far"), Err("the model is gone: secret")]);
    let error = alice.send_stream("@bob", failing).thread("f").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Stream, "stream_broken"));
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("secret"));
    let (deltas, ended) = bob.read().await;
    let told = ended.unwrap_err();
    assert_eq!((deltas.concat().as_str(), told.code()), ("so far", "stream_broken"));
    assert!(!told.to_string().contains("secret"), "{told}");

    // Dropped while it speaks.
    let (say, said) = unbounded_channel();
    say.send("half".to_owned()).unwrap();
    tokio::select! {
        sent = async { alice.send_stream("@bob", source(said)).await } => panic!("{sent:?}"),
        heard = bob.heard() => assert_eq!(heard, "so far"),
    }
    let (say, said) = unbounded_channel();
    say.send("half".to_owned()).unwrap();
    tokio::select! {
        sent = async { alice.send_stream("@bob", source(said)).await } => panic!("{sent:?}"),
        () = async { while bob.heard().await != "half" {} } => {}
    }
    loop {
        let (deltas, ended) = bob.read().await;
        assert_eq!(ended.unwrap_err().code(), "stream_broken");
        if deltas == ["half"] {
            break;
        }
    }

    // Gone without a word.
    let (say, said) = unbounded_channel();
    say.send("last".to_owned()).unwrap();
    let proxied = Proxy::start(stack.nats.host_port().parse().unwrap()).await.unwrap();
    let carol = stack.node("carol").nats_url(format!("nats://{}", proxied.address())).start().await.unwrap();
    let sending = tokio::spawn(async move { carol.send_stream("@bob", source(said)).await });
    while bob.heard().await != "last" {}
    proxied.shape(Shape { refuse: true, ..Shape::CLEAR });
    proxied.cut();
    let (_, ended) = bob.read().await;
    assert_eq!(ended.unwrap_err().code(), "stream_broken");
    sending.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_never_ends_is_ended_by_either_side() {
    let stack = Stack::start().await;
    let alice = stack.node("alice").start().await.unwrap();
    let mut bob = Listener::of(stack.node("bob").stream_time(2 * SECOND)).await;
    let ticking = || {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        stream::poll_fn(move |cx| tick.poll_tick(cx).map(|_| Some("tick ")))
    };
    // By its reader's limit, while the sender goes on.
    let sending = alice.send_stream("@bob", ticking()).max_time(4 * SECOND);
    let error = sending.await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Stream, "stream_too_long"));
    let (deltas, ended) = bob.read().await;
    assert_eq!(ended.unwrap_err().code(), "stream_too_long");
    assert!(deltas.len() > 20);
    // By its sender's limit.
    let error = alice.send_stream("@bob", ticking()).max_time(Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(error.code(), "stream_too_long");
    assert_eq!(bob.read().await.1.unwrap_err().code(), "stream_too_long");
    // By its length: what doesn't fit into a message.
    let long = stream::iter(std::iter::repeat_n("x".repeat(10_000), 30));
    let error = alice.send_stream("@bob", long).await.unwrap_err();
    assert_eq!(error.code(), "stream_too_long");
    assert_eq!(bob.read().await.1.unwrap_err().code(), "stream_too_long");
    // What just fits does, whatever its characters cost as JSON.
    let fits = "\u{1}\"é".repeat(20_000);
    let parts: Vec<String> =
        fits.chars().collect::<Vec<_>>().chunks(5_000).map(|c| c.iter().collect()).collect();
    let sent = alice.send_stream("@bob", stream::iter(parts)).await.unwrap();
    assert_eq!(sent.text, fits);
    assert_eq!(bob.read().await.1.unwrap().text, fits);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_targets_and_refused_streams_say_so() {
    let stack = Stack::start().await;
    let alice = stack.node("alice").start().await.unwrap();
    let words = || stream::iter(["x"]);
    for (target, kind) in [
        ("capability:echo", ErrorKind::InvalidTarget),
        ("@nobody_here", ErrorKind::NotFound),
        ("", ErrorKind::InvalidTarget),
    ] {
        assert_eq!(alice.send_stream(target, words()).await.unwrap_err().kind(), kind, "{target}");
    }
    // Not a member.
    let bob = plain(&stack, "bob").await;
    let thread = bob.create_thread("private", &[]).await.unwrap().thread_id;
    let endless = words().chain(stream::pending());
    let refused = timeout(SOON, async { alice.send_stream(format!("thread:{thread}"), endless).await });
    assert_eq!(refused.await.unwrap().unwrap_err().code(), "thread_forbidden");
    let start =
        StreamStart { stream_id: "a.b".into(), message_id: Some("m".into()), ..StreamStart::default() };
    assert!(alice.follow_stream(bob.account_id(), &start).is_err());
    let start = StreamStart { stream_id: "s".into(), ..StreamStart::default() };
    assert_eq!(alice.follow_stream(bob.account_id(), &start).unwrap_err().kind(), ErrorKind::InvalidArgument);
    // Requests: nobody there, a handler that fails, an answer at once.
    let error = alice.request_stream("account:acct_nobody", "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoResponder);
    let _moody = stack
        .node("moody")
        .no_rate_limit()
        .on_message(|message: Incoming| async move {
            match message.text().as_deref() {
                Some("plain") => drop(message.reply(json!({"text": "at once"})).await?),
                Some("half") => {
                    let failing = stream::iter([Ok("half"), Err("broken")]);
                    drop(message.reply_stream(failing).await?);
                }
                _ => return Err("no".into()),
            }
            Ok(())
        })
        .start()
        .await
        .unwrap();
    let error = alice.request_stream("@moody", json!({"text": "fail"})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HandlerError);
    let whole =
        alice.request_stream("@moody", json!({"text": "plain"})).await.unwrap().finish().await.unwrap();
    assert_eq!(whole.text, "at once");
    let half = alice.request_stream("@moody", json!({"text": "half"})).await.unwrap();
    let (deltas, ended) = read(half, None).await;
    assert_eq!((deltas.concat().as_str(), ended.unwrap_err().code()), ("half", "stream_broken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_outlive_restarts_of_services() {
    let stack = Stack::start().await;
    let alice = stack.node("alice").start().await.unwrap();
    let mut bob = Listener::of(stack.node("bob")).await;
    let (say, said) = unbounded_channel();
    let sending =
        async { alice.send_stream("@bob", source(said)).ttl(Duration::from_secs(600)).await.unwrap() };
    let restarting = async {
        say.send("before ".to_owned()).unwrap();
        bob.heard().await;
        stack.stop_registry().await;
        stack.stop_persister().await;
        say.send("meanwhile ".to_owned()).unwrap();
        assert_eq!(bob.heard().await, "meanwhile ", "deltas need no service");
        stack.start_persister().await;
        stack.start_registry().await;
        say.send("after".to_owned()).unwrap();
        drop(say);
    };
    let (sent, ()) = tokio::join!(sending, restarting);
    assert!(sent.delivery.stored);
    assert_eq!(bob.read().await.1.unwrap().text, "before meanwhile after");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_go_on_when_connections_are_renewed() {
    let stack = Stack::secure(&[("AGENTNET_CONNECTION_SECONDS", "3")]).await;
    let alice = stack.node("alice").start().await.unwrap();
    let mut bob = Listener::of(stack.node("bob")).await;
    let (say, said) = unbounded_channel();
    let sending = async { alice.send_stream("@bob", source(said)).ttl(600 * SECOND).await.unwrap() };
    let talking = async {
        let connection = |node: &AgentNode| node.connection().client().server_info().client_id;
        let before = [connection(&alice), connection(&bob.node)];
        let (mut all, mut renewed) = (Vec::new(), [false; 2]);
        while renewed != [true; 2] {
            let word = format!("{} ", all.len());
            say.send(word.clone()).unwrap();
            all.push(word);
            while bob.heard().await != *all.last().unwrap() {}
            let now = [connection(&alice), connection(&bob.node)];
            renewed = [before[0] != now[0], before[1] != now[1]];
        }
        say.send("end".to_owned()).unwrap();
        all.push("end".to_owned());
        drop(say);
        all
    };
    let (sent, all) = timeout(SOON, async { tokio::join!(sending, talking) }).await.expect("no renewal");
    let (deltas, ended) = bob.read().await;
    assert_eq!((&deltas, ended.unwrap().text), (&all, sent.text));
}

/// Streams words while connections are cut so many times, and looks whether each came once, in order.
async fn cut(times: usize) {
    let stack = Stack::start().await;
    let upstream = stack.nats.host_port().parse().unwrap();
    let (hers, his) = (Proxy::start(upstream).await.unwrap(), Proxy::start(upstream).await.unwrap());
    let via = |proxy: &Proxy, name: &str| {
        let url = format!("nats://{}@{}", agentnet_local::testing::TEST_TOKEN, proxy.address());
        let mut settings = agentnet::connect::NatsSettings::from_url(&url).unwrap();
        settings.reconnect_max = Duration::from_millis(50);
        stack.node(name).nats(settings)
    };
    let alice = via(&hers, "alice").start().await.unwrap();
    let mut bob = Listener::of(via(&his, "bob")).await;
    let (say, said) = unbounded_channel();
    let sending =
        async { alice.send_stream("@bob", source(said)).ttl(Duration::from_secs(600)).await.unwrap() };
    let cutting = async {
        let mut all = Vec::new();
        for n in 0..times {
            let word = format!("{n} ");
            say.send(word.clone()).unwrap();
            all.push(word);
            // Sometimes what was said before is still under way.
            if n % 3 != 0 {
                while bob.heard().await != *all.last().unwrap() {}
            }
            if n % 2 == 0 {
                his.cut()
            } else {
                hers.cut()
            };
        }
        drop(say);
        all
    };
    let (sent, all) = tokio::join!(sending, cutting);
    let (deltas, ended) = bob.read().await;
    assert_eq!(deltas, all, "each once, in order");
    assert_eq!((ended.unwrap().text, sent.text), (all.concat(), all.concat()));
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_and_repeat_nothing() {
    cut(40).await;
}

/// `cargo test -p agentnet-e2e --test streams -- --ignored thousand`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn a_thousand_cut_connections_lose_and_repeat_nothing() {
    cut(1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cant_be_repeated_comes_with_the_finished_text() {
    let stack = Stack::start().await;
    let alice = stack.node("alice").start().await.unwrap();
    let proxy = Proxy::start(stack.nats.host_port().parse().unwrap()).await.unwrap();
    let url = format!("nats://{}@{}", agentnet_local::testing::TEST_TOKEN, proxy.address());
    let mut bob = Listener::of(stack.node("bob").nats_url(url)).await;
    let (say, said) = unbounded_channel();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let words_said = source(said).inspect(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let sending =
        async { alice.send_stream("@bob", words_said).replay(300).ttl(600 * SECOND).await.unwrap() };
    let talking = async {
        say.send("begin ".to_owned()).unwrap();
        bob.heard().await;
        proxy.shape(Shape { refuse: true, ..Shape::CLEAR });
        proxy.cut();
        until(|| !bob.node.connection().is_connected()).await;
        for word in words(50) {
            say.send(word).unwrap();
        }
        until(|| taken.load(Ordering::SeqCst) == 51).await;
        proxy.shape(Shape::CLEAR);
        until(|| bob.node.connection().is_connected()).await;
        say.send("end".to_owned()).unwrap();
        drop(say);
    };
    let (sent, ()) = tokio::join!(sending, talking);
    let (deltas, ended) = bob.read().await;
    assert_eq!((deltas.concat(), ended.unwrap().text), (sent.text.clone(), sent.text));
    assert_eq!(deltas[0], "begin ");
    assert!(deltas.len() < 40, "the rest came at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_original_sdks_are_understood() {
    let stack = Stack::start().await;
    let mut bob = Listener::of(stack.node("bob")).await;
    let carol = stack.register_original("carol").await;
    let account = bob.node.account_id().to_owned();
    let inbox = format!("account.{account}.inbox");
    let send = async |id: &str, payload: serde_json::Value| {
        let mut message = original(&carol, &account, id, &payload);
        (message["kind"], message["thread_id"]) = ("stream".into(), "t".into());
        stack.publish(inbox.clone(), &message).await;
    };
    let delta = |seq: usize, text: &str| {
        json!({"type": "stream_delta", "stream_id": "s1", "delta": text, "seq": seq, "role": "assistant",
               "content_type": "text/plain"})
    };
    // Many more than the rate of messages allows, not in order, one of them twice.
    send("o-start", json!({"type": "stream_start", "stream_id": "s1", "role": "assistant"})).await;
    for (n, seq) in [1, 0, 2].into_iter().chain(3..40).chain([5]).enumerate() {
        send(&format!("o-{n}"), delta(seq, &format!("{seq} "))).await;
    }
    let text: String = (0..40).map(|seq| format!("{seq} ")).collect();
    for seq in 0..40 {
        assert_eq!(bob.heard().await, format!("{seq} "));
    }
    send("o-end", json!({"type": "stream_end", "stream_id": "s1", "seq": 40, "text": text})).await;
    let (_, ended) = bob.read().await;
    let ended = ended.unwrap();
    assert_eq!((ended.text, ended.message_id.as_deref()), (text, Some("o-end")));
    // A part that comes late begins nothing.
    send("o-late", delta(3, "3 ")).await;
    // One that fails, and one that counts from 1 and has no text in the end.
    send("e-start", json!({"type": "stream_start", "stream_id": "s2"})).await;
    send("e-end", json!({"type": "stream_error", "stream_id": "s2", "error": "no tokens left", "seq": 0}))
        .await;
    let error = bob.read().await.1.unwrap_err();
    assert_eq!(error.code(), "stream_broken");
    assert!(error.detail().contains("no tokens left"));
    let mut one = delta(1, "one");
    one["stream_id"] = "s3".into();
    send("n-1", one).await;
    assert_eq!(bob.heard().await, "one");
    send("n-end", json!({"type": "stream_end", "stream_id": "s3", "seq": 2})).await;
    assert_eq!(bob.read().await.1.unwrap().text, "one");
    assert!(bob.messages.lock().unwrap().is_empty());
    // Where nobody reads streams, its parts are messages, as they always were.
    let (seen, mut kinds) = unbounded_channel();
    let dave = stack.node("dave").on_message(move |message: Incoming| {
        let _ = seen.send((message.kind().to_owned(), message.payload().value()["type"].clone()));
        async { Ok(()) }
    });
    let dave = dave.start().await.unwrap();
    let mut message = original(&carol, dave.account_id(), "d-1", &delta(0, "x"));
    message["kind"] = "stream".into();
    stack.publish(format!("account.{}.inbox", dave.account_id()), &message).await;
    let kind = timeout(SOON, kinds.recv()).await.unwrap().unwrap();
    assert_eq!(kind, ("stream".to_owned(), json!("stream_delta")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_original_gets_a_streamed_reply_whole() {
    let stack = Stack::start().await;
    let poet = stack
        .node("poet")
        .on_message(|message: Incoming| async move {
            drop(message.reply_stream(stream::iter(["la ", "la"])).await?);
            Ok(())
        })
        .start()
        .await
        .unwrap();
    let carol = stack.register_original("carol").await;
    let mut request = original(&carol, poet.account_id(), "r1", &json!({"text": "sing"}));
    request["kind"] = "request".into();
    let asked = stack.raw.request(format!("account.{}.inbox", poet.account_id()), request.to_string().into());
    let reply: serde_json::Value =
        serde_json::from_slice(&timeout(SOON, asked).await.unwrap().unwrap().payload).unwrap();
    assert_eq!((&reply["kind"], &reply["payload"]["text"]), (&json!("reply"), &json!("la la")));
}
