//! Giving up installations: their package clients end, and their directories go.

use std::{
    collections::BTreeSet,
    io,
    process::{Child, Command},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::watchdog::poll;

/// How long the installations may take to clean up.
const CLEAN_UP: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Running {
    abandoned: bool,
    /// Process groups of the programs that run.
    groups: BTreeSet<i32>,
    installations: usize,
}

static RUNNING: Mutex<Running> =
    Mutex::new(Running { abandoned: false, groups: BTreeSet::new(), installations: 0 });

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends what runs for a [`Search`](crate::Search) of this process, for good: programs are killed with what they
/// started, nothing more is installed, and half-made installations are removed. For the end of a process that doesn't
/// wait for the search; blocks up to 2 s.
pub fn abandon_installs() {
    {
        let mut running = running();
        running.abandoned = true;
        for group in &running.groups {
            let _ = killpg(Pid::from_raw(*group), Signal::SIGKILL);
        }
    }
    poll(CLEAN_UP, || (self::running().installations == 0).then_some(()));
}

/// Whether no more is wanted.
pub(super) fn is_abandoned() -> bool {
    running().abandoned
}

/// Starts a program that leads a process group of its own.
pub(super) fn spawn(command: &mut Command) -> io::Result<(Child, Group)> {
    // Held while it starts: it is either killed with the others or not started.
    let mut running = running();
    if running.abandoned {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "given up"));
    }
    let child = command.spawn()?;
    let group = i32::try_from(child.id()).map_err(io::Error::other)?;
    running.groups.insert(group);
    Ok((child, Group(group)))
}

/// A program's process group, as long as the program isn't waited for.
pub(super) struct Group(i32);

impl Group {
    /// Kills everything in it.
    pub(super) fn kill(&self) {
        let _ = killpg(Pid::from_raw(self.0), Signal::SIGKILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        running().groups.remove(&self.0);
    }
}

/// An installation that leaves something behind until this is dropped.
pub(super) struct Installation(());

impl Installation {
    pub(super) fn begin() -> Self {
        running().installations += 1;
        Self(())
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        running().installations -= 1;
    }
}
