//! The kernels against the oracle of `naive.rs`, over drawn nets. `VGCORE_EXAMPLES` sets how many.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use vgcore::error::Cancel;
use vgcore::gradients::{Start, Tensor, gradients, output};
use vgcore::naive::{self, Linear, Rows};
use vgcore::plan::Plan;
use vgcore::run::{Job, probe};
use vgcore::simd::Float;
use vgcore::spec::{BranchScale, PerLayer, Request, Spec};
use vgcore::stats::{COLUMNS, Columns};
use vgcore::weights::Weights;
use vgcore::{activation, init};

fn examples() -> u32 {
    std::env::var("VGCORE_EXAMPLES").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

fn names(all: impl Iterator<Item = &'static str>) -> impl Strategy<Value = String> {
    proptest::sample::select(all.map(str::to_owned).collect::<Vec<_>>())
}

/// These inits, or all of them; a required parameter is given.
fn inits_of(some: &'static [&'static str]) -> impl Strategy<Value = String> {
    let all = init::names().filter(|name| some.is_empty() || some.contains(name)).collect::<Vec<_>>();
    names(all.into_iter()).prop_map(|name| match name.as_str() {
        "constant" => "constant(0.05)".to_owned(),
        // At their defaults z reaches 1e6, where a slope such as exp(-2 z) turns the last digit of z into many.
        "uniform" => "uniform(-0.3, 0.3)".to_owned(),
        "normal" => "normal(std=0.2)".to_owned(),
        _ => name,
    })
}

/// Inits under which rounding is not amplified from layer to layer.
const TAME: &[&str] = &["xavier_normal", "xavier_uniform", "lecun_normal", "orthogonal", "torch_default"];

/// Activations whose slope jumps.
const KINKED: &[&str] = &[
    "relu",
    "relu6",
    "leaky_relu",
    "prelu",
    "rrelu",
    "selu",
    "hardtanh",
    "hardsigmoid",
    "hardswish",
    "softshrink",
    "hardshrink",
    "abs",
    "crelu",
];

/// The activations that need no parameters.
fn plain_activations() -> impl Iterator<Item = &'static str> {
    activation::names().filter(|name| *name != "threshold")
}

prop_compose! {
    fn specs(deepest: usize, inits: &'static [&'static str], but: &'static [&'static str])(depth in 1..=deepest, block in 1..4_usize, skip in any::<bool>())(
        widths in proptest::collection::vec(1..40_i128, depth * block),
        activations in proptest::collection::vec(names(plain_activations().filter(|name| !but.contains(name))), depth * block),
        depth in Just(depth * block),
        block in Just(block),
        skip in Just(skip),
        in_features in proptest::option::of(1..40_i128),
        out_features in proptest::option::of(1..40_i128),
        init in inits_of(inits),
        bias in proptest::option::of(proptest::sample::select(vec!["normal(std=0.3)", "torch_default"])),
        scale in prop_oneof![(-1.5..1.5).prop_map(BranchScale::Number), Just(BranchScale::Text("1/sqrt(L)".to_owned()))],
    ) -> Spec {
        let widths = if skip { vec![widths[0]; depth] } else { widths };
        Spec::new(&Request {
            depth: depth as i128,
            width: PerLayer::Each(widths),
            in_features,
            out_features,
            activation: PerLayer::Each(activations),
            init,
            bias: bias.map(str::to_owned),
            norm: None,
            norm_position: "pre".to_owned(),
            skip: skip.then(|| "residual".to_owned()),
            branch_scale: scale,
            block: block as i128,
            tied: false,
        })
        .unwrap()
    }
}

fn rows(flat: &[f64], columns: usize) -> Rows {
    flat.chunks(columns).map(<[f64]>::to_vec).collect()
}

/// Smooth numbers that are neither zero nor equal.
fn numbers(count: usize, phase: f64) -> Vec<f64> {
    (0..count).map(|i| (1.3 * i as f64 + phase).sin() + 0.1).collect()
}

fn flat(rows: &Rows) -> Vec<f64> {
    rows.iter().flatten().copied().collect()
}

/// `|a - b| / |b|` over a tensor.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let gap = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    if gap == 0.0 { 0.0 } else { gap / norm(&mut b.iter().copied()) }
}

fn spelled<F: Float>(tensor: &Tensor<F>) -> Vec<f64> {
    tensor.spelled_out()
}

struct Twins<F> {
    plan: Plan,
    weights: Weights<F>,
    maps: Vec<Linear>,
}

fn twins<F: Float>(spec: &Spec) -> Twins<F> {
    let plan = Plan::new(spec);
    let weights = Weights::<F>::drawn(&plan, 5, 2, &Cancel::default()).unwrap();
    let wide = |v: &[F]| v.iter().map(|v| v.wide()).collect::<Vec<_>>();
    let map = |m: &vgcore::weights::Linear<F>| (rows(&wide(&m.weight.to_rows()), m.weight.columns()), wide(&m.bias));
    let maps = weights.maps.iter().map(map).collect();
    Twins { plan, weights, maps }
}

/// Output and every gradient of one net within `tolerance` of the oracle.
fn compare<F: Float>(spec: &Spec, batch: usize, tolerance: f64) {
    let Twins { plan, weights, maps } = twins::<F>(spec);
    let x = numbers(batch * plan.in_features, 0.0);
    let x = x.into_iter().map(F::of).collect::<Vec<_>>();
    let wide_x = rows(&x.iter().map(|v| v.wide()).collect::<Vec<_>>(), plan.in_features);
    let cotangent = numbers(batch * plan.output(), 0.7);
    let pass = naive::forward(spec, &maps, &wide_x);
    let expected = naive::backward(spec, &maps, &pass, &rows(&cotangent, plan.output()));
    let y = output(&plan, &weights, &x, &Cancel::default()).unwrap();
    assert!(distance(&y, &flat(&pass.y)) < tolerance, "output: {y:?} {:?}", pass.y);
    let found = gradients(&plan, &weights, &x, &Start::Cotangent(cotangent), 2, |_| (), &Cancel::default()).unwrap();
    for (index, (found, expected)) in found.weights.iter().zip(&expected.weights).enumerate() {
        assert!(distance(&spelled(found), &flat(expected)) < tolerance, "dL/dW {index}");
    }
    for (index, (found, expected)) in found.biases.iter().zip(&expected.biases).enumerate() {
        assert!(distance(&spelled(found), expected) < tolerance, "dL/db {index}");
    }
    assert_eq!(found.preactivations.len(), spec.depth);
    for (index, (found, expected)) in found.preactivations.iter().zip(&expected.preactivations).enumerate() {
        assert!(distance(&spelled(found), &flat(expected)) < tolerance, "dL/dz {index}");
    }
    assert!(distance(&spelled(&found.input), &flat(&expected.input)) < tolerance, "dL/dx");
}

/// Mean cosine over pairs of rows, by the definition.
fn mean_cosine(z: &Rows) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let z = z.iter().filter(|z| dot(z, z) > 0.0).collect::<Vec<_>>();
    let pairs = (0..z.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let cosines = pairs.map(|(i, j)| dot(z[i], z[j]) / (dot(z[i], z[i]) * dot(z[j], z[j])).sqrt()).collect::<Vec<_>>();
    cosines.iter().sum::<f64>() / cosines.len() as f64
}

fn participation_ratio(h: &Rows) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let trace = h.iter().map(|h| dot(h, h)).sum::<f64>();
    trace * trace / h.iter().flat_map(|a| h.iter().map(move |b| dot(a, b).powi(2))).sum::<f64>()
}

/// Every column of a probe by its definition, from the oracle on the same samples and cotangent.
fn columns_by_definition(spec: &Spec, batch: usize, seed: u64) -> Vec<Vec<f64>> {
    use vgcore::rng::{Role, Stream};
    let plan = Plan::new(spec);
    let weights = Weights::<f64>::drawn(&plan, seed, 2, &Cancel::default()).unwrap();
    let maps = weights
        .maps
        .iter()
        .map(|m| (rows(&m.weight.to_rows(), m.weight.columns()), m.bias.clone()))
        .collect::<Vec<_>>();
    let draw = |role, columns: usize, scale: f64| {
        let mut all = vec![0.0; batch * columns];
        Stream::new(seed, 0, role).normal::<f64>(&mut all);
        rows(&all.iter().map(|n| n * scale).collect::<Vec<_>>(), columns)
    };
    let x = draw(Role::Input, plan.in_features, 1.0);
    let cotangent = draw(Role::Cotangent, plan.output(), 1.0 / (batch as f64).sqrt());
    let pass = naive::forward(spec, &maps, &x);
    let all = naive::backward(spec, &maps, &pass, &cotangent);
    let log10_norm =
        |rows: &Rows, count: usize| 0.5 * (flat(rows).iter().map(|v| v * v).sum::<f64>() / count as f64).log10();
    (0..spec.depth)
        .map(|l| {
            let activation = spec.activation.at(l);
            let (z, a) = (&pass.z[l], &pass.a[l]);
            let count = z.len() * z[0].len();
            let flatter =
                flat(z).iter().filter(|z| activation.both(**z).1.abs() < 0.01 * activation.steepest()).count();
            let dead = (0..a[0].len()).filter(|&unit| a.iter().all(|a| a[unit] == 0.0)).count();
            vec![
                log10_norm(z, count),
                log10_norm(a, count),
                log10_norm(&all.preactivations[l], count),
                log10_norm(&all.weights[l], 1),
                log10_norm(&vec![all.biases[l].clone()], 1),
                flatter as f64 / count as f64,
                dead as f64 / a[0].len() as f64,
                mean_cosine(z),
                participation_ratio(&pass.inputs[l + 1]),
                {
                    let square = |row: &Vec<f64>| row.iter().map(|v| v * v).sum::<f64>();
                    let pairs = pass.inputs[l].iter().zip(&all.preactivations[l]);
                    0.5 * (pairs.map(|(h, d)| square(h) * square(d)).sum::<f64>() / batch as f64).log10()
                },
            ]
        })
        .collect()
}

fn measured<F: Float>(spec: &Spec, batch: usize, seed: u64, threads: usize) -> Vec<Columns> {
    let job = Job::<F> { specs: vec![spec.clone()], data: None, batch, seed, seeds: 3, threads };
    let found = std::sync::Mutex::new(Vec::new());
    probe(&job, &Cancel::default(), &|_, columns| *found.lock().unwrap() = columns).unwrap();
    found.into_inner().unwrap()
}

/// Equal, both not a number, or both zero (`-inf` in log10).
fn close(a: f64, b: f64, tolerance: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * b.abs().max(1.0)
}

proptest! {
    #![proptest_config(Config { cases: examples(), failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..Config::default() })]

    #[test]
    fn float64_gradients_match_the_oracle(spec in specs(6, &[], &[]), batch in 1..70_usize) {
        compare::<f64>(&spec, batch, 1e-11);
    }

    #[test]
    fn float32_gradients_match_the_oracle(spec in specs(2, TAME, KINKED), batch in 1..70_usize) {
        // The oracle has the rounded weights: what is left is f32 rounding (6e-8) over sums of 40 and up to 6 layers.
        // In one of a thousand nets it would step over a kink and change a whole unit: those are for float64.
        compare::<f32>(&spec, batch, 1e-3);
    }

    #[test]
    fn every_column_of_a_probe_matches_its_definition(spec in specs(6, &[], &[]), batch in 1..70_usize, seed in 0..1000_u64) {
        for (run, columns) in measured::<f64>(&spec, batch, seed, 2).iter().enumerate() {
            for (layer, expected) in columns_by_definition(&spec, batch, seed + run as u64).iter().enumerate() {
                for (column, name) in COLUMNS.into_iter().enumerate() {
                    let found = columns.values[column][layer];
                    assert!(close(found, expected[column], 1e-9), "{name} layer {layer}: {found} {}", expected[column]);
                }
            }
        }
    }

    #[test]
    fn a_probe_has_the_same_bits_on_any_number_of_threads(spec in specs(6, &[], &[]), batch in 1..70_usize) {
        let bits = |threads| {
            let all = measured::<f32>(&spec, batch, 1, threads);
            all.into_iter().flat_map(|c| c.values.into_iter().flatten()).map(f64::to_bits).collect::<Vec<_>>()
        };
        let one = bits(1);
        prop_assert_eq!(&one, &bits(2));
        prop_assert_eq!(&one, &bits(4));
    }
}

#[test]
fn every_width_and_batch_up_to_past_two_panels_matches_the_oracle() {
    let net = |width: i128| Request {
        depth: 2,
        width: PerLayer::All(width),
        in_features: Some(width % 7 + 1),
        out_features: Some(width % 5 + 1),
        activation: PerLayer::All("tanh".to_owned()),
        init: "xavier_normal".to_owned(),
        bias: Some("normal(std=0.1)".to_owned()),
        norm: None,
        norm_position: "pre".to_owned(),
        skip: None,
        branch_scale: BranchScale::Number(1.0),
        block: 1,
        tied: false,
    };
    for width in 1..=130 {
        let spec = Spec::new(&net(width)).unwrap();
        compare::<f64>(&spec, width as usize * 11 % 70 + 1, 1e-12);
        compare::<f32>(&spec, width as usize * 17 % 70 + 1, 1e-4);
    }
    for batch in 1..=70 {
        compare::<f64>(&Spec::new(&net(37)).unwrap(), batch, 1e-12);
    }
}
