//! The persister beside what Postgres can take, in one run.
//!
//! `cargo bench -p agentnet-persister`. A private Postgres (fsync and synchronous_commit on) and a private nats-server
//! (file storage, flushed every two minutes, the server's default). The stream is filled first; then a persister on one
//! thread, as its process has on few cores, empties it. Every phase starts with empty tables, phases take turns, medians
//! are printed. Beside the rate stands the CPU time that each process took for a message, which a busy machine disturbs
//! far less. `AGENTNET_BENCH_MESSAGES` (50,000) and `AGENTNET_BENCH_ROUNDS` (5) change the size.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench reports and stops at the first problem"
)]

use std::{
    os::unix::fs::PermissionsExt,
    thread,
    time::{Duration, Instant},
};

use agentnet_local::{
    PgOptions, PostgresServer,
    testing::{TestNats, eventually},
};
use agentnet_persister::{
    Config, Counters, Handle, Persister,
    decode::{Raw, Rules, decode},
};
use agentnet_proto::{Timestamp, envelope::body_hash};
use agentnet_service::{
    config::{ChassisConfig, HttpConfig, NatsConfig, ShutdownConfig},
    service::{FullConfig, start},
    shutdown::Shutdown,
};
use agentnet_store::{
    Store, StoreConfig,
    ingest::{Item, ingest},
};
use async_nats::Client;
use futures_util::StreamExt;
use sqlx::{Connection, PgConnection, PgPool};
use time::OffsetDateTime;
use tokio::sync::oneshot;

const BATCH: usize = 500;

struct Bench {
    nats: TestNats,
    client: Client,
    pool: PgPool,
    url: String,
    messages: usize,
}

/// What a phase took.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// Messages a second.
    rate: f64,
    /// Microseconds of CPU for a message: Postgres' backend, this process, nats-server.
    cpu: [f64; 3],
}

/// CPU time of processes so far, in microseconds.
struct Meter {
    backends: Vec<u32>,
    nats: u32,
    before: [f64; 3],
    started: Instant,
}

impl Meter {
    fn start(backends: Vec<u32>, nats: &TestNats) -> Self {
        let mut meter =
            Self { backends, nats: nats.pid().unwrap(), before: [0.0; 3], started: Instant::now() };
        meter.before = meter.now();
        meter
    }

    fn now(&self) -> [f64; 3] {
        let backends = self.backends.iter().map(|pid| cpu_micros(*pid)).sum();
        [backends, cpu_micros(std::process::id()), cpu_micros(self.nats)]
    }

    fn stop(&self, messages: usize) -> Cost {
        let (elapsed, after, messages) = (self.started.elapsed(), self.now(), messages as f64);
        let cpu = [0, 1, 2].map(|place: usize| (after[place] - self.before[place]) / messages);
        Cost { rate: messages / elapsed.as_secs_f64(), cpu }
    }
}

/// User and system time of a process, in clock ticks of 10 ms.
fn cpu_micros(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) * 10_000.0
}

/// Whose thread a message is in: the pattern of a busy network, or a thread of its own as a lone `send` makes.
#[derive(Clone, Copy)]
enum Threads {
    Hundred,
    Own,
}

fn main() {
    let size =
        |name: &str, default: usize| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let (messages, rounds) = (size("AGENTNET_BENCH_MESSAGES", 50_000), size("AGENTNET_BENCH_ROUNDS", 5));
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let server = PostgresServer::start(PgOptions {
        shared_buffers: "512MB".to_owned(),
        settings: [("max_wal_size", "4GB"), ("autovacuum", "off")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        ..PgOptions::new(dir.path().join("pg"), "bench".into())
    })
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        server.create_database("bench").await.unwrap();
        let url = server.url("bench");
        Store::migrate(&StoreConfig::new(url.clone().into(), "bench")).await.unwrap();
        let nats = TestNats::start();
        let config = NatsConfig::from_url(&nats.url()).unwrap();
        let client = agentnet_service::nats::connect(&config, "bench").await.unwrap().client().clone();
        let pool = PgPool::connect(&url).await.unwrap();
        Bench { nats, client, pool, url, messages }.run(rounds).await;
    });
}

impl Bench {
    async fn run(&self, rounds: usize) {
        println!(
            "{} messages of {} bytes a phase, {rounds} rounds",
            self.messages,
            self.body(0, "reply", Threads::Hundred).len()
        );
        self.persister(async |_| ()).await;
        let names = [
            "bare INSERT, UNNEST 500",
            "messages, 100 threads",
            "messages, a thread each",
            "deliveries and receipts, 100 threads",
            "deliveries and receipts, a thread each",
        ];
        let mut costs: [Vec<Cost>; 5] = Default::default();
        for round in 0..rounds {
            let phases = [
                self.bare().await,
                self.drain("reply", Threads::Hundred, false).await,
                self.drain("reply", Threads::Own, false).await,
                self.drain("direct", Threads::Hundred, true).await,
                self.drain("direct", Threads::Own, true).await,
            ];
            println!("round {round}: {:.0?} messages/s", phases.map(|cost| cost.rate));
            phases.iter().zip(&mut costs).for_each(|(cost, all)| all.push(*cost));
        }
        println!("{:<40} {:>10} {:>8}   CPU us a message", "", "messages/s", "of bare");
        println!("{:<40} {:>10} {:>8} {:>10} {:>10} {:>10}", "", "", "", "backend", "persister", "nats");
        let bare = median(&costs[0], |cost| cost.rate);
        for (name, all) in names.iter().zip(&costs) {
            let rate = median(all, |cost| cost.rate);
            let cpu = [0, 1, 2].map(|place: usize| median(all, |cost| cost.cpu[place]));
            let of_bare = rate / bare;
            println!(
                "{name:<40} {rate:>10.0} {of_bare:>8.2} {:>10.1} {:>10.1} {:>10.1}",
                cpu[0], cpu[1], cpu[2]
            );
        }
        self.latency().await;
    }

    async fn empty(&self) {
        sqlx::query("TRUNCATE agent_messages, agent_threads, agent_deliveries")
            .execute(&self.pool)
            .await
            .unwrap();
        sqlx::query("CHECKPOINT").execute(&self.pool).await.unwrap();
    }

    fn body(&self, number: usize, kind: &str, threads: Threads) -> String {
        let thread = match threads {
            Threads::Hundred => format!(r#""thread_id":"thread_{}","#, number % 100),
            Threads::Own => String::new(),
        };
        let id =
            format!("{:032x}", (number as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
        format!(
            r#"{{"message_id":"{id}","from_agent":"alice","from_account_id":"acct_{}","from_session_tag":"registry_01J{}","to_agent":"acct_{}","to_account_id":"acct_{}","payload":{{"text":"Please summarise document {number} for the weekly report, thank you"}},"sent_at":"2026-02-21T08:00:00.123456Z","ttl_ms":30000,"trace_id":"{id}",{thread}"kind":"{kind}","schema_version":"1.2"}}"#,
            number % 256,
            number % 256,
            (number + 7) % 256,
            (number + 7) % 256,
        )
    }

    /// One connection, one statement a transaction, nothing but the rows.
    async fn bare(&self) -> Cost {
        self.empty().await;
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let bodies: Vec<String> =
            (0..self.messages).map(|n| self.body(n, "reply", Threads::Hundred)).collect();
        let backend: i32 =
            sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
        let meter = Meter::start(vec![backend.unsigned_abs()], &self.nats);
        for (place, chunk) in bodies.chunks(BATCH).enumerate() {
            insert_bare(&mut connection, place * BATCH, chunk).await;
        }
        meter.stop(self.messages)
    }

    /// Fills the stream, then lets a persister empty it.
    async fn drain(&self, kind: &str, threads: Threads, receipts: bool) -> Cost {
        self.empty().await;
        for number in 0..self.messages {
            let body = self.body(number, kind, threads);
            let id = body.get(15..47).unwrap().to_owned();
            let (from, to) = (number % 256, (number + 7) % 256);
            self.client.publish(format!("account.acct_{to}.inbox"), body.into()).await.unwrap();
            for status in ["accepted", "processed"].into_iter().filter(|_| receipts) {
                let receipt = format!(
                    r#"{{"message_id":"{id}","status":"{status}","event_at":"2026-02-21T08:00:00.2Z","from_account_id":"acct_{to}","from_session_tag":"registry_01J{to}","to_account_id":"acct_{from}","to_agent":"acct_{to}","schema_version":"1.2"}}"#
                );
                self.client.publish(format!("account.acct_{from}.receipts"), receipt.into()).await.unwrap();
            }
        }
        self.client.flush().await.unwrap();
        let all = |c: &Counters| {
            c.messages == self.messages as u64 && c.receipts == u64::from(receipts) * 2 * c.messages
        };
        self.persister(async |handle: Handle| {
            let mut meter = Meter::start(Vec::new(), &self.nats);
            eventually(Duration::from_secs(600), || async { all(&handle.counters()) }).await;
            // They started with the persister, so all of their time counts.
            let backends = "SELECT pid FROM pg_stat_activity WHERE application_name = 'agentnet-persister'";
            let pids: Vec<i32> = sqlx::query_scalar(backends).fetch_all(&self.pool).await.unwrap();
            meter.backends = pids.into_iter().map(i32::unsigned_abs).collect();
            meter.stop(self.messages)
        })
        .await
    }

    /// Send to stored notice, one at a time.
    async fn latency(&self) {
        self.empty().await;
        self.persister(async |_| {
            let mut notices = self.client.subscribe("account.*.stored").await.unwrap();
            let mut times: Vec<Duration> = Vec::new();
            for number in 0..3_000 {
                let started = Instant::now();
                let body = self.body(number, "direct", Threads::Own);
                self.client.publish("account.acct_1.inbox", body.into()).await.unwrap();
                notices.next().await.unwrap();
                times.push(started.elapsed());
            }
            times.sort();
            let at = |percent: usize| times[times.len() * percent / 100];
            println!("publish to stored notice, one in flight: p50 {:.2?}, p99 {:.2?}", at(50), at(99));
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            let mut bare: Vec<Duration> = Vec::new();
            for number in 10_000..10_500 {
                let started = Instant::now();
                insert_bare(&mut connection, number, &[self.body(number, "direct", Threads::Own)]).await;
                bare.push(started.elapsed());
            }
            bare.sort();
            let mut alone: Vec<Duration> = Vec::new();
            for number in 20_000..20_500 {
                let item = self.item(number);
                let started = Instant::now();
                ingest(&mut connection, &[item]).await.unwrap();
                alone.push(started.elapsed());
            }
            alone.sort();
            println!("its transaction without NATS: p50 {:.2?}, p99 {:.2?}", alone[250], alone[495]);
            println!("bare INSERT of one row: p50 {:.2?}, p99 {:.2?}", bare[250], bare[495]);
        })
        .await;
    }

    fn item(&self, number: usize) -> Item {
        let raw = Raw {
            subject: "account.acct_1.inbox".to_owned(),
            headers: None,
            body: self.body(number, "direct", Threads::Own).into(),
            received_at: Timestamp::UNIX_EPOCH,
            stream_seq: None,
            delivered: 1,
        };
        decode(&raw, &Rules { max_message_bytes: 256_000, chars_per_token: 4, is_signed: false }).item
    }

    /// Runs `work` while a persister runs on a thread of its own.
    async fn persister<T>(&self, work: impl AsyncFnOnce(Handle) -> T) -> T {
        let mut config = Config::new(self.url.clone().into());
        config.security = agentnet_proto::Security::Open;
        let chassis = ChassisConfig {
            nats: NatsConfig::from_url(&self.nats.url()).unwrap(),
            http: HttpConfig::default(),
            shutdown: ShutdownConfig::default(),
            worker_threads: 1,
        };
        let shutdown = Shutdown::new(ShutdownConfig::default());
        let (ready, started) = oneshot::channel();
        let running = thread::spawn({
            let shutdown = shutdown.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let running =
                        start::<Persister>(FullConfig { chassis, service: config }, &shutdown).await.unwrap();
                    ready.send(running.handle).unwrap();
                    running.task.await.unwrap().unwrap();
                });
            }
        });
        let done = work(started.await.unwrap()).await;
        shutdown.request();
        running.join().unwrap();
        done
    }
}

fn median(costs: &[Cost], figure: impl Fn(&Cost) -> f64) -> f64 {
    let mut all: Vec<f64> = costs.iter().map(figure).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

async fn insert_bare(connection: &mut PgConnection, first: usize, bodies: &[String]) {
    let numbers = first..first + bodies.len();
    let accounts: Vec<String> = numbers.clone().map(|n| format!("acct_{}", n % 256)).collect();
    let targets: Vec<String> = numbers.clone().map(|n| format!("acct_{}", (n + 7) % 256)).collect();
    let sessions: Vec<String> = numbers.clone().map(|n| format!("registry_01J{}", n % 256)).collect();
    let threads: Vec<String> = numbers.clone().map(|n| format!("thread_{}", n % 100)).collect();
    let ids: Vec<&str> = bodies.iter().map(|body| body.get(15..47).unwrap()).collect();
    let texts: Vec<String> =
        numbers.map(|n| format!("Please summarise document {n} for the weekly report, thank you")).collect();
    let now = vec![OffsetDateTime::UNIX_EPOCH; bodies.len()];
    sqlx::query(
        "INSERT INTO agent_messages (message_id, thread_id, from_account_id, from_session_tag, to_account_id, to_agent,
             kind, schema_version, trace_id, sent_at, received_at, expires_at, envelope, body_sha256, search)
         SELECT id, thread, account, session, target, target, 'reply', '1.2', id, at, at, at, body, hash,
                to_tsvector('simple', text)
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bytea[],
                     $8::bytea[], $9::text[]) AS m (id, thread, account, session, target, at, body, hash, text)",
    )
    .bind(&ids)
    .bind(&threads)
    .bind(&accounts)
    .bind(&sessions)
    .bind(&targets)
    .bind(&now)
    .bind(bodies.iter().map(String::as_bytes).collect::<Vec<&[u8]>>())
    .bind(bodies.iter().map(|body| body_hash(body.as_bytes())).collect::<Vec<_>>())
    .bind(&texts)
    .execute(connection)
    .await
    .unwrap();
}
