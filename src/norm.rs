//! Normalisations: one row each. Forward and backward are in `part/normalise.rs`.
//!
//! Each is `xhat = (z - mean) / sqrt(var + eps)` and then `weight * xhat + bias`, weight 1 and bias 0 at
//! initialisation; they differ in what the statistics are taken over. Names and defaults are those of `torch.nn`.

use crate::kernel::Along;
use crate::kind::{self, Kind};
use crate::signature::{Domain, Param, Signature, about};

/// A normalisation with its parameters.
pub type Norm = Kind<Row>;

/// A normalisation of the table.
pub struct Row {
    signature: Signature,
    /// The axis along which statistics are taken.
    along: Along,
    /// Is the mean taken away, and a bias added?
    centres: bool,
}

const EPS: [Param; 1] = [Param::new("eps", Domain::NonNegative, 1e-5)];

static TABLE: [Row; 3] = [
    Row {
        signature: Signature {
            name: "batch",
            aliases: &["batch_norm"],
            params: &EPS,
            about: about(
                "w * (v - mean(v)) / sqrt(var(v) + eps) + c",
                "each feature over the samples of the batch at hand, as in training; the variance is the biased one",
                "Ioffe and Szegedy 2015, arXiv:1502.03167; torch.nn.BatchNorm1d",
            ),
        },
        along: Along::Samples,
        centres: true,
    },
    Row {
        signature: Signature {
            name: "layer",
            aliases: &["layer_norm"],
            params: &EPS,
            about: about(
                "w * (v - mean(v)) / sqrt(var(v) + eps) + c",
                "each sample over its features; the variance is the biased one",
                "Ba et al. 2016, arXiv:1607.06450; torch.nn.LayerNorm",
            ),
        },
        along: Along::Features,
        centres: true,
    },
    Row {
        signature: Signature {
            name: "rms",
            aliases: &["rms_norm"],
            params: &EPS,
            about: about(
                "w * v / sqrt(mean(v**2) + eps)",
                "each sample over its features; the mean stays, and there is no bias c",
                "Zhang and Sennrich 2019, arXiv:1910.07467; torch.nn.RMSNorm",
            ),
        },
        along: Along::Features,
        centres: false,
    },
];

impl kind::Row for Row {
    const NOUN: &'static str = "norm";

    fn table() -> &'static [Self] {
        &TABLE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }
}

impl Kind<Row> {
    /// Does the norm need more than one sample? One alone is its own mean, and nothing is left of it.
    pub fn needs_samples(&self) -> bool {
        self.row.along == Along::Samples
    }

    /// Does the norm take the mean away, and add a bias?
    pub fn centres(&self) -> bool {
        self.row.centres
    }

    /// The axis along which statistics are taken.
    pub fn along(&self) -> Along {
        self.row.along
    }

    /// The number that is added to a variance.
    pub fn eps(&self) -> f64 {
        self.values[0]
    }
}
