//! The one error type, and the request to stop. Neither knows of Python.

use crate::synonyms;
use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An error before or during a computation.
///
/// A run that diverges is not an error: it is a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The value has the right type but is not allowed.
    #[error("{0}")]
    Value(String),
    /// The value has the wrong type.
    #[error("{0}")]
    Type(String),
    /// The job needs more memory than there is; nothing was allocated.
    #[error(
        "{what} needs {needed} bytes ({:.1} GiB) but {available} ({:.1} GiB) are available; {hint}",
        *needed as f64 / GIB, *available as f64 / GIB
    )]
    Memory {
        /// The computation that did not start.
        what: String,
        /// Bytes that the job needs.
        needed: u128,
        /// Bytes that the machine can still give.
        available: u64,
        /// Advice on how to need less.
        hint: Cow<'static, str>,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

const GIB: f64 = (1_u64 << 30) as f64;

impl Error {
    /// The error of a bad value: "`name` must be `allowed`, got `given`".
    pub fn value(name: &str, allowed: &str, given: impl std::fmt::Display) -> Self {
        Self::Value(format!("{name} must be {allowed}, got {given}"))
    }

    /// The error of a wrong type: "`name` must be `allowed`, got `given`".
    pub fn type_of(name: &str, allowed: &str, given: impl std::fmt::Display) -> Self {
        Self::Type(format!("{name} must be {allowed}, got {given}"))
    }

    /// The error of an unknown name, with the nearest match and all choices.
    pub fn unknown<'a>(kind: &str, given: &str, choices: impl Iterator<Item = &'a str> + Clone) -> Self {
        let hint = synonyms::hint(given, choices.clone());
        let all = choices.collect::<Vec<_>>().join(", ");
        Self::Value(format!("unknown {kind} '{}'{hint}; choose from: {}", shown(given), cut(&all, 1000)))
    }
}

/// A text as messages show it: on one line, 80 characters of it at most.
pub fn shown(text: &str) -> String {
    let plain = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    cut(&text.chars().take(81).map(plain).collect::<String>(), 80)
}

fn cut(text: &str, most: usize) -> String {
    const MARK: &str = "...";
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - MARK.len()).chain(MARK.chars()).collect(),
    }
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A request to stop, shared between the caller and the workers.
///
/// Workers look at it between layers. Loops inside of one that may take longer than a tenth of a second, such as a
/// product of wide layers, ask [`Cancel::requested`] for the job of their thread: what they leave unfinished then is
/// never seen, for whoever looks at the request next gives the job up.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

thread_local! {
    /// The request to stop the job that this thread works for.
    static JOB: RefCell<Option<Cancel>> = const { RefCell::new(None) };
}

impl Cancel {
    /// Ask to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// An error once a stop was asked for.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// The request to stop the job of this thread; one that nobody makes where there is none.
    pub fn of_thread() -> Self {
        JOB.with_borrow(|job| job.clone().unwrap_or_default())
    }

    /// Do a part of a job on this thread.
    pub fn watch<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Gives the thread back to the job before, also after a panic.
        struct Back(Option<Cancel>);
        impl Drop for Back {
            fn drop(&mut self) {
                JOB.set(self.0.take());
            }
        }
        let _back = Back(JOB.replace(Some(self.clone())));
        work()
    }

    /// An error once somebody has asked to stop the job of this thread.
    pub fn heed() -> Result<()> {
        if Self::requested() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Has somebody asked to stop the job of this thread?
    pub fn requested() -> bool {
        JOB.with_borrow(|job| job.as_ref().is_some_and(|job| job.check().is_err()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_knows_the_job_that_it_works_for_and_no_other() {
        let (outer, inner) = (Cancel::default(), Cancel::default());
        outer.request();
        assert!(!Cancel::requested());
        outer.watch(|| {
            assert!(Cancel::requested() && Cancel::of_thread().check().is_err());
            inner.watch(|| assert!(!Cancel::requested()));
            let _ = std::panic::catch_unwind(|| inner.watch(|| panic!("as wanted")));
            assert!(Cancel::requested());
        });
        assert!(!Cancel::requested());
    }

    #[test]
    fn a_text_is_shown_up_to_80_characters() {
        assert_eq!(shown("näher"), "näher");
        assert_eq!(shown("a\nb\x1b"), "a\\nb\\u{1b}");
        assert_eq!(shown(&"ä".repeat(80)), "ä".repeat(80));
        assert_eq!(shown(&"ä".repeat(81)), format!("{}...", "ä".repeat(77)));
        let message = Error::unknown("init", &"x".repeat(1 << 20), ["zeros"].into_iter()).to_string();
        assert!(message.len() < 200, "{message}");
    }
}
