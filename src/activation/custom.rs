//! Activations of a user's own: tables of cubics, found by their content.
//!
//! A table joins the samples of a function and of its slope by cubics (Hermite), piece by piece between the places
//! where it bends, on an even grid in each piece: an element costs an index and two polynomials. Beyond the ends it
//! goes on as a line.
//!
//! An activation is a plain value and holds no table but its number. A table is known as long as somebody has hold of it
//! ([`Held`]): the object of Python that stands for the activation, and every spec that names it. Only a job that was
//! given up can still ask for one that is gone, and finds NaN.

#![allow(clippy::inline_always)] // A `simd::Task` is compiled for an instruction set only where it is inlined.

use super::{Activation, Function, PLAIN, Row};
use crate::error::{Error, Result, shown};
use crate::signature::{Argument, Domain, Param, Signature, about};
use crate::simd::{self, Float, Set, Task};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

/// The name that tables answer to.
pub const NAME: &str = "custom";

/// The most cells of a table.
pub const MOST: usize = 1 << 20;

/// Samples of a function and of its slope, ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// The ends of the pieces, one more than pieces: from the lowest argument to the highest.
    pub borders: Vec<f64>,
    /// Cells of each piece, all of one length.
    pub cells: Vec<usize>,
    /// Values at the ends of the cells of each piece, one more than cells: two at a border, which may differ.
    pub values: Vec<f64>,
    /// Slopes at the ends of the cells of each piece, one-sided at a border.
    pub slopes: Vec<f64>,
    /// The borders at which the function bends.
    pub kinks: Vec<f64>,
}

/// A part of a table between two borders; its cells are counted from the end nearer to 0.
#[derive(Debug)]
struct Piece {
    /// The end nearer to 0: from it a small argument is measured without rounding.
    from: f64,
    /// The length of a cell, negative where cells are counted downward.
    step: f64,
    per_step: f64,
    first: u32,
    cells: u32,
}

/// A function, joined of cubics.
#[derive(Debug)]
pub struct Table {
    low: f64,
    high: f64,
    /// The borders between pieces; one belongs to the piece below it.
    inner: Vec<f64>,
    pieces: Vec<Piece>,
    /// Coefficients of the powers of the distance from where each cell begins.
    cubics: Vec<[f64; 4]>,
    kinks: Vec<f64>,
    steepest: f64,
    at_zero: Option<[f64; 2]>,
}

/// The row of all custom activations. Its parameter is the name of a table with the hash of its samples, kept as the
/// number of the table.
pub(super) static ROW: Row = Row {
    signature: Signature {
        name: NAME,
        aliases: &[],
        params: &[Param::required("table", Domain::Known { number, word })],
        about: about("f(z)", "cubics through samples of a function of your own", "vgcore.Activation.custom"),
    },
    traits: PLAIN,
    function: Function::Custom,
};

/// Has hold of a table, by its number. The last to let go forgets the table.
#[derive(Debug)]
pub struct Held(u64);

impl Drop for Held {
    fn drop(&mut self) {
        let forgotten = known_mut().tables.remove(&self.0);
        // Freed when nobody waits for the lock.
        drop(forgotten);
    }
}

/// A table that this process knows.
struct Known {
    /// The name with the hash of the samples.
    word: String,
    samples: Arc<Samples>,
    table: Arc<Table>,
    held: Weak<Held>,
}

/// The tables of this process by their numbers, which are never given twice.
struct Tables {
    last: u64,
    tables: BTreeMap<u64, Known>,
}

static TABLES: RwLock<Tables> = RwLock::new(Tables { last: 0, tables: BTreeMap::new() });

fn known() -> RwLockReadGuard<'static, Tables> {
    TABLES.read().unwrap_or_else(PoisonError::into_inner)
}

fn known_mut() -> RwLockWriteGuard<'static, Tables> {
    TABLES.write().unwrap_or_else(PoisonError::into_inner)
}

impl Samples {
    /// Refuse samples that are no table, with the first thing that is wrong with them.
    fn check(&self) -> Result<()> {
        let wrong =
            |what: &str, allowed: &str, got: String| Err(Error::value(&format!("custom: {what}"), allowed, got));
        let numbers = [&self.borders, &self.values, &self.slopes].into_iter().flatten();
        if let Some(value) = numbers.into_iter().find(|value| !value.is_finite()) {
            return wrong("samples", "finite numbers", value.to_string());
        }
        if self.borders.len() < 2 || !self.borders.is_sorted_by(|a, b| a < b) {
            return wrong("borders", "two or more ascending numbers", format!("{:?}", self.borders));
        }
        let counted = self.cells.len() + 1 == self.borders.len() && self.cells.iter().all(|&cells| cells > 0);
        let total = self.cells.iter().fold(0_usize, |sum, &cells| sum.saturating_add(cells));
        if !counted || total > MOST {
            return wrong("cells", &format!("one count a piece, {MOST} in all at most"), format!("{:?}", self.cells));
        }
        for (what, given) in [("values", &self.values), ("slopes", &self.slopes)] {
            if given.len() != total + self.cells.len() {
                let allowed = format!("{} numbers", total + self.cells.len());
                return wrong(what, &allowed, given.len().to_string());
            }
        }
        if let Some(kink) = self.kinks.iter().find(|kink| !self.borders.contains(kink)) {
            return wrong("kinks", "among the borders", kink.to_string());
        }
        Ok(())
    }

    /// A hash of all numbers in 64 bits (Fowler, Noll and Vo's hash 1a, by words).
    fn hash(&self) -> u64 {
        let lengths = [self.borders.len(), self.kinks.len()].into_iter().chain(self.cells.iter().copied());
        let numbers = [&self.borders, &self.values, &self.slopes, &self.kinks].into_iter().flatten();
        let words = lengths.map(|length| length as u64).chain(numbers.map(|value| value.to_bits()));
        words
            .flat_map(u64::to_le_bytes)
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

/// The cubic over `(0, step)` with these values and slopes at its ends; of samples on a line, the line.
///
/// What rounding leaves of the square and the cube would make slopes of a line differ from point to point. Values are
/// rounded as the largest of their piece, `scale`, is: places near 0 are sums of those at its ends.
fn hermite(step: f64, scale: f64, [start, end]: [f64; 2], [slope, end_slope]: [f64; 2]) -> [f64; 4] {
    let rise = (end - start) / step;
    if slope.to_bits() == end_slope.to_bits() && ((rise - slope) * step).abs() <= 4.0 * f64::EPSILON * scale {
        return [start, slope, 0.0, 0.0];
    }
    [start, slope, (3.0 * rise - 2.0 * slope - end_slope) / step, (slope + end_slope - 2.0 * rise) / (step * step)]
}

/// Value and slope of a cubic.
#[inline(always)]
fn cubic([a, b, c, d]: [f64; 4], t: f64) -> (f64, f64) {
    (a + t * (b + t * (c + t * d)), b + t * (2.0 * c + t * (3.0 * d)))
}

/// Value and slope of a cubic, so far beyond an end along the line there.
#[inline(always)]
fn joined(powers: [f64; 4], t: f64, beyond: f64) -> (f64, f64) {
    let (value, slope) = cubic(powers, t);
    // 0 times infinity is 0 here: a flat end has a limit.
    (if beyond == 0.0 || slope == 0.0 { value } else { value + slope * beyond }, slope)
}

/// Make the table of these samples known, as long as what is given is held.
pub fn register(name: &str, samples: Samples) -> Result<Arc<Held>> {
    const LONGEST: usize = 40;
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !(name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(letters) && name.len() <= LONGEST) {
        let allowed = format!("1 to {LONGEST} letters, digits and underscores, a letter first");
        return Err(Error::value("custom: name", &allowed, format!("'{}'", shown(name))));
    }
    samples.check()?;
    let word = format!("{name}_x{:016x}", samples.hash());
    let (table, samples) = (Arc::new(Table::new(&samples)), Arc::new(samples));
    let mut all = known_mut();
    // One that somebody lets go of at this moment counts no more.
    let same =
        all.tables.values().filter(|known| known.word == word).find_map(|known| Some((known.held.upgrade()?, known)));
    let outcome = match same {
        Some((held, known)) => Ok((held, known.samples == samples)),
        None => Err(all.last + 1),
    };
    let (held, equal) = outcome.unwrap_or_else(|number| {
        let held = Arc::new(Held(number));
        all.last = number;
        all.tables.insert(number, Known { word: word.clone(), samples, table, held: Arc::downgrade(&held) });
        (held, true)
    });
    // To let go of a table takes the lock.
    drop(all);
    if equal {
        Ok(held)
    } else {
        Err(Error::Value(format!("custom: another table is known as '{word}'; choose another name")))
    }
}

/// The text of the activation of a table: `custom(table=name_x...)`.
pub fn text(held: &Held) -> String {
    ROW.signature.text(&[held.0 as f64; crate::signature::MAX_PARAMS])
}

/// A message for people: in it tables are called by the names that their owners gave.
pub fn named(message: &str) -> String {
    const OPENING: &str = "custom(table=";
    const HASH: usize = "_x0123456789abcdef".len();
    let (mut found, mut rest) = (String::new(), message);
    while let Some((before, behind)) = rest.split_once(OPENING) {
        found += before;
        let spelled = behind.split_once(')').filter(|(word, _)| word.len() > HASH && word.is_ascii());
        if let Some((word, behind)) = spelled {
            found += &word[..word.len() - HASH];
            rest = behind;
        } else {
            found += OPENING;
            rest = behind;
        }
    }
    found + rest
}

/// Hold of the tables of those activations that have one.
pub fn held(activations: &[Activation]) -> Vec<Arc<Held>> {
    let mut numbers =
        activations.iter().filter(|one| std::ptr::eq(one.row, &raw const ROW)).map(|one| one.values[0] as u64);
    let Some(first) = numbers.next() else { return Vec::new() };
    let numbers = std::iter::once(first).chain(numbers).collect::<std::collections::BTreeSet<_>>();
    // Let go of only after the lock.
    let all = known();
    let held = numbers.iter().filter_map(|number| all.tables.get(number)?.held.upgrade()).collect();
    drop(all);
    held
}

/// The table of a number, if somebody still has hold of it.
pub(super) fn table(number: f64) -> Option<Arc<Table>> {
    known().tables.get(&(number as u64)).map(|known| Arc::clone(&known.table))
}

/// The word of a number.
fn word(number: f64) -> String {
    known().tables.get(&(number as u64)).map_or_else(|| "none".to_owned(), |known| known.word.clone())
}

/// The number of a table by its word.
fn number(given: &Argument) -> Result<f64> {
    let all = known();
    let there = || all.tables.iter().filter(|(_, known)| known.held.strong_count() > 0);
    let named = |known: &Known| matches!(given, Argument::Word(word) if *word == known.word);
    there().find(|(_, known)| named(known)).map(|(number, _)| *number as f64).ok_or_else(|| {
        /// Words that a message lists.
        const LISTED: usize = 10;
        let words = there().take(LISTED).map(|(_, known)| known.word.as_str()).collect::<Vec<_>>().join(", ");
        let words = if words.is_empty() { "none".to_owned() } else { words };
        Error::Value(format!(
            "activation {NAME} has no table {given} in this process (known: {words}); make it with \
             vg.Activation.custom(name, f) or vg.Activation.from_samples(name, z, values), or load the spec by \
             vg.MLP.from_json or pickle, which bring it along"
        ))
    })
}

impl Table {
    fn new(samples: &Samples) -> Self {
        let (mut pieces, mut cubics) = (Vec::new(), Vec::new());
        let mut first = 0;
        for (&cells, ends) in samples.cells.iter().zip(samples.borders.windows(2)) {
            let nodes = first..=first + cells;
            let (values, slopes) = (&samples.values[nodes.clone()], &samples.slopes[nodes]);
            let step = (ends[1] - ends[0]) / cells as f64;
            let scale = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
            let downward = ends[1] <= 0.0;
            let (from, step) = if downward { (ends[1], -step) } else { (ends[0], step) };
            pieces.push(Piece { from, step, per_step: 1.0 / step, first: cubics.len() as u32, cells: cells as u32 });
            cubics.extend((0..cells).map(|cell| {
                let [start, end] = if downward { [cells - cell, cells - cell - 1] } else { [cell, cell + 1] };
                hermite(step, scale, [values[start], values[end]], [slopes[start], slopes[end]])
            }));
            first += cells + 1;
        }
        let (low, high) = (samples.borders[0], samples.borders[samples.cells.len()]);
        let mut table = Self {
            low,
            high,
            inner: samples.borders[1..samples.cells.len()].to_vec(),
            pieces,
            cubics,
            kinks: samples.kinks.clone(),
            steepest: 0.0,
            at_zero: None,
        };
        table.steepest = table.steepest_slope();
        table.at_zero = table.line_at_zero();
        table
    }

    /// The largest `|slope|`: a quadratic is steepest at an end of its cell, or where it turns.
    fn steepest_slope(&self) -> f64 {
        let cells = self
            .pieces
            .iter()
            .flat_map(|piece| (0..piece.cells).map(move |cell| (piece.step, (piece.first + cell) as usize)));
        let slopes = cells.flat_map(|(step, cell)| {
            let [_, _, c, d] = self.cubics[cell];
            let turn = -c / (3.0 * d);
            let turn = if turn / step > 0.0 && turn / step < 1.0 { turn } else { 0.0 };
            [0.0, step, turn].map(|t| cubic(self.cubics[cell], t).1.abs())
        });
        slopes.fold(0.0, f64::max)
    }

    /// The slopes on both sides of 0, if the table goes through 0 there as a line or not at all.
    fn line_at_zero(&self) -> Option<[f64; 2]> {
        let begins = |upward: bool| {
            let piece = self.pieces.iter().find(|piece| piece.from == 0.0 && (piece.step > 0.0) == upward)?;
            let [value, slope, c, d] = self.cubics[piece.first as usize];
            // Below 2^-60 the square and the cube must not be seen beside the line.
            let line = c.abs() <= 64.0 * slope.abs() && d.abs() <= 1e9 * slope.abs();
            (value == 0.0 && line).then_some(slope)
        };
        Some([begins(false)?, begins(true)?])
    }

    /// The arguments at which the function bends.
    pub fn kinks(&self) -> &[f64] {
        &self.kinks
    }

    /// The largest `|slope|`.
    pub fn steepest(&self) -> f64 {
        self.steepest
    }

    /// The slopes just below and just above 0 if a small signal passes as a line.
    pub fn at_zero(&self) -> Option<[f64; 2]> {
        self.at_zero
    }

    /// `z`, or the end of the table beyond which it lies.
    #[inline(always)]
    fn inside(&self, z: f64) -> f64 {
        let inside = if z > self.high { self.high } else { z };
        if inside < self.low { self.low } else { inside }
    }

    /// The cell that `z` falls into and the distance from where it begins; NaN falls into one and stays a distance.
    #[inline(always)]
    fn place(&self, z: f64) -> (u32, f64) {
        let inside = self.inside(z);
        let mut at = &self.pieces[0];
        for (border, next) in self.inner.iter().zip(&self.pieces[1..]) {
            at = if inside > *border { next } else { at };
        }
        let cell = (((inside - at.from) * at.per_step) as u32).min(at.cells - 1);
        (at.first + cell, inside - at.from - f64::from(cell) * at.step)
    }

    /// Value and slope.
    pub fn both(&self, z: f64) -> (f64, f64) {
        let (cell, distance) = self.place(z);
        joined(self.cubics[cell as usize], distance, z - self.inside(z))
    }

    /// Outputs and slopes of a slice of pre-activations; all three of one length.
    pub fn apply<F: Float>(&self, z: &[F], a: &mut [F], slope: &mut [F]) {
        simd::run(Lookup { table: self, z, a, slope });
    }
}

/// Elements that are looked up together.
const BLOCK: usize = 32;

/// A table over slices of one length.
struct Lookup<'v, F> {
    table: &'v Table,
    z: &'v [F],
    a: &'v mut [F],
    slope: &'v mut [F],
}

impl<F: Float> Task for Lookup<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let table = self.table;
        for ((z, a), slope) in self.z.chunks(BLOCK).zip(self.a.chunks_mut(BLOCK)).zip(self.slope.chunks_mut(BLOCK)) {
            let mut wide = [0.0; BLOCK];
            for (wide, z) in wide.iter_mut().zip(z) {
                *wide = z.wide();
            }
            let (mut cells, mut distances) = ([0; BLOCK], [0.0; BLOCK]);
            for ((z, cell), distance) in wide.iter().zip(&mut cells).zip(&mut distances) {
                (*cell, *distance) = table.place(*z);
            }
            // Gathered by whole cells, then turned, so that the polynomials are arithmetic on vectors.
            let mut powers = [[0.0; BLOCK]; 4];
            for (i, cell) in cells.iter().enumerate() {
                let cubic = table.cubics[*cell as usize];
                for power in 0..4 {
                    powers[power][i] = cubic[power];
                }
            }
            let (mut values, mut slopes) = ([0.0; BLOCK], [0.0; BLOCK]);
            for i in 0..BLOCK {
                let beyond = wide[i] - table.inside(wide[i]);
                let cubic = [powers[0][i], powers[1][i], powers[2][i], powers[3][i]];
                (values[i], slopes[i]) = joined(cubic, distances[i], beyond);
            }
            for (i, (a, slope)) in a.iter_mut().zip(slope).enumerate() {
                (*a, *slope) = (F::of(values[i]), F::of(slopes[i]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;

    /// `f` and its slope on even cells between borders, with the one-sided slope at each.
    fn sampled(borders: &[f64], cells: usize, f: fn(f64) -> (f64, f64)) -> Samples {
        let pieces = borders.windows(2).flat_map(|ends| {
            let (from, to) = (ends[0], ends[1]);
            (0..=cells).map(move |i| {
                let z = from + (to - from) * i as f64 / cells as f64;
                (f(z).0, f(z.clamp(from + 1e-12, to - 1e-12)).1)
            })
        });
        let (values, slopes) = pieces.unzip();
        let kinks = Vec::new();
        Samples { borders: borders.to_vec(), cells: vec![cells; borders.len() - 1], values, slopes, kinks }
    }

    fn known(name: &str, samples: Samples) -> (Activation, Arc<Held>) {
        let held = register(name, samples).unwrap();
        let activation = Activation::parse(&text(&held)).unwrap();
        assert_eq!(activation.text(), text(&held));
        (activation, held)
    }

    #[test]
    fn a_table_follows_its_function_through_0_and_goes_on_as_a_line() {
        let (table, _held) = known("soft", sampled(&[-8.0, 0.0, 8.0], 4000, |z| (z.tanh(), 1.0 / z.cosh().powi(2))));
        let z = (-9000..=9000).map(|i| f64::from(i) * 1e-3 + 1e-4).chain([0.0, -1e-20, 1e-20]).collect::<Vec<_>>();
        let (mut a, mut slope) = (vec![0.0; z.len()], vec![0.0; z.len()]);
        table.apply(&z, &mut a, &mut slope);
        for ((&z, a), slope) in z.iter().zip(a).zip(slope) {
            assert_eq!((a, slope), table.both(z));
            let (value, derivative) = (z.tanh(), 1.0 / z.cosh().powi(2));
            // Beyond the ends the line rises by its slope, 4e-7.
            let far = if z.abs() > 8.0 { 1e-6 } else { 0.0 };
            assert!((a - value).abs() <= 1e-12 + far, "{z}: {a} {value}");
            assert!((slope - derivative).abs() <= 1e-9 + far, "{z}: {slope} {derivative}");
        }
        assert_eq!(table.both(-1e-20).0, -1e-20);
        let [below, above] = table.at_zero().unwrap();
        assert!((below - 1.0).abs() < 1e-12 && (above - 1.0).abs() < 1e-12);
        assert!((table.steepest() - 1.0).abs() < 1e-9);
        assert!(table.both(f64::NAN).0.is_nan());
    }

    #[test]
    fn a_border_belongs_to_the_piece_below_and_a_flat_end_has_a_limit() {
        let ramp = |z: f64| (z.clamp(0.0, 1.0), f64::from(u8::from(z > 0.0 && z < 1.0)));
        let mut samples = sampled(&[-1.0, 0.0, 1.0, 2.0], 3, ramp);
        samples.kinks = vec![0.0, 1.0];
        let (table, _held) = known("ramp", samples);
        assert_eq!(table.both(0.0), (0.0, 0.0));
        assert!((table.both(1.0).1 - 1.0).abs() < 1e-14);
        assert_eq!(table.both(f64::INFINITY), (1.0, 0.0));
        assert_eq!(table.both(f64::NEG_INFINITY), (0.0, 0.0));
        assert_eq!(table.at_zero(), Some([0.0, 1.0]));
        assert_eq!(table.kinks(), [0.0, 1.0]);
    }

    #[test]
    fn samples_on_a_line_are_joined_by_that_line() {
        // Between 0.3 and 1.7 neither the places nor the values of samples are exact.
        let (table, _held) = known("line", sampled(&[-0.7, 0.3, 1.7], 10, |z| (0.1 * z + 5.0, 0.1)));
        let (flat, _held) = known("flat", sampled(&[-0.7, 0.3, 1.7], 10, |_| (0.3, 0.0)));
        for i in -300..=300 {
            let z = f64::from(i) * 0.01;
            assert_eq!(table.both(z).1, 0.1, "{z}");
            assert!((table.both(z).0 - (0.1 * z + 5.0)).abs() < 4e-15, "{z}");
            assert_eq!(flat.both(z), (0.3, 0.0), "{z}");
        }
        assert_eq!(table.steepest(), 0.1);
    }

    #[test]
    fn a_table_is_found_by_its_content() {
        let samples = sampled(&[-1.0, 1.0], 2, |z| (z * z, 2.0 * z));
        let held = register("square", samples.clone()).unwrap();
        assert!(Arc::ptr_eq(&register("square", samples.clone()).unwrap(), &held));
        let mut other = samples.clone();
        other.values[1] += 1e-9;
        assert_ne!(text(&register("square", other).unwrap()), text(&held));
        // z^2 is no line at 0.
        assert_eq!(known("square", samples).0.at_zero(), None);
        let message = Activation::parse("custom(square_x0000000000000000)").unwrap_err().to_string();
        assert!(
            message.contains("has no table 'square_x0000000000000000'") && message.contains("from_json"),
            "{message}"
        );
    }

    #[test]
    fn a_message_calls_a_table_by_the_name_of_its_owner() {
        let told = |text: &str| named(&format!("{text} lets nothing pass, {text}"));
        assert_eq!(told("custom(table=square_x0000000000000000)"), "square lets nothing pass, square");
        assert_eq!(told("custom(table=square"), "custom(table=square lets nothing pass, custom(table=square");
    }

    #[test]
    fn a_table_is_forgotten_when_the_last_lets_go_and_its_number_never_comes_again() {
        let samples = || sampled(&[-1.0, 1.0], 2, |z| (3.0 * z, 3.0));
        let (activation, first) = known("gone", samples());
        let second = held(&[activation, Activation::linear(), activation]);
        assert_eq!(second.len(), 1);
        let number = activation.values[0];
        drop(first);
        assert_eq!(activation.both(0.5), (1.5, 3.0));
        drop(second);
        assert!(table(number).is_none() && activation.both(0.5).0.is_nan());
        let (mut a, mut slope) = ([0.0_f32], [0.0_f32]);
        activation.apply(&[1.0], &mut a, &mut slope);
        assert!(a[0].is_nan() && held(&[activation]).is_empty());
        let (again, _held) = known("gone", samples());
        assert!(again.values[0] > number);
        assert_ne!(again, activation);
    }

    #[test]
    fn threads_that_make_and_drop_one_table_leave_none() {
        let samples = || sampled(&[-1.0, 1.0], 2, |z| (5.0 * z, 5.0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let (activation, _held) = known("shared", samples());
                        assert_eq!(activation.both(0.5), (2.5, 5.0));
                    }
                });
            }
        });
        assert!(!known_mut().tables.values().any(|known| known.word.starts_with("shared")));
    }

    #[test]
    fn bad_samples_are_refused() {
        let good = || sampled(&[-1.0, 1.0], 2, |z| (z, 1.0));
        let refused = |name: &str, change: fn(&mut Samples), part: &str| {
            let mut samples = good();
            change(&mut samples);
            let message = register(name, samples).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        };
        refused("12e5", |_| (), "a letter first");
        refused("a,b", |_| (), "letters, digits");
        refused("bad", |s| s.values[0] = f64::NAN, "finite numbers, got NaN");
        refused("bad", |s| s.borders = vec![1.0, 1.0], "ascending");
        refused("bad", |s| s.cells = vec![0], "one count a piece");
        refused("bad", |s| s.slopes.truncate(2), "slopes must be 3 numbers, got 2");
        refused("bad", |s| s.kinks = vec![0.5], "among the borders");
    }
}
