//! Ways to pretrain a layer: one row each.

use crate::error::{Error, Result};
use crate::kind::{self, Kind};
use crate::signature::{Domain, Param, Signature, Values, about};

/// A way to pretrain a layer, with its parameters.
pub type Method = Kind<Row>;

/// A way of the table.
pub struct Row {
    signature: Signature,
}

static TABLE: [Row; 3] = [
    Row {
        signature: Signature {
            name: "rbm",
            aliases: &["cd", "boltzmann", "restricted_boltzmann_machine"],
            params: &[
                Param::new("k", Domain::Positive, 1.0),
                Param::new("persistent", Domain::Word(&["false", "true"]), 0.0),
            ],
            about: about(
                "dW = <h v> of the data - <h v> after k steps of a chain",
                "a restricted Boltzmann machine, learned by contrastive divergence",
                "Hinton, Osindero, Teh 2006; Tieleman 2008 (persistent)",
            ),
        },
    },
    Row {
        signature: Signature {
            name: "dae",
            aliases: &["denoising", "autoencoder", "denoising_autoencoder"],
            params: &[Param::new("corrupt", Domain::Share, 0.25)],
            about: about(
                "y = W^T phi(W x~ + c) + b is to be x",
                "a denoising autoencoder with tied weights",
                "Vincent et al. 2010",
            ),
        },
    },
    Row {
        signature: Signature {
            name: "supervised",
            aliases: &["greedy_supervised"],
            params: &[],
            about: about(
                "the layer and a readout of its own learn the targets",
                "one hidden layer at a time, with targets",
                "Bengio et al. 2007",
            ),
        },
    },
];

impl kind::Row for Row {
    const NOUN: &'static str = "pretraining";

    fn table() -> &'static [Self] {
        &TABLE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn check(&self, values: &Values) -> Result<()> {
        match (self.signature.name, values[0]) {
            ("rbm", k) if k.fract() != 0.0 || k > 10_000.0 => {
                Err(Error::value("pretraining rbm: k", "a whole number of steps up to 10000", k))
            }
            ("dae", 1.0) => {
                Err(Error::value("pretraining dae: corrupt", "below 1, or nothing is left to learn from", 1))
            }
            _ => Ok(()),
        }
    }
}
