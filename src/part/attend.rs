//! Attention: every token of a sample becomes a mean of the values of all, weighted by how its query meets their keys.
//!
//! A. Vaswani et al., "Attention is all you need", 2017, arXiv:1706.03762, section 3.2. `softmax(scale q k^T) v`, head by
//! head; the features that come in are those of all queries, then of all keys, then of all values.

use super::signal::{BY_BLOCK, note_blocks};
use super::{Back, Beyond, Collect, Here, Scratch, Signal, Watch};
pub use crate::kernel::attention::Heads;
use crate::kernel::attention::Seen;
use crate::kernel::{Panels, Scaled};
use crate::simd::Float;

/// Attention of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Attend {
    /// Its shape.
    pub heads: Heads,
    /// What no page has.
    pub beyond: Beyond,
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug, Clone)]
pub struct Kept<F> {
    /// Queries, keys and values.
    qkv: Panels<F>,
    /// The weights of attention.
    weights: Vec<F>,
}

impl<F> Default for Kept<F> {
    fn default() -> Self {
        Self { qkv: Panels::default(), weights: Vec::new() }
    }
}

/// What comes in, side by side.
pub const QKV: [&str; 3] = ["q", "k", "v"];

/// The columns of what attention is like.
const COLUMNS: [&str; 2] = ["attention_entropy", "logit_std"];

/// The columns of how alike the tokens of the stream are, which whoever watches the stream notes.
pub(crate) const TOKENS: [&str; 2] = ["token_correlation", "token_rank"];

impl Attend {
    /// Names of the columns of a probe that attention notes, and those of the blocks of the map before it.
    pub(crate) fn extra() -> Vec<String> {
        let of_block = |block| BY_BLOCK.map(|column| format!("{column}_{block}"));
        QKV.into_iter().flat_map(of_block).chain(COLUMNS.into_iter().chain(TOKENS).map(str::to_owned)).collect()
    }

    /// The place of a column of a block among these.
    fn column(block: usize, which: usize) -> usize {
        block * BY_BLOCK.len() + which
    }

    /// Features of all that is kept: of `[q, k, v]`, and those that each token has a weight of, with their padding.
    pub(super) fn kept_features<F: Float>(&self, input: usize) -> usize {
        input + self.heads.weights::<F>(1) / self.heads.tokens
    }

    /// What all tokens become. `qkv` is left with others. False where a value is not finite.
    pub(super) fn forward<F: Float>(
        &self,
        here: &Here<'_, F>,
        qkv: &mut Scaled<F>,
        output: &mut Scaled<F>,
        kept: &mut super::Kept<F>,
        scratch: &mut Scratch<F>,
        watch: &mut impl Watch<F>,
    ) -> bool {
        if !matches!(kept, super::Kept::Attend(_)) {
            *kept = super::Kept::Attend(Kept::default());
        }
        let super::Kept::Attend(kept) = kept else { return false };
        let notes = watch.notes();
        if notes {
            note_blocks(qkv, QKV.len(), |block, rms| watch.note(here.row, here.columns + Self::column(block, 0), rms));
        }
        qkv.spell_out();
        std::mem::swap(&mut kept.qkv, &mut qkv.panels);
        output.exponent = 0;
        let mut seen = Seen::default();
        let (panels, buffers) = (&mut output.panels, &mut scratch.attention);
        self.heads.forward(&kept.qkv, &mut kept.weights, panels, buffers, notes.then_some(&mut seen));
        if notes {
            let own = here.columns + Self::column(QKV.len(), 0);
            watch.note(here.row, own, seen.entropy / seen.queries);
            watch.note(here.row, own + 1, (seen.variance / seen.queries).sqrt());
        }
        output.panels.clear_padding();
        output.panels.largest().is_finite()
    }

    /// From the gradient of the output to that of queries, keys and values.
    pub(super) fn backward<F: Float>(&self, back: &Back<'_, F>, signal: &mut Signal<F>, collect: &mut impl Collect<F>) {
        let super::Kept::Attend(Kept { qkv, weights }) = back.kept else { return };
        let Signal { dh, delta, attention, .. } = signal;
        dh.rescale();
        self.heads.backward(qkv, weights, &dh.panels, &mut delta.panels, attention);
        delta.exponent = dh.exponent;
        delta.rescale_and_flush();
        if collect.notes() {
            note_blocks(delta, QKV.len(), |block, rms| {
                collect.note(back.row, back.columns + Self::column(block, 1), rms);
            });
        }
        std::mem::swap(dh, delta);
    }
}
