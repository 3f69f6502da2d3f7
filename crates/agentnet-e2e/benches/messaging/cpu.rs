//! CPU time of each process: the figure that other load on the machine changes least.

use std::{collections::BTreeMap, fs, time::Duration};

/// `USER_HZ`, which Linux fixes at 100 for what `/proc` shows.
const TICK: Duration = Duration::from_millis(10);

/// CPU time so far, by what the process is.
#[derive(Debug, Clone, Default)]
pub struct Usage(BTreeMap<&'static str, Duration>);

impl Usage {
    /// Reads it now. A process that is gone counts for nothing.
    pub fn now(processes: impl IntoIterator<Item = (&'static str, Option<u32>)>) -> Self {
        let used = |pid: u32| stat(pid).map(|stat| stat.used).unwrap_or_default();
        Self(processes.into_iter().filter_map(|(name, pid)| Some((name, used(pid?)))).collect())
    }

    /// The same with a process and its children, for Postgres.
    #[must_use]
    pub fn and_family(mut self, name: &'static str, parent: Option<u32>) -> Self {
        let Some(parent) = parent else { return self };
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let all = pids.filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?));
        let family = all.filter(|stat| stat.pid == parent || stat.parent == parent);
        self.0.insert(name, family.map(|stat| stat.used).sum());
        self
    }

    /// What was used since `before`, added to `self`.
    pub fn add(&mut self, before: &Self, after: &Self) {
        for (name, used) in &after.0 {
            let earlier = before.0.get(name).copied().unwrap_or_default();
            *self.0.entry(name).or_default() += used.saturating_sub(earlier);
        }
    }

    /// Microseconds for each of `operations`.
    pub fn each(&self, operations: usize) -> String {
        let parts = self
            .0
            .iter()
            .map(|(name, used)| format!("{name} {:.1}", used.as_secs_f64() * 1e6 / operations.max(1) as f64));
        parts.collect::<Vec<_>>().join(", ")
    }
}

struct Stat {
    pid: u32,
    parent: u32,
    used: Duration,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything, blanks and brackets too.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |place: usize| fields.get(place)?.parse::<u32>().ok();
    Some(Stat { pid, parent: number(1)?, used: TICK * (number(11)? + number(12)?) })
}
