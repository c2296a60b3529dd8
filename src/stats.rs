//! From values of a layer to its numbers. Sums are in `f64`, in an order fixed by the shapes.

use crate::activation::Activation;
use crate::kernel::{
    Matrix, Panels, Scaled, Tensor, gram, gram_sums, largest, log10_rms, outer, sum_of_squares, within,
};
use crate::part::{Collect, Module, Owner, TensorId, Watch, Which};
use crate::plan::Plan;
use crate::simd::{Float, exponent_of, times_power_of_two};
use crate::weights::Weights;
use std::f64::consts::LOG10_2;
use std::sync::Arc;

macro_rules! columns {
    ($($(#[$doc:meta])* $column:ident $name:literal,)*) => {
        /// A number of a probe, one for each row.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Column {
            $($(#[$doc])* $column,)*
        }

        /// Names of the columns, in the order of [`Columns::values`].
        pub const COLUMNS: [&str; [$($name),*].len()] = [$($name),*];
    };
}

columns! {
    /// log10 of the root mean square of the pre-activations.
    ZRms "log10_z_rms",
    /// log10 of the root mean square of the activations.
    ARms "log10_a_rms",
    /// log10 of the root mean square of `dL/dz`.
    DeltaRms "log10_delta_rms",
    /// log10 of the norm of `dL/dW`.
    WeightNorm "log10_wgrad_norm",
    /// log10 of the norm of `dL/db`.
    BiasNorm "log10_bgrad_norm",
    /// Share of slopes that are flat.
    Saturated "saturated",
    /// Share of units that give 0 on every sample.
    Dead "dead",
    /// Mean cosine of the pre-activations of two samples.
    Correlation "correlation",
    /// Participation ratio of what a layer hands on.
    EffectiveRank "effective_rank",
    /// log10 of the root mean square of one sample's share of `dL/dW`.
    SampleWeightRms "log10_sample_wgrad_rms",
    /// log10 of the norm of the gradients of a normalisation's weight and bias.
    AffineNorm "log10_affine_grad_norm",
    /// log10 of the size of the gradient of a learned slope.
    SlopeNorm "log10_slope_grad_norm",
    /// log10 of the norm of the gradients of a gate, of a learned factor or of a projection.
    GateNorm "log10_gate_grad_norm",
    /// log10 of the norm of `dL/dW` of this step of a tied net and all later ones together.
    SummedWeightNorm "log10_summed_wgrad_norm",
    /// Mean cosine of `dL/dz` of two samples.
    GradientCorrelation "gradient_correlation",
    /// log10 of the root mean square of the residual stream.
    HRms "log10_h_rms",
    /// log10 of the root mean square of the gradient of the residual stream.
    DhRms "log10_dh_rms",
}

/// The columns of the forward pass.
const FORWARD: [Column; 7] = [
    Column::ZRms,
    Column::ARms,
    Column::Saturated,
    Column::Dead,
    Column::Correlation,
    Column::EffectiveRank,
    Column::HRms,
];

/// The numbers of one run: one value a layer for each of [`COLUMNS`]; NaN where the run did not get.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// `[column][row]`.
    pub values: [Vec<f64>; COLUMNS.len()],
    /// Names of the columns that the parts of this net note beside those.
    pub names: Arc<[String]>,
    /// `[name][row]`; NaN where no part noted one.
    pub extra: Vec<Vec<f64>>,
    /// The layer where a value first was not finite, in order of computation; `depth` for readout and loss.
    pub first_nonfinite: Option<usize>,
    /// log10 of the norm of all parameters' gradients together.
    pub log10_total: f64,
    /// log10 of the root mean square of the output.
    pub log10_output: f64,
    /// The loss; NaN without one.
    pub loss: f64,
    /// What that norm is made of so far.
    total: Total,
    /// The gradients of a tied net, summed over its steps so far.
    sums: Vec<(TensorId, Tensor<f64>)>,
}

/// A sum of squares times `2^exponent`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Total {
    value: f64,
    exponent: i64,
}

impl Total {
    fn add(&mut self, squares: f64, exponent: i64) {
        // Infinite and NaN stay so; a zero has no exponent.
        if squares == 0.0 {
            return;
        }
        let own = if squares.is_finite() { exponent_of(squares) } else { 0 };
        let common = self.exponent.max(exponent + own);
        self.value =
            times_power_of_two(self.value, self.exponent - common) + times_power_of_two(squares, exponent - common);
        self.exponent = common;
    }
}

impl Columns {
    /// Columns of a net, nothing measured yet.
    pub fn new(plan: &Plan) -> Self {
        let column = || vec![f64::NAN; plan.rows.len()];
        Self {
            values: std::array::from_fn(|_| column()),
            names: Arc::clone(&plan.extra),
            extra: plan.extra.iter().map(|_| column()).collect(),
            first_nonfinite: None,
            log10_total: f64::NAN,
            log10_output: f64::NAN,
            loss: f64::NAN,
            total: Total { value: 0.0, exponent: i64::MIN / 8 },
            sums: Vec::new(),
        }
    }

    /// Bytes of columns of so many rows, some of them extra, and of what the allocator keeps beside each.
    pub fn bytes(rows: usize, extra: usize) -> u128 {
        const BESIDE: u128 = 16;
        let of_extra = size_of::<Vec<f64>>() * extra;
        (size_of::<Self>() + of_extra) as u128 + (COLUMNS.len() + extra) as u128 * (8 * rows as u128 + BESIDE)
    }

    /// Rows: one for every map of a layer that counts.
    pub fn rows(&self) -> usize {
        self.values[0].len()
    }

    /// Take what the forward pass of a net found that this one is the beginning of.
    pub fn take_forward(&mut self, deeper: &Self) {
        for column in FORWARD {
            let rows = self.rows();
            self.values[column as usize].copy_from_slice(&deeper.values[column as usize][..rows]);
        }
        // Nets of a family have the same names, and what was noted on the way back is this one's own.
        for (own, shared) in self.extra.iter_mut().zip(&deeper.extra) {
            let missing = own.iter_mut().zip(shared).filter(|(own, _)| own.is_nan());
            missing.for_each(|(own, shared)| *own = *shared);
        }
    }

    /// Finish after the last layer of the backward pass.
    pub fn finish(&mut self) {
        for (_, sum) in std::mem::take(&mut self.sums) {
            self.total.add(sum.sum_of_squares(), 2 * sum.exponent);
        }
        let Total { value, exponent } = self.total;
        self.log10_total = 0.5 * (libm::log10(value) + exponent as f64 * LOG10_2);
    }

    /// Add to the sum over the steps of a tied net; gives the norm's square so far.
    fn sum<T: Float>(&mut self, key: TensorId, values: &[T], exponent: i64) -> (f64, i64) {
        let index = self.sums.iter().position(|(known, _)| *known == key).unwrap_or(self.sums.len());
        if index == self.sums.len() {
            self.sums.push((key, Tensor::zeros(values.len())));
        }
        let sum = &mut self.sums[index].1;
        sum.add(values, exponent);
        (sum.sum_of_squares(), sum.exponent)
    }

    /// Note the layer where a value first was not finite; what lies behind its rows says nothing.
    pub fn break_off(&mut self, plan: &Plan, layer: usize) {
        self.first_nonfinite = Some(layer);
        for column in self.values.iter_mut().chain(&mut self.extra) {
            let behind = column.len().min(plan.rows_up_to(layer));
            column[behind..].fill(f64::NAN);
        }
        self.log10_total = f64::NAN;
    }
}

/// Buffers of the gauges. Reused from run to run.
#[derive(Debug)]
pub struct Buffers<F> {
    /// A layer's input, rescaled, if it is far from 1.
    near: Scaled<F>,
    far: bool,
    /// Gram matrix of the samples of a layer's input, if `by_gram`.
    gram: Matrix<F>,
    by_gram: bool,
    /// The number of the value that the Gram matrix is of, and the rescaled input.
    value: usize,
    /// Gram matrix of the samples of another input.
    other_gram: Matrix<F>,
    /// Gram matrix of the samples of deltas.
    delta_gram: Matrix<F>,
    matrix: Matrix<F>,
    scratch: Matrix<F>,
    samples: Vec<f64>,
    other: Vec<f64>,
    features: Vec<f64>,
    alive: Vec<bool>,
}

impl<F> Default for Buffers<F> {
    fn default() -> Self {
        Self {
            near: Scaled::default(),
            far: false,
            gram: Matrix::default(),
            by_gram: false,
            value: usize::MAX,
            other_gram: Matrix::default(),
            delta_gram: Matrix::default(),
            matrix: Matrix::default(),
            scratch: Matrix::default(),
            samples: Vec::new(),
            other: Vec::new(),
            features: Vec::new(),
            alive: Vec::new(),
        }
    }
}

/// Measures a pass as it is computed.
#[derive(Debug)]
pub struct Gauge<'b, F> {
    /// Receives the numbers.
    pub columns: &'b mut Columns,
    /// The net.
    pub plan: &'b Plan,
    /// The numbers of the net.
    pub weights: &'b Weights<F>,
    /// Reused.
    pub buffers: &'b mut Buffers<F>,
}

impl<F: Float> Gauge<'_, F> {
    fn set<const N: usize>(&mut self, row: usize, values: [(Column, f64); N]) {
        for (column, value) in values {
            self.columns.values[column as usize][row] = value;
        }
    }

    /// What a part notes; behind the last layer there is no row.
    fn write(&mut self, row: usize, column: usize, value: f64) {
        if let Some(noted) = self.columns.extra[column].get_mut(row) {
            *noted = value;
        }
    }
}

/// Mean over pairs of samples of the cosine between their rows: `(|sum of unit rows|^2 - n) / (n (n - 1))` over the `n`
/// samples that are not zero, NaN for fewer than two. `squares` holds each sample's sum of squares over `4^shift`, and
/// the inverse norms afterwards; `sums` is reused.
fn correlation<F: Float>(x: &Panels<F>, squares: &mut [f64], shift: i64, sums: &mut Vec<f64>) -> f64 {
    let count = squares.iter().filter(|&&square| square > 0.0).count() as f64;
    if count < 2.0 {
        return f64::NAN;
    }
    let scale = times_power_of_two(1.0, -shift);
    for square in &mut *squares {
        *square = if *square > 0.0 { scale / square.sqrt() } else { 0.0 };
    }
    x.weighted(squares, sums);
    let square = sums.iter().map(|s| s * s).sum::<f64>();
    // Rounding may leave the last digit outside the range of a cosine.
    ((square - count) / (count * (count - 1.0))).clamp(-1.0, 1.0)
}

/// Of the tokens of a sample, each a row: the mean cosine of two, and the participation ratio of their Gram matrix; the
/// means over samples. Samples with fewer than two tokens that are not zero say nothing of cosines, and those of zeros
/// nothing of rank.
fn alike<F: Float>(h: &Scaled<F>, tokens: usize) -> [f64; 2] {
    let mut near = Scaled::default();
    let rows = h.near_one(&mut near).panels.to_rows();
    let features = h.panels.features();
    let (mut sums, mut counts) = ([0.0; 2], [0.0; 2]);
    for sample in rows.chunks_exact(tokens * features) {
        let token = |index: usize| &sample[index * features..][..features];
        let dot = |one: usize, two: usize| {
            let pairs = token(one).iter().zip(token(two));
            pairs.map(|(a, b)| a.wide() * b.wide()).sum::<f64>()
        };
        let norms = (0..tokens).map(|index| dot(index, index)).collect::<Vec<_>>();
        let (mut cosines, mut pairs) = (0.0, 0.0);
        let mut squares = norms.iter().map(|norm| norm * norm).sum::<f64>();
        for (one, two) in (0..tokens).flat_map(|one| (0..one).map(move |two| (one, two))) {
            let product = dot(one, two);
            squares += 2.0 * product * product;
            if norms[one] > 0.0 && norms[two] > 0.0 {
                cosines += product / (norms[one] * norms[two]).sqrt();
                pairs += 1.0;
            }
        }
        let trace = norms.iter().sum::<f64>();
        if pairs > 0.0 {
            sums[0] += cosines / pairs;
            counts[0] += 1.0;
        }
        if trace > 0.0 {
            sums[1] += trace * trace / squares;
            counts[1] += 1.0;
        }
    }
    [(sums[0] / counts[0]).clamp(-1.0, 1.0), sums[1] / counts[1]]
}

impl<F: Float> Gauge<'_, F> {
    /// See the output, and the loss where there is one.
    pub fn output(&mut self, output: &Scaled<F>, loss: Option<f64>) {
        self.columns.log10_output = output.log10_rms(&mut self.buffers.other);
        self.columns.loss = loss.unwrap_or(f64::NAN);
    }
}

impl<F: Float> Watch<F> for Gauge<'_, F> {
    fn z(&mut self, row: usize, z: &Scaled<F>) -> bool {
        let count = z.panels.batch() * z.panels.features();
        let Buffers { samples, features, .. } = &mut *self.buffers;
        let (squares, shift) = z.panels.squares_within(samples);
        let correlation = correlation(&z.panels, samples, shift, features);
        let rms = log10_rms(squares, count, z.exponent + shift);
        self.set(row, [(Column::ZRms, rms), (Column::Correlation, correlation)]);
        squares.is_finite()
    }

    fn phi(&mut self, row: usize, activation: &Activation, _: &Scaled<F>, _: &Scaled<F>, slopes: &Panels<F>) {
        let saturated = slopes.count_below(F::of(activation.flat()));
        self.set(row, [(Column::Saturated, saturated as f64 / (slopes.batch() * slopes.features()) as f64)]);
    }

    fn a(&mut self, row: usize, a: &Scaled<F>) -> bool {
        let count = a.panels.batch() * a.panels.features();
        let Buffers { other, alive, .. } = &mut *self.buffers;
        let (squares, shift) = a.panels.squares_within(other);
        let dead = a.panels.count_dead(alive) as f64 / a.panels.features() as f64;
        let rms = log10_rms(squares, count, a.exponent + shift);
        self.set(row, [(Column::ARms, rms), (Column::Dead, dead)]);
        squares.is_finite()
    }

    fn h(&mut self, row: usize, h: &Scaled<F>) {
        let rms = h.log10_rms(&mut self.buffers.other);
        self.set(row, [(Column::HRms, rms)]);
        if let Some(first) = self.plan.of_tokens.filter(|_| self.plan.tokens > 1) {
            let [correlation, rank] = alike(h, self.plan.tokens);
            self.write(row, first, correlation);
            self.write(row, first + 1, rank);
        }
    }

    fn saturated(&mut self, row: usize, share: f64) {
        self.set(row, [(Column::Saturated, share)]);
    }

    fn notes(&self) -> bool {
        true
    }

    fn note(&mut self, row: usize, column: usize, value: f64) {
        self.write(row, column, value);
    }
}

/// A weight gradient's squared norm taken from Gram matrices is trusted down to this share of the sum of its samples'
/// squared norms. The roundings of the entries, `2e-7` of the samples' norms each in `f32`, are independent: together
/// they are of that size times the sum over samples. So at this share they make up a few `1e-6` of the norm.
const CANCELLED: f64 = 1.0 / 16.0;

impl<F: Float> Gauge<'_, F> {
    /// See the input of a layer, or past the last one the output, before the deltas of that layer: its rank belongs to
    /// the layer before.
    ///
    /// With `G = H H^T` over the samples, both the rank (`tr(G)^2 / |G|^2`) and `|dL/dW|^2 = sum of G * (D D^T)`
    /// (facts: I2) cost far less than a weight gradient, unless the batch is large.
    pub fn input(&mut self, layer: usize, input: &Scaled<F>) {
        let Buffers { near, far, gram: kept, by_gram, value, matrix, scratch, .. } = &mut *self.buffers;
        *value = self.plan.value(layer);
        let given = input;
        let input = input.near_one(near);
        *far = !std::ptr::eq(given, input);
        *by_gram = input.panels.batch() <= 2 * input.panels.features();
        let (trace, squares) = if *by_gram {
            gram(&input.panels, kept);
            (kept.trace(), gram_sums(kept, kept).squares)
        } else {
            if layer == 0 {
                return;
            }
            outer(&input.panels, &input.panels, matrix, scratch);
            (matrix.trace(), matrix.sum_of_squares(1.0))
        };
        if let Some(before) = layer.checked_sub(1) {
            self.set(self.plan.rows_up_to(before) - 1, [(Column::EffectiveRank, trace * trace / squares)]);
        }
    }
}

/// `log10` of the root of two squares, each given as the `log10` of its root; one may be missing.
fn log10_hypot(one: f64, two: f64) -> f64 {
    if one.is_nan() || two.is_nan() {
        return if one.is_nan() { two } else { one };
    }
    let (low, high) = (one.min(two), one.max(two));
    if low == f64::NEG_INFINITY { high } else { high + 0.5 * libm::log10(1.0 + libm::pow(10.0, 2.0 * (low - high))) }
}

impl<F: Float> Gauge<'_, F> {
    /// Squared norms of a map's weight gradient: of the whole, and summed over its samples' shares. Both are over
    /// `4^(delta.exponent + input.exponent)`, `near` being the input.
    fn weight_gradient(&mut self, owner: Owner, delta: &Scaled<F>, near: &Scaled<F>, value: Option<usize>) -> [f64; 2] {
        let Buffers {
            gram: input_gram,
            by_gram,
            value: kept,
            other_gram,
            delta_gram,
            matrix,
            scratch,
            samples,
            other,
            ..
        } = &mut *self.buffers;
        let linear = self.weights.linear(self.plan, owner);
        let blocks = self.plan.parameters(owner.layer, owner.index).linear().blocks;
        let explicit = self.plan.sums(owner) || linear.transformed.is_some() || !blocks.names.is_empty();
        let mut by_gram = *by_gram && !explicit;
        let input_gram = if value == Some(*kept) {
            input_gram
        } else {
            by_gram = !explicit && delta.panels.batch() <= 2 * near.panels.features();
            if by_gram {
                gram(&near.panels, other_gram);
            }
            other_gram
        };
        if by_gram {
            gram(&delta.panels, delta_gram);
            let sums = gram_sums(input_gram, delta_gram);
            if sums.products >= CANCELLED * sums.diagonal {
                return [sums.products, sums.diagonal];
            }
        }
        outer(&delta.panels, &near.panels, matrix, scratch);
        near.panels.squares(1.0, other);
        let each = samples.iter().zip(other).map(|(d, h)| d * *h).sum();
        if !explicit {
            return [matrix.sum_of_squares(1.0), each];
        }
        let mut gradient = matrix.to_rows();
        linear.gradient_of_parameters(&mut gradient);
        let norms = if blocks.names.is_empty() { &[] } else { &*self.plan.of_blocks };
        for (&column, block) in norms.iter().zip(gradient.chunks(gradient.len() / blocks.count())) {
            let (squares, shift) = within(|scale| sum_of_squares(block, scale), || largest(block));
            let norm = log10_rms(squares, 1, delta.exponent + near.exponent + shift);
            // The maps of a state and of what a step gets have a gate each.
            let so_far = self.columns.extra[column][owner.row];
            self.write(owner.row, column, log10_hypot(so_far, norm));
        }
        if self.plan.sums(owner) {
            let exponent = delta.exponent + near.exponent;
            let (squares, exponent) = self.columns.sum(owner.tensor(Which::Weight), &gradient, exponent);
            if owner.module == Module::Layers {
                self.set(owner.row, [(Column::SummedWeightNorm, log10_rms(squares, 1, exponent))]);
            }
        }
        [gradient.iter().map(|g| g.wide() * g.wide()).sum(), each]
    }
}

impl<F: Float> Collect<F> for Gauge<'_, F> {
    fn map(&mut self, owner: Owner, delta: &Scaled<F>, input: &Scaled<F>, value: Option<usize>) {
        let Buffers { near, far, value: kept, samples, features, .. } = &mut *self.buffers;
        let batch = delta.panels.batch();
        let squares = delta.panels.squares_and_sums(samples, features);
        let bias = features.iter().map(|b| b * b).sum::<f64>();
        let (near, mut other_near) = (std::mem::take(near), Scaled::default());
        let input = match value == Some(*kept) {
            true if *far => &near,
            true => input,
            false => input.near_one(&mut other_near),
        };
        let [weight, each] = self.weight_gradient(owner, delta, input, value);
        if !(squares.is_finite() && weight.is_finite()) {
            self.columns.first_nonfinite.get_or_insert(owner.layer);
        }
        let exponent = delta.exponent + input.exponent;
        self.buffers.near = near;
        let biased = self.plan.parameters(owner.layer, owner.index).linear().bias.is_some();
        if self.plan.sums(owner) {
            if biased {
                let features = std::mem::take(&mut self.buffers.features);
                self.columns.sum(owner.tensor(Which::Bias), &features, delta.exponent);
                self.buffers.features = features;
            }
        } else {
            self.columns.total.add(weight, 2 * exponent);
            if biased {
                self.columns.total.add(bias, 2 * delta.exponent);
            }
        }
        let weight = log10_rms(weight, 1, exponent);
        // Without biases there is no gradient of any.
        let bias = if biased { log10_rms(bias, 1, delta.exponent) } else { f64::NAN };
        match owner.module {
            // A recurrent map may be applied twice in a step, each time for some of its rows; all of `dL/dz` comes to the
            // map of the step's own input.
            Module::Layers | Module::Inputs | Module::LayerInputs => {
                let Buffers { samples, other, .. } = &mut *self.buffers;
                let correlation = correlation(&delta.panels, samples, 0, other);
                let delta = log10_rms(squares, batch * delta.panels.features(), delta.exponent);
                let so_far = |column: Column| self.columns.values[column as usize][owner.row];
                let both = |column: Column, here: f64| (column, log10_hypot(so_far(column), here));
                let bias = both(Column::BiasNorm, bias);
                if owner.module == Module::Layers {
                    let each = log10_rms(each, batch, exponent);
                    let both = [both(Column::WeightNorm, weight), both(Column::SampleWeightRms, each)];
                    self.set(owner.row, both);
                }
                self.set(owner.row, [(Column::DeltaRms, delta), bias, (Column::GradientCorrelation, correlation)]);
            }
            // What ends behind the last layer has no row.
            Module::Gates | Module::Projections if owner.row < self.columns.rows() => {
                // A row may have several.
                let so_far = self.columns.values[Column::GateNorm as usize][owner.row];
                self.set(owner.row, [(Column::GateNorm, log10_hypot(so_far, log10_hypot(bias, weight)))]);
            }
            _ => (),
        }
    }

    fn vector(&mut self, owner: Owner, which: Which, values: &[f64], exponent: i64) {
        let column = match owner.module {
            // Behind the last layer, which has no row.
            _ if owner.row >= self.columns.rows() => None,
            Module::Norms => Some(Column::AffineNorm),
            Module::Activations => Some(Column::SlopeNorm),
            _ => Some(Column::GateNorm),
        };
        let squares = values.iter().map(|v| v * v).sum::<f64>();
        if !squares.is_finite() {
            self.columns.first_nonfinite.get_or_insert(owner.layer);
        }
        if self.plan.tied() && column.is_some() {
            self.columns.sum(owner.tensor(which), values, exponent);
        } else {
            self.columns.total.add(squares, 2 * exponent);
        }
        let Some(column) = column else { return };
        let norm = log10_hypot(self.columns.values[column as usize][owner.row], log10_rms(squares, 1, exponent));
        self.set(owner.row, [(column, norm)]);
    }

    fn dh(&mut self, row: usize, dh: &Scaled<F>) {
        let rms = dh.log10_rms(&mut self.buffers.other);
        self.set(row, [(Column::DhRms, rms)]);
    }

    fn notes(&self) -> bool {
        true
    }

    fn note(&mut self, row: usize, column: usize, value: f64) {
        self.write(row, column, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{MlpRequest, Spec};

    /// A plan whose parts note two columns.
    fn plan(depth: i128) -> Plan {
        let spec = Spec::new(&MlpRequest { out_features: Some(1), ..MlpRequest::new(depth, 3) }).unwrap();
        let mut plan = Plan::new(&spec);
        assert_eq!(plan.extra.len(), spec.extra());
        plan.extra = ["ahead", "back"].map(str::to_owned).into();
        plan
    }

    #[test]
    fn what_parts_note_on_both_ways_meets_in_the_columns_of_every_net_of_a_family() {
        let (deep, shallow) = (plan(3), plan(2));
        let (mut shared, mut own) = (Columns::new(&deep), Columns::new(&shallow));
        let weights = Weights::<f32>::default();
        let buffers = &mut Buffers::default();
        let mut ahead = Gauge { columns: &mut shared, plan: &deep, weights: &weights, buffers };
        assert!(Watch::notes(&ahead) && !Watch::<f32>::notes(&()) && !Collect::<f32>::notes(&()));
        (0..3).for_each(|row| Watch::note(&mut ahead, row, 0, row as f64));
        let mut back = Gauge { columns: &mut own, plan: &shallow, weights: &weights, buffers: &mut Buffers::default() };
        assert!(Collect::notes(&back));
        // The readout has no row.
        [2, 1].into_iter().for_each(|row| Collect::note(&mut back, row, 1, -(row as f64)));
        own.take_forward(&shared);
        assert_eq!(*own.names, *deep.extra);
        assert_eq!(own.extra[0], [0.0, 1.0]);
        assert!(own.extra[1][0].is_nan());
        assert_eq!(own.extra[1][1], -1.0);
        own.break_off(&shallow, 0);
        assert_eq!(own.extra[0][0], 0.0);
        assert!(own.extra[0][1].is_nan() && own.extra[1][1].is_nan());
    }
}
