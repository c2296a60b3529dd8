// The state of the explorer, a net and how it is measured, as controls, addresses and Python programs say it.

/**
 * What a net is measured by: the fields of Python's `vgcore.explore.request`.
 * @typedef {{depth: number, width: number, activation: string, init: string, sigma_w: number, sigma_b: number,
 *   norm: string, norm_position: string, skip: string, branch_scale: number, data: string, steps: number, lr: number,
 *   seeds: number, batch: number, seed: number}} Request
 * @typedef {{label: string, explanation: string, bounds: number[], choices: string[], whole: boolean,
 *   log: boolean}} Control
 * @typedef {{id: string, title: string, text: string, request: object, then: object, button: string}} Preset
 * @typedef {{version: string, defaults: Request, start: object, controls: Object<string, Control>, presets: Preset[],
 *   limits: {forward: number, backward: number, float32: number[]}, tones: Object<string, string>}} Settings
 */

/** Why a control does nothing now; an empty text where it does. */
const OFF = {
  sigma_w: (r) => (r.init === "mean_field" ? "" : `${r.init} has its own scale`),
  sigma_b: (r) => (r.init === "mean_field" ? "" : `${r.init} has its own scale`),
  norm_position: (r) => (r.norm === "none" ? "there is no norm" : ""),
  branch_scale: (r) => (r.skip === "residual" ? "" : "only a residual skip has one"),
  steps: (r) => (r.data === "noise" ? "noise has nothing to learn" : ""),
  lr: (r) => (r.data === "noise" || r.steps === 0 ? "the net is not trained" : ""),
};

/** Why a control does nothing to a net; an empty text where it does something. */
export const reasonOff = (name, state) => OFF[name]?.(state) ?? "";

/** Three figures, as a person would type them. */
export const short = (value) => String(Number(Number(value).toPrecision(3)));

/**
 * Where the slider of a control halts: each whole number, or equal factors; none where there are too many.
 * @param {Control} control
 */
export function stopsOf({ bounds: [low, high], whole, log }) {
  if (whole && !log) return high - low < 1000 ? Array.from({ length: high - low + 1 }, (_, i) => low + i) : null;
  const from = low > 0 ? low : 0.01;
  const count = Math.round(Math.log(high / from) / Math.log(whole ? 2 ** 0.25 : 1.02));
  const stops = Array.from({ length: count + 1 }, (_, i) => from * (high / from) ** (i / count));
  return [...new Set([low, ...stops.map((stop) => (whole ? Math.round(stop) : Number(short(stop))))])];
}

/**
 * The value that a text is to a control, or undefined.
 * @param {Control} control
 */
export function valid({ choices, bounds, whole }, text) {
  if (choices.length) return choices.includes(text) ? text : undefined;
  const value = Number(text);
  const fits = text.trim() !== "" && value >= bounds[0] && value <= bounds[1] && (!whole || Number.isInteger(value));
  return fits ? value : undefined;
}

/** The net as it is measured: noise has no steps of training. */
export const asked = (state) => ({ ...state, steps: state.data === "noise" ? 0 : state.steps });

/** The net that a preset begins with; without one that of a fresh page. */
export const begins = (preset, settings) => ({ ...settings.defaults, ...(preset ? preset.request : settings.start) });

/** What a control takes, in a sentence. */
export const wanted = ({ label, bounds, whole }) =>
  `${label} must be a ${whole ? "whole " : ""}number from ${bounds.join(" to ")}.`;

/** A text, or its beginning where it is long. */
const clipped = (text, most = 60) => (text.length > most ? `${text.slice(0, most)} …` : text);

/** What a hash says: a preset, and what differs from its net; `problem` says what is wrong with it. */
export function read(hash, settings) {
  const given = hash.replace(/^#/, "");
  const preset = settings.presets.find((each) => each.id === new URLSearchParams(given).get("preset")) ?? null;
  const state = begins(preset, settings);
  const unknown = [];
  const beyond = [];
  for (const part of given.split("&")) {
    const [[name, text] = []] = new URLSearchParams(part);
    if (name === undefined || (name === "preset" && preset)) continue;
    const control = Object.hasOwn(settings.controls, name) ? settings.controls[name] : null;
    const value = control ? valid(control, text) : undefined;
    const said = clipped(part.includes("=") ? `${name}=${text}` : name);
    if (value !== undefined) state[name] = value;
    else if (control?.bounds.length) beyond.push(`The address says ${said}. ${wanted(control)}`);
    else unknown.push(said);
  }
  const said = clipped(unknown.join(", "), 200);
  const problem = [...beyond.slice(0, 3), said && `The address says ${said}, which this page does not know.`];
  return { state, preset, problem: problem.filter(Boolean).join(" ") };
}

/** The hash of a net: a preset, and only what differs from it. */
export function write(state, preset, settings) {
  const [request, base] = [asked(state), asked(begins(preset, settings))];
  const changed = Object.keys(settings.controls).filter((name) => request[name] !== base[name]);
  const fields = changed.map((name) => [name, String(request[name])]);
  return new URLSearchParams(preset ? [["preset", preset.id], ...fields] : fields).toString();
}

/** The Python program that makes and judges this very net. */
export function code(state) {
  const r = asked(state);
  const fields = [`depth=${r.depth}`, `width=${r.width}`];
  if (r.data === "spirals") fields.push("in_features=2", "out_features=2");
  fields.push(`activation="${r.activation}"`);
  fields.push(`init="${r.init === "mean_field" ? `mean_field(sigma_w=${r.sigma_w}, sigma_b=${r.sigma_b})` : r.init}"`);
  if (r.norm !== "none") fields.push(`norm="${r.norm}"`, `norm_position="${r.norm_position}"`);
  if (r.skip !== "none") fields.push(`skip="${r.skip}"`);
  if (r.skip === "residual") fields.push(`branch_scale=${r.branch_scale}`);
  const net = ["import vgcore as vg", "", "spec = vg.MLP(", ...fields.map((field) => `    ${field},`), ")"];
  return [...net, ...measuring(r)].join("\n");
}

/** The lines of the program that measure the net, after its training if there is one. */
function measuring(r) {
  const runs = `seeds=${r.seeds}, seed=${r.seed}, dtype="float32"`;
  const judged = "print(vg.diagnose(probe))";
  if (r.data === "noise") return [`probe = vg.probe(spec, batch=${r.batch}, ${runs})`, judged];
  const task = ["x, y = vg.data.spirals()", `how = dict(x=x, y=y, loss="cross_entropy", batch=${r.batch})`];
  if (r.steps === 0) return [...task, `probe = vg.probe(spec, **how, ${runs})`, judged];
  return [
    ...task,
    `run = vg.train(spec, **how, optimizer="sgd(lr=${r.lr})", steps=${r.steps}, ${runs})`,
    `for seed, net in enumerate(run.networks, ${r.seed}):`,
    "    probe = vg.probe(net, **how, seeds=1, seed=seed)",
    `    ${judged}`,
  ];
}
