//! Running, stopping and restarting a Postgres.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ChildStdin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secrecy::ExposeSecret;
use sqlx::{Connection, postgres::PgConnectOptions};
use url::Url;

use super::{PgOptions, SUPERUSER, StopMode, admin, initdb::initdb, ready};
use crate::{
    Error, Origin, PostgresBinaries, Result, Search, Server,
    error::io,
    files, lock, ports,
    user::{self, RunAs},
    watchdog::{Guarded, Signal, Spec, poll},
};

/// A predecessor that was killed with its parent has this long to write its checkpoint and let go.
const TAKEOVER: Duration = Duration::from_secs(40);

/// A running private Postgres. Dropping it stops it in order. All methods take `&self`, so that tests can share
/// it.
#[derive(Debug)]
pub struct PostgresServer {
    options: PgOptions,
    binaries: PostgresBinaries,
    user: Option<RunAs>,
    dir: PathBuf,
    port: u16,
    process: Mutex<Option<Guarded>>,
}

impl PostgresServer {
    /// Starts a server, making the cluster first if there is none, and waits until it takes connections.
    /// Blocks: about a second for a new cluster, 100 ms for an old one, `start_timeout` at most (and up to 40 s
    /// for a predecessor in the same directory to end).
    ///
    /// # Errors
    /// `Missing`, `Override`, `OtherMajor`, `PortTaken`, `InUse`, `NotReachable`, `NoUnprivilegedUser`,
    /// `StartFailed`, `StartTimeout`, `Timeout`, `Io`.
    pub fn start(options: PgOptions) -> Result<Self> {
        let user = user::unprivileged()?;
        files::create_dir(&options.dir, 0o700)?;
        let dir = fs::canonicalize(&options.dir).map_err(io("find", &options.dir))?;
        if let Some(user) = &user {
            user.own(&dir)?;
            user.require_reach(&dir)?;
        }
        let binaries = match &options.binaries {
            Some(binaries) => binaries.clone(),
            None => search(&dir.join("data"))?,
        };
        if let Some(user) = &user {
            user.require_reach(&binaries.dir)?;
        }
        let mut server = Self { options, binaries, user, dir, port: 0, process: Mutex::new(None) };
        for attempt in 1.. {
            server.port = ports::choose(Server::Postgres, server.options.port)?;
            match server.launch() {
                Ok(process) => {
                    server.process = Mutex::new(Some(process));
                    break;
                }
                // A fixed port that was taken is reported by the next round's choice.
                Err(Error::StartFailed { .. })
                    if attempt < ports::ATTEMPTS && !ports::is_free(server.port) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(server)
    }

    /// URL of a database, with the password in it: do not log it.
    pub fn url(&self, database: &str) -> String {
        url(self.port, self.options.password.expose_secret(), database)
    }

    /// `127.0.0.1:port`.
    pub fn host_port(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Pid of the postmaster; `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Guarded::pid)
    }

    /// True while the process lives.
    pub fn is_running(&self) -> bool {
        self.process().as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// Directory of this server; the cluster is in its `data`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The binaries in use.
    pub fn binaries(&self) -> &PostgresBinaries {
        &self.binaries
    }

    /// Creates a database owned by the superuser. `false` if it was there already.
    ///
    /// # Errors
    /// `DatabaseName` for a name that would need quoting, `Database` if the server refuses.
    pub async fn create_database(&self, name: &str) -> Result<bool> {
        admin::checked_name(name)?;
        let options = connect_options(self.port, self.options.password.expose_secret());
        let mut connection = admin::connect(&options).await?;
        let created = admin::create(&mut connection, name, None).await;
        // It is closed by the server's end at the latest.
        let _ = connection.close().await;
        created
    }

    /// Stops. Blocks up to `stop_timeout`, then kills. Stopping a stopped server does nothing.
    pub fn stop(&self, mode: StopMode) {
        if let Some(mut process) = self.process().take() {
            process.stop(mode.signal());
        }
    }

    /// SIGKILL to the postmaster, as a crash would; its backends notice and end.
    pub fn kill(&self) {
        if let Some(mut process) = self.process().take() {
            process.stop(Signal::Kill);
        }
    }

    /// Starts again on the same port and data; stops first (fast) if it still runs. Blocks like `start`.
    ///
    /// # Errors
    /// As for [`start`](Self::start); `PortTaken` if someone else took the port meanwhile.
    pub fn restart(&self) -> Result<()> {
        self.stop(StopMode::Fast);
        let mut process = self.process();
        *process = Some(self.launch()?);
        Ok(())
    }

    /// Gives up control: the server lives until the returned pipe is closed. With it the watchdog's pid.
    pub(crate) fn detach(self) -> Option<(ChildStdin, u32)> {
        let process = self.process().take()?;
        let (lifeline, watchdog) = process.detach();
        Some((lifeline?, watchdog))
    }

    fn process(&self) -> MutexGuard<'_, Option<Guarded>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&self) -> Result<Guarded> {
        // Every process of a former run holds this lock, so from here on the cluster is ours alone.
        let lock = lock::acquire(&self.dir.join("server.lock"), TAKEOVER)?;
        let data = self.dir.join("data");
        let env = self.env();
        if !data.join("PG_VERSION").is_file() {
            initdb(&self.dir, &self.binaries, &env, self.user.as_ref(), &self.options)?;
        }
        forget_dead_postmaster(&data)?;
        // Only now: processes of a former run could still have held it.
        ports::choose(Server::Postgres, Some(self.port))?;
        let log = self.dir.join("stderr.log");
        let mut process = Guarded::spawn(Spec {
            program: &self.binaries.dir.join("postgres"),
            args: self.options.args(&data, self.port),
            env,
            dir: &self.dir,
            user: self.user.as_ref(),
            log: files::open_log(&log)?,
            lock,
            temporary: None,
            soft: Signal::Int,
            grace: self.options.stop_timeout,
        })?;
        let pid = process.pid();
        let mut ended = None;
        let ready = poll(self.options.start_timeout, || {
            ended = process.ended();
            (ended.is_some() || (ready::says_ready(&data, pid) && ready::answers(self.port))).then_some(())
        });
        if ended.is_none() && ready.is_some() {
            return Ok(process);
        }
        let log_tail = self.log_tail(&log);
        Err(match ended {
            Some(status) => {
                Error::StartFailed { server: Server::Postgres, status: status.to_string(), log, log_tail }
            }
            None => Error::StartTimeout {
                server: Server::Postgres,
                after: self.options.start_timeout,
                log,
                log_tail,
            },
        })
    }

    /// What Postgres wrote before and after it opened its own log.
    fn log_tail(&self, stderr: &Path) -> String {
        let newest = fs::read_dir(self.dir.join("log"))
            .into_iter()
            .flatten()
            .flatten()
            .max_by_key(|entry| entry.metadata().and_then(|meta| meta.modified()).ok());
        let own = newest.map(|entry| format!("\n{}", files::tail(&entry.path()))).unwrap_or_default();
        format!("{}{own}", files::tail(stderr))
    }

    fn env(&self) -> Vec<(&'static str, OsString)> {
        // Without a locale in the environment, the macOS libraries start threads, which Postgres refuses.
        let mut env = vec![("LC_ALL", OsString::from("C")), ("TZ", OsString::from("UTC"))];
        if matches!(self.binaries.origin, Origin::Cache | Origin::Installed)
            && let Some(root) = self.binaries.dir.parent()
        {
            // Wheels hold absolute library paths of the machine that built them.
            env.push(("LD_LIBRARY_PATH", root.join("lib").into()));
        }
        env
    }
}

/// URL of a database on our server.
pub(crate) fn url(port: u16, password: &str, database: &str) -> String {
    let mut text = format!("postgres://{SUPERUSER}@127.0.0.1:{port}/{database}");
    if let Ok(mut url) = Url::parse(&text)
        && url.set_password(Some(password)).is_ok()
    {
        text = url.into();
    }
    text
}

/// For the maintenance database.
pub(crate) fn connect_options(port: u16, password: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(SUPERUSER)
        .password(password)
        .database("postgres")
}

/// The binaries that fit the cluster, if there is one.
fn search(data: &Path) -> Result<PostgresBinaries> {
    let major = fs::read_to_string(data.join("PG_VERSION")).ok().and_then(|text| text.trim().parse().ok());
    match (Search::from_env().postgres(major), major) {
        (Err(Error::Missing { hint, .. }), Some(made_by)) => {
            Err(Error::OtherMajor { path: data.to_owned(), made_by, hint })
        }
        (result, _) => result,
    }
}

/// After a crash `postmaster.pid` stays. Postgres clears it up by itself, unless its pid now belongs to some
/// other program, as happens in containers and after a reboot.
fn forget_dead_postmaster(data: &Path) -> Result<()> {
    let file = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else { return Ok(()) };
    let Some(pid) = text.lines().next().and_then(|line| line.trim().parse::<u32>().ok()) else {
        return fs::remove_file(&file).map_err(io("remove", &file));
    };
    match crate::process::name(pid) {
        Some(name) if name == "postgres" || name == "postmaster" => {
            Err(Error::InUse { path: data.to_owned(), pid: Some(pid) })
        }
        Some(_) => fs::remove_file(&file).map_err(io("remove", &file)),
        None => Ok(()),
    }
}
