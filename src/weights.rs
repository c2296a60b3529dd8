//! The numbers of a net: drawn from its streams, or given.

use crate::error::{Cancel, Result};
use crate::kernel::Matrix;
use crate::plan::Plan;
use crate::simd::Float;

/// Weights and biases of one linear map.
#[derive(Debug, Clone)]
pub struct Linear<F> {
    /// `(out_features, in_features)`.
    pub weight: Matrix<F>,
    /// `(out_features,)`.
    pub bias: Vec<F>,
}

impl<F> Default for Linear<F> {
    fn default() -> Self {
        Self { weight: Matrix::default(), bias: Vec::new() }
    }
}

/// All linear maps of a net, the readout last.
#[derive(Debug, Clone)]
pub struct Weights<F> {
    /// The maps.
    pub maps: Vec<Linear<F>>,
    /// Every bias is zero.
    pub unbiased: bool,
}

impl<F> Default for Weights<F> {
    fn default() -> Self {
        Self { maps: Vec::new(), unbiased: true }
    }
}

impl<F: Float> Weights<F> {
    /// Draw a net's numbers for a seed, keeping the allocations.
    pub fn draw(&mut self, plan: &Plan, seed: u64, cancel: &Cancel) -> Result<()> {
        self.maps.resize_with(plan.maps().count(), Linear::default);
        for (linear, map) in self.maps.iter_mut().zip(plan.maps()) {
            cancel.check()?;
            let (rows, columns) = (map.fan_out, map.fan_in);
            let (weights, biases) = map.streams(seed);
            linear.weight.fill(rows, columns, |out| map.weight.fill(weights, rows, columns, out, cancel))?;
            linear.bias.resize(rows, F::ZERO);
            map.bias.fill(biases, rows, 1, &mut linear.bias, cancel)?;
        }
        self.note_biases();
        Ok(())
    }

    /// Take given numbers: (weights in C order, biases) of each map, of the plan's shapes.
    pub fn given(plan: &Plan, tensors: Vec<(Vec<F>, Vec<F>)>) -> Self {
        let linear = |(map, (entries, bias)): (&crate::plan::Map, (Vec<F>, Vec<F>))| {
            let mut weight = Matrix::default();
            weight.fill(map.fan_out, map.fan_in, |out| out.copy_from_slice(&entries));
            Linear { weight, bias }
        };
        let mut weights = Self { maps: plan.maps().zip(tensors).map(linear).collect(), unbiased: true };
        weights.note_biases();
        weights
    }

    fn note_biases(&mut self) {
        self.unbiased = self.maps.iter().all(|map| map.bias.iter().all(|b| *b == F::ZERO));
    }
}
