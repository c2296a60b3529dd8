//! Attention among the tokens of each sample: the tokens of one sample are the lanes of a row, a feature a row.
//!
//! One head of one sample is a few small matrix products. Every sum is a chain in the order of features or of tokens, so
//! bits depend on the shapes alone.

use super::panels::{Panel, Panels, Transpose};
use super::passes::largest;
use super::tiles::{Product, Segment, Start, room};
use crate::simd::{self, Float, Set, Task, exponentials};

/// The shape of attention, and what it does with its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Heads side by side.
    pub count: usize,
    /// Tokens of a sample.
    pub tokens: usize,
    /// Features of a head.
    pub features: usize,
    /// The factor of the products of queries and keys.
    pub scale: f64,
    /// Does a token see none behind it?
    pub causal: bool,
    /// The number that is added to a mean square where queries and keys are brought to mean square 1 first.
    pub eps: Option<f64>,
}

/// What the weights of attention are like, summed over the queries that choose among several keys.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// Entropies over the largest that there may be.
    pub entropy: f64,
    /// Variances of the logits of a query over its keys.
    pub variance: f64,
    /// How many queries.
    pub queries: f64,
}

/// Buffers of one head of one sample. Reused from head to head.
#[derive(Debug, Clone)]
pub struct Buffers<F> {
    /// `[feature][token]`.
    q: Vec<F>,
    k: Vec<F>,
    v: Vec<F>,
    /// `1 / root` of queries and of keys.
    inverse: [Vec<f64>; 2],
    /// The gradient of what comes out, `[feature][token]`.
    d: Vec<F>,
    /// What goes out, `[feature][token]`.
    out: Vec<F>,
    /// `[key][query]`: logits, or the gradients of weights and then of logits.
    scores: Vec<F>,
    /// `[key][query]`.
    wide: Vec<f64>,
    /// `[query][key]`.
    turned: Vec<F>,
}

impl<F> Default for Buffers<F> {
    fn default() -> Self {
        Self {
            q: Vec::new(),
            k: Vec::new(),
            v: Vec::new(),
            inverse: [Vec::new(), Vec::new()],
            d: Vec::new(),
            out: Vec::new(),
            scores: Vec::new(),
            wide: Vec::new(),
            turned: Vec::new(),
        }
    }
}

/// Lanes that a loop takes at once: the rows of every buffer are a whole number of them.
const CHUNK: usize = 8;

impl Heads {
    /// Lanes of the tokens, rounded up to whole vectors of 64 bytes.
    fn width<F: Float>(&self) -> usize {
        self.tokens.next_multiple_of(F::LANES / 2)
    }

    /// The number of weights that are kept of so many samples.
    pub fn weights<F: Float>(&self, samples: usize) -> usize {
        samples * self.count * self.tokens * self.width::<F>()
    }

    /// Bytes of the buffers of one head of one sample.
    pub fn buffer_bytes<F: Float>(&self) -> u128 {
        let [width, features, tokens] = [self.width::<F>(), self.features, self.tokens].map(|count| count as u128);
        let (narrow, wide) = (size_of::<F>() as u128, size_of::<f64>() as u128);
        width * (5 * features * narrow + 2 * tokens * narrow + tokens * wide + 3 * wide)
    }

    /// Attention of a batch of `[q, k, v]`, tokens of a sample next to each other. `weights` receives what the way back
    /// needs, `[sample][head][key][query]`, and `seen` sees it.
    pub fn forward<F: Float>(
        &self,
        qkv: &Panels<F>,
        weights: &mut Vec<F>,
        out: &mut Panels<F>,
        buffers: &mut Buffers<F>,
        mut seen: Option<&mut Seen>,
    ) {
        let (width, samples) = (self.width::<F>(), qkv.batch() / self.tokens);
        let size = self.tokens * width;
        out.reshape(self.count * self.features, qkv.batch());
        weights.resize(self.weights::<F>(samples), F::ZERO);
        buffers.begin(self.features * width, size);
        for (index, weights) in weights.chunks_exact_mut(size).enumerate() {
            let (sample, head) = (index / self.count, index % self.count);
            self.load(qkv, sample, head, buffers);
            let Buffers { q, k, v, out: attended, scores, wide, .. } = buffers;
            product(turned(k, width), self.features, q, self.tokens, scores, width);
            self.softmax(scores, wide, weights);
            if let Some(seen) = seen.as_deref_mut() {
                self.see(scores, seen);
            }
            product(straight(v, width), self.tokens, weights, self.features, attended, width);
            for feature in 0..self.features {
                out.write(
                    head * self.features + feature,
                    sample * self.tokens,
                    &attended[feature * width..][..self.tokens],
                );
            }
        }
    }

    /// From the gradient of what came out to that of `[q, k, v]`.
    pub fn backward<F: Float>(
        &self,
        qkv: &Panels<F>,
        weights: &[F],
        d: &Panels<F>,
        out: &mut Panels<F>,
        buffers: &mut Buffers<F>,
    ) {
        let width = self.width::<F>();
        let size = self.tokens * width;
        out.reshape(qkv.features(), qkv.batch());
        buffers.begin(self.features * width, size);
        for (index, weights) in weights.chunks_exact(size).enumerate() {
            let (sample, head) = (index / self.count, index % self.count);
            self.load(qkv, sample, head, buffers);
            let Buffers { q, k, v, d: given, out: found, scores, turned: columns, inverse, .. } = buffers;
            self.read(d, head * self.features, sample, given);
            product(turned(v, width), self.features, given, self.tokens, scores, width);
            simd::run(OfLogits { scores, weights, width });
            let mut put = |block: usize, found: &[F]| {
                for feature in 0..self.features {
                    let place = (block * self.count + head) * self.features + feature;
                    out.write(place, sample * self.tokens, &found[feature * width..][..self.tokens]);
                }
            };
            product(straight(k, width), self.tokens, scores, self.features, found, width);
            found.iter_mut().for_each(|d| *d *= F::of(self.scale));
            if self.eps.is_some() {
                // The queries have been scaled beside.
                pull(found, q, &inverse[0], self.features, 1.0 / self.scale);
            }
            put(0, found);
            self.turn(scores, columns);
            product(straight(q, width), self.tokens, columns, self.features, found, width);
            if self.eps.is_some() {
                pull(found, k, &inverse[1], self.features, 1.0);
            }
            put(1, found);
            self.turn(weights, columns);
            product(straight(given, width), self.tokens, columns, self.features, found, width);
            put(2, found);
        }
        out.clear_padding();
    }

    /// The features of one head of one sample, from a feature on.
    fn read<F: Float>(&self, from: &Panels<F>, first: usize, sample: usize, out: &mut [F]) {
        for (feature, out) in out.chunks_exact_mut(self.width::<F>()).enumerate() {
            from.read(first + feature, sample * self.tokens, &mut out[..self.tokens]);
        }
    }

    /// Queries, keys and values of one head of one sample; the queries times the scale.
    fn load<F: Float>(&self, qkv: &Panels<F>, sample: usize, head: usize, buffers: &mut Buffers<F>) {
        let Buffers { q, k, v, inverse, .. } = buffers;
        for (block, out) in [&mut *q, k, v].into_iter().enumerate() {
            self.read(qkv, (block * self.count + head) * self.features, sample, out);
        }
        if let Some(eps) = self.eps {
            for (values, inverse) in [&mut *q, k].into_iter().zip(inverse) {
                normalise(values, inverse, self.features, self.width::<F>(), eps);
            }
        }
        q.iter_mut().for_each(|q| *q *= F::of(self.scale));
    }

    /// The weights of logits, `[key][query]` both. Keys that a query does not see have weight 0.
    fn softmax<F: Float>(&self, scores: &mut [F], wide: &mut [f64], weights: &mut [F]) {
        let width = self.width::<F>();
        if !largest(scores).is_finite() {
            weights.fill(F::of(f64::NAN));
            return;
        }
        let hidden = |key: usize| if self.causal { key.min(width) } else { 0 };
        for (key, scores) in scores.chunks_exact_mut(width).enumerate() {
            scores[..hidden(key)].fill(F::of(f64::NEG_INFINITY));
        }
        simd::run(Below { scores, wide, width });
        exponentials::<F>(wide);
        for (key, wide) in wide.chunks_exact_mut(width).enumerate() {
            wide[..hidden(key)].fill(0.0);
        }
        simd::run(Shares { wide, weights, width });
    }

    /// `[key][query]` as `[query][key]`.
    fn turn<F: Float>(&self, values: &[F], out: &mut [F]) {
        let width = self.width::<F>();
        let panel = Panel { first: 0, lanes: width, valid: self.tokens, values };
        simd::run(Transpose { panel, lanes: self.tokens, features: self.tokens, factor: F::of(1.0), out, step: width });
    }

    /// Entropies and the spread of logits, query by query.
    fn see<F: Float>(&self, scores: &[F], seen: &mut Seen) {
        let width = self.width::<F>();
        for query in 0..self.tokens {
            let keys = if self.causal { query + 1 } else { self.tokens };
            if keys < 2 {
                continue;
            }
            let logit = |key: usize| scores[key * width + query].wide();
            let most = (0..keys).map(logit).fold(f64::NEG_INFINITY, f64::max);
            let (mut sum, mut weighted, mut mean) = (0.0, 0.0, 0.0);
            for key in 0..keys {
                let below = logit(key) - most;
                let share = libm::exp(below);
                sum += share;
                weighted += share * below;
                mean += below / keys as f64;
            }
            let variance = (0..keys).map(|key| (logit(key) - most - mean).powi(2)).sum::<f64>() / keys as f64;
            seen.entropy += (libm::log(sum) - weighted / sum) / libm::log(keys as f64);
            seen.variance += variance;
            seen.queries += 1.0;
        }
    }
}

impl<F: Float> Buffers<F> {
    /// Room for so many features times tokens, and tokens times tokens; all zeros.
    fn begin(&mut self, features: usize, tokens: usize) {
        let Self { q, k, v, d, out, scores, wide, turned, .. } = self;
        for (buffer, count) in [
            (q, features),
            (k, features),
            (v, features),
            (d, features),
            (out, features),
            (scores, tokens),
            (turned, tokens),
        ] {
            buffer.clear();
            buffer.resize(count, F::ZERO);
        }
        wide.clear();
        wide.resize(tokens, 0.0);
    }
}

/// Rows as they are: those of the product are features.
fn straight<F>(values: &[F], width: usize) -> Segment<'_, F> {
    Segment { values, row: width, step: 1, inner: 0 }
}

/// Rows turned around: those of the product are tokens.
fn turned<F>(values: &[F], width: usize) -> Segment<'_, F> {
    Segment { values, row: 1, step: width, inner: 0 }
}

/// `out = left right` with so many rows, summed over the inner index in its order.
fn product<F: Float>(left: Segment<'_, F>, inner: usize, right: &[F], rows: usize, out: &mut [F], width: usize) {
    simd::run(Product {
        left: &[Segment { inner, ..left }],
        first_row: 0,
        right,
        right_step: width,
        rows,
        columns: width,
        out: room(out),
        out_step: width,
        start: Start::Zero,
    });
}

/// `scores - their largest`, query by query.
struct Below<'v, F> {
    scores: &'v [F],
    wide: &'v mut [f64],
    width: usize,
}

impl<F: Float> Task for Below<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let Self { scores, wide, width } = self;
        for lane in (0..width).step_by(CHUNK) {
            let mut most = [F::of(f64::NEG_INFINITY); CHUNK];
            for row in scores.chunks_exact(width) {
                for (most, score) in most.iter_mut().zip(&row[lane..lane + CHUNK]) {
                    *most = if *score > *most { *score } else { *most };
                }
            }
            for (row, out) in scores.chunks_exact(width).zip(wide.chunks_exact_mut(width)) {
                let row = row[lane..lane + CHUNK].iter().zip(&most);
                for (out, (score, most)) in out[lane..lane + CHUNK].iter_mut().zip(row) {
                    *out = (*score - *most).wide();
                }
            }
        }
    }
}

/// Each number over the sum of all of its query, rounded once.
struct Shares<'v, F> {
    wide: &'v [f64],
    weights: &'v mut [F],
    width: usize,
}

impl<F: Float> Task for Shares<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let Self { wide, weights, width } = self;
        for lane in (0..width).step_by(CHUNK) {
            let mut sums = [0.0; CHUNK];
            for row in wide.chunks_exact(width) {
                sums.iter_mut().zip(&row[lane..lane + CHUNK]).for_each(|(sum, value)| *sum += value);
            }
            for (row, out) in wide.chunks_exact(width).zip(weights.chunks_exact_mut(width)) {
                let row = row[lane..lane + CHUNK].iter().zip(&sums);
                for (out, (value, sum)) in out[lane..lane + CHUNK].iter_mut().zip(row) {
                    *out = F::of(value / sum);
                }
            }
        }
    }
}

/// From the gradients of weights to those of logits, in their place: `w_j (g_j - sum w g)`. The gradient of the first key
/// is taken from all beforehand: of equal tokens exactly nothing is left.
struct OfLogits<'v, F> {
    scores: &'v mut [F],
    weights: &'v [F],
    width: usize,
}

impl<F: Float> Task for OfLogits<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let Self { scores, weights, width } = self;
        for lane in (0..width).step_by(CHUNK) {
            let (mut first, mut sums) = ([0.0; CHUNK], [0.0; CHUNK]);
            for (first, score) in first.iter_mut().zip(&scores[lane..lane + CHUNK]) {
                *first = score.wide();
            }
            for (row, weights) in scores.chunks_exact(width).zip(weights.chunks_exact(width)) {
                let (row, weights) = (&row[lane..lane + CHUNK], &weights[lane..lane + CHUNK]);
                for l in 0..CHUNK {
                    sums[l] += weights[l].wide() * (row[l].wide() - first[l]);
                }
            }
            for (row, weights) in scores.chunks_exact_mut(width).zip(weights.chunks_exact(width)) {
                let (row, weights) = (&mut row[lane..lane + CHUNK], &weights[lane..lane + CHUNK]);
                for l in 0..CHUNK {
                    row[l] = F::of(weights[l].wide() * (row[l].wide() - first[l] - sums[l]));
                }
            }
        }
    }
}

/// Bring every token to mean square 1 over its features.
fn normalise<F: Float>(values: &mut [F], inverse: &mut Vec<f64>, features: usize, width: usize, eps: f64) {
    inverse.clear();
    inverse.resize(width, 0.0);
    for row in values.chunks_exact(width) {
        inverse.iter_mut().zip(row).for_each(|(sum, x)| *sum += x.wide() * x.wide());
    }
    inverse.iter_mut().for_each(|sum| *sum = 1.0 / (*sum / features as f64 + eps).sqrt());
    for row in values.chunks_exact_mut(width) {
        row.iter_mut().zip(&*inverse).for_each(|(x, inverse)| *x = F::of(x.wide() * inverse));
    }
}

/// From the gradient of normalised tokens to that of what they were: `(g - xhat mean(g xhat)) / root` with
/// `xhat = unit * values`.
fn pull<F: Float>(d: &mut [F], values: &[F], inverse: &[f64], features: usize, unit: f64) {
    let width = inverse.len();
    let mut means = vec![0.0; width];
    for (d, values) in d.chunks_exact(width).zip(values.chunks_exact(width)) {
        for lane in 0..width {
            means[lane] += d[lane].wide() * unit * values[lane].wide() / features as f64;
        }
    }
    for (d, values) in d.chunks_exact_mut(width).zip(values.chunks_exact(width)) {
        for lane in 0..width {
            d[lane] = F::of((d[lane].wide() - unit * values[lane].wide() * means[lane]) * inverse[lane]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: Heads = Heads { count: 2, tokens: 5, features: 3, scale: 0.5, causal: false, eps: None };

    /// `[q, k, v]` of some samples.
    fn qkv<F: Float>(heads: &Heads, samples: usize, value: impl Fn(usize, usize) -> f64) -> Panels<F> {
        let mut all = Panels::default();
        let features = 3 * heads.count * heads.features;
        all.fill(features, samples * heads.tokens, |row, feature| F::of(value(row, feature)));
        all
    }

    /// Numbers without a pattern.
    fn any(row: usize, feature: usize) -> f64 {
        libm::sin((7 * row * row + 31 * feature) as f64)
    }

    fn forward<F: Float>(heads: &Heads, qkv: &Panels<F>) -> (Panels<F>, Vec<F>) {
        let (mut weights, mut out) = (Vec::new(), Panels::default());
        heads.forward(qkv, &mut weights, &mut out, &mut Buffers::default(), None);
        (out, weights)
    }

    #[test]
    fn weights_add_up_to_one_and_are_zero_where_nothing_is_seen() {
        let heads = Heads { causal: true, ..HEADS };
        let (_, weights) = forward(&heads, &qkv::<f64>(&heads, 7, any));
        let width = heads.width::<f64>();
        for head in weights.chunks_exact(heads.tokens * width) {
            for query in 0..heads.tokens {
                let each = (0..heads.tokens).map(|key| head[key * width + query]).collect::<Vec<_>>();
                assert!((each.iter().sum::<f64>() - 1.0).abs() < 1e-15);
                assert!(each[..=query].iter().all(|w| *w > 0.0) && each[query + 1..].iter().all(|w| *w == 0.0));
            }
        }
    }

    #[test]
    fn samples_have_the_same_bits_wherever_they_are_in_a_batch() {
        // Tokens of a sample lie in one panel, or in two.
        let whole = forward(&HEADS, &qkv::<f32>(&HEADS, 13, any)).0.to_rows();
        for sample in 0..13 {
            let alone =
                forward(&HEADS, &qkv::<f32>(&HEADS, 1, |row, feature| any(5 * sample + row, feature))).0.to_rows();
            assert_eq!(whole[sample * 30..][..30], alone);
        }
    }

    #[test]
    fn equal_tokens_give_queries_and_keys_exactly_nothing() {
        let same = qkv::<f32>(&HEADS, 3, |row, feature| any(row / 5, feature));
        let (_, weights) = forward(&HEADS, &same);
        let (mut d, mut found) = (Panels::default(), Panels::default());
        d.fill(6, 15, |row, feature| any(row, feature + 50) as f32);
        HEADS.backward(&same, &weights, &d, &mut found, &mut Buffers::default());
        for row in found.to_rows().chunks_exact(18) {
            assert!(row[..12].iter().all(|d| *d == 0.0) && row[12..].iter().all(|d| *d != 0.0));
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for bad in [f64::NAN, f64::INFINITY] {
            let given =
                qkv::<f64>(&HEADS, 2, |row, feature| if (row, feature) == (1, 0) { bad } else { any(row, feature) });
            assert!(!forward(&HEADS, &given).0.largest().is_finite());
        }
    }
}
