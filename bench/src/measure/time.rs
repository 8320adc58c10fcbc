//! Processor time of processes.

use std::collections::BTreeMap;
use std::fs;

/// What processes had used at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Used {
    /// By process and thread, nanoseconds.
    threads: BTreeMap<(i32, i32), u64>,
    /// Of all threads, ended ones included: in user space and in the kernel, in hundredths of a second.
    user: u64,
    system: u64,
}

/// Processor time between two moments, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spent {
    /// In user space.
    pub(crate) user: f64,
    /// In the kernel.
    pub(crate) system: f64,
}

impl Spent {
    /// Both.
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }
}

impl Used {
    /// What these processes have used by now.
    pub(crate) fn by(processes: &[i32]) -> Used {
        let mut used = Used::default();
        for &process in processes {
            let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
            let (user, system) = ticks(&stat).unwrap_or_default();
            used.user += user;
            used.system += system;
            for entry in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
                let thread = entry.file_name().to_str().and_then(|name| name.parse().ok());
                let time = fs::read_to_string(entry.path().join("schedstat")).ok();
                let time = time.and_then(|text| text.split(' ').next()?.parse().ok());
                if let (Some(thread), Some(time)) = (thread, time) {
                    used.threads.insert((process, thread), time);
                }
            }
        }
        used
    }

    /// What was used since `before`. The sum is exact to the nanosecond unless a thread ended in between; how it divides between user
    /// space and kernel is sampled by the system's clock tick.
    pub(crate) fn since(&self, before: &Used) -> Spent {
        let user = self.user.saturating_sub(before.user) as f64 / 100.0;
        let system = self.system.saturating_sub(before.system) as f64 / 100.0;
        let ended = before.threads.keys().any(|thread| !self.threads.contains_key(thread));
        if ended || user + system == 0.0 {
            return Spent { user, system };
        }
        let since = |(thread, time): (&(i32, i32), &u64)| time - before.threads.get(thread).unwrap_or(&0);
        let exact = self.threads.iter().map(since).sum::<u64>() as f64 / 1e9;
        let share = user / (user + system);
        Spent { user: exact * share, system: exact * (1.0 - share) }
    }

    /// All threads' time, in nanoseconds.
    pub(crate) fn nanoseconds(&self) -> u64 {
        self.threads.values().sum()
    }
}

/// User and system time in `/proc/PID/stat`.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(thread: i32, time: u64, user: u64, system: u64) -> Used {
        Used { threads: BTreeMap::from([((1, thread), time)]), user, system }
    }

    #[test]
    fn the_exact_sum_is_divided_as_the_ticks_say() {
        let spent = used(1, 4_100_000_000, 101, 303).since(&used(1, 100_000_000, 1, 3));
        assert_eq!(spent, Spent { user: 1.0, system: 3.0 });
    }

    #[test]
    fn ticks_alone_count_once_a_thread_has_ended() {
        let spent = used(2, 5, 11, 22).since(&used(1, 100, 1, 2));
        assert_eq!(spent, Spent { user: 0.1, system: 0.2 });
    }

    #[test]
    fn this_process_uses_time() {
        let processes = [std::process::id() as i32];
        let before = Used::by(&processes);
        let mut value = 1_u64;
        while Used::by(&processes).nanoseconds() < before.nanoseconds() + 20_000_000 {
            value = std::hint::black_box(value.wrapping_mul(3));
        }
        assert!(Used::by(&processes).since(&before).total() >= 0.01);
    }
}
