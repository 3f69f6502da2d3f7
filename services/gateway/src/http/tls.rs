//! TLS of the listeners, with certificates that are read again when their files change.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::time::sleep;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use crate::{config::TlsFiles, error::GatewayError};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What connections are accepted with.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
}

/// Both files as they were.
#[derive(Debug, PartialEq, Eq)]
struct Seen([u8; 32]);

/// What the files hold.
struct Pair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads the files for the first time.
    pub(crate) async fn load(files: &TlsFiles) -> Result<Arc<Self>, GatewayError> {
        let current = RwLock::new(Arc::new(read(files).await?.config(files)?));
        Ok(Arc::new(Self { files: files.clone(), current }))
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Looks at the files for ever. What can't be used is said once, and what was used before goes on: a pair is often
    /// written one file after the other.
    pub(crate) async fn watch(&self) {
        let mut seen = read(&self.files).await.ok().map(|pair| pair.seen());
        loop {
            sleep(LOOK_EVERY).await;
            // A file that is being replaced may not be there for a moment.
            let Ok(pair) = read(&self.files).await else { continue };
            let now = pair.seen();
            if seen.as_ref() == Some(&now) {
                continue;
            }
            seen = Some(now);
            match pair.config(&self.files) {
                Ok(config) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                    tracing::info!(cert = %self.files.cert.display(), "the certificate was read again");
                }
                Err(error) => {
                    tracing::warn!(
                        cause = agentnet_service::chain(&error),
                        "the new certificate can't be used; the one before goes on"
                    );
                }
            }
        }
    }
}

async fn read(files: &TlsFiles) -> Result<Pair, GatewayError> {
    let one = async |path: &Path| {
        let unreadable =
            |source: std::io::Error| GatewayError::Tls { path: path.to_owned(), source: source.into() };
        tokio::fs::read(path).await.map_err(unreadable)
    };
    Ok(Pair { cert: one(&files.cert).await?, key: one(&files.key).await? })
}

impl Pair {
    fn seen(&self) -> Seen {
        let mut hash = Sha256::new();
        hash.update((self.cert.len() as u64).to_be_bytes());
        hash.update(&self.cert);
        hash.update(&self.key);
        Seen(hash.finalize().into())
    }

    fn config(&self, files: &TlsFiles) -> Result<ServerConfig, GatewayError> {
        let unusable = |path: &Path, source: Box<dyn std::error::Error + Send + Sync>| GatewayError::Tls {
            path: path.to_owned(),
            source,
        };
        let chain: Result<Vec<CertificateDer<'static>>, _> =
            CertificateDer::pem_slice_iter(&self.cert).collect();
        let chain = chain.map_err(|error| unusable(&files.cert, error.into()))?;
        if chain.is_empty() {
            return Err(unusable(&files.cert, "there is no certificate in it".into()));
        }
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| unusable(&files.key, error.into()))?;
        let built = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = built.map_err(|error: rustls::Error| unusable(&files.key, error.into()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}
