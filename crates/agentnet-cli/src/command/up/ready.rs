//! Telling others that the network is there: the context file for people's terminals, the ready file for scripts.

use std::{fs, io, path::Path};

use agentnet::proto::{Clock as _, SystemClock};
use agentnet_local::DataDir;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::{Args, stack::Stack};
use crate::{
    failure::Failure,
    network::context::{self, Context},
    output::note,
};

/// The ready file. It holds secrets, so it is readable by its owner only.
#[derive(Serialize)]
pub struct Ready<'a> {
    /// NATS, in open and signed mode with its token.
    pub nats_url: &'a str,
    /// `open`, `signed` or `secure`.
    pub mode: &'static str,
    /// Postgres with its password.
    pub database_url: &'a str,
    /// The gateway's HTTP API.
    pub gateway_url: Option<&'a str>,
}

impl<'a> Ready<'a> {
    /// The URLs of a running network.
    pub fn of(stack: &'a Stack) -> Self {
        Self {
            mode: stack.told.security.as_str(),
            nats_url: &stack.told.nats_url,
            database_url: &stack.told.database_url,
            gateway_url: stack.told.gateway.get().map(|found| found.url.as_str()),
        }
    }
}

/// Writes both files.
///
/// # Errors
/// When the ready file can't be written. Without a context file the network is of use still.
pub fn announce(dir: &DataDir, args: &Args, stack: &Stack) -> Result<(), Failure> {
    let path = super::context_path();
    if path.is_none() {
        note("note: there is no home directory, so other terminals need --nats-url");
    }
    if let Some(path) = path {
        let written = context::write(
            &path,
            &Context {
                nats_url: stack.told.nats_url.clone(),
                mode: stack.told.security.to_string(),
                identity: stack.told.secure.as_ref().map(|secure| secure.who.clone()),
                enrolment_token: stack
                    .told
                    .secure
                    .as_ref()
                    .map(|secure| secure.enrolment_token.expose_secret().to_owned()),
                data_dir: dir.path().to_owned(),
                pid: std::process::id(),
                started_at: SystemClock.now().to_string(),
                process_started: context::process_started(std::process::id()),
                before: None,
            },
        );
        if let Err(error) = written {
            note(format_args!(
                "note: {} can't be written ({error}): other terminals need --nats-url",
                path.display()
            ));
        }
    }
    let Some(file) = &args.ready_file else { return Ok(()) };
    let written = serde_json::to_vec(&Ready::of(stack))
        .map_err(io::Error::from)
        .and_then(|json| context::write_private(file, &json));
    written.map_err(|error| unwritable(file, &error))
}

/// Takes both files away again.
pub fn retract(args: &Args) {
    if let Some(path) = super::context_path()
        && let Err(error) = context::remove(&path, std::process::id())
    {
        tracing::warn!(path = %path.display(), %error, "can't be removed");
    }
    if let Some(file) = &args.ready_file
        && let Err(failure) = forget(file)
    {
        tracing::warn!(%failure, "can't be removed");
    }
}

/// Removes a ready file, if there is one.
///
/// # Errors
/// When it can't be removed.
pub fn forget(file: &Path) -> Result<(), Failure> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(file, &error)),
        _ => Ok(()),
    }
}

fn unwritable(file: &Path, error: &io::Error) -> Failure {
    Failure::local(
        "io",
        format!("the ready file {} can't be written: {error}", file.display()),
        "name a file in a directory you may write to",
    )
}
