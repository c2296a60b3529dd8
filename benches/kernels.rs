//! The kernels against what the machine can do: `cargo bench`, under each `VGCORE_ISA`.
//!
//! Matrix products as per cent of the fused multiply-add peak, measured in the same process before and after each
//! figure; orthogonal weights alike; normals and activations in nanoseconds an element. One thread. Words after `--`
//! choose rows by their name; with `VGCORE_BENCH=smoke` each is only started.

use std::hint::black_box;
use std::time::{Duration, Instant};
use vgcore::activation::Activation;
use vgcore::error::Cancel;
use vgcore::init::Distribution;
use vgcore::kernel::{Matrix, Panels, outer};
use vgcore::rng::{Role, Stream};
use vgcore::simd::{self, Float, Lanes, Set, Task, Vector};

/// Multiply-adds in as many independent chains as hide their latency.
struct Peak<F>(F);

const ROUNDS: usize = 4000;

impl<F: Float> Task for Peak<F> {
    /// (multiply-adds done, their sum)
    type Output = (usize, F);

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn run<S: Set>(self) -> (usize, F) {
        let factor = Lanes::<F, S>::splat(self.0);
        let mut sums = [factor; 12];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = sum.multiply_add(factor, factor);
            }
        }
        let mut total = F::ZERO;
        for sum in sums {
            let mut lanes = [F::ZERO; 32];
            sum.store(&mut lanes);
            total += lanes[0];
        }
        (ROUNDS * 12 * Lanes::<F, S>::LANES, total)
    }
}

/// Is everything only to be started?
fn smoke() -> bool {
    std::env::var("VGCORE_BENCH").is_ok_and(|value| value == "smoke")
}

/// Seconds of one call: the fastest of several batches of calls.
fn time(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    call();
    let once = start.elapsed();
    let calls = (Duration::from_micros(400).as_nanos() / once.as_nanos().max(1)).clamp(1, 100_000) as u32;
    let batch = |call: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        start.elapsed().as_secs_f64() / f64::from(calls)
    };
    if smoke() {
        return once.as_secs_f64();
    }
    (0..25).map(|_| batch(&mut call)).fold(f64::INFINITY, f64::min)
}

/// Multiply-adds a second at most.
fn peak<F: Float>() -> f64 {
    let work = (ROUNDS * 12 * simd::run(Peak(F::of(0.5))).0 / (ROUNDS * 12)) as f64;
    work / time(|| {
        black_box(simd::run(Peak(black_box(F::of(0.5)))));
    })
}

fn panels<F: Float>(features: usize, batch: usize) -> Panels<F> {
    let mut all = Panels::default();
    all.fill(features, batch, |sample, feature| F::of((sample * 31 + feature * 17) as f64 % 13.0 - 6.0));
    all
}

fn products<F: Float>(width: usize, batch: usize) {
    let (x, mut y) = (panels::<F>(width, batch), Panels::default());
    let mut weights = Matrix::default();
    weights.fill(width, width, |out| Stream::new(1, 0, Role::Weight).normal(out));
    let bias = vec![F::ZERO; width];
    let work = (width * width * batch) as f64;
    let before = peak::<F>();
    let forward = time(|| weights.forward(&x, &bias, &mut y));
    let backward = time(|| weights.backward(&x, &mut y));
    let (mut dw, mut scratch) = (Matrix::default(), Matrix::default());
    let gradient = time(|| outer(&x, &x, &mut dw, &mut scratch));
    let peak = before.max(peak::<F>());
    let share = |seconds: f64| 100.0 * work / seconds / peak;
    println!(
        "{} {width:4} x {batch:3}   W x {:5.1} %   W^T d {:5.1} %   dW {:5.1} %   of {:5.1} GFLOP/s",
        F::NAME,
        share(forward),
        share(backward),
        share(gradient),
        2e-9 * peak
    );
}

/// Products with weights that lie beyond the second-level cache, as those of all layers of a net do.
fn cold_products(width: usize, batch: usize) {
    const ENTRIES: usize = 4 << 20;
    let (x, mut y) = (panels::<f32>(width, batch), Panels::default());
    let mut layers = vec![Matrix::default(); ENTRIES / (width * width)];
    for layer in &mut layers {
        layer.fill(width, width, |out| Stream::new(1, 0, Role::Weight).normal(out));
    }
    let work = (layers.len() * width * width * batch) as f64;
    let before = peak::<f32>();
    let forward = time(|| layers.iter().for_each(|weights| weights.forward(&x, &[], &mut y)));
    let backward = time(|| layers.iter().for_each(|weights| weights.backward(&x, &mut y)));
    let peak = before.max(peak::<f32>());
    let share = |seconds: f64| 100.0 * work / seconds / peak;
    println!("cold products {width:4} x {batch:3}   W x {:5.1} %   W^T d {:5.1} %", share(forward), share(backward));
}

fn per_element<F: Float>(name: &str) {
    const COUNT: usize = 4096;
    let (mut out, mut slope) = (vec![F::ZERO; COUNT], vec![F::ZERO; COUNT]);
    let mut z = vec![F::ZERO; COUNT];
    let stream = Stream::new(1, 0, Role::Weight);
    stream.normal(&mut z);
    let seconds = match name {
        "normal" => time(|| stream.normal(&mut out)),
        "uniform" => time(|| stream.uniform(0.0, 1.0, &mut out)),
        _ => {
            let text = if name == "threshold" { "threshold(0.2, 0.1)" } else { name };
            let activation = Activation::parse(text).expect("a row");
            time(|| activation.apply(&z, &mut out, &mut slope))
        }
    };
    println!("{} {name:12} {:6.2} ns an element", F::NAME, 1e9 * seconds / COUNT as f64);
}

fn orthogonal(width: usize) {
    let mut weights = vec![0.0; width * width];
    let mut draw = |init: Distribution| {
        let stream = Stream::new(1, 0, Role::Weight);
        time(|| init.fill(stream, width, width, &mut weights, &Cancel::default()).expect("no request to stop"))
    };
    let before = peak::<f64>();
    let (seconds, normals) = (draw(Distribution::Orthogonal(1.0)), draw(Distribution::Normal(0.0, 1.0)));
    // Of the QR and of forming Q, one reflector at a time; two to a multiply-add.
    let work = 4.0 / 3.0 * (width as f64).powi(3);
    let peak = before.max(peak::<f64>());
    println!(
        "orthogonal {width:4}   {:8.3} ms, {:7.3} of them normals   {:5.1} %   of {:5.1} GFLOP/s",
        1e3 * seconds,
        1e3 * normals,
        100.0 * work / seconds / peak,
        2e-9 * peak
    );
}

fn main() {
    let wanted = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect::<Vec<_>>();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    println!("isa {}", simd::isa().expect("an instruction set").name());
    for (width, batch) in [16, 32, 64, 128, 256, 512, 1024]
        .into_iter()
        .flat_map(|width| [(width, 32), (width, 256)])
        .chain([(256, 1), (256, 8), (300, 33)])
    {
        if wants("products") {
            products::<f32>(width, batch);
            products::<f64>(width, batch);
        }
    }
    if wants("cold") {
        [(64, 32), (128, 32), (256, 32), (256, 8), (256, 64), (512, 32)]
            .into_iter()
            .for_each(|(w, b)| cold_products(w, b));
    }
    if wants("orthogonal") {
        [16, 32, 64, 128, 256, 512, 1024].into_iter().for_each(orthogonal);
    }
    for name in ["normal", "uniform"].into_iter().chain(Activation::names()).filter(|name| wants(name)) {
        per_element::<f32>(name);
        per_element::<f64>(name);
    }
}
