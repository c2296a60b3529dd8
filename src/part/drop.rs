//! Dropout: in training each entry of a batch is kept with a probability and scaled by its inverse, else set to zero; in
//! every other pass the input is the output.
//!
//! N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014; scaled in
//! training, so that nothing is to be done elsewhere.

use super::{Here, Signal};
use crate::kernel::Panels;
use crate::rng::{Role, Stream};
use crate::simd::Float;

/// Dropout of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Drop {
    /// The probability of an entry to be set to zero: more than 0, or no part is needed, and less than 1.
    pub p: f64,
    /// The layer that the streams of random numbers belong to; each part of a net has one of its own.
    pub layer: usize,
}

/// What the masks of a pass of training are drawn from. All other passes have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masks {
    /// The seed of the run.
    pub seed: u64,
    /// The step, from 1 on.
    pub step: usize,
}

impl Drop {
    /// What the kept entries are multiplied with.
    pub fn scale(&self) -> f64 {
        1.0 / (1.0 - self.p)
    }

    /// Numbers between 0 and 1 for the entries of a batch, row-major; an entry is kept where its number is at least `p`.
    /// Both dtypes draw the same ones, and an entry's depends on the seed, the step, the layer, its row in the batch and
    /// its feature alone.
    pub fn uniforms(&self, masks: Masks, features: usize, batch: usize, out: &mut Vec<f32>) {
        out.resize(features * batch, 0.0);
        Stream::new(masks.seed, self.layer, Role::Dropout).of_step(masks.step).uniform(0.0, 1.0, out);
    }

    /// Multiply a batch with the mask of a pass of training; leave it alone in any other.
    pub(super) fn forward<F: Float>(
        &self,
        here: &Here<'_, F>,
        h: &mut Panels<F>,
        kept: &mut super::Kept<F>,
        (uniforms, rows): (&mut Vec<f32>, &mut Vec<F>),
    ) {
        let Some(masks) = here.masks else {
            // What an earlier pass of training has left is no mask of this pass.
            *kept = super::Kept::Nothing;
            return;
        };
        let (features, batch) = (h.features(), h.batch());
        self.uniforms(masks, features, batch, uniforms);
        if !matches!(kept, super::Kept::Drop(_)) {
            *kept = super::Kept::Drop(Panels::default());
        }
        let super::Kept::Drop(mask) = kept else { return };
        // The least number of f32 that is no less than p, so that whole vectors are compared.
        let near = self.p as f32;
        let least = if f64::from(near) < self.p { near.next_up() } else { near };
        let scale = F::of(self.scale());
        rows.resize(features * batch, F::ZERO);
        rows.iter_mut().zip(&*uniforms).for_each(|(out, &u)| *out = if u >= least { scale } else { F::ZERO });
        mask.gather(features, batch, |sample| &rows[sample * features..][..features]);
        h.times(mask);
    }

    /// From the gradient of the output to that of the input: times the same mask.
    pub(super) fn backward<F: Float>(kept: &super::Kept<F>, signal: &mut Signal<F>) {
        let Signal { dh, delta, .. } = signal;
        if let super::Kept::Drop(mask) = kept {
            delta.set_product(dh, mask);
            std::mem::swap(dh, delta);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Scaled;
    use crate::part::{Kept, Part, Scratch, Work};

    const MASKS: Masks = Masks { seed: 3, step: 7 };

    fn uniforms(p: f64, layer: usize, masks: Masks, features: usize, batch: usize) -> Vec<f32> {
        let mut all = Vec::new();
        Drop { p, layer }.uniforms(masks, features, batch, &mut all);
        all
    }

    /// What dropout makes of ones, row-major.
    fn of_ones<F: Float>(p: f64, masks: Option<Masks>, features: usize, batch: usize, kept: &mut Kept<F>) -> Vec<F> {
        let part = Part::Drop(Drop { p, layer: 1 });
        assert_eq!(part.work(), Work::InPlace);
        let mut h = Scaled::default();
        h.panels.fill(features, batch, |_, _| F::of(1.0));
        let here = Here {
            numbers: &[],
            input: None,
            around: None,
            states: &[],
            step: &[],
            masks,
            carries: false,
            row: 0,
            columns: 0,
        };
        let (mut taken, mut scratch) = (Scaled::default(), Scratch::default());
        part.forward(&here, (&mut taken, &mut Scaled::default()), &mut h, kept, &mut scratch, &mut ());
        h.panels.to_rows()
    }

    #[test]
    fn the_dropped_share_is_binomial_and_what_is_expected_stays() {
        for p in [0.1, 0.5, 0.9] {
            let all = of_ones::<f64>(p, Some(MASKS), 200, 500, &mut Kept::Nothing);
            let count = all.len() as f64;
            let dropped = all.iter().filter(|h| **h == 0.0).count() as f64;
            // Five standard deviations.
            let bound = 5.0 * (count * p * (1.0 - p)).sqrt();
            assert!((dropped - count * p).abs() < bound, "{p}: {dropped}");
            assert!(all.iter().all(|h| *h == 0.0 || *h == 1.0 / (1.0 - p)));
            let mean = all.iter().sum::<f64>() / count;
            assert!((mean - 1.0).abs() < 5.0 * (p / (1.0 - p) / count).sqrt(), "{p}: {mean}");
        }
    }

    #[test]
    fn features_and_rows_are_dropped_alike_and_neighbours_on_their_own() {
        let (features, batch, p) = (64, 1000, 0.3);
        let all = of_ones::<f64>(p, Some(MASKS), features, batch, &mut Kept::Nothing);
        let kept = |row: usize, feature: usize| f64::from(u8::from(all[row * features + feature] != 0.0));
        let bound = |count: usize| 5.0 * (p * (1.0 - p) / count as f64).sqrt();
        for feature in 0..features {
            let share = (0..batch).map(|row| kept(row, feature)).sum::<f64>() / batch as f64;
            assert!((share - (1.0 - p)).abs() < bound(batch), "feature {feature}: {share}");
            let both = |row| (kept(row, feature) - 1.0 + p) * (kept(row, (feature + 1) % features) - 1.0 + p);
            let covariance = (0..batch).map(both).sum::<f64>() / batch as f64;
            assert!(covariance.abs() < 5.0 * p * (1.0 - p) / (batch as f64).sqrt(), "feature {feature}: {covariance}");
        }
    }

    #[test]
    fn masks_differ_by_seed_step_and_layer_and_are_one_for_both_dtypes() {
        let first = uniforms(0.5, 1, MASKS, 30, 20);
        assert_eq!(uniforms(0.2, 1, MASKS, 30, 20), first);
        for (layer, masks) in [(2, MASKS), (1, Masks { step: 8, ..MASKS }), (1, Masks { seed: 4, ..MASKS })] {
            let other = uniforms(0.5, layer, masks, 30, 20);
            let same = first.iter().zip(&other).filter(|(a, b)| (**a < 0.5) == (**b < 0.5)).count();
            // Half of 600, within five standard deviations.
            assert!((239..=361).contains(&same), "{same}");
        }
        let [single, double] = [
            of_ones::<f32>(0.5, Some(MASKS), 30, 20, &mut Kept::Nothing).into_iter().map(f64::from).collect::<Vec<_>>(),
            of_ones::<f64>(0.5, Some(MASKS), 30, 20, &mut Kept::Nothing),
        ];
        assert_eq!(single, double);
    }

    #[test]
    fn a_row_has_one_mask_in_batches_of_any_size() {
        for batch in [1, 3, 16, 33] {
            assert_eq!(uniforms(0.5, 1, MASKS, 7, batch), uniforms(0.5, 1, MASKS, 7, 64)[..7 * batch]);
        }
    }

    #[test]
    fn no_pass_but_one_of_training_drops_anything_on_either_way() {
        let mut kept = Kept::Nothing;
        for (masks, whole) in [(Some(MASKS), false), (None, true), (Some(MASKS), false)] {
            let forward = of_ones::<f32>(0.5, masks, 5, 40, &mut kept);
            let mut signal = Signal::default();
            signal.begin(5, 40, &[1.0; 200]);
            Drop::backward(&kept, &mut signal);
            let backward = signal.dh.to_rows();
            assert_eq!(forward.iter().all(|h| *h == 1.0), whole);
            assert!(forward.iter().zip(backward).all(|(h, dh)| f64::from(*h) == dh));
        }
    }
}
