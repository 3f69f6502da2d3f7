//! Which of the workers that could do a task gets it. Pure: figures in, a place in the list out.

use std::cmp::Ordering;

use agentnet_proto::task::TaskStrategy;

/// A worker that could do the task and has room.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The account.
    pub account: String,
    /// Tasks it has in hand.
    pub in_hand: i64,
    /// Tasks it takes at most.
    pub capacity: i64,
    /// Its weight; more gets more.
    pub weight: f64,
    /// Milliseconds that one took lately.
    pub avg_ms: Option<f64>,
    /// When it was given one last, in whatever counts upwards; the lowest for never.
    pub last_assigned: i64,
    /// What it was given, by its weight.
    pub share: f64,
    /// How busy its machine is, 0 to 1.
    pub load: f64,
    /// Capabilities that it has.
    pub capabilities: usize,
}

/// The load of a machine out of what its agent reports: the mean of what is a ratio. Names that end in `_usage` or
/// `_percent` may be ratios or percentages; counts say nothing about a machine. Half busy when nothing is known.
pub fn load_of<'a>(metrics: impl Iterator<Item = (&'a str, f64)>) -> f64 {
    let ratio = |(name, value): (&str, f64)| {
        let named = name.ends_with("_usage") || name.ends_with("_percent") || name.ends_with("_load");
        let value = if value > 1.0 { value / 100.0 } else { value };
        (named && (0.0..=1.0).contains(&value)).then_some(value)
    };
    let (sum, count) = metrics.filter_map(ratio).fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
    if count == 0.0 { 0.5 } else { sum / count }
}

/// The place of the worker that gets the task; `None` of nobody. `random` gives a number below the one it is given.
pub fn choose(
    strategy: TaskStrategy,
    workers: &[&Choice],
    affinity: &str,
    mut random: impl FnMut(usize) -> usize,
) -> Option<usize> {
    if workers.len() <= 1 {
        return workers.len().checked_sub(1);
    }
    // Whatever the strategy says alike, the fewest tasks decide, then whoever waited longest, then the name.
    let tie = |a: &Choice, b: &Choice| {
        a.in_hand
            .cmp(&b.in_hand)
            .then_with(|| a.last_assigned.cmp(&b.last_assigned))
            .then_with(|| a.account.cmp(&b.account))
    };
    let by = |key: &dyn Fn(&Choice) -> f64| {
        least(workers, |a, b| key(a).total_cmp(&key(b)).then_with(|| tie(a, b)))
    };
    match strategy {
        TaskStrategy::LeastConnections => least(workers, tie),
        TaskStrategy::RoundRobin => {
            least(workers, |a, b| a.last_assigned.cmp(&b.last_assigned).then_with(|| tie(a, b)))
        }
        TaskStrategy::WeightedRoundRobin => by(&|w| w.share + 1.0 / w.weight),
        // Who has no times yet gets some.
        TaskStrategy::LeastResponseTime => by(&|w| w.avg_ms.unwrap_or(0.0)),
        TaskStrategy::ResourceBased => by(&|w| w.load),
        TaskStrategy::CapabilityBased => by(&|w| w.capabilities as f64),
        TaskStrategy::ConsistentHash => {
            least(workers, |a, b| hash(affinity, &b.account).cmp(&hash(affinity, &a.account)))
        }
        TaskStrategy::RandomOfTwo => {
            let first = random(workers.len());
            let second = (first + 1 + random(workers.len() - 1)) % workers.len();
            let (a, b) = (workers.get(first)?, workers.get(second)?);
            Some(if tie(a, b) == Ordering::Greater { second } else { first })
        }
        // Its time for one, times what it would have in hand.
        TaskStrategy::Predictive => by(&|w| w.avg_ms.unwrap_or(0.0) * (w.in_hand + 1) as f64),
    }
}

fn least(workers: &[&Choice], order: impl Fn(&Choice, &Choice) -> Ordering) -> Option<usize> {
    workers.iter().enumerate().min_by(|(_, a), (_, b)| order(a, b)).map(|(place, _)| place)
}

/// Rendezvous hashing: the worker with the highest hash has the key, so that who comes or goes moves only its own keys.
/// FNV-1a with a finisher: the same on every replica and in every version.
fn hash(key: &str, account: &str) -> u64 {
    let bytes = key.bytes().chain([0]).chain(account.bytes());
    let mut hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn worker(account: &str) -> Choice {
        Choice {
            account: account.to_owned(),
            in_hand: 0,
            capacity: 100,
            weight: 1.0,
            avg_ms: None,
            last_assigned: 0,
            share: 0.0,
            load: 0.5,
            capabilities: 1,
        }
    }

    fn picked(strategy: TaskStrategy, workers: &[Choice], affinity: &str) -> String {
        let all: Vec<&Choice> = workers.iter().collect();
        let place = choose(strategy, &all, affinity, |below| below - 1).unwrap();
        workers[place].account.clone()
    }

    #[test]
    fn each_strategy_goes_by_its_own_figure() {
        let a = Choice {
            in_hand: 1,
            last_assigned: 9,
            share: 9.0,
            avg_ms: Some(90.0),
            load: 0.9,
            capabilities: 9,
            ..worker("a")
        };
        let with = |change: fn(&mut Choice)| {
            let mut b = Choice {
                in_hand: 2,
                last_assigned: 10,
                share: 10.0,
                avg_ms: Some(100.0),
                load: 1.0,
                capabilities: 10,
                ..worker("b")
            };
            change(&mut b);
            [a.clone(), b]
        };
        type Change = fn(&mut Choice);
        let cases: [(TaskStrategy, Change); 7] = [
            (TaskStrategy::LeastConnections, |b| b.in_hand = 0),
            (TaskStrategy::RoundRobin, |b| b.last_assigned = 1),
            (TaskStrategy::WeightedRoundRobin, |b| b.share = 1.0),
            (TaskStrategy::LeastResponseTime, |b| b.avg_ms = Some(1.0)),
            (TaskStrategy::ResourceBased, |b| b.load = 0.1),
            (TaskStrategy::CapabilityBased, |b| b.capabilities = 1),
            (TaskStrategy::Predictive, |b| b.avg_ms = Some(1.0)),
        ];
        for (strategy, change) in cases {
            assert_eq!(picked(strategy, &with(|_| {}), "k"), "a", "{strategy}");
            assert_eq!(picked(strategy, &with(change), "k"), "b", "{strategy}");
        }
        assert_eq!(picked(TaskStrategy::RandomOfTwo, &with(|b| b.in_hand = 0), "k"), "b");
    }

    #[test]
    fn weights_are_kept_to_over_time() {
        let mut workers = [Choice { weight: 3.0, ..worker("a") }, worker("b")];
        let mut given: HashMap<String, usize> = HashMap::new();
        for _ in 0..400 {
            let name = picked(TaskStrategy::WeightedRoundRobin, &workers, "");
            *given.entry(name.clone()).or_default() += 1;
            for w in &mut workers {
                if w.account == name {
                    w.share += 1.0 / w.weight;
                }
            }
        }
        assert_eq!((given["a"], given["b"]), (300, 100));
    }

    #[test]
    fn who_goes_takes_only_its_own_keys_along() {
        let all: Vec<Choice> = (0..10).map(|n| worker(&format!("acct_{n}"))).collect();
        let fewer = &all[..9];
        let mut moved = 0;
        for n in 0..1_000 {
            let key = format!("key {n}");
            let (before, after) = (
                picked(TaskStrategy::ConsistentHash, &all, &key),
                picked(TaskStrategy::ConsistentHash, fewer, &key),
            );
            assert!(before == after || before == "acct_9", "{key} went from {before} to {after}");
            moved += usize::from(before != after);
        }
        assert!((50..200).contains(&moved), "{moved} of 1000 keys were the tenth worker's");
    }

    #[test]
    fn loads_are_ratios_and_percentages_but_never_counts() {
        let load = |pairs: &[(&str, f64)]| load_of(pairs.iter().map(|(n, v)| (*n, *v)));
        assert_eq!(load(&[("cpu_usage", 0.2), ("memory_usage", 60.0), ("active_connections", 5.0)]), 0.4);
        assert_eq!(load(&[("pending_tasks", 7.0)]), 0.5);
        assert_eq!(load(&[("cpu_usage", f64::NAN)]), 0.5);
    }

    proptest! {
        #[test]
        fn somebody_always_gets_it(
            figures in proptest::collection::vec((0..100_i64, 0.0..1e6_f64, 0..9_i64, 0.0..9.0_f64, 0.0..1.0_f64), 0..20),
            strategy in proptest::sample::select(TaskStrategy::ALL),
            seed in any::<usize>(),
        ) {
            let all: Vec<Choice> = figures.iter().enumerate().map(|(n, (in_hand, ms, last, share, load))| Choice {
                in_hand: *in_hand, avg_ms: Some(*ms), last_assigned: *last, share: *share, load: *load, ..worker(&n.to_string())
            }).collect();
            let refs: Vec<&Choice> = all.iter().collect();
            let place = choose(strategy, &refs, "key", |below| seed % below);
            prop_assert_eq!(place.is_some(), !all.is_empty());
            prop_assert!(place.is_none_or(|place| place < all.len()));
        }
    }
}
