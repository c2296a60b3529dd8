//! The memory that there is, and how the allocator comes to use freed memory again.

use crate::error::{Error, Result};
use std::sync::Once;

/// Refuse a job that needs more memory than the machine can give.
pub fn check_memory(what: &str, needed: u128, hint: &'static str) -> Result<()> {
    match available_memory() {
        Some(available) if needed > u128::from(available) => {
            Err(Error::Memory { what: what.to_owned(), needed, available, hint })
        }
        _ => Ok(()),
    }
}

/// Bytes that can be allocated without swapping: the least of what the kernel calls available and what the control
/// group has left. `None` where the system does not say (there, an allocation that fails is the limit).
pub fn available_memory() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let kernel = read("/proc/meminfo")?
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map(|kib| kib * 1024)?;
    // The page cache counts as used there, but the kernel gives it up when asked.
    let cache = || {
        let stat = read("/sys/fs/cgroup/memory.stat")?;
        stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok())
    };
    let used = || number("/sys/fs/cgroup/memory.current").unwrap_or(0).saturating_sub(cache().unwrap_or(0));
    let group = number("/sys/fs/cgroup/memory.max").map(|max| max.saturating_sub(used()));
    Some(group.map_or(kernel, |group| group.min(kernel)))
}

/// Let the allocator keep what jobs free, up to some tens of megabytes, for the next job.
///
/// The GNU allocator gives large blocks back to the system at once, and a job that begins with fresh pages pays a fault
/// for each: half the time of the explicit gradients of a net of width 256. It learns better from the first large block
/// that it sees freed: blocks up to that size, and twice as much in all, then stay. So it is shown one, untouched, of
/// nearly the largest size that it learns from (32 MiB). Other allocators have nothing to learn.
pub fn keep_what_is_freed() {
    static SHOWN: Once = Once::new();
    SHOWN.call_once(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(31 << 20))));
}
