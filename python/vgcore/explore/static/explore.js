// The explorer: controls, panels, verdict and code of one net. What measures it is handed in as `measure`.
import { draw, scales, shape } from "./draw.js";
import { asked, begins, code, read, reasonOff, short, stopsOf, valid, wanted, write } from "./state.js";
import { number, PANELS, viewed } from "./views.js";

/** @typedef {(request: Request, signal: AbortSignal) => Promise<object>} Measure */

/** Milliseconds: a hand rests after, a busy mark comes after, and what takes longer gets fewer seeds at first. */
const REST = 160;
const BUSY = 150;
const SLOW = 40;
/** Milliseconds after which a kernel is taken to be lost. */
const LOST = 30_000;
/** Seeds of a quick pass, and pixels of a panel. */
const FEW = 2;
const HEIGHT = 210;
/** What numbers count, and the controls that are in folds, of which the last begins closed. */
const UNITS = { depth: "layers", width: "units", steps: "steps", seeds: "nets", batch: "samples" };
const FOLDS = {
  "Norm and skip": ["norm", "norm_position", "skip", "branch_scale"],
  "Data and training": ["data", "steps", "lr"],
  "Seeds and samples": ["seeds", "batch", "seed"],
};
/** Pixels below which folds but the last begin closed too, so that panels are in sight. */
const NARROW = 560;

/** What an engine says, as a sentence; what is no word, as `norm='batch'`, keeps its letters. */
function sentence(text) {
  if (!text) return "";
  const begun = text.replace(/^[a-z]+(?= )/, (word) => word[0].toUpperCase() + word.slice(1));
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

/**
 * Latest wins: one request is under way, one waits, and older ones are forgotten.
 * @param {Measure} measure
 * @param {?Promise<*>} ready  What the first request waits for, which is no time of measuring.
 * @param {{reply: (reply: object, request: Request, took: number) => void, busy: (on: boolean) => void,
 *   failed: (error: Error) => void}} tell
 */
function latest(measure, ready, tell) {
  let waiting = null;
  let running = null;
  const turn = async () => {
    while (waiting) {
      running = { ...waiting, abort: new AbortController() };
      waiting = null;
      const mark = setTimeout(() => tell.busy(true), BUSY);
      try {
        if (ready) await ready;
        const begun = performance.now();
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
  const why = node("small", { className: "why", id: `${id}-why` });
  const label = node("label", { htmlFor: id, title: row.explanation }, row.label);
  const shell = node("div", { className: `control ${name}` }, label);
  const inputs = [];
  const off = (reason) => {
    for (const input of inputs) {
      input.disabled = reason !== "";
      input.setAttribute("aria-describedby", why.id);
    }
    shell.classList.toggle("off", reason !== "");
    why.textContent = reason;
  };
  if (row.choices.length) {
    const options = row.choices.map((choice) => node("option", { value: choice }, choice));
    const select = node("select", { id, title: row.explanation }, ...options);
    select.onchange = () => changed(name, select.value, true);
    inputs.push(select);
    shell.append(select, why);
    return { shell, off, set: (value) => (select.value = value) };
  }
  const inputMode = row.whole ? "numeric" : "decimal";
  const box = node("input", { type: "text", inputMode, autocomplete: "off", title: row.explanation });
  box.onchange = () => {
    const value = valid(row, box.value);
    box.setAttribute("aria-invalid", value === undefined);
    if (value !== undefined) changed(name, value, true);
    else refused(wanted(row));
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
    const far = (i) => Math.abs(stops[i] - value);
    slider.value = stops.reduce((nearest, _, i) => (far(i) < far(nearest) ? i : nearest), 0);
    slider.setAttribute("aria-valuetext", `${value} ${unit}`.trim());
    type(value);
  };
  return { shell, off, set };
}

/** A panel: heading, picture, and a line of values below it. */
function panel(row, moved) {
  const heading = node("h3", {}, row.title);
  const name = `${row.title}: not measured yet`;
  const svg = shape("svg", { role: "img", tabindex: "0", class: row.id, height: HEIGHT, "aria-label": name });
  const readout = node("output", { className: "readout", "aria-live": "off" });
  const shell = node("section", { className: `panel ${row.id}` }, heading, svg, readout);
  let picture = null;
  let told = null;
  let width = 400;
  svg.addEventListener("pointermove", (event) => {
    if (!picture) return;
    const frame = svg.getBoundingClientRect();
    readout.setAttribute("aria-live", "off");
    moved(scales({ ...picture, width, height: HEIGHT }).layerAt(((event.clientX - frame.left) * width) / frame.width));
  });
  svg.addEventListener("pointerleave", () => moved(null));
  svg.addEventListener("blur", () => {
    readout.setAttribute("aria-live", "off");
    moved(null);
  });
  svg.addEventListener("keydown", (event) => {
    if (!picture || event.altKey || event.ctrlKey || event.metaKey) return; // those are the browser's: a step back
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
    draw(svg, { ...picture, width, height: HEIGHT });
    readout.textContent = told(picture.cursor);
  };
  return {
    shell, redraw,
    /** Shows columns: `view` as `viewed` makes it. */
    show(view, moving) {
      // An axis does not shrink under a hand that moves.
      const [low, high] = picture && moving ? picture.range : view.range;
      const range = [Math.min(low, view.range[0]), Math.max(high, view.range[1])];
      heading.replaceChildren(...view.heading.map(([className, text]) => node("span", { className }, text)));
      svg.setAttribute("aria-label", view.told);
      told = view.values;
      picture = { ...view, range, cursor: picture?.cursor ?? null };
      redraw();
    },
    /** Takes the width that there is: asked once, since each question makes the browser lay out the page. */
    fit() {
      width = Math.max(Math.round(svg.getBoundingClientRect().width), 200);
      redraw();
    },
  };
}

/** What lines, grounds and marks of the panels mean: those that are on screen. */
function legend({ limits }) {
  const [forward, backward] = [limits.forward, limits.backward].map((decades) => Math.round(10 ** decades));
  const words = {
    seed: "one seed",
    mean: "mean of the seeds",
    theory: "",
    band: `change that the verdict allows: ${forward}-fold forward, ${backward}-fold backward`,
    lost: "lost: below float32",
    reference: "ends of float32",
    nonfinite: "not finite",
    zero: "exactly 0",
  };
  const texts = Object.entries(words).map(([kind, text]) => [kind, node("span", {}, text)]);
  const rows = texts.map(([kind, text]) => node("li", {}, swatch(kind), text));
  return {
    shell: node("ul", { className: "legend", "aria-label": "Legend" }, ...rows),
    show(request, drawn) {
      texts.forEach(([kind, text], i) => {
        rows[i].hidden = !drawn.querySelector(`svg .${kind}`);
        if (kind === "theory") {
          text.textContent = `theory${request.skip === "none" ? "" : " of the branches"}, ±1 std at this width`;
        }
      });
    },
  };
}

/** A small picture of what a legend explains. */
function swatch(kind) {
  const svg = shape("svg", { viewBox: "0 0 26 12", width: 26, height: 12, "aria-hidden": "true" });
  const path = (of, d) => svg.append(shape("path", { class: of, d }));
  if (kind === "band" || kind === "lost") svg.append(shape("rect", { class: kind, width: 26, height: 12 }));
  if (kind === "band") path("edge", "M0 .5H26M0 11.5H26");
  if (kind === "theory") path("spread", "M0 1H26V11H0Z");
  if (["seed", "mean", "theory", "reference"].includes(kind)) path(kind, "M0 6.5H26");
  if (kind === "nonfinite") path(kind, "M8 2h10l-5 8Z");
  if (kind === "zero") path(kind, "M8 10h10l-5 -8Z");
  return svg;
}

/** The presets, and the words of the one that was chosen. `take(request, preset)` is told of a choice. */
function presetBar(settings, take) {
  let now = null;
  const buttons = settings.presets.map((preset) => {
    const button = node("button", { type: "button", className: "preset", "aria-pressed": "false" }, preset.title);
    button.onclick = () => take(begins(preset, settings), preset);
    return button;
  });
  const text = node("p", {});
  const then = node("button", { type: "button" });
  const look = node("section", { className: "look", "aria-label": "What this preset shows", hidden: true }, text, then);
  const ended = () => Object.entries(now.lesson.then).every(([name, value]) => now.state[name] === value);
  then.onclick = () => take(ended() ? begins(now.lesson, settings) : { ...now.state, ...now.lesson.then }, now.lesson);
  return {
    shells: [node("nav", { className: "presets", "aria-label": "Presets" }, ...buttons), look],
    show(state, lesson) {
      now = { state, lesson };
      const its = (preset) => preset === lesson && write(state, preset, settings) === `preset=${preset.id}`;
      settings.presets.forEach((preset, i) => buttons[i].setAttribute("aria-pressed", its(preset)));
      look.hidden = lesson === null;
      text.textContent = lesson?.text ?? "";
      then.textContent = lesson === null ? "" : ended() ? "← back to the first net" : `→ ${lesson.button}`;
    },
  };
}

/** The verdict in colour and in words, and what went wrong. */
function verdictBox(tones) {
  const before = node("p", { className: "before" });
  const said = node("p", { className: "said" }, "Measuring the first net …");
  const limit = node("p", { className: "limit" });
  const training = node("p", { className: "training" });
  const note = node("p", { className: "note", role: "alert" });
  const busy = node("span", { className: "busy", "aria-hidden": "true" }, "measuring …");
  const live = node("p", { className: "hidden", role: "status", "aria-live": "polite" });
  const shell = node("section", { className: "verdict", "aria-label": "Verdict" },
    note, before, said, limit, training, busy);
  const median = (values) => short(values.sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)]);
  return {
    shells: [shell, live],
    /** What is wrong, and whose answer is shown meanwhile; what is said already is not said again. */
    say(text, whose) {
      if (note.textContent !== text) note.textContent = text;
      before.textContent = whose;
      if (text && !shell.dataset.tone) said.textContent = ""; // no net is being measured
    },
    /** Shows a reply; one that stays is told to those who do not see it. */
    show({ verdict, loss, request }, stays) {
      const { word, summary } = verdict;
      const tone = tones[verdict.verdict] ?? "";
      const rest = summary.startsWith(word) ? summary.slice(word.length) : `: ${summary}`;
      said.replaceChildren(node("b", { className: tone }, word), rest);
      shell.dataset.tone = tone || "none";
      limit.textContent = verdict.depth_limit ? `Depth limit: ${verdict.depth_limit}` : "";
      const [first, last] = [0, 1].map((end) => loss && median(loss.map((pair) => number(pair[end]))));
      const after = request.steps ? `, ${last} after ${request.steps} steps` : "";
      training.textContent = loss ? `Loss: ${first} at the start${after} (medians of the nets).` : "";
      if (stays && live.textContent !== said.textContent) live.textContent = said.textContent;
    },
  };
}

/** The Python program of the net, to be copied. */
function programBox() {
  const program = node("code", {});
  const copy = node("button", { type: "button", className: "copy" }, "Copy");
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
  const title = "Python code of this net";
  const shell = node("section", { className: "program", "aria-label": title },
    node("div", { className: "bar" }, node("h3", {}, "This net in Python"), copy),
    node("pre", { tabIndex: 0, role: "region", "aria-label": title }, program));
  return { shell, show: (text) => (program.textContent = text) };
}

/**
 * Puts an explorer into an element; gives back what shows another net, and what ends it.
 * @param {HTMLElement} el
 * @param {{measure: Measure, settings: Settings, request?: Request, hash?: boolean, ready?: Promise<*>,
 *   changed?: (request: Request) => void}} given  `hash`: whether the page's address holds the state. `ready` settles
 *   when the engine is loaded, or cannot be. `changed` is told of each net at which the hand rests.
 */
export function mount(el, { measure, settings, request, hash = false, ready = null, changed = () => {} }) {
  let loads = true;
  let state = { ...begins(null, settings), ...request };
  let lesson = null;
  let moving = false;
  let timer = 0;
  let slow = false;
  let last = "";
  let shown = null;
  /** The address as it was written or read last: its events come late, when a hand may have moved on. */
  let address = "";
  let wrong = { engine: "", typed: "" };
  /** The control that moved last, and whether an entry of the history is of this visit to it. */
  let visit = { name: "", again: false, written: false };

  const names = Object.keys(settings.controls);
  const set = (name, value, rests) => {
    state = { ...state, [name]: value };
    moved(rests, name);
  };
  const controls = names.map((name) => control(name, settings.controls[name], set, (typed) => say({ typed })));
  const panels = PANELS.map((row) => panel(row, (cursor) => panels.forEach((each) => each.redraw(cursor))));
  const presets = presetBar(settings, take);
  const verdict = verdictBox(settings.tones);
  const program = programBox();
  const legends = legend(settings);
  const charts = node("div", { className: "panels" }, ...panels.map(({ shell }) => shell));
  const why = node("p", { className: "whytheory" });
  const engine = node("p", { className: "engine" });
  const again = node("button", { type: "button", className: "again" }, "Start again");
  again.onclick = () => take(begins(null, settings), null);
  const shells = (of) => of.map((name) => controls[names.indexOf(name)].shell);
  const folded = Object.values(FOLDS).flat();
  const folds = Object.entries(FOLDS).map(([title, of], i, all) =>
    node("details", { className: "fold", open: el.clientWidth > NARROW && i < all.length - 1 },
      node("summary", {}, title), ...shells(of)));
  const form = node("form", { className: "controls", "aria-label": "The net" },
    ...shells(names.filter((name) => !folded.includes(name))), ...folds, again);
  form.onsubmit = (event) => event.preventDefault();
  form.addEventListener("focusout", () => (visit = { ...visit, again: false, written: false }));
  const root = node("div", { className: "vgcore-explore empty" }, ...presets.shells, ...verdict.shells,
    node("div", { className: "bench" }, form,
      node("div", { className: "results" },
        charts,
        node("p", { className: "across" }, "Across: layers, counted from 1 at the input."),
        legends.shell, why, program.shell, engine)));

  ready?.catch(() => (loads = false));
  const asking = latest(measure, ready, {
    busy(on) {
      root.classList.toggle("waits", on);
      root.setAttribute("aria-busy", on);
    },
    failed(error) {
      last = "";
      say({ engine: `${sentence(error.message)} ${loads ? "Any change asks again." : "Load this page anew."}` });
    },
    reply(reply, of, took) {
      if (!reply.error && !("theory" in of)) slow = took > SLOW;
      if (!reply.error) show({ ...reply, request: of });
      say({ engine: sentence(reply.error) });
    },
  });

  /** Says what is wrong with the engine's answer or with what was typed; an empty text where all is well. */
  function say(about) {
    wrong = { ...wrong, ...about };
    verdict.say([wrong.engine, wrong.typed].filter(Boolean).join(" "), wrong.engine && shown ? whose() : "");
    root.classList.toggle("failed", wrong.engine !== "");
  }

  /** Whose answer is shown where this net has none: that of a quick pass may be of this very net. */
  function whose() {
    const { theory, ...few } = shown.request;
    const own = theory === false && JSON.stringify({ ...asked(state), seeds: few.seeds }) === JSON.stringify(few);
    return own ? `Of this net with ${few.seeds} ${few.seeds === 1 ? "seed" : "seeds"}:` : "Of the net before:";
  }

  /** Asks for the net as it is; while a control moves and the engine is slow, with few seeds and without theory. */
  function ask(quick) {
    const full = asked(state);
    const request = quick && slow ? { ...full, seeds: Math.min(full.seeds, FEW), theory: false } : full;
    const key = JSON.stringify(request);
    if (key === last) return;
    last = key;
    asking.ask(request, !quick);
  }

  /** A control has moved: ask at once, and again with all seeds when the hand rests. */
  function moved(rests, name = "") {
    // Keys that move a control one by one are one step back.
    visit = { name, again: name !== "" && (visit.again || visit.written) && visit.name === name, written: false };
    moving = !rests;
    say({ typed: "" });
    refresh();
    clearTimeout(timer);
    if (rests) return rest();
    ask(true);
    timer = setTimeout(rest, REST);
  }

  /** The hand rests: the sharp pass, and the address. */
  function rest() {
    moving = false;
    ask(false);
    changed(asked(state));
    if (hash) point(visit.again);
    visit.written = form.contains(document.activeElement);
    if (shown) show(shown);
  }

  /** Makes the address that of the net, in an entry of its own or in place of the last one. */
  function point(instead) {
    address = write(state, lesson, settings);
    if (location.hash.slice(1) === address) return;
    const url = address ? `#${address}` : location.pathname + location.search;
    try {
      history[instead ? "replaceState" : "pushState"](null, "", url);
    } catch {
      // A page within another may not, and browsers have limits: the net counts, and its address can wait.
    }
  }

  /** Takes a whole net, and the preset that it is of. */
  function take(request, preset) {
    lesson = preset;
    state = { ...request };
    moved(true);
  }

  /** What follows from the state alone: the controls, the code, the preset. */
  function refresh() {
    names.forEach((name, i) => {
      controls[i].set(state[name]);
      controls[i].off(reasonOff(name, state));
    });
    program.show(code(state));
    presets.show(state, lesson);
  }

  /** Shows a reply. */
  function show(reply) {
    shown = reply;
    root.classList.remove("empty");
    verdict.show(reply, !moving && JSON.stringify(reply.request) === last);
    PANELS.forEach((row, i) => panels[i].show(viewed(row, reply, settings), moving));
    legends.show(reply.request, charts);
    why.textContent = sentence(reply.theory?.why || reply.theory_why);
    const { seeds, steps, theory } = reply.request;
    const few = theory === false ? `, with ${seeds} ${seeds === 1 ? "seed" : "seeds"} while a control moves` : "";
    const apart = steps ? " Training amplifies rounding: another engine may show other numbers, or another verdict." : "";
    engine.textContent = `Measured by ${reply.engine} in ${short(reply.took_ms)} ms${few}.${apart}`;
  }

  /** Takes the net of an address that somebody else has set; the page's own way to say it takes its place. */
  function fromHash() {
    if (location.hash.slice(1) === address) return;
    const found = read(location.hash, settings);
    [state, lesson] = [found.state, found.preset];
    point(true); // a step back must not end here again
    take(found.state, found.preset);
    say({ typed: found.problem });
  }

  const sized = new ResizeObserver(() => panels.forEach((each) => each.fit()));
  el.append(root);
  sized.observe(root);
  if (hash) addEventListener("hashchange", fromHash);
  if (hash && location.hash.length > 1) fromHash();
  else moved(true);
  return {
    /** Shows a net that somebody else has chosen; what `changed` was told comes back, and changes nothing. */
    take(other) {
      if (names.some((name) => (other[name] ?? state[name]) !== asked(state)[name])) take({ ...state, ...other }, null);
    },
    end() {
      sized.disconnect();
      removeEventListener("hashchange", fromHash);
      clearTimeout(timer);
      root.remove();
    },
  };
}

/** A notebook: the kernel measures, messages carry requests and replies. */
function render({ model, el }) {
  const open = new Map();
  const view = Math.random(); // All views of a widget hear all replies.
  let count = 0;
  const heard = (message) => {
    open.get(message.id)?.(message.reply);
    open.delete(message.id);
  };
  // Nothing is taken back: what a kernel was sent waits there, and a newer net had to wait behind it.
  const measure = (request) => new Promise((resolve, reject) => {
    const id = `${view}/${++count}`;
    const lost = setTimeout(() => {
      open.delete(id);
      reject(new Error(`The kernel has said nothing for ${LOST / 1000} seconds`));
    }, LOST);
    open.set(id, (reply) => {
      clearTimeout(lost);
      resolve(reply);
    });
    model.send({ id, request });
  });
  const changed = (request) => {
    model.set("request", request);
    model.save_changes();
  };
  model.on("msg:custom", heard);
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
