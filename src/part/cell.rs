//! The gates of a recurrent cell: from the pre-activations of a step and the state before it to the state behind it.
//!
//! An LSTM has a stream `c` of its own, which it reads and moves on; a GRU reads the stream of `h`. Going back, what
//! reaches either stream carries its own exponent, so that neither is lost beside the other.

use super::signal::{BY_BLOCK, note_blocks};
use super::{Back, Beyond, Collect, Here, Owner, Scratch, Signal, Watch};
use crate::activation::Activation;
use crate::cell::{Gates, Reset};
use crate::kernel::{Panels, Scaled, each, gates};
use crate::simd::{Float, times_power_of_two};

/// The gates of a layer of a recurrent net.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// Which gates.
    pub gates: Gates,
    /// What a candidate and a state go through.
    pub squash: Activation,
    /// The stream of `c`, or of `h` where the cell has no `c`.
    pub stream: usize,
    /// The recurrent map among the parameters of the layer's slot, which a reset before the product applies once more.
    pub own: usize,
    /// What no page has.
    pub beyond: Beyond,
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug, Clone)]
pub struct Kept<F> {
    /// The gates, in their order.
    gates: Panels<F>,
    /// Their slopes at the pre-activations.
    slopes: Panels<F>,
    /// `tanh c'` and its slope; of a GRU what the recurrent map gave the candidate.
    squashed: [Panels<F>; 2],
    /// Pre-activations of all gates of a GRU.
    z: Scaled<F>,
    /// `r h`, where the reset stands before the product.
    reset: Scaled<F>,
}

impl<F> Default for Kept<F> {
    fn default() -> Self {
        Self {
            gates: Panels::default(),
            slopes: Panels::default(),
            squashed: std::array::from_fn(|_| Panels::default()),
            z: Scaled::default(),
            reset: Scaled::default(),
        }
    }
}

impl<F> super::Kept<F> {
    fn cell(&mut self) -> &mut Kept<F> {
        if !matches!(self, Self::Cell(_)) {
            *self = Self::Cell(Box::default());
        }
        match self {
            Self::Cell(kept) => kept,
            _ => unreachable!("set above"),
        }
    }
}

/// The columns of a gate behind those of a block: the mean, how many of its slopes are flat, and its share of what goes
/// on to the state before.
const BY_GATE: [&str; 3] = ["mean", "saturated", "share"];

/// The gates that are candidates for a state, which are squashed as it is.
const CANDIDATES: [&str; 2] = ["g", "n"];

/// What a gate that lets through makes of pre-activations, with its slopes.
fn sigmoid<F: Float>(z: &[F], values: &mut [F], slopes: &mut [F]) {
    let single = |(): &(), z: &[f32], values: &mut [f32], slopes: &mut [f32]| gates::sigmoids(z, values, slopes);
    F::pick(single, |(), z, values, slopes| Activation::sigmoid().apply(z, values, slopes))(&(), z, values, slopes);
}

/// What a candidate and a state go through, with its slopes; in every table of cells that is tanh.
fn squash<F: Float>(through: &Activation, z: &[F], values: &mut [F], slopes: &mut [F]) {
    F::pick(|_, z, values, slopes| gates::tanhs(z, values, slopes), Activation::apply::<f64>)(
        through, z, values, slopes,
    );
}

/// What each has of the sum of all, of sums of squares over `4^shift`.
fn shares<const N: usize>(squares: [(f64, i64); N]) -> [f64; N] {
    let most = squares.iter().filter(|(value, _)| *value > 0.0).map(|&(_, shift)| shift).max().unwrap_or(0);
    let of_most = squares.map(|(value, shift)| times_power_of_two(value, 2 * (shift - most)));
    let all = of_most.iter().sum::<f64>();
    of_most.map(|value| value / all)
}

/// The gates of one panel, each of one length.
fn apart<F>(values: &[F], gate: usize, count: usize) -> &[F] {
    let each = values.len() / count;
    &values[gate * each..][..each]
}

/// The gates of one panel, to be written.
fn apart_mut<const N: usize, F>(values: &mut [F]) -> [&mut [F]; N] {
    let each = values.len() / N;
    let mut rest = values;
    std::array::from_fn(|_| {
        let (gate, others) = std::mem::take(&mut rest).split_at_mut(each);
        rest = others;
        gate
    })
}

impl Cell {
    /// Does the cell have a stream of its own, which it moves on?
    pub fn moves(&self) -> bool {
        self.gates == Gates::Lstm
    }

    /// Names of the columns of a probe that the cell notes.
    pub fn extra(&self) -> Vec<String> {
        let letters = self.gates.letters();
        if letters.is_empty() {
            return Vec::new();
        }
        let of_state = ["log10_c_rms", "log10_dc_rms"].into_iter().filter(|_| self.moves()).map(str::to_owned);
        let each = |letter: &&str| {
            let columns = BY_BLOCK.into_iter().chain(BY_GATE);
            columns.map(|column| format!("{column}_{letter}")).collect::<Vec<_>>()
        };
        of_state.chain(["share_cell".to_owned()]).chain(letters.iter().flat_map(each)).collect()
    }

    /// The place of `share_cell` among these.
    fn straight(&self) -> usize {
        if self.moves() { 2 } else { 0 }
    }

    /// The place of a column of a gate.
    fn column(&self, gate: usize, which: usize) -> usize {
        self.straight() + 1 + gate * (BY_BLOCK.len() + BY_GATE.len()) + which
    }

    /// Batches of `z` of one gate that come in.
    fn blocks(&self) -> usize {
        match self.gates {
            Gates::Plain => 1,
            Gates::Lstm => 4,
            Gates::Gru(_) => 6,
        }
    }

    /// Features that go out, of those that come in.
    pub(super) fn features(&self, input: usize) -> usize {
        input / self.blocks()
    }

    /// Features of what is kept.
    pub(super) fn kept_features(&self, input: usize) -> usize {
        let units = self.features(input);
        match self.gates {
            Gates::Plain => 0,
            Gates::Lstm | Gates::Gru(Reset::After) => 10 * units,
            Gates::Gru(Reset::Before) => 11 * units,
        }
    }

    /// The state behind a step, `h` in `output` and `c` in `next`, from `z` and what the stream has. False where a
    /// value is not finite.
    pub(super) fn forward<F: Float>(
        &self,
        here: &Here<'_, F>,
        state: &Scaled<F>,
        (z, next, h): (&mut Scaled<F>, &mut Scaled<F>, &mut Scaled<F>),
        kept: &mut super::Kept<F>,
        scratch: &mut Scratch<F>,
        watch: &mut impl Watch<F>,
    ) -> bool {
        z.spell_out();
        (h.exponent, next.exponent) = (0, 0);
        match self.gates {
            Gates::Plain => unreachable!("a plain cell is an activation"),
            Gates::Lstm => {
                self.lstm(state, &z.panels, &mut next.panels, &mut h.panels, kept.cell());
                if watch.notes() {
                    watch.note(here.row, here.columns, next.log10_rms(&mut Vec::new()));
                    self.note(here, z, kept.cell(), watch);
                }
                true
            }
            Gates::Gru(reset) => {
                self.gru(reset, here, state, &z.panels, &mut h.panels, kept.cell(), scratch);
                if watch.notes() {
                    let kept = kept.cell();
                    self.note(here, &kept.z, kept, watch);
                }
                watch.z(here.row, &kept.cell().z)
            }
        }
    }

    /// Note what the gates got and gave.
    fn note<F: Float>(&self, here: &Here<'_, F>, z: &Scaled<F>, kept: &Kept<F>, watch: &mut impl Watch<F>) {
        let (letters, row) = (self.gates.letters(), here.row);
        let column = |gate, which| here.columns + self.column(gate, which);
        let (mut alone, mut flat) = (Panels::default(), 0);
        note_blocks(z, letters.len(), |gate, rms| watch.note(row, column(gate, 0), rms));
        let (each, batch) = (z.panels.features() / letters.len(), z.panels.batch());
        for (gate, letter) in letters.iter().enumerate() {
            let range = gate * each..(gate + 1) * each;
            let count = (each * batch) as f64;
            alone.take(&kept.gates, range.clone());
            let sum = alone.rows().flat_map(|(.., values)| values).map(|value| value.wide()).sum::<f64>();
            watch.note(row, column(gate, BY_BLOCK.len()), sum / count);
            alone.take(&kept.slopes, range);
            let through = if CANDIDATES.contains(letter) { self.squash } else { Activation::sigmoid() };
            let below = alone.count_below(F::of(through.flat()));
            watch.note(row, column(gate, BY_BLOCK.len() + 1), below as f64 / count);
            flat += below;
        }
        watch.saturated(row, flat as f64 / (each * letters.len() * batch) as f64);
    }

    fn lstm<F: Float>(
        &self,
        state: &Scaled<F>,
        z: &Panels<F>,
        c: &mut Panels<F>,
        h: &mut Panels<F>,
        kept: &mut Kept<F>,
    ) {
        let Kept { gates, slopes, squashed: [squashed, bend], .. } = kept;
        let (units, batch) = (z.features() / 4, z.batch());
        for panels in [&mut *gates, slopes] {
            panels.reshape(4 * units, batch);
        }
        for panels in [&mut *c, squashed, bend, h] {
            panels.reshape(units, batch);
        }
        for ((z, gates), slopes) in z.slices().zip(gates.slices_mut()).zip(slopes.slices_mut()) {
            let each = z.len() / 4;
            for range in [0..2 * each, 3 * each..4 * each] {
                sigmoid(&z[range.clone()], &mut gates[range.clone()], &mut slopes[range]);
            }
            let range = 2 * each..3 * each;
            squash(&self.squash, &z[range.clone()], &mut gates[range.clone()], &mut slopes[range]);
        }
        for ((c, gates), state) in c.slices_mut().zip(gates.slices()).zip(state.panels.slices()) {
            let [i, f, g] = [0, 1, 2].map(|gate| apart(gates, gate, 4));
            each([i, f, g, state], [c], |[i, f, g, state]| [f * state + i * g]);
        }
        c.clear_padding();
        squash(&self.squash, c.values(), squashed.values_mut(), bend.values_mut());
        for ((h, gates), squashed) in h.slices_mut().zip(gates.slices()).zip(squashed.slices()) {
            each([apart(gates, 3, 4), squashed], [h], |[o, squashed]| [o * squashed]);
        }
        h.clear_padding();
    }

    #[allow(clippy::too_many_arguments)] // Buffers that are borrowed one by one.
    fn gru<F: Float>(
        &self,
        reset: Reset,
        here: &Here<'_, F>,
        state: &Scaled<F>,
        both: &Panels<F>,
        h: &mut Panels<F>,
        kept: &mut Kept<F>,
        scratch: &mut Scratch<F>,
    ) {
        let Kept { gates, slopes, squashed: [recurrent, _], z, reset: passed } = kept;
        let (units, batch) = (both.features() / 6, both.batch());
        for panels in [&mut *gates, slopes, &mut z.panels] {
            panels.reshape(3 * units, batch);
        }
        z.exponent = 0;
        let panels = both.slices().zip(z.panels.slices_mut()).zip(gates.slices_mut()).zip(slopes.slices_mut());
        for (((both, z), gates), slopes) in panels {
            let each_gate = z.len() / 3;
            let (first, second) = both.split_at(3 * each_gate);
            each([first, second], [&mut z[..2 * each_gate]], |[x, h]| [x + h]);
            let range = 0..2 * each_gate;
            sigmoid(&z[range.clone()], &mut gates[range.clone()], &mut slopes[range]);
        }
        match reset {
            Reset::After => recurrent.take(both, 5 * units..6 * units),
            Reset::Before => {
                passed.panels.reshape(units, batch);
                passed.exponent = 0;
                for ((passed, gates), state) in
                    passed.panels.slices_mut().zip(gates.slices()).zip(state.panels.slices())
                {
                    each([apart(gates, 0, 3), state], [passed], |[r, h]| [r * h]);
                }
                passed.panels.clear_padding();
                let linear = here.numbers[self.own].linear();
                linear.weight.forward(&passed.panels, &linear.bias, &mut scratch.spare.panels);
                recurrent.take(&scratch.spare.panels, 2 * units..3 * units);
            }
        }
        let after = reset == Reset::After;
        let panels = both.slices().zip(recurrent.slices()).zip(z.panels.slices_mut());
        for (((both, recurrent), z), (gates, slopes)) in panels.zip(gates.slices_mut().zip(slopes.slices_mut())) {
            let ([r, _, n], [_, _, slope]) = (apart_mut(gates), apart_mut(slopes));
            let [_, _, z] = apart_mut(z);
            let x = apart(both, 2, 6);
            if after {
                each([x, &*r, recurrent], [&mut *z], |[x, r, recurrent]| [x + r * recurrent]);
            } else {
                each([x, recurrent], [&mut *z], |[x, recurrent]| [x + recurrent]);
            }
            squash(&self.squash, z, n, slope);
        }
        h.reshape(units, batch);
        for ((h, gates), state) in h.slices_mut().zip(gates.slices()).zip(state.panels.slices()) {
            let [z, n] = [1, 2].map(|gate| apart(gates, gate, 3));
            each([z, n, state], [h], |[z, n, h]| [(F::of(1.0) - z) * n + z * h]);
        }
        h.clear_padding();
    }

    /// From the gradient of `h` behind a step, and of `c`, to that of `z`; that of the state before the step reaches
    /// the stream. `state` is what the stream had.
    pub(super) fn backward<F: Float>(
        &self,
        back: &Back<'_, F>,
        state: &Scaled<F>,
        signal: &mut Signal<F>,
        owner: impl Fn(usize) -> Owner,
        collect: &mut impl Collect<F>,
    ) {
        let super::Kept::Cell(kept) = back.kept else { return };
        signal.dh.rescale_if_far();
        match self.gates {
            Gates::Plain => return,
            Gates::Lstm => self.lstm_backward(back, kept, state, signal, collect),
            Gates::Gru(reset) => self.gru_backward(reset, back, kept, state, signal, owner, collect),
        }
        if collect.notes() {
            self.note_back(back, signal, kept, collect);
        }
        let Signal { dh, delta, spare, streams, .. } = signal;
        delta.rescale_and_flush();
        spare.rescale_and_flush();
        Signal::reach(streams, self.stream, spare);
        std::mem::swap(dh, delta);
    }

    /// Note the gradients of the gates' pre-activations, and the shares of what goes on to the state before: straight, and
    /// through each gate. They are of the sum of squares of each path by itself: products of two paths belong to neither.
    fn note_back<F: Float>(
        &self,
        back: &Back<'_, F>,
        signal: &Signal<F>,
        kept: &Kept<F>,
        collect: &mut impl Collect<F>,
    ) {
        let (letters, delta) = (self.gates.letters(), &signal.delta);
        let column = |gate, which| back.columns + self.column(gate, which);
        let (units, batch) = (signal.spare.panels.features(), signal.spare.panels.batch());
        let weight = &back.numbers[self.own].linear().weight;
        let (mut alone, mut only, mut through) = (Panels::default(), Panels::default(), Panels::default());
        let mut sums = Vec::new();
        let mut squares = [(0.0, 0); 5];
        let mut of_z = Scaled { exponent: delta.exponent, ..Scaled::default() };
        of_z.panels.take(&delta.panels, 0..letters.len() * units);
        note_blocks(&of_z, letters.len(), |gate, rms| collect.note(back.row, column(gate, 1), rms));
        // Those of the recurrent map stand behind those of the step's own input.
        let recurrent = delta.panels.features() - letters.len() * units;
        for gate in 0..letters.len() {
            // With the reset before the product, the candidate's rows are applied to another state.
            let before = self.gates == Gates::Gru(Reset::Before) && gate == 2;
            let first = gate * units + if before { 0 } else { recurrent };
            alone.take(&delta.panels, first..first + units);
            only.fill(letters.len() * units, batch, |_, _| F::ZERO);
            only.put(gate * units, &alone);
            weight.backward(&only, &mut through);
            if before {
                alone.take(&kept.gates, 0..units);
                through.times(&alone);
            }
            squares[1 + gate] = through.squares_within(&mut sums);
        }
        squares[0] = signal.spare.panels.squares_within(&mut sums);
        if self.gates == Gates::Gru(Reset::Before) {
            // What goes straight through z alone: the candidate has added to it.
            alone.take(&kept.gates, units..2 * units);
            only.copy_from(&signal.dh.panels);
            only.times(&alone);
            squares[0] = only.squares_within(&mut sums);
        }
        let [straight, gates @ ..] = shares(squares);
        collect.note(back.row, back.columns + self.straight(), straight);
        for (gate, share) in gates.into_iter().enumerate().take(letters.len()) {
            collect.note(back.row, column(gate, BY_BLOCK.len() + 2), share);
        }
    }

    fn lstm_backward<F: Float>(
        &self,
        back: &Back<'_, F>,
        kept: &Kept<F>,
        state: &Scaled<F>,
        signal: &mut Signal<F>,
        collect: &mut impl Collect<F>,
    ) {
        let (units, batch) = (signal.dh.panels.features(), signal.dh.panels.batch());
        let Kept { gates, slopes, squashed: [squashed, bend], .. } = kept;
        let Signal { dh, delta, spare, half, streams, .. } = signal;
        let dc = Signal::take(streams, self.stream, units, batch);
        let exponent = dh.exponent.max(dc.exponent);
        let [of_h, of_c] = [dh.exponent, dc.exponent].map(|own| F::of(times_power_of_two(1.0, own - exponent)));
        delta.panels.reshape(4 * units, batch);
        spare.panels.reshape(units, batch);
        (delta.exponent, spare.exponent) = (exponent, exponent);
        // What has reached c, straight and through h.
        let arrive = dh.panels.slices().zip(dc.panels.slices()).zip(spare.panels.slices_mut());
        for (((dh, dc), out), (gates, bend)) in arrive.zip(gates.slices().zip(bend.slices())) {
            let o = apart(gates, 3, 4);
            each([dh, dc, o, bend], [out], |[dh, dc, o, bend]| [of_c * dc + of_h * dh * o * bend]);
        }
        if collect.notes() {
            collect.note(back.row, back.columns + 1, spare.log10_rms(&mut Vec::new()));
        }
        half.reshape(units, batch);
        let arrive = dh.panels.slices().zip(spare.panels.slices()).zip(state.panels.slices());
        let left = gates.slices().zip(slopes.slices()).zip(squashed.slices());
        let outputs = delta.panels.slices_mut().zip(half.slices_mut());
        for ((((dh, dc), state), ((gates, slopes), squashed)), (delta, out)) in arrive.zip(left).zip(outputs) {
            let [i, f, g] = [0, 1, 2].map(|gate| apart(gates, gate, 4));
            let [si, sf, sg, so] = [0, 1, 2, 3].map(|gate| apart(slopes, gate, 4));
            let [di, df, dg, d_o] = apart_mut(delta);
            each([dh, squashed, so], [d_o], |[dh, squashed, so]| [of_h * dh * squashed * so]);
            each([dc, i, g, si, sg], [di, dg], |[dc, i, g, si, sg]| [dc * g * si, dc * i * sg]);
            each([dc, state, f, sf], [df, out], |[dc, c, f, sf]| [dc * c * sf, dc * f]);
        }
        std::mem::swap(half, &mut spare.panels);
    }

    #[allow(clippy::too_many_arguments)] // Buffers that are borrowed one by one.
    fn gru_backward<F: Float>(
        &self,
        reset: Reset,
        back: &Back<'_, F>,
        kept: &Kept<F>,
        state: &Scaled<F>,
        signal: &mut Signal<F>,
        owner: impl Fn(usize) -> Owner,
        collect: &mut impl Collect<F>,
    ) {
        let Signal { dh, delta, spare, half, .. } = signal;
        let (units, batch) = (dh.panels.features(), dh.panels.batch());
        let Kept { gates, slopes, squashed: [recurrent, _], reset: passed, .. } = kept;
        delta.panels.reshape(6 * units, batch);
        spare.panels.reshape(units, batch);
        (delta.exponent, spare.exponent) = (dh.exponent, dh.exponent);
        // What the recurrent map gave the candidate gets as much as the candidate, or its share of it.
        let after = reset == Reset::After;
        let panels = delta.panels.slices_mut().zip(spare.panels.slices_mut()).zip(dh.panels.slices());
        let left = gates.slices().zip(slopes.slices()).zip(state.panels.slices().zip(recurrent.slices()));
        for (((delta, out), dh), ((gates, slopes), (state, recurrent))) in panels.zip(left) {
            let [r, z, n] = [0, 1, 2].map(|gate| apart(gates, gate, 3));
            let [sr, sz, sn] = [0, 1, 2].map(|gate| apart(slopes, gate, 3));
            let [xr, xz, xn, hr, hz, hn] = apart_mut(delta);
            each([dh, z, sn], [&mut *xn, &mut *out], |[dh, z, sn]| [dh * (F::of(1.0) - z) * sn, dh * z]);
            each([dh, state, n, sz], [xz, hz], |[dh, h, n, sz]| [dh * (h - n) * sz; 2]);
            if after {
                each([&*xn, r, recurrent, sr], [xr, hr, hn], |[dn, r, recurrent, sr]| {
                    let dr = dn * recurrent * sr;
                    [dr, dr, dn * r]
                });
            } else {
                for zeros in [xr, hr, hn] {
                    zeros.fill(F::ZERO);
                }
            }
        }
        if after {
            return;
        }
        // The recurrent map once more: of r h, for the candidate alone.
        let mut alone = Scaled::default();
        alone.clear(3 * units, batch);
        alone.exponent = delta.exponent;
        half.take(&delta.panels, 2 * units..3 * units);
        alone.panels.put(2 * units, half);
        collect.map(owner(self.own), &alone, passed, None);
        back.numbers[self.own].linear().weight.backward(&alone.panels, half);
        let panels = delta.panels.slices_mut().zip(spare.panels.slices_mut()).zip(half.slices());
        let left = gates.slices().zip(slopes.slices()).zip(state.panels.slices());
        for (((delta, out), passed), ((gates, slopes), state)) in panels.zip(left) {
            let [xr, _, _, hr, _, _] = apart_mut(delta);
            each([passed, state, apart(slopes, 0, 3)], [xr, hr], |[d, h, sr]| [d * h * sr; 2]);
            // What has gone straight is in its own place.
            out.iter_mut().zip(passed).zip(apart(gates, 0, 3)).for_each(|((out, d), r)| *out += *d * *r);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_squares_beyond_the_range_of_numbers_add_up_to_one() {
        let all = |size: f64| {
            let mut panels = Panels::<f64>::default();
            panels.fill(2, 3, |_, _| size);
            panels.squares_within(&mut Vec::new())
        };
        // Their squares are zeros.
        let [one, two, none] = shares([all(3e-200), all(4e-200), (0.0, 0)]);
        assert!((one - 9.0 / 25.0).abs() < 1e-14 && (two - 16.0 / 25.0).abs() < 1e-14 && none == 0.0);
        assert_eq!(shares([all(1.0), all(1e-200)]), [1.0, 0.0]);
    }
}
