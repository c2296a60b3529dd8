//! The arithmetic of normalisations: sums over samples or over features, and sums of batches with factors that differ
//! from feature to feature or from sample to sample.
//!
//! Sums are in `f64`, rounded once, in an order fixed by the shapes.

use super::panels::MOST;
use super::panels::{Panel, Panels};
use super::passes::CHUNK;
use crate::simd::{self, Eight, Float, Set, Task, Vector, Wide, sum_of_eight};

/// The axis that sums run along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// Along samples: one number a feature.
    Samples,
    /// Along features: one number a sample.
    Features,
}

/// The numbers of a panel's samples, 0 in lanes past the batch.
fn of_lanes<F>(all: &[f64], panel: &Panel<F>) -> [f64; MOST] {
    let mut lanes = [0.0; MOST];
    lanes[..panel.valid].copy_from_slice(&all[panel.first..][..panel.valid]);
    lanes
}

impl<F: Float> Panels<F> {
    /// The number of sums along samples or along features.
    pub fn count(&self, along: Along) -> usize {
        match along {
            Along::Samples => self.features(),
            Along::Features => self.batch(),
        }
    }

    /// Write sums of `(self - centre) * (other - centre)`, or of `self` itself without another, into `sums`.
    fn sum(&self, along: Along, other: Option<&Self>, centre: Option<&[f64]>, sums: &mut Vec<f64>) {
        sums.clear();
        sums.resize(self.count(along), 0.0);
        let others = other.unwrap_or(self);
        for (panel, other_panel) in self.panels().zip(others.panels()) {
            let (product, values) = (other.is_some(), other_panel.values);
            match along {
                Along::Samples => {
                    let mut valid = [0.0; MOST];
                    valid[..panel.valid].fill(1.0);
                    simd::run(OverSamples { panel, other: values, product, centre, valid: &valid, sums });
                }
                Along::Features => {
                    let centre = centre.map_or([0.0; MOST], |centre| of_lanes(centre, &panel));
                    let lanes = simd::run(OverFeatures { panel, other: values, product, centre: &centre });
                    sums[panel.first..][..panel.valid].copy_from_slice(&lanes[..panel.valid]);
                }
            }
        }
    }

    /// Sums of the values.
    pub fn sums(&self, along: Along, sums: &mut Vec<f64>) {
        self.sum(along, None, None, sums);
    }

    /// Sums of distances from a centre.
    pub fn deviations(&self, along: Along, centre: &[f64], sums: &mut Vec<f64>) {
        self.sum(along, None, Some(centre), sums);
    }

    /// Sums of products with another batch, element by element.
    pub fn products(&self, along: Along, other: &Self, sums: &mut Vec<f64>) {
        self.sum(along, Some(other), None, sums);
    }

    /// Sums of squared distances from a centre.
    pub fn spreads(&self, along: Along, centre: &[f64], sums: &mut Vec<f64>) {
        self.sum(along, Some(self), Some(centre), sums);
    }

    /// `self = self * a + other * b + c`, with `[a, b, c]` for each feature or sample.
    pub fn blend(&mut self, along: Along, other: &Self, factors: [&[f64]; 3]) {
        for (panel, other) in self.panels_mut().zip(other.panels()) {
            match along {
                Along::Samples => simd::run(BlendFeatures { panel, other: other.values, factors }),
                Along::Features => {
                    let [a, b, c] = factors;
                    let factors = [of_lanes(a, &panel), of_lanes(b, &panel), of_lanes(c, &panel)];
                    simd::run(BlendSamples { panel, other: other.values, factors: &factors });
                }
            }
        }
    }
}

struct OverSamples<'v, F> {
    panel: Panel<&'v [F]>,
    other: &'v [F],
    product: bool,
    centre: Option<&'v [f64]>,
    valid: &'v [f64; MOST],
    sums: &'v mut [f64],
}

impl<F: Float> Task for OverSamples<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let lanes = self.panel.lanes;
        let rows = self.panel.values.chunks_exact(lanes).zip(self.other.chunks_exact(lanes));
        for (feature, ((row, other), sum)) in rows.zip(self.sums).enumerate() {
            let centre = S::Double::splat(match self.centre {
                Some(centre) => centre[feature],
                None => 0.0,
            });
            let mut parts: Eight<S> = [S::Double::splat(0.0); 4];
            for chunk in (0..lanes).step_by(CHUNK) {
                for (part, lane) in (chunk..chunk + CHUNK).step_by(S::Double::LANES).enumerate() {
                    let valid = S::Double::load(&self.valid[lane..]);
                    let value = F::load_wide::<S>(&row[lane..]).sub(centre).mul(valid);
                    let factor = if self.product { F::load_wide::<S>(&other[lane..]).sub(centre) } else { valid };
                    parts[part] = value.multiply_add(factor, parts[part]);
                }
            }
            *sum += sum_of_eight::<S>(parts);
        }
    }
}

struct OverFeatures<'v, F> {
    panel: Panel<&'v [F]>,
    other: &'v [F],
    product: bool,
    centre: &'v [f64; MOST],
}

impl<F: Float> Task for OverFeatures<'_, F> {
    type Output = [f64; MOST];

    #[inline(always)]
    fn run<S: Set>(self) -> [f64; MOST] {
        let (lanes, mut all) = (self.panel.lanes, [0.0; MOST]);
        // Eight lanes at a time, whose sums stay in registers.
        for chunk in (0..lanes).step_by(CHUNK) {
            let mut parts: Eight<S> = [S::Double::splat(0.0); 4];
            let rows = self.panel.values.chunks_exact(lanes).zip(self.other.chunks_exact(lanes));
            for (row, other) in rows {
                for (part, lane) in (chunk..chunk + CHUNK).step_by(S::Double::LANES).enumerate() {
                    let centre = S::Double::load(&self.centre[lane..]);
                    let value = F::load_wide::<S>(&row[lane..]).sub(centre);
                    let factor = if self.product {
                        F::load_wide::<S>(&other[lane..]).sub(centre)
                    } else {
                        S::Double::splat(1.0)
                    };
                    parts[part] = value.multiply_add(factor, parts[part]);
                }
            }
            for (part, lane) in (chunk..chunk + CHUNK).step_by(S::Double::LANES).enumerate() {
                parts[part].store(&mut all[lane..]);
            }
        }
        all
    }
}

struct BlendFeatures<'v, F> {
    panel: Panel<&'v mut [F]>,
    other: &'v [F],
    factors: [&'v [f64]; 3],
}

impl<F: Float> Task for BlendFeatures<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let (lanes, [a, b, c]) = (self.panel.lanes, self.factors);
        let rows = self.panel.values.chunks_exact_mut(lanes).zip(self.other.chunks_exact(lanes));
        for (feature, (row, other)) in rows.enumerate() {
            let (a, b, c) = (S::Double::splat(a[feature]), S::Double::splat(b[feature]), S::Double::splat(c[feature]));
            for lane in (0..lanes).step_by(S::Double::LANES) {
                let rest = F::load_wide::<S>(&other[lane..]).multiply_add(b, c);
                F::store_wide::<S>(F::load_wide::<S>(&row[lane..]).multiply_add(a, rest), &mut row[lane..]);
            }
        }
    }
}

struct BlendSamples<'v, F> {
    panel: Panel<&'v mut [F]>,
    other: &'v [F],
    factors: &'v [[f64; MOST]; 3],
}

impl<F: Float> Task for BlendSamples<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let lanes = self.panel.lanes;
        let rows = self.panel.values.chunks_exact_mut(lanes).zip(self.other.chunks_exact(lanes));
        for (row, other) in rows {
            for lane in (0..lanes).step_by(S::Double::LANES) {
                let a = S::Double::load(&self.factors[0][lane..]);
                let b = S::Double::load(&self.factors[1][lane..]);
                let c = S::Double::load(&self.factors[2][lane..]);
                let rest = F::load_wide::<S>(&other[lane..]).multiply_add(b, c);
                F::store_wide::<S>(F::load_wide::<S>(&row[lane..]).multiply_add(a, rest), &mut row[lane..]);
            }
        }
    }
}
