//! Vanishing and exploding gradients in deep MLPs, recurrent nets and transformers: fast forward and backward passes
//! whose numbers carry their exponent, so that no depth underflows or overflows them.
//!
//! A [`spec::Spec`] is checked once, turned into a [`plan::Plan`], run by [`run::probe`] over many seeds in parallel,
//! and comes back as [`stats::Columns`].

pub mod activation;
pub mod backward;
pub mod calibrate;
pub mod cell;
pub mod data;
mod distribution;
pub mod error;
pub mod expectation;
pub mod forward;
pub mod gain;
pub mod gradcheck;
pub mod gradients;
pub mod init;
pub mod jacobian;
#[allow(clippy::inline_always)] // A `simd::Task` is compiled for an instruction set only where it is inlined.
pub mod kernel;
pub mod kind;
#[allow(clippy::inline_always)] // A `simd::Task` is compiled for an instruction set only where it is inlined.
pub mod linalg;
pub mod loss;
pub mod memory;
pub mod naive;
pub mod norm;
pub mod optimizer;
pub mod part;
pub mod plan;
#[allow(clippy::inline_always)] // A `simd::Task` is compiled for an instruction set only where it is inlined.
pub mod pretrain;
#[cfg(feature = "python")]
mod py;
#[allow(clippy::inline_always)] // A `simd::Task` is compiled for an instruction set only where it is inlined.
pub mod rng;
pub mod run;
pub mod schedule;
pub mod signature;
#[allow(clippy::inline_always)] // A `simd::Task` is compiled for an instruction set only where it is inlined.
pub mod simd;
pub mod skip;
pub mod spec;
pub mod stats;
mod synonyms;
pub mod threads;
#[allow(clippy::inline_always)] // The same.
pub mod train;
pub mod transform;
#[cfg(feature = "wasm")]
mod wasm;
pub mod weights;
