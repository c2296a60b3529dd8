//! Work on a thread of its own, while the calling one waits in slices short enough for Ctrl-C.

use crate::error::{Cancel, Result};
use crate::simd;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long the calling thread sleeps before it looks for Ctrl-C again.
const SLICE: Duration = Duration::from_millis(20);

enum Message<M, T> {
    Item(M),
    Done(std::thread::Result<Result<T>>),
}

/// Run `work` on a thread of its own. Its items reach `report` on the calling thread; a signal or an error there
/// cancels the work and returns at once, without waiting for the workers, who own all that they use.
pub fn in_background<M: Send + 'static, T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce(&Cancel, &(dyn Fn(M) + Sync)) -> Result<T> + Send + 'static,
    mut report: impl FnMut(M) -> PyResult<()>,
) -> PyResult<T> {
    simd::isa()?;
    let (cancel, (sender, receiver)) = (Cancel::default(), channel());
    let theirs = cancel.clone();
    let job = move || {
        // A receiver that is gone has cancelled: nobody waits for what is sent.
        let send = |sender: &Sender<_>, message| drop(sender.send(message));
        let done = catch_unwind(AssertUnwindSafe(|| work(&theirs, &|item| send(&sender, Message::Item(item)))));
        send(&sender, Message::Done(done));
    };
    std::thread::Builder::new()
        .name("vgcore".to_owned())
        .spawn(job)
        .map_err(|error| PyRuntimeError::new_err(format!("cannot start a thread: {error}")))?;
    let receiver = Mutex::new(receiver);
    let mut step = || loop {
        match py.detach(|| receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(SLICE)) {
            Ok(Message::Item(item)) => report(item)?,
            Ok(Message::Done(Ok(result))) => return Ok(result?),
            Ok(Message::Done(Err(_))) | Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("internal error in vgcore: a worker panicked; please report it"));
            }
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
        }
    };
    step().inspect_err(|_| cancel.request())
}

/// Run work that reports nothing on a thread of its own.
pub fn detached<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce(&Cancel) -> Result<T> + Send + 'static,
) -> PyResult<T> {
    in_background::<(), T>(py, |cancel, _| work(cancel), |()| Ok(()))
}
