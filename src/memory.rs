//! The memory that there is, workspaces that calls leave for the next, and how the allocator comes to use freed memory
//! again.

use crate::error::{Error, Result};
use std::any::Any;
use std::sync::{Mutex, Once, PoisonError, TryLockError};

/// Bytes that nobody is asked about: a machine that has less than this left is in trouble whatever is done here, and the
/// answer, from files of the kernel, takes longer than a small net.
const UNASKED: u128 = 64 << 20;

/// Refuse a job that needs more memory than the machine can give.
pub fn check_memory(what: &str, needed: u128, hint: &'static str) -> Result<()> {
    match available_memory(needed) {
        Some(available) if needed > u128::from(available) => {
            Err(Error::Memory { what: what.to_owned(), needed, available, hint })
        }
        _ => Ok(()),
    }
}

/// Bytes that can be allocated without swapping: the least of what the kernel calls available and what the control
/// group has left. `None` where the system does not say (there, an allocation that fails is the limit), and where so
/// little is needed that it is not asked.
pub fn available_memory(needed: u128) -> Option<u64> {
    if needed < UNASKED {
        return None;
    }
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

/// A workspace, and the most bytes that a job of it has taken.
#[derive(Debug)]
pub struct Kept<T> {
    /// The buffers of the last job.
    pub space: T,
    bytes: u128,
}

/// Workspaces that wait for the next job of their sort, the oldest first.
static KEPT: Mutex<Vec<Kept<Box<dyn Any + Send>>>> = Mutex::new(Vec::new());

/// Bytes of all workspaces that wait: a few nets of width 256, for whom fresh buffers cost a tenth of their gradients.
const MOST: u128 = 64 << 20;

/// A workspace that an earlier job has left, or a new one.
pub fn workspace<T: Any + Send + Default>() -> Kept<T> {
    let new = || Kept { space: T::default(), bytes: 0 };
    // Nobody waits here: another thread may have held the lock when this process was forked.
    let mut kept = match KEPT.try_lock() {
        Ok(kept) => kept,
        Err(TryLockError::Poisoned(kept)) => kept.into_inner(),
        Err(TryLockError::WouldBlock) => return new(),
    };
    let Some(index) = kept.iter().rposition(|kept| kept.space.is::<T>()) else { return new() };
    let Kept { space, bytes } = kept.remove(index);
    space.downcast().map_or_else(|_| new(), |space| Kept { space: *space, bytes })
}

impl<T: Any + Send> Kept<T> {
    /// Leave the workspace to the next job, unless there are enough; the job took so many bytes.
    pub fn leave(self, bytes: u128) {
        let bytes = bytes.max(self.bytes);
        if bytes > MOST {
            return;
        }
        let mut kept = match KEPT.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(kept)) => kept.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        kept.push(Kept { space: Box::new(self.space), bytes });
        let mut all = kept.iter().map(|kept| kept.bytes).sum::<u128>();
        while all > MOST {
            all -= kept.remove(0).bytes;
        }
    }
}

/// Free all workspaces that wait. Gives the bytes that they took, by estimate.
pub fn release_workspaces() -> u128 {
    let kept = std::mem::take(&mut *KEPT.lock().unwrap_or_else(PoisonError::into_inner));
    kept.into_iter().map(|kept| kept.bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sort of its own: tests of other files leave workspaces too.
    #[derive(Default)]
    struct Space(Vec<u8>);

    #[test]
    fn a_workspace_is_found_again_unless_it_is_too_large_or_was_released() {
        let mut first = workspace::<Space>();
        first.space.0.push(7);
        first.leave(1000);
        let again = workspace::<Space>();
        assert_eq!((again.space.0.as_slice(), again.bytes), ([7].as_slice(), 1000));
        // The buffers stay as large as the largest job made them.
        again.leave(10);
        assert!(release_workspaces() >= 1000);
        assert!(workspace::<Space>().space.0.is_empty());
        let mut large = workspace::<Space>();
        large.space.0.push(7);
        large.leave(MOST + 1);
        assert!(workspace::<Space>().space.0.is_empty());
    }

    #[test]
    fn little_memory_is_not_asked_for_and_more_than_there_is_is_refused() {
        assert_eq!(available_memory(UNASKED - 1), None);
        check_memory("a small net", UNASKED - 1, "").unwrap();
        if available_memory(UNASKED).is_some() {
            let error = check_memory("a large net", u128::MAX, "lower depth").unwrap_err();
            assert!(error.to_string().starts_with("a large net needs 3402823"), "{error}");
        }
    }
}
