//! Storage and matrix products of the hot path. Callers know none of the layouts.

pub mod attention;
mod buffer;
mod each;
pub mod gates;
mod matrix;
mod moments;
mod panels;
mod passes;
mod rows;
mod scaled;
mod tensor;
mod tiles;

pub use each::each;
pub use matrix::{GramSums, Matrix, Term, gram, gram_sums, outer, outer_of, outer_rows};
pub use moments::Along;
pub use panels::Panels;
pub use passes::{largest, sum_of_squares, within};
pub use rows::RowMajor;
pub use scaled::{Scaled, log10_rms};
pub use tensor::Tensor;
