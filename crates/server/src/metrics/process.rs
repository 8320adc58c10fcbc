//! What the operating system says of this process.

/// Of this process, as far as the system tells.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_descriptors: Option<u64>,
    pub(super) max_descriptors: Option<u64>,
    pub(super) cpu_seconds: Option<f64>,
}

/// Ticks a second in which Linux tells processor times to programs, whatever it counts in itself (`USER_HZ`).
const TICKS: f64 = 100.0;

impl Process {
    /// Asks. Some files to read: not for a worker's thread.
    pub(super) fn ask() -> Process {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = field(&status, "VmRSS:").map(|kilobytes| kilobytes * 1024);
        Process {
            resident_bytes: resident,
            open_descriptors: open_descriptors(),
            max_descriptors: max_descriptors(),
            cpu_seconds: cpu_seconds(),
        }
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Newer kernels tell the number as the folder's size; counting a hundred thousand takes tens of milliseconds.
fn open_descriptors() -> Option<u64> {
    let folder = "/proc/self/fd";
    match std::fs::metadata(folder).ok()?.len() {
        0 => Some(std::fs::read_dir(folder).ok()?.count() as u64),
        count => Some(count),
    }
}

fn max_descriptors() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    field(&limits, "Max open files")
}

/// Time in user and kernel mode: the fields 14 and 15 of `stat`, counted from the name, which may have spaces.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    Some((fields.next()?? + fields.next()??) as f64 / TICKS)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_everything() {
        let process = Process::ask();
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{process:?}");
        assert!(process.open_descriptors.is_some_and(|count| count > 2), "{process:?}");
        assert!(process.max_descriptors.is_some_and(|count| count > 2), "{process:?}");
        assert!(process.cpu_seconds.is_some(), "{process:?}");
    }
}
