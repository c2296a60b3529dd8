//! Work on a thread of its own, while the calling one waits in slices short enough for Ctrl-C; short work at once.

use crate::error::{Cancel, Result};
use crate::memory::check_memory;
use crate::simd;
use crate::threads::{self, Announcement, WORTH_A_THREAD};
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pyo3::create_exception!(_core, InternalError, PyRuntimeError, "A worker panicked: a fault of vgcore.");

/// How long the calling thread sleeps before it looks for Ctrl-C again.
const SLICE: Duration = Duration::from_millis(20);

/// How long work that was asked to halt may take to do so: a step of a large net, or all steps before it are lost. Who
/// does not want to wait interrupts again.
const GRACE: Duration = Duration::from_secs(20);

/// The seconds of work that may be long: it gets a thread of its own.
pub const UNKNOWN: f64 = f64::INFINITY;

/// What work came to: it may have panicked.
type Done<T> = std::thread::Result<Result<T>>;

enum Message<M, T> {
    Item(M),
    Done(Done<T>),
}

/// Let Python do what waits to be done on this thread: the handlers of signals, and an exception that another thread has
/// set for this one (`PyThreadState_SetAsyncExc`). Both are looked at where a Python function begins, so one is called.
pub fn pause(py: Python<'_>) -> PyResult<()> {
    static NOTHING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let nothing = NOTHING.get_or_try_init(py, || py.eval(c"lambda: None", None, None).map(Bound::unbind))?;
    nothing.call0(py).map(|_| ())
}

/// Do work on the calling thread, with the GIL, in parts of a range that are short enough for Ctrl-C; what takes more
/// than a few nanoseconds an index has a smaller `part`.
pub fn in_parts(
    py: Python<'_>,
    count: usize,
    part: usize,
    mut work: impl FnMut(Range<usize>) -> PyResult<()>,
) -> PyResult<()> {
    for start in (0..count).step_by(part) {
        if start > 0 {
            pause(py)?;
        }
        work(start..count.min(start + part))?;
    }
    Ok(())
}

/// Run `work` of about so many seconds on a thread of its own. Its items reach `report` on the calling thread; a signal
/// or an error there cancels the work and returns at once, without waiting for the workers, who own all that they use.
///
/// Work that ends before a thread would be worth its start runs on the calling thread: Python sees Ctrl-C behind it.
pub fn in_background<M: Send + 'static, T: Send + 'static>(
    py: Python<'_>,
    seconds: f64,
    work: impl FnOnce(&Cancel, &(dyn Fn(M) + Sync)) -> Result<T> + Send + 'static,
    report: impl FnMut(M) -> PyResult<()>,
) -> PyResult<T> {
    in_background_or_halted(py, seconds, work, report, None)
}

/// Run work as [`in_background`] does that may be asked to halt: a signal makes it do so, and is passed on once what the
/// work has done has been reported, or after [`GRACE`].
pub fn in_background_or_halted<M: Send + 'static, T: Send + 'static>(
    py: Python<'_>,
    seconds: f64,
    work: impl FnOnce(&Cancel, &(dyn Fn(M) + Sync)) -> Result<T> + Send + 'static,
    mut report: impl FnMut(M) -> PyResult<()>,
    halt: Option<&AtomicBool>,
) -> PyResult<T> {
    simd::isa()?;
    check_memory("this call", 0, "free some memory")?;
    if seconds < WORTH_A_THREAD {
        return at_once(py, work, report);
    }
    let (cancel, (sender, receiver)) = (Cancel::default(), channel());
    let theirs = cancel.clone();
    let job = move || -> Announcement {
        // A receiver that is gone has cancelled: nobody waits for what is sent.
        let send = |sender: &Sender<_>, message| drop(sender.send(message));
        let job = || theirs.watch(|| work(&theirs, &|item| send(&sender, Message::Item(item))));
        let done = catch_unwind(AssertUnwindSafe(job));
        Box::new(move || send(&sender, Message::Done(done)))
    };
    if let Err(job) = threads::send(job) {
        // Without a thread to do it, it is done here, and Ctrl-C waits.
        py.detach(|| job()());
    }
    let receiver = Mutex::new(receiver);
    let mut halted: Option<(PyErr, Instant)> = None;
    let mut step = || loop {
        if halted.as_ref().is_some_and(|(_, since)| since.elapsed() > GRACE)
            && let Some((signal, _)) = halted.take()
        {
            return Err(signal);
        }
        let heard = match py.detach(|| receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(SLICE)) {
            Ok(Message::Item(item)) => report(item),
            Ok(Message::Done(done)) => return halted.take().map_or_else(|| finished(done), |(signal, _)| Err(signal)),
            Err(RecvTimeoutError::Disconnected) => return Err(panicked()),
            Err(RecvTimeoutError::Timeout) => pause(py),
        };
        match (heard, halt) {
            (Ok(()), _) => (),
            (Err(signal), Some(halt)) if halted.is_none() && signal.is_instance_of::<PyKeyboardInterrupt>(py) => {
                halt.store(true, Ordering::Relaxed);
                halted = Some((signal, Instant::now()));
            }
            (Err(error), _) => return Err(error),
        }
    };
    step().inspect_err(|_| cancel.request())
}

/// Run short work on the calling thread, then report its items.
fn at_once<M: Send, T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&Cancel, &(dyn Fn(M) + Sync)) -> Result<T> + Send,
    report: impl FnMut(M) -> PyResult<()>,
) -> PyResult<T> {
    let items = Mutex::new(Vec::new());
    let keep = |item| items.lock().unwrap_or_else(PoisonError::into_inner).push(item);
    let done = py.detach(|| catch_unwind(AssertUnwindSafe(|| work(&Cancel::default(), &keep))));
    items.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().try_for_each(report)?;
    finished(done)
}

fn finished<T>(done: Done<T>) -> PyResult<T> {
    Ok(done.map_err(|_| panicked())??)
}

fn panicked() -> PyErr {
    InternalError::new_err("internal error in vgcore: a worker panicked; please report it")
}

/// Run work that reports nothing, as [`in_background`] does.
pub fn detached<T: Send + 'static>(
    py: Python<'_>,
    seconds: f64,
    work: impl FnOnce(&Cancel) -> Result<T> + Send + 'static,
) -> PyResult<T> {
    in_background::<(), T>(py, seconds, |cancel, _| work(cancel), |()| Ok(()))
}
