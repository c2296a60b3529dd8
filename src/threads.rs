//! The number of threads, and the one place where they start.
//!
//! Threads live as long as their job. A shared pool was tried: it made small jobs wait for the runs of others, kept the
//! threads of every count ever asked for, and had to be rebuilt after `fork`.

use crate::error::{Cancel, Error, Result};
use crate::memory::keep_what_is_freed;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The number of threads to use: the caller's, else `VGCORE_NUM_THREADS`, else what the machine offers.
pub fn threads(given: Option<i128>) -> Result<usize> {
    const MOST: u64 = 1024;
    if let Some(given) = given {
        return crate::spec::integer("threads", given, 1, MOST).map(|n| n as usize);
    }
    match std::env::var("VGCORE_NUM_THREADS") {
        Ok(text) if !text.trim().is_empty() => {
            let number = text.trim().parse::<i128>().map_err(|_| {
                Error::value("VGCORE_NUM_THREADS", &format!("an integer from 1 to {MOST}"), format!("'{text}'"))
            })?;
            crate::spec::integer("VGCORE_NUM_THREADS", number, 1, MOST).map(|n| n as usize)
        }
        _ => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// Do `first` on this thread while `count - 1` more do `other`; wait for all.
pub fn share(count: usize, first: impl FnOnce(), other: impl Fn() + Sync) {
    keep_what_is_freed();
    std::thread::scope(|scope| {
        for _ in 1..count {
            // Where the system gives no further thread, those there are do the work.
            if std::thread::Builder::new().name("vgcore".to_owned()).spawn_scoped(scope, &other).is_err() {
                break;
            }
        }
        first();
    });
}

/// The values of `f` at every index below `count`, in order, worked out by so many threads.
pub fn each<T: Send>(count: usize, threads: usize, cancel: &Cancel, f: impl Fn(usize) -> T + Sync) -> Result<Vec<T>> {
    /// The number of indices that a thread takes at a time.
    const CHUNK: usize = 16;
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
    let work = || {
        loop {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            if start >= count || cancel.check().is_err() {
                return;
            }
            let values = (start..count.min(start + CHUNK)).map(|i| (i, f(i))).collect::<Vec<_>>();
            found.lock().unwrap_or_else(PoisonError::into_inner).extend(values);
        }
    };
    share(threads.min(count.div_ceil(CHUNK)).max(1), work, work);
    cancel.check()?;
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_unstable_by_key(|&(i, _)| i);
    Ok(found.into_iter().map(|(_, value)| value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_worked_out_once_and_in_order() {
        for threads in [1, 2, 5] {
            let found = each(100, threads, &Cancel::default(), |i| i * i).unwrap();
            assert_eq!(found, (0..100).map(|i| i * i).collect::<Vec<_>>());
        }
    }
}
