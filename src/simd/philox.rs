//! Philox4x32 with ten rounds, on one block of four words a lane.
//!
//! J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

use super::{Bits, Set, Wide};

/// Random words, in the low halves of `u64`.
pub type Words<S> = <<S as Set>::Double as Wide>::Bits;

const ROUNDS: usize = 10;

/// What is added to a key from round to round: the golden ratio and `sqrt(3) - 1`.
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// A key, with the half of the counter that is one for all blocks; its rounds are laid out for a vector.
#[derive(Clone, Copy)]
pub struct Philox<S: Set> {
    keys: [[Words<S>; 2]; ROUNDS],
    layer: Words<S>,
    role: Words<S>,
}

impl<S: Set> Philox<S> {
    /// The generator of a seed, whose counters end in these two words.
    #[inline(always)]
    pub fn new(seed: u64, layer: u32, role: u32) -> Self {
        let splat = |word: u32| Words::<S>::splat(u64::from(word));
        let mut keys = [[splat(0); 2]; ROUNDS];
        let (mut low, mut high) = (seed as u32, (seed >> 32) as u32);
        for key in &mut keys {
            *key = [splat(low), splat(high)];
            low = low.wrapping_add(WEYL[0]);
            high = high.wrapping_add(WEYL[1]);
        }
        Self { keys, layer: splat(layer), role: splat(role) }
    }

    /// The words of blocks, a block a lane of some vectors. The high halves are leftovers.
    #[inline(always)]
    pub fn blocks<const VECTORS: usize>(&self, blocks: [Words<S>; VECTORS]) -> [[Words<S>; 4]; VECTORS] {
        let (first, second) = (Words::<S>::splat(0xD251_1F53), Words::<S>::splat(0xCD9E_8D57));
        let mut all = [[first; 4]; VECTORS];
        for (c, block) in all.iter_mut().zip(blocks) {
            *c = [block, block.right::<32>(), self.layer, self.role];
        }
        // The rounds are one chain: several vectors, turn by turn, keep the processor busy.
        for [low, high] in &self.keys {
            for c in &mut all {
                let left = c[0].mul_low(first);
                let right = c[2].mul_low(second);
                *c = [right.right::<32>().xor(c[1].xor(*low)), right, left.right::<32>().xor(c[3].xor(*high)), left];
            }
        }
        all
    }
}
