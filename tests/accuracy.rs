//! Activations in vectors against numbers that are right: `float64` to fifty digits, and one at a time through `libm`;
//! `float32`, whose polynomials are shorter, against `float64`.
//!
//! `VGCORE_EXHAUSTIVE=1` tries every one of the 2^32 `float32` instead of one in two thousand: half an hour for
//! each instruction set.

use vgcore::activation::Activation;
use vgcore::simd::{Float, exponent_of, times_power_of_two};

fn activation(text: &str) -> Activation {
    Activation::parse(text).unwrap()
}

/// All names, and some with parameters.
fn every() -> Vec<Activation> {
    let given =
        ["leaky_relu(-1.5)", "elu(2)", "gelu(tanh)", "softplus(3, 10)", "hardtanh(0, 2)", "rrelu(1, 2)", "celu(0.7)"];
    let more = ["threshold(-0.5, 2)", "softshrink(2)", "sin(30)", "squareplus(0.1)", "snake(5)"];
    // Without parameters a threshold has no value.
    let plain = Activation::names().filter(|name| *name != "threshold");
    plain.chain(given).chain(more).map(activation).collect()
}

/// Values and slopes by the vectors of the instruction set in use.
fn apply<F: Float>(activation: &Activation, z: &[F]) -> Vec<[F; 2]> {
    let (mut a, mut slope) = (vec![F::ZERO; z.len()], vec![F::ZERO; z.len()]);
    activation.apply(z, &mut a, &mut slope);
    a.into_iter().zip(slope).map(|(a, slope)| [a, slope]).collect()
}

/// The distance of two numbers in units of the last place of `scale`, in a format with so many bits whose smallest
/// normal number is `2^least`. Two NaN, two equal infinities are 0 apart.
fn ulps(found: f64, exact: f64, scale: f64, bits: i64, least: i64) -> f64 {
    if found == exact || (found.is_nan() && exact.is_nan()) {
        return 0.0;
    }
    let exponent = if scale == 0.0 { least } else { exponent_of(scale).max(least) };
    times_power_of_two((found - exact).abs(), bits - 1 - exponent)
}

/// Each with the most units that its values and its slopes in `float64` may lack. The argument of the exponential in
/// `gelu(tanh)` is itself a rounded polynomial. Slopes that cross 0 are measured in units of the value.
const LIMITS: [(&str, f64, f64); 18] = [
    ("sigmoid", 2.0, 4.0),
    ("tanh", 2.0, 4.0),
    ("elu", 1.0, 1.0),
    ("selu", 2.0, 2.0),
    ("gelu", 4.0, 5.0),
    ("gelu(tanh)", 150.0, 150.0),
    ("silu", 3.0, 4.0),
    ("softplus", 2.0, 2.0),
    ("celu(0.5)", 1.0, 1.0),
    ("mish", 3.0, 5.0),
    ("softsign", 2.0, 4.0),
    ("logsigmoid", 2.0, 2.0),
    ("tanhshrink", 2.0, 3.0),
    ("erf", 2.0, 2.0),
    ("sin", 1.0, 1.0),
    ("arctan", 2.0, 2.0),
    ("squareplus", 3.0, 3.0),
    ("snake", 3.0, 3.0),
];

#[test]
fn float64_is_within_a_few_units_of_fifty_digits() {
    let blocks = include_str!("data/activations.txt").split("\n\n").map(|block| block.trim().split_once('\n').unwrap());
    assert_eq!(blocks.clone().count(), LIMITS.len());
    for ((name, lines), (expected_name, of_value, of_slope)) in blocks.zip(LIMITS) {
        assert_eq!(name, expected_name);
        let crosses_zero = ["gelu", "gelu(tanh)", "silu", "mish", "snake"].contains(&name);
        for line in lines.lines() {
            let number = |word| f64::from_bits(u64::from_str_radix(word, 16).unwrap());
            let [z, value, slope] = line.split(' ').map(number).collect::<Vec<_>>().try_into().unwrap();
            let scale = if crosses_zero { slope.abs().max(value.abs()) } else { slope };
            let [found, derivative] = apply(&activation(name), &[z])[0];
            for (found, exact, scale, limit) in [(found, value, value, of_value), (derivative, slope, scale, of_slope)]
            {
                // z times a factor that is subnormal and so has few digits.
                let few_digits = crosses_zero && (found - exact).abs() < 1e-320;
                let error = ulps(found, exact, scale, 53, -1022);
                // The exact number in the table is rounded too: by half a unit.
                assert!(error <= limit + 0.5 || few_digits, "{name} at {z:e}: {found:e} {exact:e}, {error} units");
            }
        }
    }
}

#[test]
fn float64_agrees_with_libm_on_all_scales() {
    let z = (0..60_000)
        .map(|i| (1.0 - 2.0 * f64::from(i % 2)) * 2_f64.powf(10.0 - f64::from(i) * 0.0173))
        .collect::<Vec<_>>();
    for activation in every() {
        for (z, [value, slope]) in z.iter().zip(apply(&activation, &z)) {
            let (expected, derivative) = activation.both(*z);
            // The argument of libm's exponential, up to 745, is itself rounded; a slope may cross 0.
            let close = |a: f64, b: f64, scale: f64| (a - b).abs() <= 1e-12 * scale.abs() + 1e-320;
            let text = activation.text();
            assert!(close(value, expected, expected), "{text} at {z:e}: {value:e} {expected:e}");
            let scale = expected.abs().max(derivative.abs());
            assert!(close(slope, derivative, scale), "slope of {text} at {z:e}: {slope:e} {derivative:e}");
        }
    }
}

fn special_numbers<F: Float>(largest: f64, smallest: f64) {
    for z in [0.0, smallest, largest, f64::INFINITY, f64::NAN].into_iter().flat_map(|z| [z, -z]) {
        for activation in every() {
            let [value, slope] = apply(&activation, &[F::of(z)])[0];
            let (expected, derivative) = activation.both(z);
            for (found, exact) in [(value, expected), (slope, derivative)] {
                let (found, exact) = (found.wide(), F::of(exact).wide());
                let sign_kept = z != 0.0 || exact != 0.0 || found.is_sign_negative() == exact.is_sign_negative();
                let near = found == exact || (found - exact).abs() <= 1e-15 * exact.abs();
                let both_nan = found.is_nan() && exact.is_nan();
                assert!((near && sign_kept) || both_nan, "{} at {z:e}: {found:e} {exact:e}", activation.text());
            }
        }
    }
}

#[test]
fn signed_zeros_infinities_nan_and_the_ends_of_the_range_go_where_one_number_goes() {
    special_numbers::<f32>(f64::from(f32::MAX), f64::from(f32::from_bits(1)));
    special_numbers::<f64>(f64::MAX, f64::from_bits(1));
    let [value, _] = apply(&activation("tanh"), &[-0.0_f64])[0];
    assert!(value == 0.0 && value.is_sign_negative());
}

fn any_length<F: Float>() {
    let z = (0..70).map(|i| F::of(0.13 * f64::from(i) - 4.5)).collect::<Vec<_>>();
    for activation in every() {
        let whole = apply(&activation, &z);
        for (from, to) in (0..40).map(|length| (length % 7, length % 7 + length)) {
            assert_eq!(apply(&activation, &z[from..to]), whole[from..to], "{} {from}..{to}", activation.text());
        }
    }
}

#[test]
fn an_element_does_not_depend_on_the_length_of_its_slice_or_its_place() {
    any_length::<f32>();
    any_length::<f64>();
}

/// The worst errors of values and of slopes in units of the last place of `float32`, and where they are.
type Worst = [(f64, f32); 2];

/// Let the worst errors be those at these numbers, if they are worse.
fn compare(activation: &Activation, z: &[f32], worst: &mut Worst) {
    let wide = z.iter().map(|z| f64::from(*z)).collect::<Vec<_>>();
    let (mut found, mut exact) = ([vec![0.0; z.len()], vec![0.0; z.len()]], [vec![0.0; z.len()], vec![0.0; z.len()]]);
    let ([a, slope], [wide_a, wide_slope]) = (&mut found, &mut exact);
    activation.apply(z, a, slope);
    activation.apply(&wide, wide_a, wide_slope);
    // The slope of snake is the square of a sum, which crosses 0 and is itself rounded at 2^-53. Next to a zero that alone
    // is more than a unit for some alpha.
    let of_sum = if activation.signature().name == "snake" { 0.5_f64.powi(51) } else { 0.0 };
    for ((found, exact), (worst, rounding)) in found.iter().zip(&exact).zip(worst.iter_mut().zip([0.0, of_sum])) {
        for ((z, found), exact) in z.iter().zip(found).zip(exact) {
            // Of most, nothing but the right one is expected.
            if found.to_bits() != (*exact as f32).to_bits() {
                let rounded =
                    if rounding * exact > 0.0 { ulps(rounding * exact.sqrt(), 0.0, *exact, 24, -126) } else { 0.0 };
                let error = ulps(f64::from(*found), *exact, *exact, 24, -126) - rounded;
                if error > worst.0 || error.is_nan() {
                    *worst = (error, *z);
                }
            }
        }
    }
}

/// Where the slopes of gelu, gelu(tanh), mish and silu cross 0, and a float32 next to one of the zeros of that of snake:
/// their terms cancel, and what is left is their error.
const FLAT: [f32; 5] = [-0.751_791_5, -0.752_461_4, -1.192_431_2, -1.278_464_5, 133_529.47];

/// The worst errors among one in so many `float32` with this sign bit.
fn worst_of_float32(activation: &Activation, sign: u32, step: u32) -> Worst {
    const BLOCK: u32 = 4096;
    let mut worst = Worst::default();
    for from in (0..1 << 31).step_by((BLOCK * step) as usize) {
        let bits = (from..1 << 31).step_by(step as usize).take(BLOCK as usize);
        compare(activation, &bits.map(|bits| f32::from_bits(sign | bits)).collect::<Vec<_>>(), &mut worst);
    }
    worst
}

#[test]
fn float32_is_the_right_number_rounded() {
    let step = if std::env::var_os("VGCORE_EXHAUSTIVE").is_some() { 1 } else { 2039 };
    for activation in every() {
        let [positive, mut negative] = std::thread::scope(|scope| {
            let negative = scope.spawn(|| worst_of_float32(&activation, 1 << 31, step));
            [worst_of_float32(&activation, 0, step), negative.join().unwrap()]
        });
        for z in FLAT.map(f32::to_bits) {
            compare(&activation, &(z - 5000..z + 5000).map(f32::from_bits).collect::<Vec<_>>(), &mut negative);
        }
        for (what, (error, z)) in
            [positive, negative].into_iter().flat_map(|half| ["value", "slope"].into_iter().zip(half))
        {
            println!("{} {what}: at most 0.5 units, or {error:.3} at {z:e}", activation.text());
            assert!(error <= 0.51, "{} {what} at {z:e}: {error:.3} units", activation.text());
        }
    }
}
