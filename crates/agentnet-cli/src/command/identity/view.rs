//! How an identity is shown.

use std::path::{Path, PathBuf};

use agentnet::{
    Identity, IdentityError, IdentityStore,
    identity::{Found, Origin},
};
use serde::Serialize;

use crate::{
    command::Context,
    failure::Failure,
    output::{
        escape::clean,
        style::{BOLD, paint},
        table::Table,
        time,
    },
};

/// An identity for programs. Nothing in it is secret.
#[derive(Serialize)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// base64url, as messages and the registry have it.
    pub public_key: String,
    /// The same key as NATS writes it.
    pub nkey: String,
    /// ISO 8601; absent for key files of the original.
    pub created_at: Option<String>,
    /// Whether a password is needed to use it.
    pub encrypted: bool,
    /// `identity`, or `original` for key files of the original.
    pub kind: &'static str,
    /// Its file.
    pub file: PathBuf,
    /// Replaced keys that the file still holds, the last one first; absent where a password hides them.
    pub retired: Option<Vec<Retired>>,
}

/// A key that was replaced.
#[derive(Serialize)]
pub struct Retired {
    /// base64url.
    pub public_key: String,
    /// ISO 8601.
    pub retired_at: String,
}

impl Shown {
    /// What a file says about itself.
    pub fn of(found: &Found, file: &Path) -> Self {
        Self {
            name: found.name.clone(),
            public_key: found.public_key.to_string(),
            nkey: found.public_key.to_nkey(),
            created_at: found.created_at.map(|at| at.to_string()),
            encrypted: found.is_encrypted,
            kind: match found.origin {
                Origin::Store => "identity",
                Origin::Original => "original",
                Origin::Guest => "guest",
            },
            file: file.to_owned(),
            retired: None,
        }
    }

    /// With what the opened identity says, too.
    pub fn with(mut self, identity: &Identity) -> Self {
        let retired = identity
            .retired()
            .iter()
            .map(|old| Retired { public_key: old.key.public_key(), retired_at: old.retired_at.to_string() });
        self.retired = Some(retired.collect());
        self
    }

    /// The identity after a change, as its file now says.
    pub fn changed(store: &IdentityStore, identity: &Identity) -> Result<Self, IdentityError> {
        let file = store.path_of(identity.name())?;
        Ok(Self::of(&store.find(identity.name())?, &file).with(identity))
    }

    /// A table for people, one document for programs.
    pub fn print(&self, ctx: &Context) -> Result<(), Failure> {
        ctx.out.show(self, |shown| {
            let mut facts = Table::facts(ctx.out.width());
            facts.fact("Name", paint(BOLD, clean(&shown.name)));
            facts.fact("Public key", &shown.public_key);
            facts.fact("NATS user key", &shown.nkey);
            facts.fact("Encrypted", if shown.encrypted { "yes, under a password" } else { "no" });
            if let Some(created_at) = &shown.created_at {
                facts.fact("Created", format!("{} UTC", time::date_time(created_at)));
            }
            for old in shown.retired.iter().flatten() {
                facts.fact(
                    "Replaced key",
                    format!("{}, on {} UTC", old.public_key, time::date_time(&old.retired_at)),
                );
            }
            if shown.kind == "original" {
                facts.fact("Kind", "key file of the original AgentNet, read only");
            }
            facts.fact("File", clean(&shown.file.to_string_lossy()));
            ctx.out.line(facts.render())
        })
    }
}
