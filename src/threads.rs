//! The number of threads, and the one place where they start.
//!
//! Threads of long jobs live as long as their job. A shared pool was tried: it made small jobs wait for the runs of
//! others, kept the threads of every count ever asked for, and had to be rebuilt after `fork`. For jobs of less than a
//! few milliseconds a thread takes too long to start (40 us until it runs): their helpers wait, parked, for a second.

use crate::error::{Cancel, Error, Result};
use crate::memory::{keep_what_is_freed, thread_fits, threads_that_fit};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Seconds of work below which no thread is started: ten times what its start takes. Ctrl-C can wait as long.
pub const WORTH_A_THREAD: f64 = 5e-4;

/// The number of threads for work that may be long.
pub fn threads(given: Option<i128>) -> Result<usize> {
    Ok(worthwhile(limit(given)?, f64::INFINITY))
}

/// The number of threads that are worth their start, for work of about so many seconds.
pub fn worthwhile(limit: Option<usize>, seconds: f64) -> usize {
    match (seconds / WORTH_A_THREAD).max(1.0) as usize {
        1 => 1,
        worth => limit.unwrap_or_else(offered).min(worth).min(threads_that_fit()),
    }
}

/// The number of threads that the machine offers this process, as it was within the last second: it is read from files
/// of the kernel, which takes 30 us.
fn offered() -> usize {
    static ASKED: Mutex<Option<(Instant, usize)>> = Mutex::new(None);
    let ask = || std::thread::available_parallelism().map_or(1, usize::from);
    // Another thread may have held the lock when this process was forked.
    let Ok(mut asked) = ASKED.try_lock() else { return ask() };
    match *asked {
        Some((when, count)) if when.elapsed() < Duration::from_secs(1) => count,
        _ => asked.insert((Instant::now(), ask())).1,
    }
}

/// The most threads to use: the caller's number, else `VGCORE_NUM_THREADS`, else `None` for what the machine offers.
pub fn limit(given: Option<i128>) -> Result<Option<usize>> {
    const MOST: u64 = 1024;
    if let Some(given) = given {
        return crate::spec::integer("threads", given, 1, MOST).map(|n| Some(n as usize));
    }
    match std::env::var("VGCORE_NUM_THREADS") {
        Ok(text) if !text.trim().is_empty() => {
            let number = text.trim().parse::<i128>().map_err(|_| {
                Error::value("VGCORE_NUM_THREADS", &format!("an integer from 1 to {MOST}"), format!("'{text}'"))
            })?;
            crate::spec::integer("VGCORE_NUM_THREADS", number, 1, MOST).map(|n| Some(n as usize))
        }
        _ => Ok(None),
    }
}

/// Do `first` on this thread while `count - 1` more do `other`; wait for all.
pub fn share(count: usize, first: impl FnOnce(), other: impl Fn() + Sync) {
    keep_what_is_freed();
    let job = Cancel::of_thread();
    let other = || job.watch(&other);
    std::thread::scope(|scope| {
        for _ in 1..count {
            let thread = || std::thread::Builder::new().name("vgcore".to_owned()).spawn_scoped(scope, other);
            // Where the system gives no further thread, those there are do the work.
            if !thread_fits() || thread().is_err() {
                break;
            }
        }
        first();
    });
}

/// Work for a parked helper: gives what announces that it is done.
pub type Errand = Box<dyn FnOnce() -> Announcement + Send>;

/// Tells the one who waits for an errand.
pub type Announcement = Box<dyn FnOnce() + Send>;

/// Helpers that wait for an errand, and the process that they live in: a process that was forked has none of them.
struct Parked {
    process: u32,
    helpers: Vec<Sender<Errand>>,
}

static PARKED: Mutex<Parked> = Mutex::new(Parked { process: 0, helpers: Vec::new() });

/// Do something with the parked helpers of this process, unless another thread is at them, now or when it was forked.
fn parked<T>(act: impl FnOnce(&mut Vec<Sender<Errand>>) -> T) -> Option<T> {
    let mut parked = match PARKED.try_lock() {
        Ok(parked) => parked,
        Err(TryLockError::Poisoned(parked)) => parked.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    if parked.process != std::process::id() {
        *parked = Parked { process: std::process::id(), helpers: Vec::new() };
    }
    Some(act(&mut parked.helpers))
}

/// Give an errand to a parked helper, or else to a new one. It comes back where the system gives no further thread.
pub fn send(errand: impl FnOnce() -> Announcement + Send + 'static) -> std::result::Result<(), Errand> {
    let mut errand: Errand = Box::new(errand);
    // The channel of a helper whose time was up is closed, and the errand comes back.
    while let Some(helper) = parked(Vec::pop).flatten() {
        match helper.send(errand) {
            Ok(()) => return Ok(()),
            Err(back) => errand = back.0,
        }
    }
    let (sender, errands) = channel();
    let own = sender.clone();
    let helper = move || help(&own, &errands);
    if !thread_fits() || std::thread::Builder::new().name("vgcore".to_owned()).spawn(helper).is_err() {
        return Err(errand);
    }
    sender.send(errand).map_err(|back| back.0)
}

/// Run errands until none has come for a second.
fn help(own: &Sender<Errand>, errands: &Receiver<Errand>) {
    const PATIENCE: Duration = Duration::from_secs(1);
    while let Ok(errand) = errands.recv_timeout(PATIENCE) {
        let announce = errand();
        // Parked before the outcome is known: the caller's next errand comes here again.
        let waits = parked(|helpers| helpers.push(own.clone())).is_some();
        announce();
        if !waits {
            return;
        }
    }
}

/// Do `work(job, 0)` on this thread, and `work(job, 1)` and so on on helpers, `count` in all; gives the job back when
/// all are done. A helper may come late or not at all: what there is to do must be taken, not assigned.
pub fn together<T: Send + Sync + 'static>(count: usize, job: T, work: fn(&T, usize)) -> T {
    keep_what_is_freed();
    if count <= 1 {
        work(&job, 0);
        return job;
    }
    let (job, (outcome, outcomes), cancel) = (Arc::new(job), channel(), Cancel::of_thread());
    for index in 1..count {
        let (theirs, outcome, cancel) = (Arc::clone(&job), outcome.clone(), cancel.clone());
        let errand = move || -> Announcement {
            let done = catch_unwind(AssertUnwindSafe(|| cancel.watch(|| work(&theirs, index))));
            // The job is let go before the outcome is known.
            drop(theirs);
            Box::new(move || drop(outcome.send(done)))
        };
        if send(errand).is_err() {
            break;
        }
    }
    drop(outcome);
    let own = catch_unwind(AssertUnwindSafe(|| work(&job, 0)));
    let others = outcomes.into_iter().fold(Ok(()), std::thread::Result::and);
    if let Err(panic) = own.and(others) {
        resume_unwind(panic);
    }
    match Arc::into_inner(job) {
        Some(job) => job,
        None => unreachable!("every helper has let go of the job"),
    }
}

/// Tasks that threads take from both ends: when the same job comes again, a thread meets most of its own once more,
/// and what it has of them in its caches.
pub struct Ends {
    total: usize,
    taken: AtomicUsize,
    low: AtomicUsize,
    high: AtomicUsize,
}

impl Ends {
    /// So many tasks.
    pub fn new(total: usize) -> Self {
        Self { total, taken: AtomicUsize::new(0), low: AtomicUsize::new(0), high: AtomicUsize::new(0) }
    }

    /// The next task of a thread: thread 0 takes from the low end, all others from the high one.
    pub fn next(&self, thread: usize) -> Option<usize> {
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.total {
            return None;
        }
        Some(match thread {
            0 => self.low.fetch_add(1, Ordering::Relaxed),
            _ => self.total - 1 - self.high.fetch_add(1, Ordering::Relaxed),
        })
    }
}

/// The values of `f` at every index below `count`, in order, worked out by so many threads.
pub fn each<T: Send>(count: usize, threads: usize, cancel: &Cancel, f: impl Fn(usize) -> T + Sync) -> Result<Vec<T>> {
    /// The number of indices that a thread takes at a time.
    const CHUNK: usize = 16;
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count.div_ceil(CHUNK))));
    let work = || {
        loop {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            if start >= count || cancel.check().is_err() {
                return;
            }
            let values = (start..count.min(start + CHUNK)).map(&f).collect::<Vec<_>>();
            found.lock().unwrap_or_else(PoisonError::into_inner).push((start, values));
        }
    };
    share(threads.min(count.div_ceil(CHUNK)).max(1), work, work);
    cancel.check()?;
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_unstable_by_key(|&(start, _)| start);
    Ok(found.into_iter().flat_map(|(_, values)| values).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tasks, each to be marked by the thread that did it.
    fn marked(tasks: usize, count: usize) -> Vec<usize> {
        let job = (Ends::new(tasks), (0..tasks).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>());
        let (_, marks) = together(count, job, |(ends, marks), thread| {
            while let Some(task) = ends.next(thread) {
                marks[task].fetch_add(thread + 1, Ordering::Relaxed);
            }
        });
        marks.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_task_is_done_once_by_some_thread_from_its_end() {
        for _ in 0..200 {
            let marks = marked(50, 2);
            let own = marks.iter().take_while(|mark| **mark == 1).count();
            assert!(marks[own..].iter().all(|mark| *mark == 2), "{marks:?}");
        }
        assert!(marked(50, 4).iter().all(|mark| (1..=4).contains(mark)));
        assert_eq!(marked(3, 1), [1; 3]);
    }

    #[test]
    fn a_panic_of_any_thread_is_passed_on_after_all_have_ended() {
        for at in 0..3 {
            let ended = Arc::new(AtomicUsize::new(0));
            let job = (at, Arc::clone(&ended), std::sync::Barrier::new(3));
            let outcome = catch_unwind(|| {
                together(3, job, |(at, ended, all), thread| {
                    all.wait();
                    ended.fetch_add(1, Ordering::Relaxed);
                    assert!(thread != *at, "as wanted");
                })
            });
            assert!(outcome.is_err());
            assert_eq!(ended.load(Ordering::Relaxed), 3);
        }
    }

    #[test]
    fn work_below_what_a_thread_is_worth_has_one_and_long_work_as_many_as_are_allowed() {
        for (seconds, count) in [(0.0, 1), (0.9 * WORTH_A_THREAD, 1), (2.5 * WORTH_A_THREAD, 2), (f64::INFINITY, 8)] {
            assert_eq!(worthwhile(Some(8), seconds), count);
        }
    }

    #[test]
    fn every_index_is_worked_out_once_and_in_order() {
        for threads in [1, 2, 5] {
            let found = each(100, threads, &Cancel::default(), |i| i * i).unwrap();
            assert_eq!(found, (0..100).map(|i| i * i).collect::<Vec<_>>());
        }
    }
}
