//! Dense matrices in `f64`: orthonormal columns, factors of graded matrices, and singular values.

pub mod graded;
pub mod jacobi;
pub(crate) mod qr;
