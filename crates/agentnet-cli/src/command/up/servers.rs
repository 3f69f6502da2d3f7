//! The two servers under the network: finding, installing, starting them.

use std::{fs, path::Path, sync::Arc};

use agentnet_local::{
    DataDir, Error, NatsBinary, NatsOptions, NatsServer, PgOptions, PostgresBinaries, PostgresServer, Search,
};

use super::{
    blocking,
    progress::{Progress, Step},
    secrets::Secure,
};
use crate::{
    failure::Failure,
    output::style::{WARN, paint},
};

/// Where the original's clients look for NATS.
const NATS_PORT: u16 = 4222;
/// The network's database.
pub const DATABASE: &str = "agentnet";

/// Starts NATS: on the port asked for, else on 4222, else on a free one with a note.
///
/// # Errors
/// As [`NatsServer::start`].
pub async fn nats(
    dir: &DataDir,
    port: Option<u16>,
    secure: Option<&Secure>,
    progress: &Progress,
) -> Result<Arc<NatsServer>, Failure> {
    let step = Arc::new(progress.step("starting NATS"));
    let binary = find_nats(&step).await?;
    let version = binary.version;
    let mut options = NatsOptions::new(dir.nats_dir());
    match secure {
        Some(secure) => options.extra_config = secure.server_config.clone(),
        None => options.token = Some(dir.secrets().nats_token.clone()),
    }
    options.binary = Some(binary);
    options.port = Some(port.unwrap_or(NATS_PORT));
    let free = NatsOptions { port: None, ..options.clone() };
    let started = match start_nats(options).await? {
        Err(Error::PortTaken { .. }) if port.is_none() => {
            progress
                .say(paint(WARN, format_args!("  note: port {NATS_PORT} is taken, NATS gets a free one")));
            start_nats(free).await?
        }
        started => started,
    };
    let server = started?;
    end(step, &format!("NATS {version} on {}", server.host_port()));
    Ok(Arc::new(server))
}

/// Starts Postgres with the network's database in it.
///
/// # Errors
/// As [`PostgresServer::start`].
pub async fn postgres(
    dir: &DataDir,
    port: Option<u16>,
    progress: &Progress,
) -> Result<Arc<PostgresServer>, Failure> {
    let step = Arc::new(progress.step("starting Postgres"));
    let mut options = PgOptions::new(dir.postgres_dir(), dir.secrets().postgres_password.clone());
    options.port = port;
    let version_file = dir.postgres_dir().join("data/PG_VERSION");
    options.binaries = find_postgres(&version_file, &step).await?;
    if !version_file.exists() {
        step.detail("first run: creating the database");
    }
    let server = Arc::new(blocking(move || PostgresServer::start(options)).await?);
    server.create_database(DATABASE).await?;
    end(step, &format!("Postgres {} on {}", server.binaries().version, server.host_port()));
    Ok(server)
}

async fn start_nats(options: NatsOptions) -> Result<agentnet_local::Result<NatsServer>, Failure> {
    blocking(move || Ok(NatsServer::start(options))).await
}

async fn find_nats(step: &Arc<Step>) -> Result<NatsBinary, Failure> {
    let search = search(step);
    blocking(move || search.nats()).await
}

/// The binaries that fit the cluster. Where that has been made by a version that is gone, the server's own start
/// gives the better error.
async fn find_postgres(version_file: &Path, step: &Arc<Step>) -> Result<Option<PostgresBinaries>, Failure> {
    let major = fs::read_to_string(version_file).ok().and_then(|text| text.trim().parse().ok());
    let search = search(step);
    blocking(move || match search.postgres(major) {
        Ok(found) => Ok(Some(found)),
        Err(Error::Missing { .. }) if major.is_some() => Ok(None),
        Err(error) => Err(error),
    })
    .await
}

fn search(step: &Arc<Step>) -> Search {
    let step = Arc::clone(step);
    Search::from_env().with_notice(move |text| step.detail(text))
}

fn end(step: Arc<Step>, result: &str) {
    // The search that shared it has ended.
    if let Some(step) = Arc::into_inner(step) {
        step.done(result);
    }
}
