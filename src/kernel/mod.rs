//! Storage and matrix products of the hot path. Callers know none of the layouts.

mod matrix;
mod panels;
mod scaled;

pub use matrix::{Matrix, gram, outer};
pub use panels::{LANES, Panels};
pub use scaled::Scaled;
