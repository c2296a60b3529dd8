//! Optimisers: one row each. Names, defaults and semantics are those of `torch.optim`; the loops over numbers are in
//! `train/update.rs`.

use crate::error::{Error, Result};
use crate::kind::{self, Kind};
use crate::signature::{Domain, Param, Signature, Values, about};

/// An optimiser with its parameters.
pub type Optimizer = Kind<Row>;

/// What is done with a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A running sum of gradients.
    Sgd,
    /// A mean over a root mean square; decay is part of the gradient.
    Adam,
    /// A mean over a root mean square; decay is apart from the gradient.
    Adamw,
    /// The gradient over a running root mean square.
    Rmsprop,
    /// The gradient over the root of the sum of all squares.
    Adagrad,
    /// The sign of a running mean.
    Lion,
    /// A running sum with all its singular values brought near 1.
    Muon,
}

/// An optimiser of the table.
pub struct Row {
    signature: Signature,
    rule: Rule,
}

const FLAG: Domain = Domain::Word(&["false", "true"]);

const fn lr(default: f64) -> Param {
    Param::new("lr", Domain::NonNegative, default)
}

const fn decay(default: f64) -> Param {
    Param::new("weight_decay", Domain::NonNegative, default)
}

const fn share(name: &'static str, default: f64) -> Param {
    Param::new(name, Domain::Share, default)
}

const fn eps(default: f64) -> Param {
    Param::new("eps", Domain::NonNegative, default)
}

/// Is eps relative to the tensor, and do moments carry an exponent? Then a gradient of any size moves its tensor.
const SCALE_FREE: Param = Param::new("scale_free", FLAG, 0.0);

static TABLE: [Row; 7] = [
    // The buffer starts as the first gradient, undamped, and the rate multiplies the whole buffer.
    Row {
        signature: Signature {
            name: "sgd",
            aliases: &[],
            params: &[
                lr(1e-3),
                share("momentum", 0.0),
                share("dampening", 0.0),
                Param::new("nesterov", FLAG, 0.0),
                decay(0.0),
            ],
            about: about(
                "g = g + weight_decay * w; b = momentum * b + (1 - dampening) * g if t > 1 else g; w = w - lr * (g + \
                 momentum * b if nesterov else b)",
                "gradient descent, with a running sum b of gradients where there is momentum",
                "Polyak 1964; Sutskever et al. 2013; torch.optim.SGD",
            ),
        },
        rule: Rule::Sgd,
    },
    // eps is added to the corrected root.
    Row {
        signature: Signature {
            name: "adam",
            aliases: &[],
            params: &[lr(1e-3), share("beta1", 0.9), share("beta2", 0.999), eps(1e-8), decay(0.0), SCALE_FREE],
            about: about(
                "g = g + weight_decay * w; m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g**2; w = \
                 w - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)",
                "a running mean of gradients over their running root mean square",
                "Kingma and Ba 2015, arXiv:1412.6980; torch.optim.Adam",
            ),
        },
        rule: Rule::Adam,
    },
    Row {
        signature: Signature {
            name: "adamw",
            aliases: &[],
            params: &[lr(1e-3), share("beta1", 0.9), share("beta2", 0.999), eps(1e-8), decay(1e-2), SCALE_FREE],
            about: about(
                "w = (1 - lr * weight_decay) * w; m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * \
                 g**2; w = w - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)",
                "Adam with its decay apart from the gradient",
                "Loshchilov and Hutter 2019, arXiv:1711.05101; torch.optim.AdamW",
            ),
        },
        rule: Rule::Adamw,
    },
    // eps is added to the root, and not within it.
    Row {
        signature: Signature {
            name: "rmsprop",
            aliases: &[],
            params: &[
                lr(1e-2),
                share("alpha", 0.99),
                eps(1e-8),
                decay(0.0),
                share("momentum", 0.0),
                Param::new("centered", FLAG, 0.0),
                SCALE_FREE,
            ],
            about: about(
                "g = g + weight_decay * w; v = alpha * v + (1 - alpha) * g**2; m = alpha * m + (1 - alpha) * g; b = \
                 momentum * b + g / (sqrt(v - m**2 if centered else v) + eps); w = w - lr * b",
                "the gradient over its running root mean square",
                "Tieleman and Hinton 2012; torch.optim.RMSprop",
            ),
        },
        rule: Rule::Rmsprop,
    },
    Row {
        signature: Signature {
            name: "adagrad",
            aliases: &[],
            params: &[
                lr(1e-2),
                Param::new("lr_decay", Domain::NonNegative, 0.0),
                decay(0.0),
                Param::new("initial_accumulator", Domain::NonNegative, 0.0),
                eps(1e-10),
                SCALE_FREE,
            ],
            about: about(
                "g = g + weight_decay * w; v = v + g**2; w = w - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(v) + eps)",
                "the gradient over the root of the sum v of all its squares, which starts at initial_accumulator",
                "Duchi et al. 2011, jmlr.org/papers/v12/duchi11a.html; torch.optim.Adagrad",
            ),
        },
        rule: Rule::Adagrad,
    },
    Row {
        signature: Signature {
            name: "lion",
            aliases: &[],
            params: &[lr(1e-4), share("beta1", 0.9), share("beta2", 0.99), decay(0.0), SCALE_FREE],
            about: about(
                "w = (1 - lr * weight_decay) * w - lr * sign(beta1 * m + (1 - beta1) * g); m = beta2 * m + (1 - \
                 beta2) * g",
                "the sign of a running mean",
                "Chen et al. 2023, arXiv:2302.06675",
            ),
        },
        rule: Rule::Lion,
    },
    // AdamW has the same rate and decay.
    Row {
        signature: Signature {
            name: "muon",
            aliases: &[],
            params: &[
                lr(1e-3),
                decay(0.1),
                share("momentum", 0.95),
                Param::new("nesterov", FLAG, 1.0),
                Param::new("ns_steps", Domain::NonNegative, 5.0),
                eps(1e-7),
                Param::new("adjust", Domain::Word(&["original", "match_rms_adamw"]), 0.0),
                SCALE_FREE,
            ],
            about: about(
                "b = momentum * b + (1 - momentum) * g; O = orthogonalised(momentum * b + (1 - momentum) * g if \
                 nesterov else b); c = sqrt(max(1, rows / columns)) if adjust == 'original' else 0.2 * \
                 sqrt(max(rows, columns)); w = (1 - lr * weight_decay) * w - lr * c * O",
                "the running mean of a hidden weight matrix with all its singular values brought near 1; all else \
                 goes by AdamW",
                "Jordan et al. 2024, kellerjordan.github.io/posts/muon; Liu et al. 2025, arXiv:2502.16982 \
                 (match_rms_adamw); torch.optim.Muon",
            ),
        },
        rule: Rule::Muon,
    },
];

impl kind::Row for Row {
    const NOUN: &'static str = "optimizer";

    fn table() -> &'static [Self] {
        &TABLE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn check(&self, values: &Values) -> Result<()> {
        let value = |name: &str| {
            let index = self.signature.params.iter().position(|param| param.name == name);
            index.map_or(0.0, |index| values[index])
        };
        if self.rule == Rule::Sgd && value("nesterov") == 1.0 && (value("momentum") == 0.0 || value("dampening") > 0.0)
        {
            return Err(Error::Value("optimizer sgd: nesterov needs a momentum above 0 and no dampening".to_owned()));
        }
        if let Some(name) = ["beta1", "beta2", "alpha"].into_iter().find(|name| value(name) == 1.0) {
            return Err(Error::Value(format!(
                "optimizer {}: {name} must be below 1, or no gradient is ever taken in",
                self.signature.name
            )));
        }
        let steps = value("ns_steps");
        if steps.fract() != 0.0 || steps > 100.0 {
            return Err(Error::Value(format!(
                "optimizer muon: ns_steps must be an integer from 0 to 100, got {steps}"
            )));
        }
        let coupled = matches!(self.rule, Rule::Adam | Rule::Rmsprop | Rule::Adagrad);
        if coupled && value("scale_free") == 1.0 && value("weight_decay") > 0.0 {
            return Err(Error::Value(format!(
                "optimizer {}: scale_free takes no weight_decay, which is added to the gradient here and so has a scale; \
                 use adamw, whose decay is apart",
                self.signature.name
            )));
        }
        Ok(())
    }
}

impl Kind<Row> {
    /// What is done with a gradient.
    pub fn rule(&self) -> Rule {
        self.row.rule
    }

    /// The value of a parameter; 0 where the optimiser has none of this name.
    pub fn value(&self, name: &str) -> f64 {
        self.parameter(name).unwrap_or(0.0)
    }

    /// Is a flag set?
    pub fn flag(&self, name: &str) -> bool {
        self.value(name) == 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_contradict_each_other_are_refused() {
        for (text, part) in [
            ("sgd(nesterov=true)", "needs a momentum"),
            ("sgd(momentum=0.9, dampening=0.1, nesterov=true)", "no dampening"),
            ("adam(beta1=1)", "beta1 must be below 1"),
            ("muon(ns_steps=2.5)", "ns_steps must be an integer"),
            ("adam(weight_decay=0.1, scale_free=true)", "use adamw"),
        ] {
            let message = Optimizer::parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
        assert_eq!(Optimizer::parse("adam(lr=0.001)").unwrap().text(), "adam");
        assert!(Optimizer::parse("sgd(0.1, 0.9, nesterov=true)").unwrap().flag("nesterov"));
    }
}
