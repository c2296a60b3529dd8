//! Expectations of an activation over the pre-activations of a wide layer.
//!
//! [`Moments`] are over one normal pre-activation, [`Pair`] is over two that are correlated, and [`Batch`] over what
//! batch norm leaves of a batch. All are integrals over the pieces between kinks.

mod batch;
mod moments;
mod pair;
pub mod quadrature;

pub use batch::Batch;
pub use moments::{Moments, hermite};
pub use pair::Pair;
