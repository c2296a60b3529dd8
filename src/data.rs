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
            Some(i) => Err(not_finite(name, &format!("{name}[{}, {}]", i / columns, i % columns), dtype)),
        }
    }
}

/// The refusal of a value that is not finite in the dtype that it was rounded to.
pub fn not_finite(name: &str, value: &str, dtype: &str) -> Error {
    Error::Value(format!("{name} must be finite in {dtype}, but {value} is nan, infinite or beyond its range"))
}

/// Where the targets of a row of the output stand in `y`: `y[i]`, and `y[i, t]` where a sample has several rows.
pub fn in_y(row: usize, places: usize) -> String {
    if places == 1 { format!("y[{row}]") } else { format!("y[{}, {}]", row / places, row % places) }
}

/// Where a number among the targets of a row of the output stands in `y`.
pub fn in_y_of(number: usize, outputs: usize, places: usize) -> String {
    let row = in_y(number / outputs, places);
    format!("{}, {}]", &row[..row.len() - 1], number % outputs)
}

/// Refuse class ids unless there is one for each row of the output and none is negative.
pub fn classes(ids: &[i128], rows: usize, places: usize) -> Result<Vec<usize>> {
    if ids.len() != rows {
        return Err(Error::value(
            "y",
            &format!("of shape ({rows},), one class id a sample of x"),
            format!("({},)", ids.len()),
        ));
    }
    let bad = ids.iter().position(|id| !(0..=MAX_WIDTH as i128).contains(id));
    bad.map_or(Ok(0), |i| integer(&in_y(i, places), ids[i], 0, MAX_WIDTH as u64))?;
    Ok(ids.iter().map(|&id| id as usize).collect())
}

/// The class ids that numbers are, if all are whole.
pub fn whole(values: &[f64], places: usize) -> Result<Vec<i128>> {
    match values.iter().position(|v| v.fract() != 0.0) {
        None => Ok(values.iter().map(|&v| v as i128).collect()),
        Some(i) => Err(Error::Value(format!(
            "y must be class ids, whole numbers, with loss='cross_entropy', but {} is {}; for other numbers choose \
             another loss, such as 'mse'",
            in_y(i, places),
            values[i]
        ))),
    }
}

/// The class ids of one-hot rows.
pub fn one_hot(values: &[f64], columns: usize, places: usize) -> Result<Vec<usize>> {
    let id = |(i, row): (usize, &[f64])| {
        let hot = row.iter().position(|&v| v == 1.0);
        let rest = row.iter().filter(|&&v| v == 0.0).count();
        hot.filter(|_| rest + 1 == columns).ok_or_else(|| {
            Error::Value(format!(
                "y must be one-hot with loss='cross_entropy', a single 1 and zeros in each row, but {} is {row:?}; \
                 give class ids, or choose another loss, such as 'bce_with_logits' for several labels a sample",
                in_y(i, places)
            ))
        })
    };
    values.chunks_exact(columns).enumerate().map(id).collect()
}

/// The refusal of one number a sample where the net has several outputs.
pub fn one_number_a_sample(loss: Loss, batch: usize, outputs: usize, places: usize) -> Error {
    let (allowed, given) = match places {
        1 => (format!("(batch, outputs) = ({batch}, {outputs})"), format!("({batch},)")),
        _ => (format!("(batch, places, outputs) = ({batch}, {places}, {outputs})"), format!("({batch}, {places})")),
    };
    let each = if places == 1 { "a sample" } else { "a place" };
    Error::Value(format!(
        "y must be of shape {allowed}, got shape {given}; for one number {each} set out_features=1, and if they are \
         class ids choose loss='cross_entropy' in place of '{}'",
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
pub fn target_range(loss: Loss, values: &[f64], outputs: usize, places: usize) -> Result<()> {
    let Allowed { holds, words, .. } = loss.allowed();
    match values.iter().position(|&t| !holds(t)) {
        None => Ok(()),
        Some(i) => Err(Error::value(
            &in_y_of(i, outputs, places),
            &format!("{words} with loss {}", loss.signature().name),
            values[i],
        )),
    }
}

/// Refuse class ids that name no output of the net.
pub fn class_range(ids: &[usize], outputs: usize, places: usize) -> Result<()> {
    match ids.iter().position(|&id| id >= outputs) {
        None => Ok(()),
        Some(i) => Err(Error::value(
            &in_y(i, places),
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
