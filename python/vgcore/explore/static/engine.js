/**
 * vgcore's core as WebAssembly: the numbers of Python, bit for bit those of its scalar instruction set.
 *
 * A call hands over a text, its name and then lines of `field=value`, and an array of numbers; it comes back with a text
 * and an array of numbers. What it refuses is thrown as an Error whose message is a sentence for people.
 *
 * @typedef {number[][]} Rows
 *
 * @typedef {object} Measured  What a probe has, seed by seed; NaN where there is no number.
 * @property {Object<string, Rows|number[]>} columns  By name, seeds x layers; of whole nets, one number a seed.
 * @property {number[]} first_nonfinite  The index of the layer where a value first was not finite; -1 for none.
 * @property {number[]} lost_below  The index of the last layer whose gradient is below the least number; -1 for none.
 * @property {?Rows} loss  Of each seed the first and the last loss of the training; null without a loss.
 *
 * @typedef {object} Core  The functions of Python's `_core` that the theory uses, under their names.
 * @property {string[]} MOMENTS  What the columns of `moments` are called.
 * @property {(activation: string, z: number[]) => Rows} activate  `[value, slope]` at each z.
 * @property {(activation: string, q: number[]) => Rows} moments  A row of `MOMENTS` for each variance.
 * @property {(activation: string, q: number[], c: number[]) => Rows} pair_moments  `[E phi phi, E phi' phi']` each.
 * @property {(activation: string, q: number[], count: number) => Rows} hermite  The first coefficients for each variance.
 * @property {(activation: string, batch: number) => number[]} batch_moments  Seven numbers, as in Python.
 * @property {(activation: string, sigma_b: number) => number[]} critical_point  `[sigma_w, q]`.
 * @property {(activation: string) => number} activation_outputs  Outputs over inputs: 1, 0.5 with a gate, 2 of crelu.
 * @property {(request: object) => object} plan  What `_core.plan` gives of the net of a request: `{layers, ends, ...}`.
 *
 * @typedef {object} Engine
 * @property {string} version
 * @property {number} most_seconds  What a request may take at most, as guessed for native code.
 * @property {(request: object) => Measured} measure
 * @property {Core} core
 */

/** The fields of a request that describe the net. */
const NET = ["depth", "width", "activation", "init", "sigma_w", "sigma_b", "norm", "norm_position", "skip",
  "branch_scale", "data"];

/** The fields that say how it is measured. */
const RUN = ["steps", "lr", "seeds", "batch", "seed"];

/** What is there once a net, behind the columns. */
const OF_NETS = ["log10_total_grad_norm", "log10_output_rms", "loss_value"];

/** What is said where the engine stops in the middle of a call. */
const STOPPED = "the engine of this page cannot measure this net, which may be too large for it: lower depth, width, "
  + "batch or seeds";

/**
 * The mean of the last 5 % of the losses of the steps that were done, at most 20, as Python's `final_loss` has it.
 * @param {Float64Array} losses
 * @param {number} done
 * @param {string} ended
 */
function finalLoss(losses, done, ended) {
  const last = losses.subarray(Math.max(0, done - Math.min(20, Math.ceil(done / 20))), done);
  if (ended === "non_finite" || !last.length || !last.every(Number.isFinite)) return Infinity;
  return last.reduce((sum, loss) => sum + loss, 0) / last.length;
}

/**
 * Start the engine.
 * @param {BufferSource} bytes  vgcore.wasm.
 * @returns {Promise<Engine>}
 */
export async function load(bytes) {
  const module = await WebAssembly.compile(bytes);
  let core = (await WebAssembly.instantiate(module)).exports;
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();

  /** Call the core: `lines` as text, `numbers` beside it. */
  function call(lines, numbers = []) {
    const text = encoder.encode(lines.join("\n"));
    try {
      // Views are made after the memory has grown.
      const at = core.vgcore_text(text.length);
      new Uint8Array(core.memory.buffer, at, text.length).set(text);
      const place = core.vgcore_numbers(numbers.length);
      new Float64Array(core.memory.buffer, place, numbers.length).set(numbers);
      const fine = core.vgcore_call();
      const said = new Uint8Array(core.memory.buffer, core.vgcore_said(), core.vgcore_said_length());
      const found = new Float64Array(core.memory.buffer, core.vgcore_found(), core.vgcore_found_length());
      const answer = { text: decoder.decode(said), numbers: found.slice() };
      if (fine) return answer;
      throw new Error(answer.text);
    } catch (error) {
      if (!(error instanceof WebAssembly.RuntimeError)) throw error;
      // What stopped has left its memory in disorder: begin with a fresh one.
      core = new WebAssembly.Instance(module).exports;
      throw new Error(STOPPED);
    }
  }

  const fields = (request, names) => names.filter((name) => request[name] !== undefined && request[name] !== null)
    .map((name) => `${name}=${request[name]}`);

  /** The numbers as rows of so many. */
  function rows(numbers, width) {
    const count = width ? numbers.length / width : 0;
    return Array.from({ length: count }, (_, i) => Array.from(numbers.subarray(i * width, (i + 1) * width)));
  }

  function measure(request) {
    const { text, numbers } = call(["measure", ...fields(request, [...NET, ...RUN])]);
    // The text tells the names and the shape of what the numbers are.
    const { seeds, layers, columns, ended, done } = JSON.parse(text);
    let at = 0;
    const take = (count) => numbers.subarray(at, (at += count));
    const found = { columns: {} };
    for (const name of columns) found.columns[name] = rows(take(seeds * layers), layers);
    found.first_nonfinite = Array.from(take(seeds));
    // Numbers of the core carry their exponent: none is ever lost.
    found.lost_below = found.first_nonfinite.map(() => -1);
    for (const name of OF_NETS) found.columns[name] = Array.from(take(seeds));
    const losses = ended.map((word, i) => {
      const all = take((numbers.length - at) / (seeds - i));
      return [all[0], finalLoss(all, done[i], word)];
    });
    const untrained = found.columns.loss_value.map((loss) => [loss, loss]);
    found.loss = losses.length ? losses : request.data === "spirals" ? untrained : null;
    return found;
  }

  const { version, most_seconds, moments } = JSON.parse(call(["facts"]).text);
  const of = (name, activation, ...more) => [name, `activation=${activation}`, ...more];
  return {
    version,
    most_seconds,
    measure,
    core: {
      MOMENTS: moments,
      activate: (activation, z) => rows(call(of("activate", activation), z).numbers, 2),
      moments: (activation, q) => rows(call(of("moments", activation), q).numbers, moments.length),
      pair_moments: (activation, q, c) => rows(call(of("pair_moments", activation), [...q, ...c]).numbers, 2),
      hermite: (activation, q, count) => rows(call(of("hermite", activation, `count=${count}`), q).numbers, count),
      batch_moments: (activation, size) =>
        Array.from(call(of("batch_moments", activation, `batch=${size}`)).numbers),
      critical_point: (activation, sigma_b) =>
        Array.from(call(of("critical_point", activation, `sigma_b=${sigma_b}`)).numbers),
      activation_outputs: (activation) => call(of("activation_outputs", activation)).numbers[0],
      plan: (request) => JSON.parse(call(["plan", ...fields(request, NET)]).text),
    },
  };
}
