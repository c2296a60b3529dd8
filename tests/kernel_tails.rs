//! Matrix products at every small shape: edges of tiles, vectors, panels and blocks, on every instruction set.
//!
//! Entries are whole numbers so small that every sum is exact, in any order: results equal the plain ones to the bit.

use vgcore::kernel::{GramSums, Matrix, Panels, Term, gram, gram_sums, outer, outer_rows};
use vgcore::simd::{Float, Isa};

/// Whole numbers below a hundred that look drawn: `at(row, column)`.
fn entries(phase: usize) -> impl Fn(usize, usize) -> f64 + Copy {
    move |row, column| ((row * 7919 + column * 104_729 + phase * 31) * 2_654_435_761 % 9973 % 199) as f64 - 99.0
}

/// `sum_k left(i, k) right(k, j)` in C order.
fn product(
    [rows, inner, columns]: [usize; 3],
    left: impl Fn(usize, usize) -> f64,
    right: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let mut out = Vec::new();
    for i in 0..rows {
        for j in 0..columns {
            out.push((0..inner).map(|k| left(i, k) * right(k, j)).sum());
        }
    }
    out
}

fn wide<F: Float>(values: &[F]) -> Vec<f64> {
    values.iter().map(|v| v.wide()).collect()
}

/// A batch with NaN in every lane that is no sample: none may reach a result.
fn panels<F: Float>(features: usize, batch: usize, value: impl Fn(usize, usize) -> f64) -> Panels<F> {
    let (mut samples, mut out) = (Panels::<F>::default(), Panels::default());
    samples.fill(features, batch, |_, _| F::of(1.0));
    out.fill(features, batch, |sample, feature| F::of(value(sample, feature)));
    for (out, sample) in out.values_mut().iter_mut().zip(samples.values()) {
        if *sample == F::ZERO {
            *out = F::of(f64::NAN);
        }
    }
    out
}

/// What the products write to.
struct Buffers<F> {
    batch: Panels<F>,
    matrix: Matrix<F>,
    scratch: Matrix<F>,
}

impl<F: Float> Buffers<F> {
    /// As allocated.
    fn fresh() -> Self {
        Self { batch: Panels::default(), matrix: Matrix::default(), scratch: Matrix::default() }
    }

    /// Leave NaN behind, more than the products of this shape write, so that whatever is read before it is written
    /// shows.
    fn spoil(&mut self, [rows, columns, batch]: [usize; 3]) {
        let nan = F::of(f64::NAN);
        let most = rows.max(columns).max(batch) + 64;
        self.batch.reshape(most, batch);
        self.batch.values_mut().fill(nan);
        self.matrix.fill(1, most * most, |all| all.fill(nan));
        self.scratch.fill(1, most * most, |all| all.fill(nan));
    }
}

fn products_are_exact<F: Float>(shape: [usize; 3]) {
    let [rows, columns, batch] = shape;
    let (w, b, x, d) = (entries(1), entries(2), entries(3), entries(4));
    let mut weights = Matrix::<F>::default();
    weights.fill(rows, columns, |all| {
        for (i, entry) in all.iter_mut().enumerate() {
            *entry = F::of(w(i / columns, i % columns));
        }
    });
    let bias = (0..rows).map(|i| F::of(b(i, 0))).collect::<Vec<_>>();
    let (inputs, deltas) = (panels::<F>(columns, batch, x), panels::<F>(rows, batch, d));
    let samples = (0..batch * columns).map(|i| x(i / columns, i % columns)).collect::<Vec<_>>();
    assert_eq!(wide(&inputs.to_rows()), samples, "rows of {} {columns}, batch {batch}", F::NAME);
    assert_eq!(weights.to_rows().len(), rows * columns);

    let forward = product([batch, columns, rows], x, |k, j| w(j, k));
    let with_bias = forward.iter().enumerate().map(|(i, sum)| sum + b(i % rows, 0)).collect::<Vec<_>>();
    let backward = product([batch, rows, columns], d, w);
    let gradient = product([rows, batch, columns], |i, k| d(k, i), x);
    let mut square = product([batch, columns, batch], x, |k, j| x(j, k));
    let mut sums = GramSums::default();
    for (i, entry) in square.iter().enumerate() {
        let square = entry * entry;
        sums.squares += square;
        sums.diagonal += if i / batch == i % batch { square } else { 0.0 };
    }
    for (i, entry) in square.iter_mut().enumerate() {
        if i % batch > i / batch {
            *entry = 0.0;
        }
    }

    let mut buffers = Buffers::fresh();
    for memory in ["fresh", "spoiled"] {
        let name = format!("{} {rows} x {columns}, batch {batch}, {memory} memory", F::NAME);
        let Buffers { batch: out, matrix, scratch } = &mut buffers;
        weights.forward(&inputs, &[], out);
        assert_eq!(wide(&out.to_rows()), forward, "W x: {name}");
        weights.forward(&inputs, &bias, out);
        assert_eq!(wide(&out.to_rows()), with_bias, "W x + b: {name}");
        weights.backward(&deltas, out);
        assert_eq!(wide(&out.to_rows()), backward, "W^T d: {name}");
        outer(&deltas, &inputs, matrix, scratch);
        assert_eq!(wide(&matrix.to_rows()), gradient, "d x^T: {name}");
        let term = Term { delta: &deltas, input: &inputs, factor: F::of(0.5) };
        let twice = gradient.iter().map(|g| 1.5 * g).collect::<Vec<_>>();
        let whole = Term { factor: F::of(1.0), ..term };
        assert_eq!(wide(&outer_rows(&[term, whole], scratch)), twice, "(d / 2) x^T + d x^T in C order: {name}");
        gram(&inputs, matrix);
        let padded = wide(&matrix.to_rows());
        assert_eq!(padded.len(), batch * matrix.columns());
        for (found, expected) in padded.chunks_exact(matrix.columns()).zip(square.chunks_exact(batch)) {
            assert_eq!(found[..batch], *expected, "x^T x: {name}");
            assert!(found[batch..].iter().all(|v| *v == 0.0), "x^T x past the batch: {name}");
        }
        let found = gram_sums(matrix, matrix);
        // These sums are too large to be exact.
        let near = |found: f64, exact: f64| (found - exact).abs() <= 1e-12 * sums.squares;
        assert!(near(found.squares, sums.squares) && near(found.diagonal, sums.diagonal), "{found:?} {sums:?}: {name}");
        assert!(found.products == found.squares, "{found:?}: {name}");
        buffers.spoil(shape);
    }
}

fn exact_in_both_types(shape: [usize; 3]) {
    products_are_exact::<f32>(shape);
    products_are_exact::<f64>(shape);
}

/// All of `most`, or these few where an interpreter runs them.
fn sizes(most: usize, few: &'static [usize]) -> impl Iterator<Item = usize> + Clone {
    (1..=most).filter(move |size| !cfg!(miri) || few.contains(size))
}

#[test]
fn products_are_exact_for_few_units_at_every_batch() {
    for batch in sizes(70, &[1, 9, 17]) {
        for rows in sizes(20, &[3, 7]) {
            exact_in_both_types([rows, 1 + (3 * rows + batch) % 23, batch]);
        }
    }
}

#[test]
fn products_are_exact_at_every_width() {
    for width in sizes(130, &[3]) {
        // Every batch up to 70 comes by.
        exact_in_both_types([width, 131 - width, if cfg!(miri) { 3 } else { 1 + 37 * width % 70 }]);
    }
}

#[test]
#[cfg_attr(miri, ignore = "minutes")]
fn products_are_exact_across_the_blocks_of_long_sums_and_of_many_rows() {
    let shapes = [[257, 3, 5], [3, 257, 5], [600, 2, 33], [2, 600, 33], [5, 3, 257], [9, 17, 600], [513, 300, 40]];
    for shape in shapes {
        exact_in_both_types(shape);
    }
}

#[test]
#[cfg_attr(miri, ignore = "starts processes")]
fn products_are_exact_on_every_other_instruction_set_of_this_machine() {
    // A process keeps the set that it has chosen; one that was told which set is told no other.
    if std::env::var("VGCORE_ISA").is_ok_and(|name| !name.is_empty()) {
        return;
    }
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()).skip(1) {
        let tests = std::env::current_exe().unwrap();
        match std::process::Command::new(tests).env("VGCORE_ISA", isa.name()).output() {
            Ok(done) => assert!(done.status.success(), "{}: {}", isa.name(), String::from_utf8_lossy(&done.stdout)),
            // Tests for another processor that an emulator runs: the system cannot start them by itself.
            Err(error) => assert_eq!(error.raw_os_error(), Some(8), "{error}"),
        }
    }
}
