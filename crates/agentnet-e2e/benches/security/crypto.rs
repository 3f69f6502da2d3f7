//! The signatures of one message, by hand.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use agentnet::proto::signature::{Deployment, PublicKey, Purpose, SecretKey, SignatureHeader, check_header};
use anyhow::{Result, anyhow};

/// As large as the envelopes that are sent.
const MESSAGE: [u8; 640] = [b'x'; 640];
/// As large as the receipts about them.
const RECEIPT: [u8; 420] = [b'y'; 420];
const ROUNDS: u32 = 2_000;

/// What signing and verifying take, in the middle.
#[derive(Debug, Clone, Copy)]
pub struct Ed25519 {
    /// Signing a message, header and all.
    pub sign: Duration,
    /// Checking it.
    pub verify: Duration,
}

/// A key, and what it signed.
#[derive(Debug)]
pub struct Work {
    key: SecretKey,
    public: PublicKey,
    deployment: Deployment,
    message: SignatureHeader,
    receipt: SignatureHeader,
}

impl Work {
    /// One with a fresh key.
    pub fn new() -> Self {
        let key = SecretKey::generate();
        // As a key is remembered: its point decompressed.
        let (public, deployment) = (key.verifying(), Deployment::default());
        let message = SignatureHeader::sign(&key, &Purpose::Message, &deployment, &MESSAGE);
        let receipt = SignatureHeader::sign(&key, &Purpose::Receipt, &deployment, &RECEIPT);
        Self { key, public, deployment, message, receipt }
    }

    /// The sender, before.
    pub fn sign_message(&self) {
        black_box(
            SignatureHeader::sign(&self.key, &Purpose::Message, &self.deployment, black_box(&MESSAGE))
                .to_string(),
        );
    }

    /// The recipient, before it handles the message.
    pub fn verify_message(&self) -> Result<()> {
        self.check(&self.message, &Purpose::Message, black_box(&MESSAGE))
    }

    /// The recipient, before it says so.
    pub fn sign_receipt(&self) {
        black_box(
            SignatureHeader::sign(&self.key, &Purpose::Receipt, &self.deployment, black_box(&RECEIPT))
                .to_string(),
        );
    }

    /// The sender, before it believes it.
    pub fn verify_receipt(&self) -> Result<()> {
        self.check(&self.receipt, &Purpose::Receipt, black_box(&RECEIPT))
    }

    fn check(&self, header: &SignatureHeader, purpose: &Purpose<'_>, body: &[u8]) -> Result<()> {
        let checked = check_header(header, &self.public, purpose, &self.deployment, body);
        checked.map_err(|code| anyhow!("the own signature isn't right: {code:?}"))
    }
}

/// Medians over some thousand, on this core now.
pub fn measure() -> Ed25519 {
    let work = Work::new();
    let middle = |operation: &dyn Fn()| {
        let mut times: Vec<Duration> = (0..ROUNDS)
            .map(|_| {
                let start = Instant::now();
                operation();
                start.elapsed()
            })
            .collect();
        times.sort();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    let sign = middle(&|| work.sign_message());
    let verify = middle(&|| drop(black_box(work.verify_message())));
    Ed25519 { sign, verify }
}
