// The explorer: controls, panels, verdict and code of one net. What measures it is handed in as `measure`.
import { draw, extent, powerOfTen, scales, shape } from "./draw.js";

/**
 * What a net is measured by; the fields are those of Python's `vgcore.explore.request`.
 * @typedef {{depth: number, width: number, activation: string, init: string, sigma_w: number, sigma_b: number,
 *   norm: string, norm_position: string, skip: string, branch_scale: number, data: string, steps: number, lr: number,
 *   seeds: number, batch: number, seed: number}} Request
 * @typedef {{label: string, explanation: string, bounds: number[], choices: string[], whole: boolean, log: boolean}} Control
 * @typedef {{id: string, title: string, text: string, request: object, then: object, button: string}} Preset
 * @typedef {{version: string, defaults: Request, controls: Object<string, Control>, presets: Preset[],
 *   limits: {forward: number, backward: number, float32: number[]}, tones: Object<string, string>}} Settings
 * @typedef {(request: Request, signal: AbortSignal) => Promise<object>} Measure
 */

/** Milliseconds: a hand rests after, a busy mark comes after, and what takes longer gets fewer seeds at first. */
const REST = 160;
const BUSY = 150;
const SLOW = 40;
/** Pixels of a panel. */
const HEIGHT = 210;
/** Seeds of a quick pass. */
const FEW = 2;

/** Three figures, as a person would type them. */
const short = (value) => String(Number(Number(value).toPrecision(3)));

/** What numbers count, and the controls that are in the fold. */
const UNITS = { depth: "layers", width: "units", steps: "steps", seeds: "nets", batch: "samples" };
const FOLDED = ["seeds", "batch", "seed"];

/** Why a control does nothing now; an empty text where it does. */
const OFF = {
  sigma_w: (r) => (r.init === "mean_field" ? "" : `${r.init} has a scale of its own`),
  sigma_b: (r) => (r.init === "mean_field" ? "" : `${r.init} has a scale of its own`),
  norm_position: (r) => (r.norm === "none" ? "there is no norm" : ""),
  branch_scale: (r) => (r.skip === "residual" ? "" : "only a residual skip has one"),
  steps: (r) => (r.data === "noise" ? "noise has nothing to learn" : ""),
  lr: (r) => (r.data === "noise" || r.steps === 0 ? "the net is not trained" : ""),
};

/** Where the slider of a control halts: each whole number, or equal factors; none where there are too many. */
function stopsOf({ bounds: [low, high], whole, log }) {
  if (whole && !log) return high - low < 1000 ? Array.from({ length: high - low + 1 }, (_, i) => low + i) : null;
  const from = low > 0 ? low : 0.01;
  const count = Math.round(Math.log(high / from) / Math.log(whole ? 2 ** 0.25 : 1.02));
  const stops = Array.from({ length: count + 1 }, (_, i) => from * (high / from) ** (i / count));
  return [...new Set([low, ...stops.map((stop) => (whole ? Math.round(stop) : Number(short(stop))))])];
}

/** The panels, in order; `stream` is what is drawn of a net with skips, whose signal is what a block hands on. */
const PANELS = [
  { id: "forward", title: "Forward", symbol: "z", column: "log10_z_rms", stream: ["h", "log10_h_rms"], unit: "rms", start: 0 },
  { id: "backward", title: "Backward", symbol: "dL/dz", column: "log10_delta_rms", stream: ["dL/dh", "log10_dh_rms"], unit: "rms", start: -1 },
  { id: "weight", title: "Weight gradient", symbol: "dL/dW", column: "log10_wgrad_norm", unit: "norm", start: -1 },
  { id: "shares", title: "Units and samples", columns: ["saturated", "dead", "correlation"] },
];

// Numbers and words

/** A value of a reply as a number: null is unknown, infinities come as text. */
const number = (value) => (value === null || value === undefined ? NaN : value === "inf" ? Infinity : value === "-inf" ? -Infinity : Number(value));

/** A size by its logarithm, readable at any size. */
function power(log10) {
  if (Number.isNaN(log10)) return "unknown";
  if (!Number.isFinite(log10)) return log10 < 0 ? "0" : "inf";
  return Math.abs(log10) < 3 ? Number((10 ** log10).toPrecision(3)).toString() : `10^${log10.toFixed(1)}`;
}

/** The mean over the seeds of what is finite, layer by layer. */
function means(rows) {
  return rows[0].map((_, i) => {
    const there = rows.map((row) => row[i]).filter(Number.isFinite);
    return there.length ? there.reduce((a, b) => a + b, 0) / there.length : NaN;
  });
}

/** What an engine says, as a sentence. */
const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}` : "");

/** The net as it is measured: noise has no steps of training. */
function asked(state) {
  return { ...state, steps: state.data === "noise" ? 0 : state.steps };
}

/** The Python program that makes and judges this very net. */
function code(state) {
  const r = asked(state);
  const fields = [`depth=${r.depth}`, `width=${r.width}`];
  if (r.data === "spirals") fields.push("in_features=2", "out_features=2");
  fields.push(`activation="${r.activation}"`);
  fields.push(`init="${r.init === "mean_field" ? `mean_field(sigma_w=${r.sigma_w}, sigma_b=${r.sigma_b})` : r.init}"`);
  if (r.norm !== "none") fields.push(`norm="${r.norm}"`, `norm_position="${r.norm_position}"`);
  if (r.skip !== "none") fields.push(`skip="${r.skip}"`);
  if (r.skip === "residual") fields.push(`branch_scale=${r.branch_scale}`);
  const lines = ["import vgcore as vg", "", "spec = vg.MLP(", ...fields.map((field) => `    ${field},`), ")"];
  const runs = `seeds=${r.seeds}, seed=${r.seed}`;
  const judged = "print(vg.diagnose(probe))";
  if (r.data === "noise") return [...lines, `probe = vg.probe(spec, batch=${r.batch}, ${runs}, dtype="float32")`, judged].join("\n");
  const task = `x=x, y=y, loss="cross_entropy", batch=${r.batch}`;
  lines.push("x, y = vg.data.spirals()");
  if (r.steps === 0) return [...lines, `probe = vg.probe(spec, ${task}, ${runs}, dtype="float32")`, judged].join("\n");
  return [
    ...lines,
    `how = dict(${task})`,
    `run = vg.train(spec, **how, optimizer="sgd(lr=${r.lr})", steps=${r.steps}, ${runs}, dtype="float32")`,
    `for seed, net in enumerate(run.networks, ${r.seed}):`,
    "    probe = vg.probe(net, **how, seeds=1, seed=seed)",
    `    ${judged}`,
  ].join("\n");
}

// The address

/** The net that a preset begins with; without one that of a fresh page. */
const begins = (preset, settings) => ({ ...settings.defaults, ...preset?.request });

/** What a hash says: a preset, and what differs from its net; `problem` says what is wrong with it. */
function read(hash, settings) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const preset = settings.presets.find((each) => each.id === given.get("preset")) ?? null;
  const state = begins(preset, settings);
  const wrong = [];
  for (const [name, text] of given) {
    const value = Object.hasOwn(settings.controls, name) ? valid(settings.controls[name], text) : undefined;
    if (value !== undefined) state[name] = value;
    else if (name !== "preset" || !preset) wrong.push(`${name}=${text}`);
  }
  return { state, preset, problem: wrong.length ? `The address says ${wrong.join(", ")}, which this page does not know.` : "" };
}

/** The hash of a net: a preset, and only what differs from it. */
function write(state, preset, settings) {
  const [request, base] = [asked(state), asked(begins(preset, settings))];
  const changed = Object.keys(settings.controls).filter((name) => request[name] !== base[name]);
  return new URLSearchParams([...(preset ? [["preset", preset.id]] : []), ...changed.map((name) => [name, String(request[name])])]).toString();
}

/** The value that a text is to a control, or undefined. */
function valid({ choices, bounds, whole }, text) {
  if (choices.length) return choices.includes(text) ? text : undefined;
  const value = Number(text);
  const fits = text.trim() !== "" && value >= bounds[0] && value <= bounds[1] && (!whole || Number.isInteger(value));
  return fits ? value : undefined;
}

// Asking

/**
 * Latest wins: one request is under way, one waits, and older ones are forgotten.
 * @param {Measure} measure
 * @param {{reply: (reply: object, request: Request, took: number) => void, busy: (on: boolean) => void, failed: (error: Error) => void}} tell
 */
function latest(measure, tell) {
  let waiting = null;
  let running = null;
  const turn = async () => {
    while (waiting) {
      running = { ...waiting, abort: new AbortController() };
      waiting = null;
      const mark = setTimeout(() => tell.busy(true), BUSY);
      const begun = performance.now();
      try {
        const reply = await measure(running.request, running.abort.signal);
        if (!running.abort.signal.aborted) tell.reply(reply, running.request, performance.now() - begun);
      } catch (error) {
        if (!running.abort.signal.aborted) tell.failed(error);
      }
      clearTimeout(mark);
      if (!waiting) tell.busy(false);
    }
    running = null;
  };
  return {
    /** Ask for a net; a sharp pass that is under way gives way to it. */
    ask(request, sharp) {
      waiting = { request, sharp };
      if (running?.sharp) running.abort.abort();
      if (!running) turn();
    },
  };
}

// The page

/** An element with properties, attributes (`aria-…`, `role`, `for`) and children; text is never markup. */
function node(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

let made = 0;

/**
 * One control: a label, what it is set by, and why it is off.
 * @param {string} name
 * @param {Control} row
 * @param {(name: string, value: string | number, rests: boolean) => void} changed
 * @param {(problem: string) => void} refused
 */
function control(name, row, changed, refused) {
  const id = `vgcore-${name}-${++made}`;
  const unit = UNITS[name] ?? "";
  const why = node("small", { className: "why" });
  const label = node("label", { htmlFor: id, title: row.explanation }, row.label);
  const shell = node("div", { className: `control ${name}` }, label);
  const inputs = [];
  const off = (reason) => {
    for (const input of inputs) input.disabled = reason !== "";
    shell.classList.toggle("off", reason !== "");
    why.textContent = reason;
  };
  if (row.choices.length) {
    const select = node("select", { id, title: row.explanation }, ...row.choices.map((choice) => node("option", { value: choice }, choice)));
    select.onchange = () => changed(name, select.value, true);
    inputs.push(select);
    shell.append(select, why);
    return { shell, off, set: (value) => (select.value = value) };
  }
  const box = node("input", { type: "text", inputMode: row.whole ? "numeric" : "decimal", autocomplete: "off", title: row.explanation });
  box.onchange = () => {
    const value = valid(row, box.value);
    box.setAttribute("aria-invalid", value === undefined);
    if (value !== undefined) changed(name, value, true);
    else refused(`${row.label} must be a ${row.whole ? "whole " : ""}number from ${row.bounds[0]} to ${row.bounds[1]}.`);
  };
  inputs.push(box);
  const type = (value) => {
    box.value = value;
    box.setAttribute("aria-invalid", false);
  };
  shell.append(node("span", { className: "typed" }, box, node("span", { className: "unit" }, unit)));
  const stops = stopsOf(row);
  if (!stops) {
    box.id = id;
    shell.append(why);
    return { shell, off, set: type };
  }
  box.setAttribute("aria-label", `${row.label}, ${unit || "value"} typed`);
  const slider = node("input", { id, type: "range", min: 0, max: stops.length - 1, step: 1, title: row.explanation });
  slider.oninput = () => changed(name, stops[slider.value], false);
  inputs.push(slider);
  shell.append(slider, why);
  const set = (value) => {
    const nearest = stops.reduce((best, stop, i) => (Math.abs(stop - value) < Math.abs(stops[best] - value) ? i : best), 0);
    slider.value = nearest;
    slider.setAttribute("aria-valuetext", `${value} ${unit}`.trim());
    type(value);
  };
  return { shell, off, set };
}

/** A panel: heading, picture, and a line of values below it. */
function panel(row, moved) {
  const heading = node("h3", {});
  const svg = shape("svg", { role: "img", tabindex: "0", class: row.id });
  const readout = node("output", { className: "readout", "aria-live": "off" });
  const shell = node("section", { className: `panel ${row.id}` }, heading, svg, readout);
  let picture = null;
  let told = null;
  svg.addEventListener("pointermove", (event) => {
    if (!picture) return;
    const frame = svg.getBoundingClientRect();
    readout.setAttribute("aria-live", "off");
    moved(scales(picture).layerAt(((event.clientX - frame.left) * picture.width) / frame.width));
  });
  svg.addEventListener("pointerleave", () => moved(null));
  svg.addEventListener("blur", () => moved(null));
  svg.addEventListener("keydown", (event) => {
    if (!picture) return;
    const at = picture.cursor ?? (event.key === "ArrowLeft" ? picture.depth : -1);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: picture.depth - 1, Escape: null }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    readout.setAttribute("aria-live", "polite");
    moved(to === null ? null : Math.min(Math.max(to, 0), picture.depth - 1));
  });
  const redraw = (cursor = picture?.cursor ?? null) => {
    if (!picture) return;
    picture.cursor = cursor !== null && cursor < picture.depth ? cursor : null;
    picture.width = Math.max(Math.round(svg.getBoundingClientRect().width), 200);
    draw(svg, picture);
    readout.textContent = told(picture.cursor);
  };
  return {
    shell, redraw,
    /** Shows columns: `view` as `viewed` makes it. */
    show(view, moving) {
      const range = picture && moving ? [Math.min(view.range[0], picture.range[0]), Math.max(view.range[1], picture.range[1])] : view.range;
      const parts = view.heading.map(([className, text]) => node("span", { className }, text));
      if (heading.textContent !== view.heading.map(([, text]) => text).join("")) heading.replaceChildren(...parts);
      svg.setAttribute("aria-label", view.told);
      told = view.values;
      picture = { ...view, range, height: HEIGHT, cursor: picture?.cursor ?? null };
      redraw();
    },
  };
}

/** What a panel of sizes shows of a reply; of a net with skips the stream, and z in the branches beside it. */
function viewed(row, reply, settings) {
  const streams = Boolean(row.stream && reply.request.skip !== "none" && reply.columns[row.stream[1]]);
  const rowsOf = (column) => reply.columns[column].map((values) => values.map(number));
  const [symbol, column] = streams ? row.stream : [row.symbol, row.column];
  const rows = rowsOf(column);
  const mean = means(rows);
  const branch = streams ? means(rowsOf(row.column)) : null;
  const depth = mean.length;
  const lost = row.id === "forward" ? -1 : Math.max(-1, ...reply.lost_below.map(number));
  const start = mean.at(row.start);
  const limit = settings.limits[row.id];
  const bands = limit && Number.isFinite(start) && depth > 1 ? [{ low: start - limit, high: start + limit }] : [];
  const theory = theoryOf(reply.theory?.[row.id]);
  const marks = marksOf(rows, row.id === "forward" ? reply.first_nonfinite.map(number) : []);
  const beside = [...(branch ? [branch] : []), ...(theory ? [theory.mean, theory.low, theory.high] : [])];
  const range = extent([...rows, ...beside, ...bands.map(({ low, high }) => [low, high])], 4);
  const others = (i) => [
    ...(branch ? [`${row.symbol} ${power(branch[i])}`] : []),
    ...(theory && Number.isFinite(theory.mean[i]) ? [`theory${branch ? ` of ${row.symbol}` : ""} ${power(theory.mean[i])}`] : []),
  ];
  const said = (i) => [`layer ${i + 1}: ${power(mean[i])}${spread(rows, i)}`, ...others(i)].join("; ");
  const [from, to] = row.start === 0 ? [0, depth - 1] : [depth - 1, 0];
  const told = [
    `${row.title} ${symbol}, ${row.unit} by layer, mean of ${rows.length} ${rows.length === 1 ? "seed" : "seeds"}:`,
    `${power(mean[from])} at layer ${from + 1}, ${power(mean[to])} at layer ${to + 1}.`,
    ...(theory ? [`Theory${branch ? ` of ${row.symbol}` : ""}: ${power(theory.mean[from])} and ${power(theory.mean[to])}.`] : []),
    ...(lost >= 0 ? [`Lost below the range of float32 at layers 1 to ${lost + 1}.`] : []),
    ...marks.map(({ title }) => `${title}.`),
    "Arrow keys read it layer by layer.",
  ];
  return {
    depth, range, whole: true, word: powerOfTen, bands, references: settings.limits.float32, lost: lost + 1, theory, marks, told: told.join(" "),
    heading: [["name", row.title], ["symbol", symbol], ["quiet", row.unit], ...(branch ? [["key branch", `${row.symbol} in the branches`]] : [])],
    lines: [...rows.map((values) => ({ values, kind: "seed" })), ...(branch ? [{ values: branch, kind: "branch" }] : []), { values: mean, kind: "mean" }],
    values: (i) => (i !== null || depth === 1 ? said(i ?? 0) : `layer ${from + 1}: ${power(mean[from])} → layer ${to + 1}: ${power(mean[to])}`),
  };
}

/** What the panel of shares shows of a reply. */
function sharesOf(row, reply) {
  const found = row.columns.filter((column) => reply.columns[column]).map((column) => [column, means(reply.columns[column].map((values) => values.map(number)))]);
  const depth = found[0][1].length;
  const least = Math.min(0, ...found.flatMap(([, values]) => values.filter(Number.isFinite)));
  const percent = (column, value) => (!Number.isFinite(value) ? "unknown" : column === "correlation" ? value.toFixed(2) : `${Math.round(100 * value)} %`);
  const said = (i) => `layer ${i + 1}: ${found.map(([column, values]) => `${column} ${percent(column, values[i])}`).join(", ")}`;
  return {
    depth, range: [least < -0.05 ? -1 : -0.04, 1.04], whole: false, word: (tick) => short(tick), bands: [], references: [], lost: 0, theory: null, marks: [],
    heading: [["name", row.title], ...found.map(([column]) => [`key ${column}`, column])],
    told: `${row.title}. At ${said(0)}. At ${said(depth - 1)}. Arrow keys read it layer by layer.`,
    lines: found.map(([column, values]) => ({ values, kind: column })),
    values: (i) => said(i ?? depth - 1),
  };
}

/** Theory's mean, and where one net of this width most often lies. */
function theoryOf(found) {
  if (!found?.mean) return null;
  const column = (values) => found.mean.map((_, i) => number(values?.[i]));
  const [mean, std] = [column(found.mean), column(found.std)];
  const drift = found.drift ? column(found.drift) : mean.map(() => 0);
  if (!mean.some(Number.isFinite)) return null;
  return { mean, low: mean.map((value, i) => value + drift[i] - std[i]), high: mean.map((value, i) => value + drift[i] + std[i]) };
}

/** Where values are exactly 0 or not finite. */
function marksOf(rows, nonfinite) {
  const zeros = rows[0].map((_, i) => rows.filter((row) => row[i] === -Infinity).length);
  const marks = [];
  zeros.forEach((count, layer) => count && marks.push({ layer, kind: "zero", title: `Exactly 0 at layer ${layer + 1} in ${count} of ${rows.length} seeds` }));
  nonfinite.forEach((layer, seed) => {
    if (layer >= 0) marks.push({ layer: Math.min(layer, rows[0].length - 1), kind: "nonfinite", title: `Seed ${seed + 1} is not finite from layer ${layer + 1} on` });
  });
  return marks;
}

/** The range of the seeds at a layer, in brackets. */
function spread(rows, i) {
  const there = rows.map((row) => row[i]).filter(Number.isFinite);
  return there.length > 1 ? ` (${power(Math.min(...there))} to ${power(Math.max(...there))})` : "";
}

const LEGEND = [
  ["seed", "one seed"], ["mean", "mean of the seeds"], ["theory", "theory, ±1 std at this width"],
  ["band", "change that the verdict allows"], ["lost", "lost: below float32"], ["reference", "range of float32"], ["nonfinite", "not finite"], ["zero", "exactly 0"],
];

/** A small picture of what a legend explains. */
function swatch(kind) {
  const svg = shape("svg", { viewBox: "0 0 26 12", width: 26, height: 12, "aria-hidden": "true" });
  if (kind === "band" || kind === "lost") svg.append(shape("rect", { class: kind, x: 0.5, y: 0.5, width: 25, height: 11 }));
  if (kind === "band") svg.append(shape("path", { class: "edge", d: "M0 .5H26M0 11.5H26" }));
  if (kind === "theory") svg.append(shape("path", { class: "spread", d: "M0 1H26V11H0Z" }));
  if (["seed", "mean", "theory", "reference"].includes(kind)) svg.append(shape("path", { class: kind, d: "M0 6H26" }));
  if (kind === "nonfinite") svg.append(shape("path", { class: kind, d: "M8 2h10l-5 8Z" }));
  if (kind === "zero") svg.append(shape("path", { class: kind, d: "M8 10h10l-5 -8Z" }));
  return svg;
}

/**
 * Puts an explorer into an element; gives back what shows another net, and what ends it.
 * @param {HTMLElement} el
 * @param {{measure: Measure, settings: Settings, request?: Request, hash?: boolean, changed?: (request: Request) => void}} given
 *   `hash`: whether the page's address holds the state. `changed` is told of each net at which the hand rests.
 */
export function mount(el, { measure, settings, request, hash = false, changed = () => {} }) {
  let state = { ...settings.defaults, ...request };
  let moving = false;
  let timer = 0;
  let slow = false;
  let last = "";
  let shown = null;
  let lesson = null;
  let wrong = { engine: "", typed: "" };

  const set = (name, value, rests) => {
    state = { ...state, [name]: value };
    moved(rests);
  };
  const names = Object.keys(settings.controls);
  const controls = Object.fromEntries(names.map((name) => [name, control(name, settings.controls[name], set, (typed) => say({ typed }))]));
  const panels = PANELS.map((row) => panel(row, (cursor) => panels.forEach((each) => each.redraw(cursor))));
  const said = node("p", { className: "said" }, "Measuring the first net …");
  const limit = node("p", { className: "limit" });
  const training = node("p", { className: "training" });
  const live = node("p", { className: "hidden", role: "status", "aria-live": "polite" });
  const note = node("p", { className: "note", role: "alert" });
  const mark = node("span", { className: "busy", "aria-hidden": "true" }, "measuring …");
  const verdict = node("section", { className: "verdict", "aria-label": "Verdict" }, said, limit, training, note, mark);
  const program = node("code", {});
  const copy = node("button", { type: "button", className: "copy" }, "Copy");
  const engine = node("p", { className: "engine" });
  const theoryLine = node("p", { className: "whytheory" });
  const text = node("p", {});
  const then = node("button", { type: "button" });
  const look = node("section", { className: "look", "aria-label": "What this preset shows", hidden: true }, text, then);
  then.onclick = () => take(isThen() ? begins(lesson, settings) : { ...state, ...lesson.then }, lesson);
  const presets = settings.presets.map((preset) => {
    const button = node("button", { type: "button", className: "preset", "aria-pressed": "false" }, preset.title);
    button.onclick = () => take(begins(preset, settings), preset);
    return { preset, button };
  });
  const again = node("button", { type: "button", className: "again" }, "Start again");
  again.onclick = () => take(begins(null, settings), null);
  copy.onclick = async () => {
    try {
      await navigator.clipboard.writeText(program.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(program);
      copy.textContent = "Selected";
    }
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  };

  const shells = (fold) => names.filter((name) => FOLDED.includes(name) === fold).map((name) => controls[name].shell);
  const root = node("div", { className: "vgcore-explore" },
    ...(presets.length ? [node("nav", { className: "presets", "aria-label": "Presets" }, ...presets.map(({ button }) => button)), look] : []),
    verdict, live,
    node("div", { className: "bench" },
      node("form", { className: "controls", "aria-label": "The net", onsubmit: (event) => event.preventDefault() }, ...shells(false),
        node("details", { className: "fold" }, node("summary", {}, "Seeds and samples"), ...shells(true)), again),
      node("div", { className: "results" },
        node("div", { className: "panels" }, ...panels.map(({ shell }) => shell)),
        node("p", { className: "across" }, "Across: layers, counted from 1 at the input."),
        node("ul", { className: "legend", "aria-label": "Legend" }, ...LEGEND.map(([kind, text]) => node("li", {}, swatch(kind), text))),
        theoryLine,
        node("section", { className: "program", "aria-label": "Python code" }, node("div", { className: "bar" }, node("h3", {}, "This net in Python"), copy), node("pre", { tabIndex: 0, role: "region", "aria-label": "Python code of this net" }, program)),
        engine)));

  /** Says what is wrong with the engine's answer or with what was typed; an empty text where all is well. */
  const say = (about) => {
    wrong = { ...wrong, ...about };
    note.textContent = [wrong.engine, wrong.typed].filter(Boolean).join(" ");
    root.classList.toggle("failed", wrong.engine !== "");
  };
  const asking = latest(measure, {
    busy: (on) => {
      root.classList.toggle("waits", on);
      root.setAttribute("aria-busy", on);
    },
    failed: (error) => {
      last = "";
      say({ engine: `The engine does not answer: ${error.message}. What is shown is its last answer; any change asks again.` });
    },
    reply: (reply, of, took) => {
      if (of.seeds === state.seeds) slow = took > SLOW;
      if (reply.error) return say({ engine: sentence(reply.error) });
      say({ engine: "" });
      show({ ...reply, request: of });
    },
  });

  /** Asks for the net as it is; while a control moves and the engine is slow, with few seeds and without theory. */
  function ask(quick) {
    const full = asked(state);
    const wanted = quick && slow ? { ...full, seeds: Math.min(full.seeds, FEW), theory: false } : full;
    const key = JSON.stringify(wanted);
    if (key === last) return;
    last = key;
    asking.ask(wanted, !quick);
  }

  /** A control has moved: ask at once, and again with all seeds when the hand rests. */
  function moved(rests) {
    moving = !rests;
    say({ typed: "" });
    refresh();
    if (moving) ask(true);
    clearTimeout(timer);
    if (rests) rest();
    else timer = setTimeout(rest, REST);
  }

  function rest() {
    moving = false;
    ask(false);
    changed(asked(state));
    const wanted = write(state, lesson, settings);
    if (hash && location.hash.slice(1) !== wanted) location.hash = wanted;
    if (shown) show(shown);
  }

  /** Takes a whole net, and the preset that it is of. */
  function take(request, preset) {
    lesson = preset;
    state = { ...request };
    moved(true);
  }

  /** Whether the net has what the preset ends with. */
  function isThen() {
    return Object.entries(lesson.then).every(([name, value]) => state[name] === value);
  }

  /** What follows from the state alone: the controls, the code, the preset. */
  function refresh() {
    for (const name of names) {
      controls[name].set(state[name]);
      controls[name].off(OFF[name]?.(state) ?? "");
    }
    program.textContent = code(state);
    for (const { preset, button } of presets) button.setAttribute("aria-pressed", preset === lesson);
    look.hidden = !lesson;
    text.textContent = lesson?.text ?? "";
    if (lesson) then.textContent = isThen() ? "← Back to the first net" : `→ ${lesson.button}`;
  }

  /** What a reply says. */
  function show(reply) {
    shown = reply;
    const { word, verdict: kind, summary, depth_limit: depths } = reply.verdict;
    const begins = summary.startsWith(word);
    said.replaceChildren(node("b", { className: settings.tones[kind] ?? "" }, word), begins ? summary.slice(word.length) : `: ${summary}`);
    verdict.dataset.tone = settings.tones[kind] ?? "";
    limit.textContent = depths ? `Depth limit: ${depths}` : "";
    const losses = (reply.loss ?? []).map((pair) => pair.map(number));
    const middle = (k) => short(losses.map((pair) => pair[k]).sort((a, b) => a - b)[Math.floor((losses.length - 1) / 2)]);
    training.textContent = losses.length ? `Loss: ${middle(0)} at the start, ${middle(1)} after ${reply.request.steps} steps (the median seed).` : "";
    PANELS.forEach((row, i) => panels[i].show(row.columns ? sharesOf(row, reply) : viewed(row, reply, settings), moving));
    theoryLine.textContent = sentence(reply.theory?.why || reply.theory_why);
    const few = reply.request.seeds < state.seeds ? `, ${reply.request.seeds} of ${state.seeds} seeds while a control moves` : "";
    engine.textContent = `Measured by ${reply.engine} in ${short(reply.took_ms)} ms${few}.`;
    if (!moving) live.textContent = said.textContent;
  }

  const fromHash = () => {
    if (location.hash.slice(1) === write(state, lesson, settings)) return;
    const found = read(location.hash, settings);
    take(found.state, found.preset);
    say({ typed: found.problem });
  };
  const sized = new ResizeObserver(() => panels.forEach((each) => each.redraw()));
  el.append(root);
  sized.observe(root);
  if (hash) addEventListener("hashchange", fromHash);
  if (hash && location.hash.length > 1) fromHash();
  else moved(true);
  return {
    /** Shows a net that somebody else has chosen; what `changed` was told comes back, and changes nothing. */
    take(request) {
      if (names.some((name) => (request[name] ?? state[name]) !== asked(state)[name])) take({ ...state, ...request }, null);
    },
    end() {
      sized.disconnect();
      removeEventListener("hashchange", fromHash);
      clearTimeout(timer);
      root.remove();
    },
  };
}

// A notebook: the kernel measures, messages carry requests and replies.
function render({ model, el }) {
  const open = new Map();
  let id = 0;
  const heard = ({ id: of, reply }) => {
    open.get(of)?.(reply);
    open.delete(of);
  };
  model.on("msg:custom", heard);
  const measure = (request, signal) => new Promise((resolve, reject) => {
    open.set(++id, resolve);
    signal.addEventListener("abort", () => reject(new Error("a newer net is asked for")));
    model.send({ id, request });
  });
  const changed = (request) => {
    model.set("request", request);
    model.save_changes();
  };
  const shown = mount(el, { measure, settings: model.get("settings"), request: model.get("request"), changed });
  const given = () => shown.take(model.get("request"));
  model.on("change:request", given);
  return () => {
    model.off("msg:custom", heard);
    model.off("change:request", given);
    shown.end();
  };
}

export default { render };
