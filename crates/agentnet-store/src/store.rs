//! The pool, its configuration and errors, and the migrations.

use std::{fmt, str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    Connection as _, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// How long an idle connection counts as alive without being asked.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// How to reach Postgres.
#[derive(Clone)]
pub struct StoreConfig {
    /// `postgres://user:password@host:port/database`, with sqlx's options (`sslmode` and others) in its query.
    pub database_url: SecretString,
    /// Most connections of this process.
    pub max_connections: u32,
    /// How long to wait for a free connection, or for a new one.
    pub acquire_timeout: Duration,
    /// After how long Postgres gives up on a statement.
    pub statement_timeout: Duration,
    /// Shows in `pg_stat_activity`.
    pub application_name: String,
}

impl StoreConfig {
    /// The defaults: 8 connections, 5 s to get one, 10 s a statement.
    pub fn new(database_url: SecretString, application_name: impl Into<String>) -> Self {
        Self {
            database_url,
            max_connections: 8,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            application_name: application_name.into(),
        }
    }

    fn options(&self) -> Result<PgConnectOptions, StoreError> {
        let options =
            PgConnectOptions::from_str(self.database_url.expose_secret()).map_err(StoreError::BadUrl)?;
        let timeout = self.statement_timeout.as_millis().to_string();
        Ok(options.application_name(&self.application_name).options([("statement_timeout", timeout)]))
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("max_connections", &self.max_connections)
            .field("application_name", &self.application_name)
            .finish_non_exhaustive()
    }
}

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DATABASE_URL can't be read. Its text is not repeated: it holds the password.
    #[error("DATABASE_URL is not a Postgres URL; expected postgres://user:password@host:port/database")]
    BadUrl(#[source] sqlx::Error),
    /// No connection could be had in time.
    #[error("Postgres can't be reached; check that it runs and that DATABASE_URL names it")]
    Unavailable(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database schema could not be migrated")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("a query failed ({operation})")]
    Query {
        /// What was being done, `table.operation`.
        operation: &'static str,
        /// What Postgres or sqlx said.
        #[source]
        source: sqlx::Error,
    },
    /// A row holds what this version can't read.
    #[error("row {row} of {table} can't be read")]
    BadRow {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Maps an sqlx error of the named operation; a lost or refused connection becomes [`StoreError::Unavailable`].
    pub fn query(operation: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |source| {
            if is_connection_problem(&source) {
                Self::Unavailable(source)
            } else {
                Self::Query { operation, source }
            }
        }
    }

    /// Whether the same call may succeed later without being changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Query { source, .. } => {
                source.as_database_error().and_then(|e| e.code()).is_some_and(|code| {
                    // Serialisation failure, deadlock, resources exhausted, operator intervention, statement timeout.
                    code.starts_with("40") || code.starts_with("53") || code.starts_with("57")
                })
            }
            Self::BadUrl(_) | Self::Migrate(_) | Self::BadRow { .. } => false,
        }
    }
}

fn is_connection_problem(e: &sqlx::Error) -> bool {
    match e {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // Connection exceptions, and a server that is starting or stopping.
        sqlx::Error::Database(db) => db.code().is_some_and(|c| c.starts_with("08") || c.starts_with("57P")),
        _ => false,
    }
}

/// A pool of connections to the network's database.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
}

impl Store {
    /// Connects, trying for as long as `acquire_timeout` says.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`], [`StoreError::Unavailable`].
    pub async fn connect(config: &StoreConfig) -> Result<Self, StoreError> {
        let pool = Self::pool_options(config)
            .connect_with(config.options()?)
            .await
            .map_err(StoreError::Unavailable)?;
        Ok(Self { pool })
    }

    /// Makes the pool without connecting: the first use connects, and so does every use after an outage.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`].
    pub fn connect_lazy(config: &StoreConfig) -> Result<Self, StoreError> {
        Ok(Self { pool: Self::pool_options(config).connect_lazy_with(config.options()?) })
    }

    fn pool_options(config: &StoreConfig) -> PgPoolOptions {
        PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.acquire_timeout)
            // A pooled connection may have died with the server. One used a moment ago is worth the risk: asking it
            // first would double the latency of every query.
            .test_before_acquire(false)
            .before_acquire(|connection, seen| {
                Box::pin(async move {
                    if seen.idle_for > TRUSTED_FOR {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
    }

    /// Brings the schema up to date. Safe to call from several processes at once.
    ///
    /// # Errors
    /// [`StoreError::Migrate`], [`StoreError::Unavailable`].
    pub async fn migrate(config: &StoreConfig) -> Result<(), StoreError> {
        // A failed migration leaves its advisory lock on the connection, so the pool it came from must be closed.
        // Building an index over millions of rows takes longer than a query may.
        let config = StoreConfig { max_connections: 1, statement_timeout: Duration::ZERO, ..config.clone() };
        let store = Self::connect(&config).await?;
        let result = MIGRATOR.run(&store.pool).await.map_err(StoreError::Migrate);
        store.pool.close().await;
        result
    }

    /// The pool itself, for this crate's callers that run several operations on one connection or transaction.
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Proves that a query is answered.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Query`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map(drop).map_err(StoreError::query("ping"))
    }

    /// Closes every connection, waiting for those in use.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
