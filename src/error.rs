//! The one error type, and the request to stop. Neither knows of Python.

use crate::synonyms;
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
        hint: &'static str,
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
        Self::Value(format!("unknown {kind} '{given}'{hint}; choose from: {all}"))
    }
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A request to stop, shared between the caller and the workers, who look at it once a layer.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ask to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// An error once a stop was asked for.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}
