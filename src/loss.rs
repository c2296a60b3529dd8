//! Losses: one row each, the value beside its gradient, in `f64`.

use crate::error::{Error, Result};

/// What the output is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// One class id a sample.
    Classes(Vec<usize>),
    /// Numbers, row-major, and how many a sample.
    Values(Vec<f64>, usize),
}

/// The target of one sample.
#[derive(Clone, Copy)]
enum Target<'t> {
    Class(usize),
    Values(&'t [f64]),
}

/// A loss function.
#[derive(Debug, Clone, Copy)]
pub struct Loss(&'static Row);

/// The loss of one sample from its outputs and target; the gradient is written to the third argument.
type Sample = fn(&[f64], Target<'_>, &mut [f64]) -> f64;

#[derive(Debug)]
struct Row {
    name: &'static str,
    /// Does it take class ids?
    classes: bool,
    /// The weight of a sample from (batch, width).
    weight: fn(f64, f64) -> f64,
    sample: Sample,
}

static TABLE: [Row; 3] = [
    // torch.nn.MSELoss: the mean over all elements.
    Row {
        name: "mse",
        classes: false,
        weight: |batch, width| 1.0 / (batch * width),
        sample: |y, t, g| squares(1.0, y, t, g),
    },
    Row { name: "half_mse", classes: false, weight: |batch, _| 1.0 / batch, sample: |y, t, g| squares(0.5, y, t, g) },
    // torch.nn.CrossEntropyLoss on class ids.
    Row { name: "cross_entropy", classes: true, weight: |batch, _| 1.0 / batch, sample: cross_entropy },
];

fn squares(scale: f64, y: &[f64], target: Target<'_>, gradient: &mut [f64]) -> f64 {
    let Target::Values(t) = target else { return f64::NAN };
    gradient.iter_mut().zip(y.iter().zip(t)).for_each(|(g, (y, t))| *g = 2.0 * scale * (y - t));
    scale * y.iter().zip(t).map(|(y, t)| (y - t) * (y - t)).sum::<f64>()
}

fn cross_entropy(y: &[f64], target: Target<'_>, gradient: &mut [f64]) -> f64 {
    let Target::Class(class) = target else { return f64::NAN };
    let largest = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    gradient.iter_mut().zip(y).for_each(|(g, y)| *g = libm::exp(y - largest));
    let total = gradient.iter().sum::<f64>();
    // 1 - p of a nearly certain class is a sum of the others, not a difference that cancels.
    let others = gradient.iter().enumerate().filter(|&(i, _)| i != class).map(|(_, g)| g).sum::<f64>();
    gradient.iter_mut().for_each(|g| *g /= total);
    gradient[class] = -others / total;
    libm::log(total) - (y[class] - largest)
}

/// The names, in the order of the table.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    TABLE.iter().map(|row| row.name)
}

impl Loss {
    /// The loss of this name.
    pub fn new(name: &str) -> Result<Self> {
        TABLE.iter().find(|row| row.name == name).map(Self).ok_or_else(|| Error::unknown("loss", name, names()))
    }

    /// Does it take class ids?
    pub fn takes_classes(self) -> bool {
        self.0.classes
    }

    /// The loss of row-major outputs, `width` a sample, and its gradient. The targets have been checked against both.
    pub fn evaluate(self, y: &[f64], width: usize, targets: &Targets) -> (f64, Vec<f64>) {
        let weight = (self.0.weight)((y.len() / width) as f64, width as f64);
        let mut gradient = vec![0.0; y.len()];
        let mut total = 0.0;
        for (i, (y, g)) in y.chunks_exact(width).zip(gradient.chunks_exact_mut(width)).enumerate() {
            let target = match targets {
                Targets::Classes(ids) => Target::Class(ids[i]),
                Targets::Values(values, width) => Target::Values(&values[i * width..][..*width]),
            };
            total += (self.0.sample)(y, target, g);
            g.iter_mut().for_each(|g| *g *= weight);
        }
        (weight * total, gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for row in &TABLE {
            let targets = if row.classes {
                Targets::Classes(vec![2, 0])
            } else {
                Targets::Values(vec![1.0, 0.0, -2.0, 0.5, 0.3, 0.9], 3)
            };
            let (_, gradient) = Loss(row).evaluate(&y, 3, &targets);
            for (i, g) in gradient.iter().enumerate() {
                let numeric = central_difference(Loss(row), &y, 3, &targets, i);
                assert!((g - numeric).abs() < 1e-9, "{} {i}: {g} {numeric}", row.name);
            }
        }
    }

    #[test]
    fn cross_entropy_survives_huge_logits_and_keeps_tiny_gradients() {
        let (loss, gradient) =
            Loss::new("cross_entropy").unwrap().evaluate(&[1e300, 0.0], 2, &Targets::Classes(vec![0]));
        assert_eq!((loss, gradient), (0.0, vec![0.0, 0.0]));
        let (_, gradient) = Loss::new("cross_entropy").unwrap().evaluate(&[50.0, 0.0], 2, &Targets::Classes(vec![0]));
        assert!((gradient[0] / -libm::exp(-50.0) - 1.0).abs() < 1e-15);
    }
}
