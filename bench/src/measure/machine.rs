//! The machine that is measured on.

use std::fs;
use std::path::Path;

use super::process::cores;
use crate::model::Machine;

/// This machine; durable publishes go to `directory`.
pub(crate) fn describe(directory: &Path) -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned()))
        .unwrap_or_default();
    let memory = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0);
    Machine {
        processor,
        cores: cores(),
        memory: memory * 1024,
        kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        file_system: file_system(&read("/proc/self/mounts"), directory),
    }
}

/// The kind of the file system that `directory` is on: that of the longest mount point above it.
fn file_system(mounts: &str, directory: &Path) -> String {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = mounts.filter(|(point, _)| directory.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map_or_else(String::new, |(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_point_counts() {
        let mounts = "a / ext4 rw 0 0\nb /data xfs rw 0 0\nc /database btrfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/data/bench")), "xfs");
        assert_eq!(file_system(mounts, Path::new("/other")), "ext4");
    }
}
