//! The memory that there is, workspaces that calls leave for the next, and how the allocator comes to use freed memory
//! again.

use crate::error::{Error, Result};
use std::any::Any;
use std::borrow::Cow;
use std::path::Path;
use std::sync::{Mutex, Once, PoisonError, TryLockError};

/// Bytes below which the kernel is not asked: a machine that has less than this left is in trouble whatever is done
/// here, and the answer, from several files, takes longer than a small net.
const UNASKED: u128 = 64 << 20;

/// Bytes below which the limit of this process is not asked for either; they are tried instead.
const LITTLE: u128 = 1 << 20;

/// Bytes that the small things of a call take: messages, names, lists of a few numbers, objects of Python.
const SMALL: usize = 2 << 20;

/// Addresses that a thread takes: its stack, and the arena that the GNU allocator reserves for it.
const THREAD: u64 = 66 << 20;

/// Addresses that a thread needs to start.
const START: u64 = 8 << 20;

/// Refuse a job that needs more memory than the machine can give. An allocation that fails ends the process: what
/// grows with what a caller gives is asked for here first.
pub fn check_memory(what: &str, needed: u128, hint: impl Into<Cow<'static, str>>) -> Result<()> {
    let hint = hint.into();
    let refused = || {
        let available = match available_memory(needed) {
            Some(available) if needed > u128::from(available) => available,
            _ if fits(needed.min(LITTLE) as usize + SMALL) => return None,
            _ => left_by_limits().unwrap_or(0),
        };
        Some(Error::Memory { what: what.to_owned(), needed, available, hint: hint.clone() })
    };
    match refused() {
        // What earlier calls have left may be what is missing.
        Some(_) if release_workspaces() > 0 => refused().map_or(Ok(()), Err),
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Can so many bytes be allocated? They are not touched.
fn fits(bytes: usize) -> bool {
    std::hint::black_box(Vec::<u8>::new()).try_reserve_exact(bytes).is_ok()
}

/// Bytes that can be allocated without swapping: the least of what the kernel calls available, what the control groups
/// have left, and what the limits of this process leave. `None` where nobody says (there, an allocation that fails is
/// the limit), and where so little is needed that nobody is asked.
pub fn available_memory(needed: u128) -> Option<u64> {
    if needed < LITTLE {
        return None;
    }
    // A thread that the job starts takes addresses before it takes numbers.
    let limits = left_by_limits().map(|left| left.saturating_sub(THREAD));
    let asked = || {
        let groups = read("/proc/self/cgroup").and_then(|own| left_by_groups(Path::new("/sys/fs/cgroup"), &own));
        [available_to_all(), groups].into_iter().flatten().min()
    };
    let machine = if needed < UNASKED { None } else { asked() };
    [limits, machine].into_iter().flatten().min()
}

/// The most threads that there are addresses for, of which half are kept for numbers.
pub fn threads_that_fit() -> usize {
    left_by_limits().map_or(usize::MAX, |left| (left / (2 * THREAD)).max(1) as usize)
}

/// Are there addresses for one more thread? One that runs out of them while it starts would end the process.
pub fn thread_fits() -> bool {
    left_by_limits().is_none_or(|left| left >= START)
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The number in the line of a text that begins with a name, in the unit of the line.
fn number_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// What the kernel calls available.
fn available_to_all() -> Option<u64> {
    number_of(&read("/proc/meminfo")?, "MemAvailable:").map(|kib| kib * 1024)
}

/// What the limits on addresses and on data (`ulimit -v`, `ulimit -d`) leave to this process, where there are any.
fn left_by_limits() -> Option<u64> {
    let limits = read("/proc/self/limits")?;
    let limits = [("Max address space", "VmSize:"), ("Max data size", "VmData:")]
        .map(|(limit, used)| number_of(&limits, limit).map(|limit| (limit, used)));
    if limits == [None, None] {
        return None;
    }
    let status = read("/proc/self/status")?;
    let left = |(limit, used): (u64, &str)| Some(limit.saturating_sub(1024 * number_of(&status, used)?));
    limits.into_iter().flatten().filter_map(left).min()
}

/// What the control groups of a process leave, given where they are mounted and the lines of `/proc/self/cgroup`: the
/// least of all levels, for a group has no more than those around it. Both versions of the interface may be there.
fn left_by_groups(mount: &Path, own: &str) -> Option<u64> {
    let levels = |line: &str| -> Option<u64> {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (root, files) = match controllers {
            "" => (mount.to_owned(), ["memory.max", "memory.current", "inactive_file "]),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                let files = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "];
                (mount.join("memory"), files)
            }
            _ => return None,
        };
        // In a container the path may be that of the host: then only the root is there.
        let inner = root.join(path.trim_start_matches('/'));
        inner
            .ancestors()
            .take_while(|level| level.starts_with(&root))
            .filter_map(|level| left_by_group(level, files))
            .min()
    };
    own.lines().filter_map(levels).min()
}

/// What one control group leaves. The page cache counts as used, but the kernel gives it up when asked.
fn left_by_group(group: &Path, [limit, used, cache]: [&str; 3]) -> Option<u64> {
    let number = |file: &str| read(group.join(file))?.trim().parse::<u64>().ok();
    let cache = || read(group.join("memory.stat")).and_then(|stat| number_of(&stat, cache)).unwrap_or(0);
    Some(number(limit)?.saturating_sub(number(used).unwrap_or(0).saturating_sub(cache())))
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
    fn little_memory_is_tried_and_more_than_there_is_is_refused() {
        assert_eq!(available_memory(LITTLE - 1), None);
        check_memory("a small net", UNASKED - 1, "").unwrap();
        if available_memory(UNASKED).is_some() {
            let error = check_memory("a large net", u128::MAX, "lower depth").unwrap_err();
            assert!(error.to_string().starts_with("a large net needs 3402823"), "{error}");
        }
        assert!(fits(SMALL) && !fits(isize::MAX as usize));
    }

    #[test]
    fn a_control_group_has_no_more_than_those_around_it() {
        let mount = std::env::temp_dir().join(format!("vgcore-groups-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = mount.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("a/memory.max", "1000\n");
        write("a/memory.current", "700\n");
        write("a/memory.stat", "anon 500\ninactive_file 200\n");
        write("a/b/memory.max", "max\n");
        write("a/b/memory.current", "650\n");
        let left = |own: &str| left_by_groups(&mount, own);
        assert_eq!(left("0::/a/b\n"), Some(500));
        assert_eq!(left("0::/elsewhere\n"), None);
        write("memory/job/memory.limit_in_bytes", "300\n");
        write("memory/job/memory.usage_in_bytes", "100\n");
        write("memory/job/memory.stat", "inactive_file 1\ntotal_inactive_file 40\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(left("5:cpu:/x\n4:hugetlb,memory:/job\n0::/a\n"), Some(240));
        std::fs::remove_dir_all(mount).unwrap();
    }
}
