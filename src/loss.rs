//! Losses: one row each, the value beside its gradient, in `f64`.
//!
//! Names, parameters and reductions are those of torch. Where a loss has a kink its derivative is the subgradient of
//! the smallest size, torch's documented rule: 0 for `mae` at equality and for `hinge` at a margin of exactly 1.

use crate::kind::{self, Kind};
use crate::signature::{Domain, Param, Signature, Values, about};
use crate::simd::exponentials;

/// The targets that the output is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// One class id a sample.
    Classes(Vec<usize>),
    /// Numbers, row-major, and how many a sample.
    Values(Vec<f64>, usize),
    /// No targets: the loss is of the output alone.
    Absent,
}

impl Targets {
    /// The targets of some samples.
    pub fn of(&self, rows: &[usize]) -> Self {
        match self {
            Self::Classes(ids) => Self::Classes(rows.iter().map(|&row| ids[row]).collect()),
            Self::Values(values, width) => {
                let values = rows.iter().flat_map(|&row| &values[row * width..][..*width]).copied().collect();
                Self::Values(values, *width)
            }
            Self::Absent => Self::Absent,
        }
    }
}

/// A loss function with its parameters.
pub type Loss = Kind<Row>;

/// The value, and the derivative by the output.
enum Rule {
    /// A function of one output and its target, with the targets that are allowed and the outputs where value or slope
    /// jumps. The mean is over all elements.
    Element(fn(&Values, f64, f64) -> (f64, f64), Allowed, Kinks),
    /// A function of one output and its target. The mean is over samples only.
    Sample(fn(&Values, f64, f64) -> (f64, f64)),
    /// A function of all outputs of a sample and its class id, which turns the exponentials in the last argument, of the
    /// outputs less their largest, into the gradient.
    Classes(fn(&Values, &[f64], usize, &mut [f64]) -> f64),
    /// A function of one output alone. The mean is over samples only.
    Output(fn(f64) -> (f64, f64)),
}

/// The outputs at which the slope, or the slope of the slope, jumps for a target.
type Kinks = fn(&Values, f64) -> Vec<f64>;

/// The numbers that may be targets.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// Is the number a target?
    pub holds: fn(f64) -> bool,
    /// The words for all numbers that are.
    pub words: &'static str,
    /// The target that a number from 0 to 1 stands for.
    draw: fn(f64) -> f64,
}

const ANY: Allowed = Allowed { holds: |_| true, words: "a number", draw: |u| 4.0 * u - 2.0 };
const SHARE: Allowed = Allowed { holds: |t| (0.0..=1.0).contains(&t), words: "from 0 to 1", draw: |u| u };
const SIGN: Allowed = Allowed { holds: |t| t.abs() == 1.0, words: "-1 or 1", draw: |u| (u - 0.5).signum() };

const SMOOTH: Kinks = |_, _| Vec::new();

/// A loss of the table.
pub struct Row {
    signature: Signature,
    rule: Rule,
}

const REDUCTIONS: [&str; 2] = ["mean", "sum"];
/// The last parameter of every row.
const REDUCTION: Param = Param::new("reduction", Domain::Word(&REDUCTIONS), 0.0);

macro_rules! row {
    ($name:literal, [$($alias:literal),*], $about:expr, [$($param:expr),*], $rule:expr) => {
        Row {
            signature: Signature {
                name: $name,
                aliases: &[$($alias),*],
                params: &[$($param,)* REDUCTION],
                about: $about,
            },
            rule: $rule,
        }
    };
}

static TABLE: [Row; 8] = [
    row!(
        "mse",
        [],
        about("(y - t)**2", "the square of the error of each element", "torch.nn.MSELoss"),
        [],
        Rule::Element(|_, y, t| ((y - t) * (y - t), 2.0 * (y - t)), ANY, SMOOTH)
    ),
    row!(
        "half_mse",
        [],
        about(
            "sum((y - t)**2) / 2",
            "half the squared error of a sample, summed over its outputs, as in textbooks",
            "Rumelhart et al. 1986, doi:10.1038/323533a0"
        ),
        [],
        Rule::Sample(|_, y, t| (0.5 * (y - t) * (y - t), y - t))
    ),
    row!(
        "mae",
        ["l1"],
        about("abs(y - t)", "the size of the error of each element", "torch.nn.L1Loss"),
        [],
        Rule::Element(mae, ANY, |_, t| vec![t])
    ),
    row!(
        "huber",
        [],
        about(
            "where(abs(y - t) <= delta, (y - t)**2 / 2, delta * (abs(y - t) - delta / 2))",
            "half the square of a small error, and a line from delta on",
            "Huber 1964, doi:10.1214/aoms/1177703732; torch.nn.HuberLoss"
        ),
        [Param::new("delta", Domain::Positive, 1.0)],
        Rule::Element(huber, ANY, |p, t| vec![t - p[0], t + p[0]])
    ),
    row!(
        "cross_entropy",
        [],
        about(
            "log(sum(exp(y))) - (1 - label_smoothing) * y[t] - label_smoothing * mean(y)",
            "minus the logarithm of the softmax of a sample's class t",
            "torch.nn.CrossEntropyLoss; smoothing of Szegedy et al. 2015, arXiv:1512.00567"
        ),
        [Param::new("label_smoothing", Domain::Share, 0.0)],
        Rule::Classes(cross_entropy)
    ),
    row!(
        "bce_with_logits",
        [],
        about(
            "log(1 + exp(y)) - t * y",
            "the cross-entropy of each output as a probability, sigmoid(y), with t from 0 to 1",
            "torch.nn.BCEWithLogitsLoss"
        ),
        [],
        Rule::Element(bce_with_logits, SHARE, SMOOTH)
    ),
    // Not torch's MultiMarginLoss, which compares the outputs of a sample with each other.
    row!(
        "hinge",
        [],
        about(
            "max(0, 1 - t * y)",
            "what each output lacks of a margin of 1, with t = -1 or 1",
            "Cortes and Vapnik 1995, doi:10.1007/BF00994018"
        ),
        [],
        Rule::Element(hinge, SIGN, |_, t| vec![t])
    ),
    row!(
        "output_sum",
        [],
        about(
            "sum(y)",
            "the outputs of a sample themselves, which every sample then pulls at alike; no targets",
            "torch's y.sum().backward()"
        ),
        [],
        Rule::Output(|y| (y, 1.0))
    ),
];

fn mae(_: &Values, y: f64, t: f64) -> (f64, f64) {
    let error = y - t;
    (error.abs(), if error == 0.0 { 0.0 } else { error.signum() })
}

fn huber(p: &Values, y: f64, t: f64) -> (f64, f64) {
    let (delta, error) = (p[0], y - t);
    let size = error.abs();
    let value = if size <= delta { 0.5 * size * size } else { delta * (size - 0.5 * delta) };
    (value, error.clamp(-delta, delta))
}

fn bce_with_logits(_: &Values, y: f64, t: f64) -> (f64, f64) {
    // No exponential can overflow, and the gradient sigmoid(y) - t keeps its digits where it is tiny: 1 - t is exact
    // for t = 1, so nothing is left to cancel.
    let e = libm::exp(-y.abs());
    let (up, down) = if y < 0.0 { (e, 1.0) } else { (1.0, e) };
    let value = (1.0 - t) * y.max(0.0) + t * (-y).max(0.0) + libm::log1p(e);
    (value, ((1.0 - t) * up - t * down) / (1.0 + e))
}

fn hinge(_: &Values, y: f64, t: f64) -> (f64, f64) {
    let short = 1.0 - t * y;
    if short <= 0.0 { (0.0, 0.0) } else { (short, -t) }
}

/// `gradient` holds `exp(y - largest y)`.
fn cross_entropy(p: &Values, y: &[f64], class: usize, gradient: &mut [f64]) -> f64 {
    let (smoothing, count) = (p[0], y.len() as f64);
    let largest = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let first = y.iter().position(|&v| v == largest).unwrap_or_default();
    let but = |gradient: &[f64], one: usize| {
        gradient.iter().enumerate().filter(|&(i, _)| i != one).map(|(_, g)| g).sum::<f64>()
    };
    // The loss and 1 - p of a nearly certain class are made of the others: total is 1 to the last digit.
    let (beside, others) = (but(gradient, first), but(gradient, class));
    let total = gradient[first] + beside;
    gradient.iter_mut().for_each(|g| *g = *g / total - smoothing / count);
    gradient[class] = smoothing * (count - 1.0) / count - others / total;
    // The smoothed target gives every class its share; a sum that may be infinite is not looked at without need.
    let all = if smoothing > 0.0 { y.iter().map(|y| (largest - y) / count).sum::<f64>() * smoothing } else { 0.0 };
    libm::log1p(beside) + (1.0 - smoothing) * (largest - y[class]) + all
}

impl kind::Row for Row {
    const NOUN: &'static str = "loss";

    fn table() -> &'static [Self] {
        &TABLE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }
}

impl Kind<Row> {
    /// Does the loss take class ids?
    pub fn takes_classes(&self) -> bool {
        matches!(self.row.rule, Rule::Classes(_))
    }

    /// Does the loss take targets at all?
    pub fn takes_targets(&self) -> bool {
        !matches!(self.row.rule, Rule::Output(_))
    }

    /// The numbers that may be targets.
    pub fn allowed(&self) -> Allowed {
        if let Rule::Element(_, allowed, _) = self.row.rule { allowed } else { ANY }
    }

    /// The targets that numbers from 0 to 1 stand for, one an output: those of a drawn problem.
    pub fn targets(&self, uniform: &[f64], width: usize) -> Targets {
        if !self.takes_targets() {
            return Targets::Absent;
        }
        if self.takes_classes() {
            let class = |sample: &[f64]| ((sample[0] * width as f64) as usize).min(width - 1);
            return Targets::Classes(uniform.chunks_exact(width).map(class).collect());
        }
        Targets::Values(uniform.iter().copied().map(self.allowed().draw).collect(), width)
    }

    /// The outputs at which slope or curvature jump where this is the target.
    pub fn kinks(&self, target: f64) -> Vec<f64> {
        if let Rule::Element(_, _, kinks) = self.row.rule { kinks(&self.values, target) } else { Vec::new() }
    }

    /// Is the reduction a sum, and not a mean?
    fn sums(&self) -> bool {
        self.values[self.row.signature.params.len() - 1] == 1.0
    }

    /// The reduction in words: how the losses become one number, and over what, as in `mean over all elements`.
    pub fn reduction(&self) -> String {
        let over = if matches!(self.row.rule, Rule::Element(..)) { "all elements" } else { "the batch" };
        format!("{} over {over}", REDUCTIONS[usize::from(self.sums())])
    }

    /// The loss of row-major outputs, `width` a sample, and its gradient. The targets have been checked against both.
    pub fn evaluate(&self, y: &[f64], width: usize, targets: &Targets) -> (f64, Vec<f64>) {
        let mut gradient = vec![0.0; y.len()];
        let total = match (&self.row.rule, targets) {
            (Rule::Element(f, ..) | Rule::Sample(f), Targets::Values(t, _)) => {
                let each = gradient.iter_mut().zip(y.iter().zip(t));
                let value = |(g, (&y, &t)): (&mut f64, (&f64, &f64))| {
                    let (value, slope) = f(&self.values, y, t);
                    *g = slope;
                    value
                };
                each.map(value).sum::<f64>()
            }
            (Rule::Classes(f), Targets::Classes(ids)) => {
                for (y, g) in y.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
                    let largest = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    g.iter_mut().zip(y).for_each(|(g, y)| *g = y - largest);
                }
                // Of all samples at once: one by one they took a third of a step of a small net.
                exponentials::<f64>(&mut gradient);
                let samples = y.chunks_exact(width).zip(gradient.chunks_exact_mut(width)).zip(ids);
                samples.map(|((y, g), &id)| f(&self.values, y, id, g)).sum()
            }
            (Rule::Output(f), Targets::Absent) => {
                let value = |(g, &y): (&mut f64, &f64)| {
                    let value;
                    (value, *g) = f(y);
                    value
                };
                gradient.iter_mut().zip(y).map(value).sum()
            }
            _ => f64::NAN,
        };
        let count = match self.row.rule {
            _ if self.sums() => 1,
            Rule::Element(..) => y.len(),
            Rule::Sample(_) | Rule::Classes(_) | Rule::Output(_) => y.len() / width,
        };
        let weight = 1.0 / count as f64;
        gradient.iter_mut().for_each(|g| *g *= weight);
        (weight * total, gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::{Argument, Call};

    fn loss(text: &str) -> Loss {
        Loss::parse(text).unwrap()
    }

    /// Loss and gradient of one sample on numbers.
    fn on_values(text: &str, y: &[f64], t: &[f64]) -> (f64, Vec<f64>) {
        loss(text).evaluate(y, y.len(), &Targets::Values(t.to_vec(), y.len()))
    }

    fn on_class(text: &str, y: &[f64], class: usize) -> (f64, Vec<f64>) {
        loss(text).evaluate(y, y.len(), &Targets::Classes(vec![class]))
    }

    fn central_difference(loss: Loss, y: &[f64], width: usize, targets: &Targets, i: usize) -> f64 {
        let at = |step: f64| {
            let mut moved = y.to_vec();
            moved[i] += step;
            loss.evaluate(&moved, width, targets).0
        };
        (at(1e-6) - at(-1e-6)) / 2e-6
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        let y = [0.3, -1.2, 0.8, 2.0, 0.1, -0.4];
        let calls = ["huber(0.5)", "huber(delta=3)", "cross_entropy(0.1)", "cross_entropy(label_smoothing=1)"];
        for name in Loss::names().chain(calls) {
            let targets = if loss(name).takes_classes() {
                Targets::Classes(vec![2, 0])
            } else if !loss(name).takes_targets() {
                Targets::Absent
            } else {
                let values = match loss(name).allowed().words {
                    "from 0 to 1" => vec![1.0, 0.0, 0.3, 0.5, 1.0, 0.9],
                    "-1 or 1" => vec![1.0, -1.0, -1.0, 1.0, 1.0, -1.0],
                    _ => vec![1.0, 0.0, -2.0, 0.5, 0.3, 0.9],
                };
                Targets::Values(values, 3)
            };
            for reduction in REDUCTIONS {
                let mut call = Call::parse("loss", name).unwrap();
                call.arguments.push((Some("reduction".to_owned()), Argument::Word(reduction.into())));
                let loss = Loss::new(&call).unwrap();
                let (_, gradient) = loss.evaluate(&y, 3, &targets);
                for (i, g) in gradient.iter().enumerate() {
                    let numeric = central_difference(loss, &y, 3, &targets, i);
                    assert!((g - numeric).abs() < 1e-8, "{loss:?} {i}: {g} {numeric}");
                }
            }
        }
    }

    #[test]
    fn a_sum_is_the_mean_times_what_the_reduction_says() {
        let (y, t) = ([0.5, -2.0, 3.0, 0.25], Targets::Values(vec![1.0, -1.0, 1.0, -1.0], 2));
        for (name, over, count) in [
            ("mse", "all elements", 4.0),
            ("half_mse", "the batch", 2.0),
            ("mae", "all elements", 4.0),
            ("huber", "all elements", 4.0),
            ("hinge", "all elements", 4.0),
        ] {
            let (mean, sum) = (loss(name), loss(&format!("{name}(reduction=sum)")));
            assert_eq!(mean.reduction(), format!("mean over {over}"));
            assert_eq!(sum.reduction(), format!("sum over {over}"));
            let (mean, sum) = (mean.evaluate(&y, 2, &t), sum.evaluate(&y, 2, &t));
            assert_eq!(mean.0 * count, sum.0);
            assert!(mean.1.iter().zip(&sum.1).all(|(mean, sum)| mean * count == *sum));
        }
        assert_eq!(loss("cross_entropy").reduction(), "mean over the batch");
    }

    #[test]
    fn a_sum_of_outputs_is_that_and_has_the_slope_1() {
        let y = [0.5, -2.0, 3.0, 0.25, 1.0, 2.0];
        assert_eq!(loss("output_sum(sum)").evaluate(&y, 3, &Targets::Absent), (4.75, vec![1.0; 6]));
        assert_eq!(loss("output_sum").evaluate(&y, 3, &Targets::Absent), (2.375, vec![0.5; 6]));
        assert_eq!(loss("output_sum").reduction(), "mean over the batch");
    }

    #[test]
    fn targets_of_some_samples_are_theirs() {
        assert_eq!(Targets::Classes(vec![4, 5, 6]).of(&[2, 0]), Targets::Classes(vec![6, 4]));
        let values = Targets::Values(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2);
        assert_eq!(values.of(&[2, 0]), Targets::Values(vec![5.0, 6.0, 1.0, 2.0], 2));
        assert_eq!(Targets::Absent.of(&[2, 0]), Targets::Absent);
    }

    #[test]
    fn slopes_at_kinks_are_the_smallest() {
        assert_eq!(on_values("l1", &[2.0, 2.0], &[2.0, 1.0]), (0.5, vec![0.0, 0.5]));
        assert_eq!(on_values("hinge", &[1.0, -1.0, 0.5], &[1.0, -1.0, 1.0]), (0.5 / 3.0, vec![0.0, 0.0, -1.0 / 3.0]));
        assert_eq!(on_values("huber(2, sum)", &[2.0, -5.0], &[0.0, 0.0]), (2.0 + 8.0, vec![2.0, -2.0]));
    }

    #[test]
    fn cross_entropy_survives_huge_logits_and_keeps_tiny_values() {
        assert_eq!(on_class("cross_entropy", &[1e300, 0.0], 0), (0.0, vec![0.0, 0.0]));
        let tiny = libm::exp(-50.0);
        let (value, gradient) = on_class("cross_entropy", &[50.0, 0.0], 0);
        assert!((value / tiny - 1.0).abs() < 1e-15);
        assert!((gradient[0] / -tiny - 1.0).abs() < 1e-15);
        // A smoothing below the rounding of 1 still shows.
        let (_, gradient) = on_class("cross_entropy(1e-30)", &[50.0, 0.0], 0);
        assert!((gradient[0] / (0.5e-30 - tiny) - 1.0).abs() < 1e-15);
        let (_, gradient) = on_class("cross_entropy(1e-10)", &[50.0, 0.0], 0);
        assert!((gradient[0] / (0.5e-10 - tiny) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn bce_survives_huge_logits_and_keeps_tiny_values() {
        for (y, t) in [(1e300, 1.0), (-1e300, 0.0), (800.0, 1.0), (-800.0, 0.0)] {
            assert_eq!(on_values("bce_with_logits", &[y], &[t]), (0.0, vec![0.0]));
        }
        let tiny = libm::exp(-50.0);
        for (y, t, sign) in [(50.0, 1.0, -1.0), (-50.0, 0.0, 1.0)] {
            let (value, gradient) = on_values("bce_with_logits", &[y], &[t]);
            assert!((value / tiny - 1.0).abs() < 1e-15, "{value}");
            assert!((gradient[0] / (sign * tiny) - 1.0).abs() < 1e-15, "{gradient:?}");
        }
        assert_eq!(on_values("bce_with_logits", &[-800.0], &[1.0]), (800.0, vec![-1.0]));
        assert_eq!(on_values("bce_with_logits", &[1e300], &[0.25]), (0.75e300, vec![0.75]));
    }

    #[test]
    fn a_value_that_is_not_finite_stays_so() {
        for name in Loss::names().filter(|name| !loss(name).takes_classes() && loss(name).takes_targets()) {
            assert!(on_values(name, &[f64::NAN], &[1.0]).0.is_nan(), "{name}");
        }
        assert!(loss("output_sum").evaluate(&[f64::NAN], 1, &Targets::Absent).0.is_nan());
        assert!(on_class("cross_entropy", &[f64::NAN, 1.0], 1).0.is_nan());
    }
}
