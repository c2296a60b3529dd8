//! Samples and targets of a caller, and their checks.

use crate::error::{Error, Result};
use crate::loss::{Allowed, Loss};
use crate::spec::{MAX_WIDTH, integer};

/// Samples of the caller.
#[derive(Debug, Clone)]
pub struct Data<F> {
    /// The samples, row-major.
    pub x: Vec<F>,
    /// The number of columns of `x`.
    pub columns: usize,
}

/// The shape that an array of the caller must have, and how messages call it.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'r> {
    /// The name of the argument.
    pub name: &'r str,
    /// The meaning of the columns.
    pub axis: &'r str,
    /// The number of columns.
    pub columns: usize,
    /// The number of rows; any above 0 if `None`.
    pub rows: Option<usize>,
}

impl Expected<'_> {
    /// Refuse an empty batch, a wrong shape, and values of which one, the first `bad`, is not finite in the dtype they
    /// were rounded to.
    pub fn check(&self, given: (usize, usize), dtype: &str, bad: Option<usize>) -> Result<()> {
        let Self { name, axis, columns, rows } = *self;
        if given.1 != columns || rows.is_some_and(|rows| rows != given.0) {
            let batch = rows.map_or("batch".to_owned(), |rows| rows.to_string());
            return Err(Error::value(
                name,
                &format!("of shape (batch, {axis}) = ({batch}, {columns})"),
                format!("{given:?}"),
            ));
        }
        if given.0 == 0 {
            return Err(Error::value(name, "a batch of at least one sample", format!("shape {given:?}")));
        }
        match bad {
            None => Ok(()),
            Some(i) => Err(Error::Value(format!(
                "{name} must be finite in {dtype}, but {name}[{}, {}] is nan, infinite or beyond its range",
                i / columns,
                i % columns
            ))),
        }
    }
}

/// Refuse class ids unless there is one a sample and none is negative.
pub fn classes(ids: &[i128], batch: usize) -> Result<Vec<usize>> {
    if ids.len() != batch {
        return Err(Error::value(
            "y",
            &format!("of shape ({batch},), one class id a sample of x"),
            format!("({},)", ids.len()),
        ));
    }
    let bad = ids.iter().position(|id| !(0..=MAX_WIDTH as i128).contains(id));
    bad.map_or(Ok(0), |i| integer(&format!("y[{i}]"), ids[i], 0, MAX_WIDTH as u64))?;
    Ok(ids.iter().map(|&id| id as usize).collect())
}

/// The class ids that numbers are, if all are whole.
pub fn whole(values: &[f64]) -> Result<Vec<i128>> {
    match values.iter().position(|v| v.fract() != 0.0) {
        None => Ok(values.iter().map(|&v| v as i128).collect()),
        Some(i) => Err(Error::Value(format!(
            "y must be class ids, whole numbers, with loss='cross_entropy', but y[{i}] is {}; for other numbers choose \
             another loss, such as 'mse'",
            values[i]
        ))),
    }
}

/// The class ids of one-hot rows.
pub fn one_hot(values: &[f64], columns: usize) -> Result<Vec<usize>> {
    let id = |(i, row): (usize, &[f64])| {
        let hot = row.iter().position(|&v| v == 1.0);
        let rest = row.iter().filter(|&&v| v == 0.0).count();
        hot.filter(|_| rest + 1 == columns).ok_or_else(|| {
            Error::Value(format!(
                "y must be one-hot with loss='cross_entropy', a single 1 and zeros in each row, but y[{i}] is {row:?}; \
                 give class ids, or choose another loss, such as 'bce_with_logits' for several labels a sample"
            ))
        })
    };
    values.chunks_exact(columns).enumerate().map(id).collect()
}

/// The refusal of one number a sample where the net has several outputs.
pub fn one_number_a_sample(loss: Loss, batch: usize, outputs: usize) -> Error {
    Error::Value(format!(
        "y must be of shape (batch, outputs) = ({batch}, {outputs}), got shape ({batch},); for one number a sample set \
         out_features=1, and if they are class ids choose loss='cross_entropy' in place of '{}'",
        loss.text()
    ))
}

/// Refuse more named classes than the net has outputs.
pub fn enough_outputs(classes: usize, outputs: usize) -> Result<()> {
    if classes <= outputs {
        return Ok(());
    }
    Err(Error::Value(format!(
        "y names {classes} classes, but the net has outputs={outputs}; set out_features={classes}"
    )))
}

/// Refuse a loss without the targets that it takes, or with targets that it does not take.
pub fn has_its_targets(loss: Loss, has_targets: bool) -> Result<()> {
    match (loss.takes_targets(), has_targets) {
        (true, false) => Err(Error::Value(format!("loss='{}' needs targets; give y", loss.text()))),
        (false, true) => Err(Error::Value(format!("loss='{}' takes no targets; leave y out", loss.text()))),
        _ => Ok(()),
    }
}

/// Refuse numbers, `outputs` a sample, that the loss does not take for targets.
pub fn target_range(loss: Loss, values: &[f64], outputs: usize) -> Result<()> {
    let Allowed { holds, words, .. } = loss.allowed();
    match values.iter().position(|&t| !holds(t)) {
        None => Ok(()),
        Some(i) => Err(Error::value(
            &format!("y[{}, {}]", i / outputs, i % outputs),
            &format!("{words} with loss {}", loss.signature().name),
            values[i],
        )),
    }
}

/// Refuse class ids that name no output of the net.
pub fn class_range(ids: &[usize], outputs: usize) -> Result<()> {
    match ids.iter().position(|&id| id >= outputs) {
        None => Ok(()),
        Some(i) => Err(Error::value(
            &format!("y[{i}]"),
            &format!("a class id below {outputs}, the outputs of the net"),
            format!(
                "{}; set out_features={}, or choose another loss, such as 'mse' for numbers{}",
                ids[i],
                ids.iter().max().map_or(0, |most| most + 1),
                if outputs == 1 { " or 'bce_with_logits' for 0 and 1" } else { "" }
            ),
        )),
    }
}
