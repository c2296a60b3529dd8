//! What travels through parts beside batches: who watches a pass, who collects gradients, and the buffers of both ways.

use super::normalise::Sums;
use super::{Owner, Which};
use crate::activation::Activation;
use crate::kernel::{Panels, Scaled, attention};
use crate::simd::Float;

/// Sees every layer as it is computed. `z` and `a` say whether their values are finite.
pub trait Watch<F: Float> {
    /// The pre-activations `z` of a row.
    fn z(&mut self, row: usize, z: &Scaled<F>) -> bool;
    /// The activation of a row, with the slope that it has learned: what it got, what it gave, and its slopes
    /// `phi'(z)`.
    fn phi(&mut self, row: usize, activation: &Activation, z: &Scaled<F>, a: &Scaled<F>, slopes: &Panels<F>);
    /// The activations `a` of a row.
    fn a(&mut self, row: usize, a: &Scaled<F>) -> bool;
    /// The residual stream behind a layer.
    fn h(&mut self, row: usize, h: &Scaled<F>);
    /// The share of slopes of all gates of a row that are flat.
    fn saturated(&mut self, _row: usize, _share: f64) {}

    /// Does it take further numbers? A part works its own out only then.
    fn notes(&self) -> bool {
        false
    }
    /// A further number of a row, by its place among the names that all parts of the net say
    /// ([`Part::extra`](super::Part::extra)).
    fn note(&mut self, _row: usize, _column: usize, _value: f64) {}
}

/// Sees nothing but whether values are finite.
impl<F: Float> Watch<F> for () {
    fn z(&mut self, _: usize, z: &Scaled<F>) -> bool {
        z.panels.largest().is_finite()
    }
    fn phi(&mut self, _: usize, _: &Activation, _: &Scaled<F>, _: &Scaled<F>, _: &Panels<F>) {}
    fn a(&mut self, _: usize, a: &Scaled<F>) -> bool {
        a.panels.largest().is_finite()
    }
    fn h(&mut self, _: usize, _: &Scaled<F>) {}
}

/// Receives what the backward pass computes.
pub trait Collect<F> {
    /// The gradient at the output of a linear map (`dL/dz`, if it is a layer's own), and the map's input: together its
    /// weight and bias gradients. `value` names the input among the values of the net, if it is one.
    fn map(&mut self, owner: Owner, delta: &Scaled<F>, input: &Scaled<F>, value: Option<usize>);

    /// The gradient of a vector or of one number, times `2^exponent`.
    fn vector(&mut self, owner: Owner, which: Which, values: &[f64], exponent: i64);

    /// The whole gradient of the residual stream behind a layer.
    fn dh(&mut self, row: usize, dh: &Scaled<F>);

    /// Is the gradient of the net's input wanted?
    fn wants_input(&self) -> bool {
        true
    }

    /// Does it take further numbers? A part works its own out only then.
    fn notes(&self) -> bool {
        false
    }
    /// A further number of a row, by its place among the names that all parts of the net say
    /// ([`Part::extra`](super::Part::extra)).
    fn note(&mut self, _row: usize, _column: usize, _value: f64) {}
}

/// Receives nothing.
impl<F> Collect<F> for () {
    fn map(&mut self, _: Owner, _: &Scaled<F>, _: &Scaled<F>, _: Option<usize>) {}
    fn vector(&mut self, _: Owner, _: Which, _: &[f64], _: i64) {}
    fn dh(&mut self, _: usize, _: &Scaled<F>) {}
}

/// The columns of a block of rows of a map: of what the map gives it, of the gradient of that, and of its weights, which is
/// noted with theirs.
pub(crate) const BY_BLOCK: [&str; 3] = ["log10_z_rms", "log10_delta_rms", "log10_wgrad_norm"];

/// Note the log10 of the root mean square of each of so many blocks, which share the features evenly.
pub(super) fn note_blocks<F: Float>(all: &Scaled<F>, count: usize, mut note: impl FnMut(usize, f64)) {
    let (mut block, mut sums) = (Scaled { exponent: all.exponent, ..Scaled::default() }, Vec::new());
    let each = all.panels.features() / count;
    for index in 0..count {
        block.panels.take(&all.panels, index * each..(index + 1) * each);
        note(index, block.log10_rms(&mut sums));
    }
}

/// Buffers of the forward pass that no layer leaves for another.
#[derive(Debug, Clone)]
pub struct Scratch<F> {
    pub(super) spare: Scaled<F>,
    pub(super) halves: [Panels<F>; 4],
    pub(super) sums: Sums,
    pub(super) uniforms: Vec<f32>,
    pub(super) rows: Vec<F>,
    pub(super) attention: attention::Buffers<F>,
}

impl<F> Default for Scratch<F> {
    fn default() -> Self {
        Self {
            spare: Scaled::default(),
            halves: std::array::from_fn(|_| Panels::default()),
            sums: Sums::default(),
            uniforms: Vec::new(),
            rows: Vec::new(),
            attention: attention::Buffers::default(),
        }
    }
}

/// Buffers of the backward pass. Reused from run to run.
#[derive(Debug, Clone)]
pub struct Signal<F> {
    /// The gradient of what the part at hand gave, then of what it got; `dL/dx` after the pass.
    pub dh: Scaled<F>,
    /// The gradients of the streams that go around parts.
    pub(super) streams: Vec<Stream<F>>,
    pub(super) delta: Scaled<F>,
    pub(super) spare: Scaled<F>,
    pub(super) half: Panels<F>,
    pub(super) sums: Sums,
    pub(super) attention: attention::Buffers<F>,
}

/// The gradient of a stream.
#[derive(Debug, Clone)]
pub(super) struct Stream<F> {
    pub(super) gradient: Scaled<F>,
    /// Has a gradient come yet? The first one sets, the others add.
    pub(super) reached: bool,
}

impl<F> Default for Stream<F> {
    fn default() -> Self {
        Self { gradient: Scaled::default(), reached: false }
    }
}

impl<F> Default for Signal<F> {
    fn default() -> Self {
        Self {
            dh: Scaled::default(),
            streams: Vec::new(),
            delta: Scaled::default(),
            spare: Scaled::default(),
            half: Panels::default(),
            sums: Sums::default(),
            attention: attention::Buffers::default(),
        }
    }
}

impl<F: Float> Signal<F> {
    /// Begin a backward pass from `dL/dy`, true values in C order.
    pub fn begin(&mut self, features: usize, batch: usize, cotangent: &[f64]) {
        self.dh.fill(features, batch, cotangent);
        self.streams.iter_mut().for_each(|stream| stream.reached = false);
    }

    /// What has reached a stream, which begins anew: zeros of this shape where nothing has.
    pub(super) fn take(streams: &mut Vec<Stream<F>>, stream: usize, features: usize, batch: usize) -> &Scaled<F> {
        streams.resize_with(streams.len().max(stream + 1), Stream::default);
        let stream = &mut streams[stream];
        if !std::mem::replace(&mut stream.reached, false) {
            stream.gradient.clear(features, batch);
        }
        &stream.gradient
    }

    /// A gradient reaches a stream: the values of `gradient`, which is left with others.
    pub(super) fn reach(streams: &mut Vec<Stream<F>>, stream: usize, gradient: &mut Scaled<F>) {
        streams.resize_with(streams.len().max(stream + 1), Stream::default);
        let stream = &mut streams[stream];
        if stream.reached {
            stream.gradient.scale_and_add(1.0, gradient);
        } else {
            std::mem::swap(&mut stream.gradient, gradient);
            stream.reached = true;
        }
    }
}
