/** Numbers as Python writes them, and sums as NumPy adds them. */

/** A number of a reply. */
export function numberOf(value) {
  if (typeof value === "number") return value;
  return value === "inf" ? Infinity : value === "-inf" ? -Infinity : NaN;
}

/** The shorter text of a number; null where it lies exactly between two, of which Python takes the even one. */
function evenly(value, shorter, longer) {
  const [short, long] = [shorter(value), longer(value)];
  const digits = (text) => text.replace(/e.*$/, "").replace(/[-.]/g, "");
  const rest = digits(long).slice(digits(short).length);
  if (!/^50*$/.test(rest) || "02468".includes(digits(short).at(-1))) return short;
  return null;
}

/** `f"{value:.{places}f}"`. */
export function fixedText(value, places) {
  const text = evenly(value, (v) => v.toFixed(places), (v) => v.toFixed(100));
  if (text !== null) return text;
  const unit = 10 ** -places;
  return (value - (Math.sign(value) * unit) / 4).toFixed(places); // a tie that was rounded away from 0 to an odd digit
}

/** `f"{value:.{digits}e}"`, as `[mantissa, exponent]`. */
function scientific(value, digits) {
  let text = evenly(value, (v) => v.toExponential(digits), (v) => v.toExponential(100));
  if (text === null) {
    const exponent = Number(value.toExponential(digits).split("e")[1]);
    text = (value - (Math.sign(value) * 10 ** (exponent - digits)) / 4).toExponential(digits);
  }
  const [mantissa, exponent] = text.split("e");
  return [mantissa, Number(exponent)];
}

/** An exponent with its sign and two digits at least. */
function exponentText(exponent) {
  return `e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

/** `f"{value:.{digits}g}"`. */
export function generalText(value, digits) {
  if (value === 0) return "0";
  const [mantissa, exponent] = scientific(value, digits - 1);
  const short = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  if (exponent < -4 || exponent >= digits) return short(mantissa) + exponentText(exponent);
  return short(Number(`${mantissa}e${exponent}`).toFixed(Math.max(digits - 1 - exponent, 0)));
}

/** A size whose logarithm is given, readable at any size: `show.words.power`. */
export function powerText(log10) {
  if (Number.isNaN(log10)) return "unknown";
  if (!Number.isFinite(log10)) return log10 < 0 ? "0" : "inf";
  return Math.abs(log10) < 3 ? generalText(10 ** log10, 3) : `10^${fixedText(log10, 1)}`;
}

/** By how much a size changes: `show.words.fold`. */
export function foldText(factor) {
  if (!Number.isFinite(factor)) return "more than 10^308-fold";
  if (factor >= 1e5) return `10^${generalText(Math.log10(factor), 4)}-fold`;
  return factor >= 10 ? `${fixedText(factor, 0)}-fold` : `${generalText(factor, 3)}-fold`;
}

/** A number of layers, which may have no end: `show.words.count`. */
export function countText(layers) {
  if (!Number.isFinite(layers)) return "no limit";
  if (layers < 1e6) return fixedText(layers, 0);
  const [mantissa, exponent] = scientific(layers, 0);
  return mantissa + exponentText(exponent);
}

/** A size whose logarithm is given; inf where float64 ends. */
export function tenTo(log10) {
  return log10 < 308 ? 10 ** log10 : Infinity;
}

/** A sum in NumPy's order: eight at a time. */
export function total(values) {
  if (values.length < 8) return values.reduce((sum, value) => sum + value, 0);
  const parts = values.slice(0, 8);
  const whole = values.length - (values.length % 8);
  for (let at = 8; at < whole; at += 1) parts[at % 8] += values[at];
  const [a, b, c, d, f, g, h, i] = parts;
  return values.slice(whole).reduce((sum, value) => sum + value, a + b + (c + d) + (f + g + (h + i)));
}

export function meanOf(values) {
  return total(values) / values.length;
}

/** Standard deviation of a sample: ddof 1. */
export function spreadOf(values) {
  const mean = meanOf(values);
  return Math.sqrt(total(values.map((value) => (value - mean) ** 2)) / (values.length - 1));
}

/** The median; that of two in the middle is their mean. */
export function medianOf(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Rows as columns. */
export function transposed(rows) {
  return rows[0].map((_, at) => rows.map((row) => row[at]));
}

export const known = (value) => !Number.isNaN(value);
export const finite = (value) => Number.isFinite(value);

/** Mean over the rows that have a value, column by column; nan where none has. */
export function columnMeans(rows) {
  return transposed(rows).map((column) => {
    const there = column.filter(known);
    return there.reduce((sum, value) => sum + value, 0) / there.length;
  });
}

/** The largest number, nan left out; -inf where there is none. */
export function largest(values) {
  return values.reduce((most, value) => (value > most ? value : most), -Infinity);
}
