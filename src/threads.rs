//! How many threads, and the one place where they start.
//!
//! Threads live as long as their job. A shared pool was tried: it made small jobs wait for the runs of others, kept the
//! threads of every count ever asked for, and had to be rebuilt after `fork`.

use crate::error::{Error, Result};
use crate::memory::keep_what_is_freed;

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
