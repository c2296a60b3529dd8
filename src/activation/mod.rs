//! Activations: what an activation is, the table of its kinds, and tables of a user's own.

pub mod custom;
mod map;
mod table;

use crate::error::{Cancel, Error, Result};
use crate::kind::{self, Kind};
use crate::signature::{Call, MAX_PARAMS, Signature, Values};
use crate::simd::Float;

/// An activation function with its parameters.
pub type Activation = Kind<Row>;

/// The effect of an activation on the width of the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `a = phi(z)`, element by element.
    Each,
    /// The first half of `z` is the value, the second the gate: `a = value g(gate)`, half as wide. The row is `g`.
    Gated,
    /// `a = [phi(z), phi(-z)]`, twice as wide.
    Doubled,
}

/// An activation of the table, or of a user's own.
pub struct Row {
    signature: Signature,
    traits: Traits,
    function: Function,
}

/// The function and its slope.
enum Function {
    /// A formula, for one number and for slices of either dtype.
    Formula {
        /// `(phi(z), phi'(z))`.
        both: fn(f64, &Values) -> (f64, f64),
        single: fn(&Values, &[f32], &mut [f32], &mut [f32]),
        double: fn(&Values, &[f64], &mut [f64], &mut [f64]),
    },
    /// Cubics through samples of a user's own function, in the table whose number is the only parameter.
    Custom,
}

/// The properties of a formula that code elsewhere relies on. A table of a user's own works out three of them itself,
/// and has the rest from [`PLAIN`].
struct Traits {
    /// Is `phi(t z) = t phi(z)` for every `t > 0`? Such a net can carry an exponent forward.
    homogeneous: bool,
    /// The slopes just below and just above 0 where `phi` passes a small signal as `z` times these, `None` elsewhere:
    /// a signal too small for `phi` to bend can carry an exponent too.
    at_zero: fn(&Values) -> Option<[f64; 2]>,
    /// The arguments at which `phi`, `phi'` or `phi''` jumps: no difference quotient may straddle one.
    kinks: fn(&Values) -> Vec<f64>,
    /// The largest `|phi'|`, against which saturation is measured.
    steepest: fn(&Values) -> f64,
    /// The angular frequency of a wave that goes on far from 0, in radians to a unit of `z`; 0 if there is none.
    frequency: fn(&Values) -> f64,
    shape: Shape,
    /// The value that a learnable slope below 0 starts from.
    learned: fn(&Values) -> Option<f64>,
    /// The fault of a combination of parameters that are each allowed, in words.
    wrong: fn(&Values) -> Option<&'static str>,
}

/// The properties of a function that is smooth, no steeper than 1, and not 0 at 0.
const PLAIN: Traits = Traits {
    homogeneous: false,
    at_zero: |_| None,
    kinks: |_| Vec::new(),
    steepest: |_| 1.0,
    frequency: |_| 0.0,
    shape: Shape::Each,
    learned: |_| None,
    wrong: |_| None,
};

impl kind::Row for Row {
    const NOUN: &'static str = "activation";

    fn table() -> &'static [Self] {
        table::TABLE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn unlisted(call: &Call) -> Result<Option<&'static Self>> {
        Ok((call.name == custom::NAME).then_some(&custom::ROW))
    }

    fn check(&self, values: &Values) -> Result<()> {
        (self.traits.wrong)(values).map_or(Ok(()), |wrong| {
            let Signature { name, .. } = self.signature;
            Err(Error::Value(format!("activation {name}: {wrong}, got '{}'", self.signature.text(values))))
        })
    }
}

impl Kind<Row> {
    /// The identity.
    pub fn linear() -> Self {
        Self { row: &table::TABLE[0], values: [f64::NAN; MAX_PARAMS] }
    }

    /// The logistic function.
    pub fn sigmoid() -> Self {
        Self { row: &table::TABLE[1], values: [f64::NAN; MAX_PARAMS] }
    }

    /// Is `phi(t z) = t phi(z)` for every `t > 0`?
    pub fn homogeneous(&self) -> bool {
        self.row.traits.homogeneous
    }

    /// The slopes just below and just above 0 where a small signal passes as a line, `None` elsewhere.
    pub fn at_zero(&self) -> Option<[f64; 2]> {
        match &self.row.function {
            Function::Formula { .. } => (self.row.traits.at_zero)(&self.values),
            Function::Custom => custom::table(self.values[0]).and_then(|table| table.at_zero()),
        }
    }

    /// The angular frequency of a wave that goes on far from 0, in radians to a unit of `z`; 0 if there is none.
    pub fn frequency(&self) -> f64 {
        (self.row.traits.frequency)(&self.values)
    }

    /// The arguments at which `phi`, `phi'` or `phi''` jumps.
    pub fn kinks(&self) -> Vec<f64> {
        match &self.row.function {
            Function::Formula { .. } => (self.row.traits.kinks)(&self.values),
            Function::Custom => custom::table(self.values[0]).map_or_else(Vec::new, |table| table.kinks().to_vec()),
        }
    }

    /// The largest `|phi'|`.
    pub fn steepest(&self) -> f64 {
        match &self.row.function {
            Function::Formula { .. } => (self.row.traits.steepest)(&self.values),
            Function::Custom => custom::table(self.values[0]).map_or(f64::NAN, |table| table.steepest()),
        }
    }

    /// A unit counts as saturated where `|phi'|` is below this.
    pub fn flat(&self) -> f64 {
        0.01 * self.steepest()
    }

    /// The effect on the width of the layer.
    pub fn shape(&self) -> Shape {
        self.row.traits.shape
    }

    /// The width of `a` where `z` has this width, which must be even for a gated one.
    pub fn outputs(&self, width: usize) -> usize {
        match self.shape() {
            Shape::Each => width,
            Shape::Gated => width / 2,
            Shape::Doubled => 2 * width,
        }
    }

    /// The value that the learnable slope starts from, if there is one.
    pub fn learned(&self) -> Option<f64> {
        (self.row.traits.learned)(&self.values)
    }

    /// This activation with another value of its learnable slope, if it has one.
    pub fn with_slope(mut self, slope: f64) -> Self {
        if self.learned().is_some() {
            self.values[0] = slope;
        }
        self
    }

    /// `(phi(z), phi'(z))`.
    pub fn both(&self, z: f64) -> (f64, f64) {
        self.function()(z)
    }

    /// The function of [`Self::both`], for many arguments: a table is looked for once.
    pub fn function(&self) -> impl Fn(f64) -> (f64, f64) + use<'_> {
        let table = if matches!(self.row.function, Function::Custom) { custom::table(self.values[0]) } else { None };
        move |z| match (&self.row.function, &table) {
            (Function::Formula { both, .. }, _) => both(z, &self.values),
            (Function::Custom, Some(table)) => table.both(z),
            (Function::Custom, None) => (f64::NAN, f64::NAN),
        }
    }

    /// Outputs and slopes of a slice of pre-activations; all three of one length.
    pub fn apply<F: Float>(&self, z: &[F], a: &mut [F], slope: &mut [F]) {
        /// Elements between two looks at the request to stop.
        const PART: usize = 1 << 20;
        let parts = z.chunks(PART).zip(a.chunks_mut(PART)).zip(slope.chunks_mut(PART));
        for ((z, a), slope) in parts.take_while(|_| z.len() <= PART || !Cancel::requested()) {
            match &self.row.function {
                Function::Formula { single, double, .. } => F::pick(*single, *double)(&self.values, z, a, slope),
                Function::Custom => match custom::table(self.values[0]) {
                    Some(table) => table.apply(z, a, slope),
                    None => a.fill(F::of(f64::NAN)),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{FRAC_2_SQRT_PI, PI};

    /// Every row, and some with parameters.
    fn every() -> Vec<Activation> {
        let given = [
            ["leaky_relu(-1.5)", "elu(2)", "celu(0.5)", "gelu(tanh)", "softplus(3, 10)", "prelu(-2)", "rrelu(1, 2)"],
            [
                "hardtanh(0, 3)",
                "hardtanh(1, 2)",
                "softshrink(2)",
                "hardshrink(0)",
                "sin(3)",
                "squareplus(0.1)",
                "snake(5)",
            ],
            [
                "threshold(0.5, 2)",
                "threshold(-1, 2)",
                "threshold(1, 0)",
                "hardtanh(-2, 0)",
                "geglu(tanh)",
                "sin(0)",
                "prelu",
            ],
        ];
        // Without parameters a threshold has no value.
        let plain = Activation::names().filter(|name| *name != "threshold");
        plain.chain(given.into_iter().flatten()).map(|text| Activation::parse(text).unwrap()).collect()
    }

    #[test]
    fn the_stated_steepest_slope_is_the_largest_one_on_a_fine_grid() {
        for activation in every() {
            // Some near it far out, or beside a kink.
            let sides = activation.kinks().into_iter().flat_map(|kink| [kink - 1e-9, kink + 1e-9]);
            let grid = (-600_000..=600_000).map(|i| f64::from(i) * 1e-4).chain([-1e9, 1e9]).chain(sides);
            let largest = grid.map(|z| activation.both(z).1.abs()).fold(0.0, f64::max);
            assert!((largest - activation.steepest()).abs() < 1e-8, "{} {largest}", activation.text());
        }
    }

    #[test]
    fn homogeneous_rows_scale_and_the_others_do_not() {
        for activation in every() {
            let scales = [-3.0, -0.5, 0.7, 4.0].iter().all(|&z| {
                let (small, large) = (activation.both(z).0, activation.both(8.0 * z).0);
                (large - 8.0 * small).abs() <= 1e-12 * large.abs()
            });
            // The identity, or nothing: homogeneous, but not worth a word in the table.
            let trivial = ["hardshrink(lambd=0)", "sin(omega=0)"].contains(&activation.text().as_str());
            assert_eq!(scales, activation.homogeneous() || trivial, "{}", activation.text());
        }
    }

    #[test]
    fn a_tiny_signal_passes_as_a_line_where_that_is_stated() {
        for activation in every() {
            let Some([below, above]) = activation.at_zero() else {
                let cubic = activation.both(1e-20).0.abs() < 1e-40;
                let gated = activation.shape() == Shape::Gated;
                assert!(activation.both(0.0).0 != 0.0 || cubic || gated, "{}", activation.text());
                continue;
            };
            for (z, slope) in [(-1e-20, below), (0.0, below), (1e-20, above)] {
                let (value, derivative) = activation.both(z);
                assert!((value - slope * z).abs() <= 1e-15 * value.abs(), "{} at {z}", activation.text());
                // Where the signal needs no line, 0 may have a slope of its own.
                let text = activation.text();
                let own = z == 0.0
                    && ["abs", "hardshrink(lambd=0)", "hardtanh(min_val=-2, max_val=0)"].contains(&text.as_str());
                assert!((derivative - slope).abs() <= 1e-15 * slope.abs() || own, "{} at {z}", activation.text());
            }
        }
    }

    #[test]
    fn a_parameter_that_bends_it_close_to_0_leaves_no_line_there() {
        for text in
            ["hardtanh(-1e-9, 1)", "celu(1e-6)", "sin(1e4)", "snake(1e4)", "softshrink(1e-3)", "threshold(-1e-3, 0)"]
        {
            assert_eq!(Activation::parse(text).unwrap().at_zero(), None, "{text}");
        }
    }

    #[test]
    fn nan_stays_nan_and_infinities_keep_their_limits() {
        for activation in every() {
            assert!(activation.both(f64::NAN).0.is_nan(), "{}", activation.text());
            // A wave has no limit.
            let wave = ["sin", "snake"].contains(&activation.signature().name);
            for z in [-1e300, 1e300, f64::NEG_INFINITY, f64::INFINITY] {
                let (value, slope) = activation.both(z);
                let fails = value.is_nan() || slope.is_nan();
                assert_eq!(fails, wave && z.is_infinite(), "{} at {z}: {value} {slope}", activation.text());
            }
        }
        for (text, at_minus, at_plus) in [
            ("softsign", -1.0, 1.0),
            ("arctan", -PI / 2.0, PI / 2.0),
            ("erf", -1.0, 1.0),
            ("mish", 0.0, f64::INFINITY),
            ("hardswish", 0.0, f64::INFINITY),
            ("squareplus", 0.0, f64::INFINITY),
            ("logsigmoid", f64::NEG_INFINITY, 0.0),
            ("tanhshrink", f64::NEG_INFINITY, f64::INFINITY),
        ] {
            let limits = [f64::NEG_INFINITY, f64::INFINITY].map(|z| Activation::parse(text).unwrap().both(z).0);
            assert_eq!(limits, [at_minus, at_plus], "{text}");
        }
    }

    #[test]
    fn slopes_at_kinks_are_those_of_torch() {
        // Measured with torch 2.13.
        for (text, z, slope) in [
            ("relu", 0.0, 0.0),
            ("leaky_relu(0.2)", 0.0, 0.2),
            ("prelu", 0.0, 0.25),
            ("rrelu", 0.0, 11.0 / 48.0),
            ("elu", 0.0, 1.0),
            ("celu(2)", 0.0, 1.0),
            ("selu", 0.0, 1.758_099_340_847_376_8),
            ("hardtanh", -1.0, 0.0),
            ("hardtanh", 1.0, 0.0),
            ("relu6", 0.0, 0.0),
            ("relu6", 6.0, 0.0),
            ("hardsigmoid", -3.0, 0.0),
            ("hardsigmoid", 3.0, 0.0),
            ("hardswish", -3.0, 0.0),
            ("hardswish", 3.0, 1.0),
            ("softshrink", 0.5, 0.0),
            ("hardshrink", -0.5, 0.0),
            ("threshold(0.5, 2)", 0.5, 0.0),
            ("abs", 0.0, 0.0),
            ("softsign", 0.0, 1.0),
            ("softplus", 20.1, 1.0),
        ] {
            assert!((Activation::parse(text).unwrap().both(z).1 - slope).abs() < 1e-15, "{text}");
        }
    }

    #[test]
    fn parameters_that_do_not_go_together_are_refused() {
        for (text, part) in [
            ("hardtanh(1, 1)", "min_val must be below max_val, got 'hardtanh(min_val=1)'"),
            ("hardtanh(2)", "min_val must be below max_val"),
            ("rrelu(0.5, 0.25)", "lower must not be above upper"),
            ("softshrink(-1)", "lambd must be a finite number, 0 or more"),
            ("squareplus(0)", "b must be a finite number above 0"),
            ("threshold", "needs threshold"),
            ("threshold(1)", "needs value"),
        ] {
            let message = Activation::parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn a_learned_slope_is_a_value_of_the_row() {
        assert_eq!(Activation::parse("leaky_relu").unwrap().learned(), None);
        let prelu = Activation::parse("prelu(0.1)").unwrap();
        assert_eq!(prelu.learned(), Some(0.1));
        assert_eq!(prelu.with_slope(-0.5).both(-2.0), (1.0, -0.5));
        let (mut a, mut slope) = ([0.0_f32], [0.0_f32]);
        prelu.with_slope(-0.5).apply(&[-2.0], &mut a, &mut slope);
        assert_eq!((a, slope), ([1.0], [-0.5]));
    }

    #[test]
    fn shapes_say_the_width_that_leaves() {
        for (text, shape, width) in
            [("relu", Shape::Each, 6), ("crelu", Shape::Doubled, 12), ("geglu(tanh)", Shape::Gated, 3)]
        {
            let activation = Activation::parse(text).unwrap();
            assert_eq!((activation.shape(), activation.outputs(6)), (shape, width), "{text}");
        }
    }

    #[test]
    fn slopes_keep_their_digits_in_deep_saturation() {
        let slope = |text: &str, z: f64| Activation::parse(text).unwrap().both(z).1;
        // exp(-z) and 4 exp(-2z) to all digits: the next term of the series is 1e-17 of the first.
        assert_eq!(slope("sigmoid", 40.0), libm::exp(-40.0));
        assert_eq!(slope("sigmoid", -40.0), libm::exp(-40.0));
        assert_eq!(slope("tanh", 20.0), 4.0 * libm::exp(-40.0));
        assert_eq!(slope("logsigmoid", 40.0), libm::exp(-40.0));
        assert_eq!(slope("erf", 20.0), FRAC_2_SQRT_PI * libm::exp(-400.0));
        assert!((slope("softsign", 1e9) * 1e9 * 1e9 * (1.0 + 2e-9) - 1.0).abs() < 1e-15);
        assert!((slope("squareplus", -1e9) * 1e18 - 1.0).abs() < 1e-15);
    }
}
