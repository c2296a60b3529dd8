//! Gains: the effect of an activation on the size of normal signals, and the weights that make up for it.
//!
//! `z` is standard normal throughout.

use crate::activation::{Activation, Shape};
use crate::error::{self, Error, Result};
use crate::expectation::Moments;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Names that [`torch`] has a gain for.
pub const TORCH: [&str; 6] = ["leaky_relu", "relu", "tanh", "sigmoid", "selu", "linear"];

/// The table of `torch.nn.init.calculate_gain`; the slope is that of `leaky_relu` below 0.
pub fn torch(name: &str, slope: f64) -> Option<f64> {
    match name {
        "linear" | "sigmoid" => Some(1.0),
        "tanh" => Some(5.0 / 3.0),
        "relu" => Some(2_f64.sqrt()),
        "leaky_relu" => Some((2.0 / (1.0 + slope * slope)).sqrt()),
        "selu" => Some(0.75),
        _ => None,
    }
}

/// The gain of an activation by torch's table, or the one that keeps `E phi(z)^2` ("forward") or `E phi'(z)^2`
/// ("backward") times its square at 1.
pub fn gain(activation: &Activation, mode: Option<&str>) -> Result<f64> {
    let second = match mode {
        None => {
            return torch(activation.signature().name, activation.values()[0]).ok_or_else(|| {
                Error::Value(format!(
                    "torch has no gain for {}, only for {}; mode=\"forward\" or mode=\"backward\" derives one",
                    activation.text(),
                    TORCH.join(", ")
                ))
            });
        }
        Some("forward") => Moments::of(activation, 1.0).value,
        Some("backward") => Moments::of(activation, 1.0).slope,
        Some(other) => {
            return Err(Error::value("mode", "None, 'forward' or 'backward'", format!("'{}'", error::shown(other))));
        }
    };
    if second > 0.0 {
        return Ok((1.0 / second).sqrt());
    }
    Err(Error::Value(format!("{} lets nothing pass, so that no gain makes up for it", activation.text())))
}

/// Weights and signals on the edge of chaos: `chi_1 = sigma_w^2 E phi'(sqrt(q) z)^2 = 1` at the fixed point
/// `q = sigma_w^2 E phi(sqrt(q) z)^2 + sigma_b^2`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Critical {
    /// Standard deviation of the weights times `sqrt(fan_in)`.
    pub sigma_w: f64,
    /// Variance of the pre-activations; 0 where it shrinks by a power law, or where every variance is a fixed point.
    pub q: f64,
}

/// The critical point of an activation for a standard deviation of the biases.
///
/// Schoenholz et al. 2016, arXiv:1611.01232; for `ReLU` and the condition on stability Hayou et al. 2019,
/// arXiv:1902.06853. A point that repels the variance is none: signals would leave it within a few layers.
pub fn critical(activation: &Activation, sigma_b: f64) -> Result<Critical> {
    type Key = (&'static str, Vec<u64>, u64);
    // Every layer of every net of a sweep asks again.
    static KNOWN: LazyLock<Mutex<HashMap<Key, Result<Critical>>>> = LazyLock::new(Mutex::default);
    let values = activation.values().iter().map(|value| value.to_bits()).collect();
    let key = (activation.signature().name, values, sigma_b.to_bits());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(key).or_insert_with(|| solve(activation, sigma_b)).clone()
}

fn solve(activation: &Activation, sigma_b: f64) -> Result<Critical> {
    let refused = |why: String| {
        let name = activation.text();
        Err(Error::Value(format!("{name} has no edge of chaos with sigma_b={sigma_b}: {why}")))
    };
    // Measured: samples of unit variance grow without end at the fixed points of glu, swiglu and geglu.
    if activation.shape() == Shape::Gated {
        return refused("it multiplies two signals, and grows without end where they are not small".to_owned());
    }
    if activation.homogeneous() && sigma_b > 0.0 {
        return refused("biases make its signals grow with depth; use sigma_b=0".to_owned());
    }
    if let Some([below, above]) = activation.at_zero().filter(|_| sigma_b == 0.0) {
        // The limit of small q, where phi is a line on either side of 0.
        let slope = 0.5 * (below * below + above * above);
        if slope == 0.0 {
            return refused("its slope at 0 is 0, where small signals end".to_owned());
        }
        let small = Moments::of(activation, 1e-4);
        if activation.homogeneous() || small.value <= slope * 1e-4 {
            return Ok(Critical { sigma_w: (1.0 / slope).sqrt(), q: 0.0 });
        }
    }
    // With chi_1 = 1 this variance of the biases makes q = e^log_q a fixed point.
    let biases = |log_q: f64| {
        let q = libm::exp(log_q);
        let moments = Moments::of(activation, q);
        (q - moments.value / moments.slope, moments)
    };
    let wanted = sigma_b * sigma_b;
    let attracts = |moments: &Moments| moments.growth <= moments.slope;
    let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
    let mut last = None;
    // From q = 1e-9 to 1e5.
    for log_q in (-207..=115).map(|i| f64::from(i) / 10.0) {
        let (variance, moments) = biases(log_q);
        if variance >= 0.0 && attracts(&moments) {
            (least, most) = (least.min(variance), most.max(variance));
        }
        if let Some(mut low) = last.filter(|_| variance >= wanted) {
            let mut high = log_q;
            for _ in 0..60 {
                let middle = 0.5 * (low + high);
                *if biases(middle).0 < wanted { &mut low } else { &mut high } = middle;
            }
            let moments = biases(high).1;
            if attracts(&moments) {
                return Ok(Critical { sigma_w: (1.0 / moments.slope).sqrt(), q: libm::exp(high) });
            }
        }
        last = (variance < wanted).then_some(log_q);
    }
    if most == 0.0 {
        return refused("no weights keep both its signals and their gradients".to_owned());
    }
    let (least, most) = (least.sqrt(), most.sqrt());
    refused(format!("no variance of its signals attracts there; one does from about {least:.3} to {most:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    fn activation(text: &str) -> Activation {
        Activation::parse(text).unwrap()
    }

    #[test]
    fn moments_are_those_of_closed_forms() {
        let close = |found: f64, exact: f64| assert!((found - exact).abs() < 4e-15 * exact, "{found} {exact}");
        for q in [1e-6, 0.3, 1.0, 50.0] {
            for (text, below) in [("linear", 1.0), ("relu", 0.0), ("leaky_relu(0.3)", 0.3)] {
                let moments = Moments::of(&activation(text), q);
                let slope = 0.5 * (1.0 + below * below);
                close(moments.value, slope * q);
                close(moments.slope, slope);
                close(moments.growth, slope);
            }
            // Tsuchida et al. 2021, arXiv:2002.08517.
            let cdf = |z: f64| 0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2);
            let moments = Moments::of(&activation("elu"), q);
            close(moments.slope, 0.5 + libm::exp(2.0 * q) * cdf(-2.0 * q.sqrt()));
        }
        // Of gelu, in 40 digits (mpmath).
        close(gain(&activation("gelu"), Some("forward")).unwrap(), 1.533_530_441_195_535_2);
        close(gain(&activation("gelu"), Some("backward")).unwrap(), 1.481_114_412_708_348_1);
        close(gain(&activation("sigmoid"), Some("backward")).unwrap(), 4.722_646_085_937_974);
        close(gain(&activation("tanh"), Some("backward")).unwrap(), 1.467_413_591_630_795);
    }

    #[test]
    fn the_edge_of_chaos_of_tanh_is_the_published_one() {
        for (variance, q, weights) in [
            (0.01, 0.273_300_913, 1.424_205_290),
            (0.05, 0.570_047_882, 1.760_954_640),
            (0.2, 1.164_496_287, 2.285_152_474),
            (1.0, 3.036_396_395, 3.443_210_912),
        ] {
            let found = critical(&activation("tanh"), f64::sqrt(variance)).unwrap();
            assert!((found.q / q - 1.0).abs() < 1e-8, "{found:?}");
            assert!((found.sigma_w.powi(2) / weights - 1.0).abs() < 1e-8, "{found:?}");
        }
        assert_eq!(critical(&activation("tanh"), 0.0).unwrap(), Critical { sigma_w: 1.0, q: 0.0 });
        assert_eq!(critical(&activation("relu"), 0.0).unwrap().sigma_w, 2_f64.sqrt());
    }

    #[test]
    fn half_stable_points_are_where_smooth_relus_begin_to_have_an_edge() {
        // Roberts, Yaida and Hanin 2022, "The principles of deep learning theory", section 5.3.4: for swish
        // C_b = 0.55514317, C_W = 1.98800468; for gelu C_b = 0.17292239, C_W = 1.98305826.
        for (name, variance, weights) in [("silu", 0.555_143_17, 1.988_004_68), ("gelu", 0.172_922_39, 1.983_058_26)] {
            assert!(critical(&activation(name), f64::sqrt(variance) - 2e-3).is_err());
            let found = critical(&activation(name), f64::sqrt(variance) + 2e-3).unwrap();
            assert!((found.sigma_w.powi(2) / weights - 1.0).abs() < 2e-3, "{found:?}");
        }
    }

    #[test]
    fn a_gated_activation_is_its_value_times_its_gate() {
        for text in ["glu", "swiglu", "geglu"] {
            let gated = activation(text);
            for q in [0.5, 1.0, 3.0_f64] {
                // Both halves on one grid of normal samples.
                let grid = (-600..=600).map(|i| f64::from(i) / 60.0).collect::<Vec<_>>();
                let weight = |z: f64| libm::exp(-0.5 * z * z) / TAU.sqrt() / 60.0;
                let (mut value, mut slope) = (0.0, 0.0);
                for &v in &grid {
                    for &z in &grid {
                        let (gate, bend) = gated.both(q.sqrt() * z);
                        let (share, v) = (weight(v) * weight(z), q.sqrt() * v);
                        value += share * (v * gate).powi(2);
                        slope += share * (gate * gate + (v * bend).powi(2));
                    }
                }
                let moments = Moments::of(&gated, q);
                let step = 1e-4 * q;
                let (more, less) = (Moments::of(&gated, q + step).value, Moments::of(&gated, q - step).value);
                assert!((moments.value / value - 1.0).abs() < 1e-9, "{text} {q}: {moments:?} {value}");
                assert!((moments.slope / slope - 1.0).abs() < 1e-9, "{text} {q}: {moments:?} {slope}");
                assert!((moments.growth / ((more - less) / (2.0 * step)) - 1.0).abs() < 1e-6, "{text} {q}");
            }
        }
        for sigma_b in [0.0, 0.3] {
            assert!(critical(&activation("glu"), sigma_b).unwrap_err().to_string().contains("two signals"));
        }
    }

    #[test]
    fn a_net_without_an_edge_is_refused_with_the_reason() {
        for (name, sigma_b, part) in
            [("relu", 0.1, "use sigma_b=0"), ("gelu", 0.0, "from about 0.4"), ("softplus", 0.0, "no weights keep")]
        {
            let message = critical(&activation(name), sigma_b).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        // Known to be there by computation: weights of ten times LeCun's.
        let found = critical(&activation("sigmoid"), 0.0).unwrap();
        assert!((found.sigma_w - 10.2).abs() < 0.1, "{found:?}");
    }
}
