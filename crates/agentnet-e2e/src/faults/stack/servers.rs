//! The servers of a stack: nats-server, alone or as a cluster, and Postgres.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use agentnet_local::{NatsOptions, NatsServer, PgOptions, PostgresServer};
use anyhow::{Context, Result};
use secrecy::SecretString;
use tokio::task::spawn_blocking;

use super::{Options, SmallDisk, random_secret};
use crate::faults::ready::free_port;

/// Database of the stack.
pub(super) const DATABASE: &str = "agentnet";

/// Directory of a server that may get a disk of its own.
pub(super) fn dir(base: &Path, server: SmallDisk) -> PathBuf {
    match server {
        // Its log stays outside: it is needed most when the disk is full.
        SmallDisk::Nats => base.join("nats-0").join("jetstream"),
        SmallDisk::Postgres => base.join("postgres"),
    }
}

/// The nats-servers, each ready for clients.
pub(super) async fn nats(options: &Options, token: &SecretString) -> Result<Vec<Arc<NatsServer>>> {
    let mut routes = Vec::new();
    if options.nats_nodes > 1 {
        for _ in 0..options.nats_nodes {
            routes.push(free_port().await?);
        }
    }
    let mut servers = Vec::new();
    for index in 0..options.nats_nodes {
        let mut server = NatsOptions::new(options.dir.join(format!("nats-{index}")));
        server.token = Some(token.clone());
        server.extra_config = cluster(&routes, index);
        let server = spawn_blocking(move || NatsServer::start(server)).await?;
        servers.push(Arc::new(server.context("nats-server")?));
    }
    Ok(servers)
}

fn cluster(routes: &[u16], own: usize) -> String {
    let Some(port) = routes.get(own) else { return String::new() };
    let peers: Vec<String> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    format!(
        "cluster {{\n  name: faults\n  listen: \"127.0.0.1:{port}\"\n  routes: [{}]\n}}\n",
        peers.iter().map(|peer| format!("{peer:?}")).collect::<Vec<_>>().join(", ")
    )
}

/// Postgres as it runs in production, with an empty database.
pub(super) async fn postgres(options: &Options) -> Result<Arc<PostgresServer>> {
    let mut server = PgOptions::new(dir(&options.dir, SmallDisk::Postgres), random_secret().into());
    // After a crash Postgres flushes its files before it recovers: one call instead of a thousand.
    server.settings.insert("recovery_init_sync_method".to_owned(), "syncfs".to_owned());
    if options.small_disk == Some(SmallDisk::Postgres) {
        // A segment of the log is 16 MB; the disk holds a few.
        server.settings.insert("max_wal_size".to_owned(), "64MB".to_owned());
        server.settings.insert("min_wal_size".to_owned(), "32MB".to_owned());
    }
    let server = spawn_blocking(move || PostgresServer::start(server)).await?.context("Postgres")?;
    server.create_database(DATABASE).await?;
    Ok(Arc::new(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_is_no_cluster() {
        assert_eq!(cluster(&[], 0), "");
        let text = cluster(&[1, 2, 3], 1);
        assert!(text.contains("127.0.0.1:2\"") && text.contains("nats://127.0.0.1:3"), "{text}");
    }
}
