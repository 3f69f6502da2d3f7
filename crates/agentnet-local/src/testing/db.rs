//! A database per test.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sqlx::{Connection, PgConnection};

use super::cluster::{self, Cluster};
use crate::{
    Error, Result,
    postgres::{self, admin},
};

/// Nobody ever connects to this one, so copies never wait.
const EMPTY: &str = "template0";
/// A full disk or a stopped server must not hang a test.
const CREATE_LIMIT: Duration = Duration::from_secs(60);
/// The whole cluster goes away later anyway.
const DROP_LIMIT: Duration = Duration::from_secs(5);

/// An own database in the Postgres that all tests of a run share. Dropping it drops the database, connections
/// and all.
#[derive(Debug)]
pub struct TestDb {
    name: String,
    url: String,
    cluster: Cluster,
}

impl TestDb {
    /// Creates an empty database.
    ///
    /// # Panics
    /// If there is no Postgres or it refuses.
    pub async fn create() -> Self {
        Self::try_create(None)
            .await
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
    }

    /// Creates a copy of a database that is prepared once per run: `prepare` gets the URL of an empty database
    /// when the first test asks for `template`, and must leave no connection open. Much faster than applying
    /// migrations in every test. Choose another name for other content.
    ///
    /// # Panics
    /// If there is no Postgres or it refuses, or `prepare` fails.
    pub async fn create_from<F, Fut, E>(template: &str, prepare: F) -> Self
    where
        F: FnOnce(String) -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: std::fmt::Display,
    {
        let made = async {
            let template = format!("template_{template}");
            ensure_template(&template, prepare).await?;
            Self::try_create(Some(&template)).await
        };
        made.await.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
    }

    /// URL with the password in it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Name of the database.
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn try_create(template: Option<&str>) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The random part is for pid namespaces that share a run.
        let name = format!("t_{}_{count}_{:08x}", std::process::id(), rand::random::<u32>());
        let cluster = cluster().await?;
        limited(CREATE_LIMIT, async {
            let mut connection = connect(&cluster).await?;
            admin::create(&mut connection, &name, Some(template.unwrap_or(EMPTY))).await?;
            close(connection).await;
            Ok(())
        })
        .await?;
        let url = postgres::url(cluster.port, cluster.password_text(), &name);
        Ok(Self { name, url, cluster })
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let (name, cluster) = (self.name.clone(), self.cluster.clone());
        // A thread of its own, because a runtime may not block inside another one.
        let dropper = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            let dropped: Result<()> = runtime.block_on(limited(DROP_LIMIT, async {
                let mut connection = connect(&cluster).await?;
                disconnect_others(&mut connection, &name).await;
                admin::drop(&mut connection, &name).await?;
                close(connection).await;
                Ok(())
            }));
            if let Err(error) = dropped {
                tracing::debug!(%error, name, "test database stays until the end of the run");
            }
        });
        let _ = dropper.join();
    }
}

/// Ends the sessions of a database. `DROP ... FORCE` does that too, but then naps for 100 ms; many tests drop
/// with a pool still open.
async fn disconnect_others(connection: &mut PgConnection, name: &str) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
    for _ in 0..50 {
        match sqlx::query_scalar::<_, i64>(sql).bind(name).fetch_one(&mut *connection).await {
            Ok(1..) => tokio::time::sleep(Duration::from_millis(2)).await,
            Ok(_) | Err(_) => return,
        }
    }
}

/// Makes the template unless it is there. An advisory lock on the server serialises all processes.
async fn ensure_template<F, Fut, E>(template: &str, prepare: F) -> Result<()>
where
    F: FnOnce(String) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    admin::checked_name(template)?;
    let cluster = cluster().await?;
    limited(CREATE_LIMIT, async {
        let doing = || format!("prepare {template}");
        let failed = |source| Error::Database { doing: doing(), source };
        let mut connection = connect(&cluster).await?;
        let exists = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
        let there = async |connection: &mut PgConnection| {
            sqlx::query_scalar::<_, bool>(exists).bind(template).fetch_one(connection).await.map_err(failed)
        };
        if !there(&mut connection).await? {
            let lock = "SELECT pg_advisory_lock(hashtext($1))";
            sqlx::query(lock).bind(template).execute(&mut connection).await.map_err(failed)?;
            if !there(&mut connection).await? {
                let draft = format!("draft_{template}");
                admin::drop(&mut connection, &draft).await?;
                admin::create(&mut connection, &draft, Some(EMPTY)).await?;
                let url = postgres::url(cluster.port, cluster.password_text(), &draft);
                prepare(url)
                    .await
                    .map_err(|error| failed(sqlx::Error::Protocol(format!("prepare: {error}"))))?;
                // Renamed only when complete, so that no one copies half of it.
                let rename = format!("ALTER DATABASE {draft} RENAME TO {template}");
                admin::execute(&mut connection, &rename).await.map_err(failed)?;
            }
        }
        close(connection).await;
        Ok(())
    })
    .await
}

async fn cluster() -> Result<Cluster> {
    match tokio::task::spawn_blocking(cluster::shared).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

async fn connect(cluster: &Cluster) -> Result<PgConnection> {
    admin::connect(&postgres::connect_options(cluster.port, cluster.password_text())).await
}

async fn close(connection: PgConnection) {
    // The server notices a closed socket just as well.
    let _ = connection.close().await;
}

async fn limited<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    let what = || "the test database".to_owned();
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(Error::Timeout { what: what(), after: limit }))
}
