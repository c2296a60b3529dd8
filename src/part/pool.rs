//! One output a sample of those of its tokens: their mean, or the last one. The batch behind has a row a sample.

use super::{Beyond, Signal};
use crate::kernel::{Panels, Scaled};
use crate::simd::Float;

/// What becomes of the tokens of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The last one.
    Last,
}

impl Pooling {
    /// All of them by their names.
    pub const NAMES: [&str; 2] = ["mean", "last"];

    /// The name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// The end of the tokens.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    /// Tokens of a sample.
    pub tokens: usize,
    /// What becomes of them.
    pub way: Pooling,
    /// What no page has.
    pub beyond: Beyond,
}

impl Pool {
    /// From a row a token to a row a sample.
    pub(super) fn forward<F: Float>(&self, h: &Scaled<F>, output: &mut Scaled<F>, tokens: &mut Vec<F>) {
        let (features, samples) = (h.panels.features(), h.panels.batch() / self.tokens);
        tokens.resize(self.tokens, F::ZERO);
        output.exponent = h.exponent;
        output.panels.fill(features, samples, |sample, feature| {
            h.panels.read(feature, sample * self.tokens, tokens);
            match self.way {
                Pooling::Mean => F::of(tokens.iter().map(|v| v.wide()).sum::<f64>() / self.tokens as f64),
                Pooling::Last => tokens[self.tokens - 1],
            }
        });
    }

    /// From the gradient of a row a sample to that of a row a token.
    pub(super) fn backward<F: Float>(&self, signal: &mut Signal<F>) {
        let Signal { dh, delta, .. } = signal;
        let (features, samples) = (dh.panels.features(), dh.panels.batch());
        let (mut values, mut tokens) = (vec![F::ZERO; samples], vec![F::ZERO; self.tokens]);
        let out: &mut Panels<F> = &mut delta.panels;
        out.reshape(features, samples * self.tokens);
        for feature in 0..features {
            dh.panels.read(feature, 0, &mut values);
            for (sample, d) in values.iter().enumerate() {
                match self.way {
                    Pooling::Mean => tokens.fill(F::of(d.wide() / self.tokens as f64)),
                    Pooling::Last => tokens[self.tokens - 1] = *d,
                }
                out.write(feature, sample * self.tokens, &tokens);
            }
        }
        out.clear_padding();
        delta.exponent = dh.exponent;
        std::mem::swap(dh, delta);
    }
}
