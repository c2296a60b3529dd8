// What panels show of a reply: columns as curves, and the same in words.
import { extent, powerOfTen } from "./draw.js";
import { short } from "./state.js";

/**
 * The panels, in order; `stream` is the signal of a net with skips, what a block hands on; `fromLast` is of what runs
 * from the last layer to the first.
 */
export const PANELS = [
  { id: "forward", title: "Forward", symbol: "z", column: "log10_z_rms", stream: ["h", "log10_h_rms"], unit: "rms" },
  {
    id: "backward", title: "Backward", symbol: "dL/dz", column: "log10_delta_rms", stream: ["dL/dh", "log10_dh_rms"],
    unit: "rms", fromLast: true,
  },
  {
    id: "weight", title: "Weight gradient", symbol: "dL/dW", column: "log10_wgrad_norm",
    unit: "norm", fromLast: true,
  },
  { id: "shares", title: "Units and samples", columns: ["saturated", "dead", "correlation"] },
];
/** Decades that an axis of sizes spans at least: less would make noise look like a trend. */
const DECADES = 4;
const KEYS = "Arrow keys read it layer by layer.";
/** How infinities come in a reply; null is what is not known. */
const WORDS = { inf: Infinity, "-inf": -Infinity };

/** A value of a reply as a number. */
export const number = (value) => WORDS[value] ?? Number(value ?? NaN);

/** A column of a reply, a row a seed. */
const rowsOf = (reply, column) => reply.columns[column].map((values) => values.map(number));

/** How sizes that stand together are written, each by its logarithm: as numbers, or as powers where one is far from 1. */
function writer(all) {
  const near = all.every((log10) => !Number.isFinite(log10) || Math.abs(log10) < 3);
  return (log10) => {
    if (Number.isNaN(log10)) return "unknown";
    if (!Number.isFinite(log10)) return log10 < 0 ? "0" : "inf";
    return near ? short(10 ** log10) : `10^${log10.toFixed(1)}`;
  };
}

/** The mean over the seeds of what is finite, layer by layer. */
function means(rows) {
  return rows[0].map((_, i) => {
    const there = rows.map((row) => row[i]).filter(Number.isFinite);
    return there.length ? there.reduce((a, b) => a + b, 0) / there.length : NaN;
  });
}

/** The ends of what is finite of the seeds at a layer; none where there is no range. */
function ends(rows, i) {
  const there = rows.map((row) => row[i]).filter(Number.isFinite);
  return there.length > 1 ? [Math.min(...there), Math.max(...there)] : [];
}

/** What a panel shows of a reply to a request. */
export const viewed = (row, reply, settings) => (row.columns ? shares(row, reply) : sizes(row, reply, settings));

/** Sizes by layer; of a net with skips those of the stream, and z in the branches beside them. */
function sizes(row, reply, { limits }) {
  const streams = row.stream !== undefined && reply.request.skip !== "none";
  const [symbol, column] = streams ? row.stream : [row.symbol, row.column];
  const rows = rowsOf(reply, column);
  const mean = means(rows);
  const depth = mean.length;
  const branch = streams ? means(rowsOf(reply, row.column)) : null;
  const theory = theoryOf(reply.theory?.[row.id]);
  if (theory && streams) theory.kind = "theory inner"; // of the branches, as it is thin as theirs is
  const lost = row.fromLast ? Math.max(0, ...reply.lost_below.map((last) => number(last) + 1)) : 0;
  const marks = [...zeros(rows), ...(row.fromLast ? [] : breaks(reply.first_nonfinite.map(number), depth))];
  const bands = bandsOf(mean.at(row.fromLast ? -1 : 0), depth > 1 ? limits[row.id] : undefined);
  const beside = [branch ?? [], ...Object.values(theory ?? {}), ...bands.map(Object.values)];
  const [from, to] = row.fromLast ? [depth - 1, 0] : [0, depth - 1];
  const ofTheory = streams ? `theory of ${row.symbol}` : "theory";
  const whole = (i) => {
    const range = ends(rows, i);
    const others = [[row.symbol, branch?.[i]], [ofTheory, theory?.mean[i]]].filter(([, value]) => value !== undefined);
    const power = writer([mean[i], ...range, ...others.map(([, value]) => value)]);
    const said = others.filter(([name, value]) => name !== ofTheory || Number.isFinite(value));
    return [
      `layer ${i + 1}: ${power(mean[i])}${range.length ? ` (${range.map(power).join(" to ")})` : ""}`,
      ...said.map(([name, value]) => `${name} ${power(value)}`),
    ].join("; ");
  };
  const power = writer([mean[from], mean[to]]);
  const at = (i) => `layer ${i + 1}: ${power(mean[i])}`;
  return {
    depth, bands, theory, marks, lost,
    range: extent([...rows, ...beside], DECADES),
    whole: true,
    word: powerOfTen,
    references: limits.float32,
    lines: [
      ...rows.map((values) => ({ values, kind: "seed" })),
      ...(branch ? [{ values: branch, kind: "branch" }] : []),
      { values: mean, kind: "mean" },
    ],
    heading: [
      ["name", row.title], ["symbol", symbol], ["quiet", row.unit],
      ...(branch ? [["key branch", `${row.symbol} in the branches`]] : []),
    ],
    values: (i) => (i !== null || depth === 1 ? whole(i ?? 0) : `${at(from)} → ${at(to)}`),
    told: [
      `${row.title} ${symbol}, ${row.unit} by layer, mean of ${rows.length} ${rows.length === 1 ? "seed" : "seeds"}:`,
      `${power(mean[from])} at layer ${from + 1}, ${power(mean[to])} at layer ${to + 1}.`,
      ...(theory ? [`By ${ofTheory}: ${[from, to].map((i) => power(theory.mean[i])).join(" and ")}.`] : []),
      ...(lost ? [`Lost below the range of float32 at layers 1 to ${lost}.`] : []),
      ...marks.map(({ title }) => `${title}.`),
      KEYS,
    ].join(" "),
  };
}

/** Shares of units, and the correlation of samples, by layer. */
function shares(row, reply) {
  const found = row.columns.map((column) => [column, means(rowsOf(reply, column))]);
  const depth = found[0][1].length;
  const low = found.some(([, values]) => values.some((value) => value < -0.05)) ? -1 : 0;
  const word = (column, value) => {
    if (!Number.isFinite(value)) return `${column} unknown`;
    const hundredths = Math.round(100 * value) + 0; // + 0 makes -0 plain 0
    return `${column} ${column === "correlation" ? (hundredths / 100).toFixed(2) : `${hundredths} %`}`;
  };
  const said = (i) => `layer ${i + 1}: ${found.map(([column, values]) => word(column, values[i])).join(", ")}`;
  return {
    depth, bands: [], theory: null, marks: [], lost: 0, references: [],
    range: [low - 0.04, 1.04],
    whole: false,
    word: short,
    lines: found.map(([column, values]) => ({ values, kind: column })),
    heading: [["name", row.title], ...row.columns.map((column) => [`key ${column}`, column])],
    values: (i) => said(i ?? depth - 1),
    told: `${row.title}. At ${said(0)}. At ${said(depth - 1)}. ${KEYS}`,
  };
}

/** What the verdict allows a signal to change from where it starts; `limit` in decades. */
function bandsOf(start, limit) {
  return limit && Number.isFinite(start) ? [{ low: start - limit, high: start + limit }] : [];
}

/** Theory's mean, and where one net of this width most often lies. */
function theoryOf(found) {
  const mean = (found?.mean ?? []).map(number);
  if (!mean.some(Number.isFinite)) return null;
  const middle = mean.map((value, i) => value + number(found.drift ? found.drift[i] : 0));
  const std = mean.map((_, i) => number(found.std?.[i]));
  return { mean, low: middle.map((value, i) => value - std[i]), high: middle.map((value, i) => value + std[i]) };
}

/** Where values are exactly 0. */
function zeros(rows) {
  const counts = rows[0].map((_, layer) => rows.filter((row) => row[layer] === -Infinity).length);
  const title = (count, layer) => `Exactly 0 at layer ${layer + 1} in ${count} of ${rows.length} seeds`;
  return counts.flatMap((count, layer) => (count ? [{ layer, kind: "zero", title: title(count, layer) }] : []));
}

/** Where seeds are not finite for the first time. */
function breaks(firsts, depth) {
  const title = (seed, layer) => `Seed ${seed + 1} is not finite from layer ${layer + 1} on`;
  return firsts.flatMap((layer, seed) =>
    layer >= 0 ? [{ layer: Math.min(layer, depth - 1), kind: "nonfinite", title: title(seed, layer) }] : [],
  );
}
