//! Schedules of the learning rate: one row each.
//!
//! Steps are counted from 1, and step t uses `lr(t)`. The names and values are those of `torch.optim.lr_scheduler`, whose
//! index begins at 0: there the rate of step t is that of index t - 1. A warm-up is `t / warmup`: it never starts at 0.

use crate::error::{Error, Result};
use crate::kind::{self, Kind};
use crate::signature::{Domain, Param, Signature, Values, about};
use std::f64::consts::PI;

/// A schedule with its parameters.
pub type Schedule = Kind<Row>;

/// Where a step stands.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// The rate that the optimiser names.
    pub lr: f64,
    /// The step, from 1 on.
    pub step: f64,
    /// All steps.
    pub steps: f64,
}

/// A schedule of the table.
pub struct Row {
    signature: Signature,
    rate: fn(&Values, At) -> f64,
    /// The parameters that need not be whole.
    real: &'static [&'static str],
    rule: Rule,
}

/// What a schedule does beside a formula for the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Nothing.
    Formula,
    /// It moves the momentum too.
    OneCycle,
    /// It looks at the loss.
    Plateau,
}

macro_rules! row {
    ($name:literal, [$($alias:literal),*], $about:expr, [$($param:expr),*], [$($real:literal),*], $rate:expr) => {
        row!($name, [$($alias),*], $about, [$($param),*], [$($real),*], $rate, Rule::Formula)
    };
    (
        $name:literal, [$($alias:literal),*], $about:expr, [$($param:expr),*], [$($real:literal),*], $rate:expr,
        $rule:expr
    ) => {
        Row {
            signature: Signature { name: $name, aliases: &[$($alias),*], params: &[$($param),*], about: $about },
            rate: $rate,
            real: &[$($real),*],
            rule: $rule,
        }
    };
}

const fn number(name: &'static str, default: f64) -> Param {
    Param::new(name, Domain::NonNegative, default)
}

const fn needed(name: &'static str) -> Param {
    Param::required(name, Domain::Positive)
}

/// From one value to another along half a cosine.
fn annealed(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) / 2.0 * (libm::cos(PI * share) + 1.0)
}

/// The share of a one-cycle schedule: of its rise, or else of its fall.
fn phase(pct_start: f64, at: At) -> (bool, f64) {
    let (top, last, index) = (pct_start * at.steps - 1.0, at.steps - 1.0, at.step - 1.0);
    if index <= top { (true, if top > 0.0 { index / top } else { 1.0 }) } else { (false, (index - top) / (last - top)) }
}

static TABLE: [Row; 12] = [
    row!(
        "constant",
        [],
        about("lr", "the optimiser's rate at every step", "torch.optim.lr_scheduler.ConstantLR (factor=1)"),
        [],
        [],
        |_, at| at.lr
    ),
    row!(
        "linear",
        [],
        about(
            "lr * (start_factor + (end_factor - start_factor) * min(1, (t - 1) / total))",
            "a line from one factor to another over so many steps",
            "torch.optim.lr_scheduler.LinearLR"
        ),
        [number("start_factor", 1.0 / 3.0), number("end_factor", 1.0), number("total", 5.0)],
        ["start_factor", "end_factor"],
        |p, at| at.lr * (p[0] + (p[1] - p[0]) * if p[2] > 0.0 { ((at.step - 1.0) / p[2]).min(1.0) } else { 1.0 })
    ),
    row!(
        "step",
        [],
        about(
            "lr * gamma**floor((t - 1) / size)",
            "times gamma every so many steps",
            "torch.optim.lr_scheduler.StepLR"
        ),
        [needed("size"), number("gamma", 0.1)],
        ["gamma"],
        |p, at| { at.lr * libm::pow(p[1], ((at.step - 1.0) / p[0]).floor()) }
    ),
    row!(
        "multistep",
        [],
        about(
            "lr * gamma**((t > first) + (t > second > 0) + (t > third > 0) + (t > fourth > 0))",
            "times gamma behind each of up to four steps; 0 for none",
            "torch.optim.lr_scheduler.MultiStepLR"
        ),
        [needed("first"), number("second", 0.0), number("third", 0.0), number("fourth", 0.0), number("gamma", 0.1)],
        ["gamma"],
        |p, at| {
            let passed = p[..4].iter().filter(|&&step| step > 0.0 && at.step > step).count();
            at.lr * libm::pow(p[4], passed as f64)
        }
    ),
    row!(
        "exponential",
        [],
        about("lr * gamma**(t - 1)", "times gamma after every step", "torch.optim.lr_scheduler.ExponentialLR"),
        [needed("gamma")],
        ["gamma"],
        |p, at| at.lr * libm::pow(p[0], at.step - 1.0)
    ),
    row!(
        "cosine",
        [],
        about(
            "lr * t / warmup if t <= warmup else eta_min + (lr - eta_min) / 2 * (1 + cos(pi * (t - 1 - warmup) / \
             (period or T - warmup)))",
            "a warm-up, then half a cosine down to eta_min; without restarts",
            "Loshchilov and Hutter 2017, arXiv:1608.03983; torch.optim.lr_scheduler.CosineAnnealingLR"
        ),
        [number("eta_min", 0.0), number("period", 0.0), number("warmup", 0.0)],
        ["eta_min"],
        |p, at| {
            if at.step <= p[2] {
                return at.lr * at.step / p[2];
            }
            let period = if p[1] > 0.0 { p[1] } else { (at.steps - p[2]).max(1.0) };
            annealed(at.lr, p[0], (at.step - 1.0 - p[2]) / period)
        }
    ),
    row!(
        "one_cycle",
        [],
        about(
            "between(lr / div_factor, lr, (t - 1) / (pct_start * T - 1)) if t <= pct_start * T else between(lr, lr / \
             div_factor / final_div_factor, (t - pct_start * T) / (T - pct_start * T)), between(a, b, u) = b + (a - \
             b) / 2 * (1 + cos(pi * u))",
            "up to the optimiser's rate and far down again, while momentum goes the other way",
            "Smith and Topin 2018, arXiv:1708.07120; torch.optim.lr_scheduler.OneCycleLR"
        ),
        [
            Param::new("pct_start", Domain::Share, 0.3),
            Param::new("div_factor", Domain::Positive, 25.0),
            Param::new("final_div_factor", Domain::Positive, 1e4),
            Param::new("low_momentum", Domain::Share, 0.85),
            Param::new("high_momentum", Domain::Share, 0.95)
        ],
        ["pct_start", "div_factor", "final_div_factor", "low_momentum", "high_momentum"],
        |p, at| {
            let start = at.lr / p[1];
            match phase(p[0], at) {
                (true, share) => annealed(start, at.lr, share),
                (false, share) => annealed(at.lr, start / p[2], share),
            }
        },
        Rule::OneCycle
    ),
    // The threshold is relative; it acts behind patience + 1 bad readings.
    row!(
        "plateau",
        ["reduce_on_plateau"],
        about(
            "lr * factor**k, k = how often more than patience readings in a row were not below (1 - threshold) * best",
            "times factor where the loss falls no more; readings of a cooldown do not count, nor does a step below eps",
            "torch.optim.lr_scheduler.ReduceLROnPlateau"
        ),
        [
            Param::new("factor", Domain::Share, 0.1),
            number("patience", 10.0),
            number("threshold", 1e-4),
            number("cooldown", 0.0),
            number("eps", 1e-8)
        ],
        ["factor", "threshold", "eps"],
        |_, at| at.lr,
        Rule::Plateau
    ),
    row!(
        "warmup",
        [],
        about(
            "lr * min(1, t / steps)",
            "a line up to the optimiser's rate, never from 0",
            "Goyal et al. 2017, arXiv:1706.02677"
        ),
        [needed("steps")],
        [],
        |p, at| at.lr * (at.step / p[0]).min(1.0)
    ),
    row!(
        "inverse_sqrt",
        [],
        about(
            "lr * min(t / warmup, sqrt(warmup / t))",
            "a warm-up, then the inverse root of the step",
            "Vaswani et al. 2017, arXiv:1706.03762"
        ),
        [needed("warmup")],
        [],
        |p, at| at.lr * (at.step / p[0]).min((p[0] / at.step).sqrt())
    ),
    row!(
        "noam",
        [],
        about(
            "lr / sqrt(d_model) * min(1 / sqrt(t), t / warmup**1.5)",
            "the inverse root with a rate made of the width; the optimiser's rate is a factor",
            "Vaswani et al. 2017, arXiv:1706.03762, section 5.3"
        ),
        [needed("d_model"), needed("warmup")],
        [],
        |p, at| { at.lr / p[0].sqrt() * (1.0 / at.step.sqrt()).min(at.step * libm::pow(p[1], -1.5)) }
    ),
    row!(
        "wsd",
        [],
        about(
            "lr * min(1, t / warmup, (T - t + 1) / decay)",
            "warm up, stay, decay; a phase of 0 steps is left out",
            "Hu et al. 2024, arXiv:2404.06395"
        ),
        [number("warmup", 0.0), number("decay", 0.0)],
        [],
        |p, at| {
            let rise = if p[0] > 0.0 { at.step / p[0] } else { 1.0 };
            let fall = if p[1] > 0.0 { (at.steps - at.step + 1.0) / p[1] } else { 1.0 };
            at.lr * rise.min(fall).min(1.0)
        }
    ),
];

impl kind::Row for Row {
    const NOUN: &'static str = "schedule";

    fn table() -> &'static [Self] {
        &TABLE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn check(&self, values: &Values) -> Result<()> {
        let mut whole = self.signature.params.iter().zip(values).filter(|(param, _)| !self.real.contains(&param.name));
        if let Some((param, value)) = whole.find(|(_, value)| value.fract() != 0.0) {
            return Err(Error::value(
                &format!("schedule {}: {}", self.signature.name, param.name),
                "a whole number of steps",
                value,
            ));
        }
        Ok(())
    }
}

impl Kind<Row> {
    /// The rate of a step, but for what a plateau makes of it.
    pub fn rate(&self, at: At) -> f64 {
        (self.row.rate)(&self.values, at)
    }

    /// The momentum of a step, where the schedule moves it: high where the rate is low.
    pub fn momentum(&self, at: At) -> Option<f64> {
        let [pct_start, _, _, low, high, ..] = self.values;
        (self.row.rule == Rule::OneCycle).then(|| match phase(pct_start, at) {
            (true, share) => annealed(high, low, share),
            (false, share) => annealed(low, high, share),
        })
    }

    /// Does the schedule look at the loss?
    pub fn looks_at_the_loss(&self) -> bool {
        self.row.rule == Rule::Plateau
    }
}

/// What a plateau has seen, and the rate that it has come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plateau {
    /// The rate.
    pub lr: f64,
    /// The best reading.
    pub best: f64,
    /// Bad readings since the best or since the last reduction.
    pub bad: f64,
    /// Readings that are still to pass without being counted.
    pub cooling: f64,
}

impl Plateau {
    /// Before the first reading.
    pub fn new(lr: f64) -> Self {
        Self { lr, best: f64::INFINITY, bad: 0.0, cooling: 0.0 }
    }

    /// Take a reading of the loss.
    pub fn read(&mut self, schedule: &Schedule, loss: f64) {
        let [factor, patience, threshold, cooldown, eps, ..] = schedule.values;
        if loss < self.best * (1.0 - threshold) {
            (self.best, self.bad) = (loss, 0.0);
        } else {
            self.bad += 1.0;
        }
        if self.cooling > 0.0 {
            self.cooling -= 1.0;
            self.bad = 0.0;
        }
        if self.bad > patience {
            let lower = self.lr * factor;
            if self.lr - lower > eps {
                self.lr = lower;
            }
            (self.cooling, self.bad) = (cooldown, 0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(text: &str, lr: f64, steps: usize) -> Vec<f64> {
        let schedule = Schedule::parse(text).unwrap();
        (1..=steps).map(|step| schedule.rate(At { lr, step: step as f64, steps: steps as f64 })).collect()
    }

    #[test]
    fn rates_are_those_of_torch() {
        // LinearLR(0.5, total_iters=4), StepLR(2, 0.1), MultiStepLR([1, 3]), ExponentialLR(0.5), CosineAnnealingLR(4).
        let close = |text: &str, expected: &[f64]| {
            let found = rates(text, 1.0, expected.len());
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{text} {found:?}");
        };
        close("linear(start_factor=0.5, total=4)", &[0.5, 0.625, 0.75, 0.875, 1.0, 1.0]);
        close("step(size=2)", &[1.0, 1.0, 0.1, 0.1, 0.01]);
        close("multistep(first=1, second=3)", &[1.0, 0.1, 0.1, 0.01]);
        close("exponential(gamma=0.5)", &[1.0, 0.5, 0.25]);
        close("cosine", &[1.0, 0.75 + (0.125_f64.sqrt() - 0.25), 0.5, 0.5 - 0.125_f64.sqrt()]);
        close("wsd(warmup=2, decay=2)", &[0.5, 1.0, 1.0, 1.0, 0.5]);
        close("warmup(steps=4)", &[0.25, 0.5, 0.75, 1.0, 1.0]);
    }

    #[test]
    fn no_warm_up_starts_at_zero() {
        for text in [
            "warmup(steps=9)",
            "inverse_sqrt(warmup=9)",
            "noam(d_model=64, warmup=9)",
            "wsd(warmup=9)",
            "cosine(warmup=9)",
        ] {
            assert!(rates(text, 1.0, 20)[0] > 0.0, "{text}");
        }
    }

    #[test]
    fn a_plateau_acts_behind_patience_and_one_more_bad_readings() {
        let schedule = Schedule::parse("plateau(patience=2)").unwrap();
        let mut plateau = Plateau::new(1.0);
        let rates = [5.0, 5.0, 5.0, 5.0, 5.0].map(|loss| {
            plateau.read(&schedule, loss);
            plateau.lr
        });
        assert_eq!(rates, [1.0, 1.0, 1.0, 0.1, 0.1]);
    }

    #[test]
    fn one_cycle_rises_and_falls_while_momentum_goes_the_other_way() {
        let schedule = Schedule::parse("one_cycle").unwrap();
        let at = |step: f64| At { lr: 1.0, step, steps: 100.0 };
        assert!((schedule.rate(at(1.0)) - 0.04).abs() < 1e-12 && (schedule.rate(at(30.0)) - 1.0).abs() < 1e-12);
        assert!((schedule.rate(at(100.0)) - 4e-6).abs() < 1e-12);
        assert_eq!(schedule.momentum(at(1.0)), Some(0.95));
        assert!((schedule.momentum(at(30.0)).unwrap() - 0.85).abs() < 1e-12);
        assert!(Schedule::parse("cosine").unwrap().momentum(at(1.0)).is_none());
    }

    #[test]
    fn steps_are_whole() {
        assert!(Schedule::parse("step(size=2.5)").unwrap_err().to_string().contains("whole number of steps"));
    }
}
