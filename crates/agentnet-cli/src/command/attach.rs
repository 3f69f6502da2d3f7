//! `agentnet attach` and `agentnet detach`: commands talk to a network that no `agentnet up` of this machine runs.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use agentnet::{
    IdentityStore,
    connect::{
        NatsSettings,
        context::{self, Context as Written, UserIdentity},
    },
    proto::{SystemClock, signature::SecretKey},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::Context;
use crate::{
    failure::Failure,
    output::style::{BOLD, paint},
};

/// Longest text that is read.
const MAX: u64 = 64 * 1024;

/// Make a network that runs elsewhere the one that commands talk to
///
/// Reads what that network's `init` prints for its operators: where NATS is and the identity to act as. The identity goes
/// into your identity directory, the address into the file in which `agentnet up` says where its network is, until
/// `agentnet detach`. An `agentnet up` of your own comes first while it runs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file; - reads standard input
    pub file: PathBuf,
    /// Where NATS is from here, if elsewhere than the text says
    #[arg(long, value_name = "URL")]
    pub at: Option<String>,
    /// Name of the identity here, if another than the text says
    #[arg(long)]
    pub name: Option<String>,
}

/// What the text holds. It has a secret key in it.
#[derive(Deserialize)]
struct Invitation {
    nats_url: SecretString,
    mode: String,
    #[serde(default)]
    enrolment_token: Option<SecretString>,
    #[serde(default)]
    identity: Option<InvitedAs>,
}

#[derive(Deserialize)]
struct InvitedAs {
    name: String,
    /// SU...
    seed: SecretString,
}

/// Takes the identity in and writes the file.
///
/// # Errors
/// `attach_unreadable` for what is no such text; `identity_*`; `io`.
pub fn attach(ctx: &Context, args: &Args) -> Result<(), Failure> {
    let text = read(&args.file)?;
    let invitation: Invitation = serde_json::from_str(text.expose_secret()).map_err(|_| unreadable())?;
    if !["open", "signed", "secure"].contains(&invitation.mode.as_str()) {
        return Err(unreadable());
    }
    let url = args.at.as_deref().unwrap_or(invitation.nats_url.expose_secret());
    let settings = NatsSettings::from_url(url).map_err(|error| {
        Failure::local("nats_url_invalid", error.to_string(), "name it as nats://host:port with --at")
    })?;
    let identity = match &invitation.identity {
        Some(invited) => Some(take_in(invited, args.name.as_deref())?),
        None => None,
    };
    let written = Written {
        nats_url: url.to_owned(),
        mode: invitation.mode,
        identity,
        enrolment_token: invitation.enrolment_token.map(|token| token.expose_secret().to_owned()),
        data_dir: PathBuf::new(),
        pid: context::ELSEWHERE,
        started_at: SystemClock::shared().now().to_string(),
        process_started: None,
        before: None,
    };
    let path = file()?;
    context::write(&path, &written).map_err(|error| unwritable(&path, &error))?;
    let who = written.identity.map(|identity| identity.name);
    let server = settings.redacted();
    if ctx.out.is_json() {
        return ctx.out.document(&serde_json::json!({"nats": server, "mode": written.mode, "identity": who}));
    }
    ctx.out.line(format_args!("attached to {}", paint(BOLD, &server)))?;
    match who {
        Some(who) => {
            ctx.out.line(format_args!("commands speak as {}; try `agentnet list`", paint(BOLD, who)))
        }
        None => ctx.out.line("try `agentnet list`"),
    }
}

/// Forgets the network that was attached.
///
/// # Errors
/// `not_attached`; `io`.
pub fn detach(ctx: &Context) -> Result<(), Failure> {
    let path = file()?;
    if !context::forget_elsewhere(&path).map_err(|error| unwritable(&path, &error))? {
        return Err(Failure::local("not_attached", "no network is attached", "nothing is left to do"));
    }
    if ctx.out.is_json() {
        return ctx.out.document(&serde_json::json!({"attached": false}));
    }
    ctx.out.line("detached; its identity stays, see `agentnet identity list`")
}

fn take_in(invited: &InvitedAs, name: Option<&str>) -> Result<UserIdentity, Failure> {
    let store = IdentityStore::from_env()?;
    let name = name.unwrap_or(&invited.name);
    let seed = invited.seed.expose_secret().trim();
    let key = SecretKey::from_nkey_seed(seed).map_err(|_| unreadable())?;
    match store.find(name) {
        // Attached before.
        Ok(known) if known.public_key == key.verifying() => {}
        _ => {
            store.import(seed, Some(name), None, None)?;
        }
    }
    Ok(UserIdentity { dir: store.dir().to_owned(), name: name.to_owned() })
}

fn read(path: &Path) -> Result<SecretString, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX).read_to_string(&mut text))
    };
    read.map_err(|error| {
        Failure::local(
            "attach_unreadable",
            format!("{} can't be read: {error}", path.display()),
            "check its name and permissions",
        )
    })?;
    Ok(text.into())
}

fn file() -> Result<PathBuf, Failure> {
    context::path(&super::environment).ok_or_else(|| {
        Failure::local("io", "this user has no home directory", "name a file in AGENTNET_CONTEXT")
    })
}

fn unreadable() -> Failure {
    Failure::local(
        "attach_unreadable",
        "this isn't what a network gives to its operators",
        "with compose: docker compose -f docker/docker-compose.yml run --rm -T init operator | agentnet attach -",
    )
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::local("io", format!("{} can't be written: {error}", path.display()), "check its permissions")
}
