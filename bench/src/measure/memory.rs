//! Memory of processes, and of the kernel.

use std::fs;

/// Anonymous memory of these processes, in bytes: what they allocated, not the pages of their programs.
pub(crate) fn anonymous(processes: &[i32]) -> u64 {
    let read = |process| fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    processes.iter().map(|process| kilobytes(&read(process), "Anonymous:") * 1024).sum()
}

/// What the kernel holds for objects such as sockets and for the bytes in them, in bytes. It is the whole system's: what else runs
/// meanwhile counts too.
pub(crate) fn kernel() -> u64 {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    kilobytes(&memory, "Slab:") * 1024 + socket_pages(&sockets) * rustix::param::page_size() as u64
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The pages in buffers of TCP.
fn socket_pages(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"));
    let field = line.and_then(|line| line.split_whitespace().skip_while(|&word| word != "mem").nth(1));
    field.and_then(|field| field.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        assert_eq!(kilobytes("Rss:   7 kB\nAnonymous:     112 kB\n", "Anonymous:"), 112);
        assert_eq!(socket_pages("sockets: used 11\nTCP: inuse 1 orphan 0 tw 7 alloc 1 mem 5\n"), 5);
    }

    #[test]
    fn what_is_allocated_is_seen() {
        let processes = [std::process::id() as i32];
        let before = anonymous(&processes);
        let block = std::hint::black_box(vec![1_u8; 16 << 20]);
        assert!(anonymous(&processes) >= before + (12 << 20), "{before}");
        assert!(kernel() > 0);
        drop(block);
    }
}
