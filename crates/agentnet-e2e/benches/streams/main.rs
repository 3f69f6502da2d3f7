//! Streamed texts beside plain publishes of the same texts over the same nats-server, in one run.
//!
//! `cargo bench -p agentnet-e2e --bench streams [-- --quick]`
//!
//! A private nats-server and Postgres, a registry and a persister, a sender and a reader, all in this process; the limit
//! is a plain NATS client that publishes every delta to a plain subscription. Ours and the limit take turns; medians of
//! five rounds (three with `--quick`) are printed as a table in Markdown. Whatever is read is compared with what was
//! sent: a difference ends the run.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a bench reports, or ends"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::{process::ExitCode, time::Duration};

use agentnet::{AgentNode, Incoming, On, StreamReader};
use futures_util::{StreamExt as _, stream};
use support::Stack;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::Instant,
};

/// A word of a language model and its blank.
const DELTA: &str = "bandwidth ";
/// Deltas of one stream: as many as fit into a message.
const DELTAS: usize = 20_000;

struct Size {
    rounds: usize,
    /// Streams of one turn of the rate, and words of one turn of the latencies.
    streams: usize,
    words: usize,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs benches too; there is nothing to check here.
    if !args.iter().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let size = match args.iter().any(|arg| arg == "--quick") {
        true => Size { rounds: 3, streams: 1, words: 200 },
        false => Size { rounds: 5, streams: 4, words: 2_000 },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => {
            runtime.block_on(measure(&size));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("streams: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(size: &Size) {
    println!("{} rounds, deltas of {} bytes\n", size.rounds, DELTA.len());
    println!("| | mode | ours | plain publish |");
    println!("|---|---|---|---|");
    for (mode, stack) in [("open", Stack::start().await), ("signed", Stack::signed().await)] {
        let bench = Bench::start(&stack).await;
        let (ours, bare) =
            take_turns(size.rounds, async || bench.rate(size).await, async || bench.bare_rate(size).await)
                .await;
        println!("| deltas a second, as fast as they come | {mode} | {ours:.0} | {bare:.0} |");
        let (ours, bare) = take_turns(
            size.rounds,
            async || bench.latency(size).await,
            async || bench.bare_latency(size).await,
        )
        .await;
        println!("| from said to read, one delta at a time, p50 | {mode} | {ours:.3} ms | {bare:.3} ms |");
        let (ours, bare) = take_turns(
            size.rounds,
            async || bench.first(size).await,
            async || bench.bare_latency(size).await,
        )
        .await;
        println!("| from `send_stream` to the first delta, p50 | {mode} | {ours:.3} ms | {bare:.3} ms |");
        let (ours, bare) = take_turns(
            size.rounds,
            async || bench.first_of_reply(size).await,
            async || bench.bare_latency(size).await,
        )
        .await;
        println!("| from `request_stream` to the first delta, p50 | {mode} | {ours:.3} ms | {bare:.3} ms |");
    }
}

/// Medians of both.
async fn take_turns(
    rounds: usize,
    mut ours: impl AsyncFnMut() -> f64,
    mut bare: impl AsyncFnMut() -> f64,
) -> (f64, f64) {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        left.push(ours().await);
        right.push(bare().await);
    }
    (median(left), median(right))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

struct Bench<'a> {
    stack: &'a Stack,
    alice: AgentNode,
    _bob: AgentNode,
    /// Each delta, and when it was read; `None` at the end of a stream.
    read: tokio::sync::Mutex<UnboundedReceiver<Option<(usize, Instant)>>>,
    account: String,
}

impl<'a> Bench<'a> {
    async fn start(stack: &'a Stack) -> Self {
        let (tell, read) = unbounded_channel();
        let bob = stack
            .node("bob")
            .no_rate_limit()
            .on_stream(On::Any, move |_, mut stream: StreamReader| {
                let tell = tell.clone();
                async move {
                    while let Some(delta) = stream.next_delta().await {
                        let _ = tell.send(Some((delta?.len(), Instant::now())));
                    }
                    stream.finish().await?;
                    let _ = tell.send(None);
                    Ok(())
                }
            })
            .on_message(|message: Incoming| async move {
                drop(message.reply_stream(stream::iter([DELTA])).await?);
                Ok(())
            })
            .start()
            .await
            .unwrap();
        let alice = stack.node("alice").start().await.unwrap();
        let account = format!("account:{}", bob.account_id());
        Self { stack, alice, _bob: bob, read: tokio::sync::Mutex::new(read), account }
    }

    async fn next(&self) -> Option<(usize, Instant)> {
        tokio::time::timeout(support::SOON, self.read.lock().await.recv()).await.unwrap().unwrap()
    }

    /// Deltas a second, from the call to the last delta.
    async fn rate(&self, size: &Size) -> f64 {
        let started = Instant::now();
        let mut last = started;
        for _ in 0..size.streams {
            let words = stream::iter(std::iter::repeat_n(DELTA, DELTAS));
            let reading = async {
                let mut bytes = 0;
                while let Some((len, at)) = self.next().await {
                    bytes += len;
                    last = at;
                }
                bytes
            };
            let (sent, bytes) =
                tokio::join!(async { self.alice.send_stream(&self.account, words).await.unwrap() }, reading);
            assert_eq!((sent.deltas, bytes), (DELTAS as u64, DELTAS * DELTA.len()));
        }
        (size.streams * DELTAS) as f64 / (last - started).as_secs_f64()
    }

    async fn bare_rate(&self, size: &Size) -> f64 {
        let mut heard = self.stack.listen("bench.deltas".to_owned()).await;
        let count = size.streams * DELTAS;
        let started = Instant::now();
        let raw = self.alice.connection().client();
        let publishing = async {
            for _ in 0..count {
                raw.publish("bench.deltas", DELTA.into()).await.unwrap();
            }
            raw.flush().await.unwrap();
        };
        let reading = async {
            for _ in 0..count {
                heard.next().await.unwrap();
            }
        };
        tokio::join!(publishing, reading);
        count as f64 / started.elapsed().as_secs_f64()
    }

    /// Each delta is said when the one before was read.
    async fn latency(&self, size: &Size) -> f64 {
        let (say, mut said) = unbounded_channel::<String>();
        let sending = async {
            let words = stream::poll_fn(move |cx| said.poll_recv(cx));
            self.alice.send_stream(&self.account, words).await.unwrap();
        };
        let talking = async {
            let mut took = Vec::new();
            for _ in 0..size.words {
                let at = Instant::now();
                say.send(DELTA.to_owned()).unwrap();
                took.push(ms(self.next().await.unwrap().1 - at));
            }
            drop(say);
            assert!(self.next().await.is_none());
            median(took)
        };
        tokio::join!(sending, talking).1
    }

    async fn bare_latency(&self, size: &Size) -> f64 {
        let mut heard = self.stack.listen("bench.latency".to_owned()).await;
        let raw = self.alice.connection().client();
        let mut took = Vec::new();
        for _ in 0..size.words {
            let at = Instant::now();
            raw.publish("bench.latency", DELTA.into()).await.unwrap();
            heard.next().await.unwrap();
            took.push(ms(at.elapsed()));
        }
        median(took)
    }

    /// The message that begins the stream, its reader's first word, and the delta.
    async fn first(&self, size: &Size) -> f64 {
        let mut took = Vec::new();
        for _ in 0..size.words / 20 {
            let at = Instant::now();
            let sending =
                async { self.alice.send_stream(&self.account, stream::iter([DELTA])).await.unwrap() };
            let reading = async {
                let first = self.next().await.unwrap().1;
                assert!(self.next().await.is_none());
                ms(first - at)
            };
            took.push(tokio::join!(sending, reading).1);
        }
        median(took)
    }

    async fn first_of_reply(&self, size: &Size) -> f64 {
        let mut took = Vec::new();
        for _ in 0..size.words / 20 {
            let at = Instant::now();
            let mut answer = self.alice.request_stream(&self.account, "go").await.unwrap();
            answer.next_delta().await.unwrap().unwrap();
            took.push(ms(at.elapsed()));
            assert_eq!(answer.finish().await.unwrap().text, DELTA);
        }
        median(took)
    }
}
