//! Making a new cluster.

use std::{ffi::OsString, fs, path::Path, time::Duration};

use secrecy::ExposeSecret;

use super::SUPERUSER;
use crate::{
    Error, PostgresBinaries, Result, Server,
    error::io,
    files, lock,
    user::RunAs,
    watchdog::{Guarded, Signal, Spec},
};

/// It takes one or two seconds; this is for a slow disk.
const LIMIT: Duration = Duration::from_secs(120);
/// Short, because initdb has nothing worth keeping when it is interrupted.
const GRACE: Duration = Duration::from_secs(5);

/// Runs initdb into `dir/data.new` and renames that to `dir/data`, so that a half-made cluster is never used.
pub(super) fn initdb(
    dir: &Path,
    binaries: &PostgresBinaries,
    env: &[(&'static str, OsString)],
    user: Option<&RunAs>,
    options: &super::PgOptions,
) -> Result<()> {
    let new = dir.join("data.new");
    let mut failure = None;
    for locale in locales(binaries.version.major) {
        if new.exists() {
            fs::remove_dir_all(&new).map_err(io("remove", &new))?;
        }
        let password = dir.join("initdb.password");
        files::write_private(&password, options.password.expose_secret().as_bytes())?;
        if let Some(user) = user {
            user.own(&password)?;
        }
        let outcome = run(dir, &new, binaries, env, user, options.ephemeral, locale, &password);
        fs::remove_file(&password).map_err(io("remove", &password))?;
        match outcome {
            Ok(()) => {
                let data = dir.join("data");
                return fs::rename(&new, &data).map_err(io("create", &data));
            }
            Err(error @ Error::StartFailed { .. }) => failure = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or(Error::Timeout { what: "initdb".to_owned(), after: LIMIT }))
}

/// Unicode rules without depending on what the system has installed, else the system's, else plain bytes.
fn locales(major: u32) -> Vec<&'static [&'static str]> {
    let mut locales: Vec<&[&str]> = Vec::new();
    if major >= 17 {
        locales.push(&["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]);
    }
    locales.push(&["--locale=C.UTF-8"]);
    locales.push(&["--locale=C"]);
    locales
}

#[expect(clippy::too_many_arguments, reason = "one call, from the function above")]
fn run(
    dir: &Path,
    new: &Path,
    binaries: &PostgresBinaries,
    env: &[(&'static str, OsString)],
    user: Option<&RunAs>,
    ephemeral: bool,
    locale: &[&str],
    password: &Path,
) -> Result<()> {
    let pair = |name: &str, path: &Path| {
        let mut arg = OsString::from(name);
        arg.push(path);
        arg
    };
    let mut args: Vec<OsString> = vec![
        pair("--pgdata=", new),
        pair("--pwfile=", password),
        format!("--username={SUPERUSER}").into(),
        "--encoding=UTF8".into(),
        // SCRAM costs a client built without optimisation 100 ms a connection, which tests pay many times over.
        if ephemeral { "--auth=password" } else { "--auth=scram-sha-256" }.into(),
    ];
    args.extend(locale.iter().map(OsString::from));
    if ephemeral {
        args.push("--no-sync".into());
    }
    let log = dir.join("initdb.log");
    let mut process = Guarded::spawn(Spec {
        program: &binaries.dir.join("initdb"),
        args,
        env: env.to_vec(),
        dir,
        user,
        log: files::open_log(&log)?,
        lock: lock::acquire(&dir.join("initdb.lock"), GRACE)?,
        temporary: None,
        soft: Signal::Term,
        grace: GRACE,
    })?;
    match process.wait(LIMIT) {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Error::StartFailed {
            server: Server::Postgres,
            status: format!("initdb: {status}"),
            log_tail: files::tail(&log),
            log,
        }),
        None => Err(Error::Timeout { what: "initdb".to_owned(), after: LIMIT }),
    }
}
