// Pictures of columns by layer, as SVG: axes, bands, curves and marks. Nothing here knows what a net is.

const SVG = "http://www.w3.org/2000/svg";
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
/** Room for the numbers of the axes, in pixels. */
const MARGIN = { left: 46, right: 10, top: 8, bottom: 22 };

/** An element of SVG with attributes, and text where some is given. */
export function shape(name, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

/** Round steps over a range, at most `most` of them: whole numbers where `whole`. */
export function ticks(low, high, most, whole = false) {
  const rough = (high - low) / most || 1;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const round = (whole ? [1, 2, 3, 5, 10] : [1, 2, 2.5, 5, 10]).map((part) => part * ten);
  const step = Math.max(round.find((each) => each >= rough - 1e-12 * ten), whole ? 1 : 0);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) {
    found.push(Number((i * step).toPrecision(12)));
  }
  return found;
}

/** A power of ten as it is printed: 10⁻⁴; 1 is itself. */
export function powerOfTen(exponent) {
  return exponent === 0 ? "1" : `10${[...String(exponent)].map((sign) => SUPERSCRIPTS[sign] ?? "⁻").join("")}`;
}

/** The ends of an axis: all finite values within round steps, `least` apart or more. */
export function extent(rows, least) {
  let low = Infinity;
  let high = -Infinity;
  for (const row of rows) {
    for (const value of row) {
      if (Number.isFinite(value)) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
  }
  if (low > high) [low, high] = [-least / 2, least / 2];
  const more = Math.max(least - (high - low), 0.04 * (high - low)) / 2;
  return [Math.floor(low - more), Math.ceil(high + more)];
}

/** The pieces of a path through the finite values: a gap at every other, a point where a value stands alone. */
function pathOf(values, x, y) {
  let path = "";
  let pen = false;
  values.forEach((value, i) => {
    const there = Number.isFinite(value);
    if (there) path += `${pen ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
    if (there && !pen && !Number.isFinite(values[i + 1])) path += "h.01";
    pen = there;
  });
  return path;
}

/** The outline of what lies between two rows of values, where both are finite, in one piece or more. */
function ribbonOf(low, high, x, y) {
  const there = low.map((value, i) => Number.isFinite(value) && Number.isFinite(high[i]));
  let path = "";
  for (let from = there.indexOf(true); from >= 0; ) {
    const end = there.indexOf(false, from);
    const last = end < 0 ? low.length : end;
    const places = Array.from({ length: last - from }, (_, k) => from + k);
    const edge = [...places.map((i) => [i, high[i]]), ...places.reverse().map((i) => [i, low[i]])];
    path += `M${edge.map(([i, value]) => `${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}Z`;
    from = there.indexOf(true, last);
  }
  return path;
}

/**
 * Where things of a panel are.
 * @param {{width: number, height: number, depth: number, range: [number, number]}} picture
 */
export function scales({ width, height, depth, range }) {
  const [left, right, top, bottom] = [MARGIN.left, width - MARGIN.right, MARGIN.top, height - MARGIN.bottom];
  const x = (i) => (depth > 1 ? left + 5 + ((right - left - 10) * i) / (depth - 1) : (left + right) / 2);
  const y = (value) => bottom - ((bottom - top) * (value - range[0])) / (range[1] - range[0]);
  const layerAt = (pixel) => {
    const i = depth > 1 ? Math.round(((pixel - left - 5) / (right - left - 10)) * (depth - 1)) : 0;
    return Math.min(Math.max(i, 0), depth - 1);
  };
  return { left, right, top, bottom, x, y, layerAt };
}

/** Lines and numbers of both axes. */
function axes(picture, at) {
  const { range, depth, word, height, width } = picture;
  const parts = [];
  for (const tick of ticks(range[0], range[1], Math.max(2, Math.floor(height / 34)), picture.whole)) {
    parts.push(shape("line", { class: "grid", x1: at.left, x2: at.right, y1: at.y(tick), y2: at.y(tick) }));
    parts.push(shape("text", { class: "tick", x: at.left - 6, y: at.y(tick) + 4, "text-anchor": "end" }, word(tick)));
  }
  const layers = ticks(1, depth, Math.max(2, Math.floor(width / 60)), true).filter((tick) => tick > 1);
  if (layers.length > 1 && at.x(layers[0] - 1) - at.x(0) < 22) layers.shift();
  for (const layer of [1, ...layers]) {
    const x = at.x(layer - 1);
    parts.push(shape("line", { class: "axis", x1: x, x2: x, y1: at.bottom, y2: at.bottom + 4 }));
    parts.push(shape("text", { class: "tick", x, y: at.bottom + 16, "text-anchor": "middle" }, String(layer)));
  }
  parts.push(shape("line", { class: "axis", x1: at.left, x2: at.right, y1: at.bottom, y2: at.bottom }));
  return parts;
}

/** Triangles at the upper or lower edge, each with its sentence. */
function triangles(marks, at) {
  return marks.map(({ layer, kind, title }) => {
    const x = at.x(layer);
    const up = kind === "nonfinite";
    const y = up ? at.top + 1 : at.bottom - 1;
    const mark = shape("path", { class: kind, d: `M${x - 5} ${y}h10l-5 ${up ? 8 : -8}Z` });
    mark.append(shape("title", {}, title));
    return mark;
  });
}

/**
 * Draws a panel anew.
 * @param {SVGElement} svg
 * @param {{width: number, height: number, depth: number, range: [number, number], whole: boolean,
 *   word: (tick: number) => string, bands: {low: number, high: number}[], references: number[],
 *   lost: number, theory: {mean: number[], low: number[], high: number[], kind?: string} | null,
 *   lines: {values: number[], kind: string}[], marks: {layer: number, kind: string, title: string}[],
 *   cursor: number | null}} picture  `lost`: so many layers from the input have no gradient; values by layer.
 */
export function draw(svg, picture) {
  const at = scales(picture);
  const clamp = (value) => Math.min(Math.max(value, at.top), at.bottom);
  const ground = (kind, left, right, top, bottom) =>
    parts.push(shape("rect", { class: kind, x: left, y: top, width: right - left, height: bottom - top }));
  const parts = [];
  for (const { low, high } of picture.bands) ground("band", at.left, at.right, clamp(at.y(high)), clamp(at.y(low)));
  parts.push(...axes(picture, at));
  for (const { low, high } of picture.bands) {
    for (const edge of [low, high]) {
      if (edge > picture.range[0] && edge < picture.range[1]) {
        parts.push(shape("line", { class: "edge", x1: at.left, x2: at.right, y1: at.y(edge), y2: at.y(edge) }));
      }
    }
  }
  for (const level of picture.references) {
    if (level > picture.range[0] && level < picture.range[1]) {
      parts.push(shape("line", { class: "reference", x1: at.left, x2: at.right, y1: at.y(level), y2: at.y(level) }));
    }
  }
  if (picture.lost > 0) {
    const end = picture.lost < picture.depth ? (at.x(picture.lost - 1) + at.x(picture.lost)) / 2 : at.right;
    ground("lost", at.left, end, at.top, at.bottom);
  }
  if (picture.theory) {
    const { mean, low, high, kind = "theory" } = picture.theory;
    parts.push(shape("path", { class: "spread", d: ribbonOf(low, high, at.x, at.y) }));
    parts.push(shape("path", { class: kind, d: pathOf(mean, at.x, at.y) }));
  }
  for (const { values, kind } of picture.lines) {
    parts.push(shape("path", { class: kind, d: pathOf(values, at.x, at.y) }));
  }
  parts.push(...triangles(picture.marks, at));
  if (!picture.lines.some(({ values }) => values.some(Number.isFinite))) {
    const above = { x: (at.left + at.right) / 2, y: at.top + 24, "text-anchor": "middle" };
    parts.push(shape("text", { class: "empty", ...above }, "measured: at no layer a finite number above 0"));
  }
  if (picture.cursor !== null) {
    const x = at.x(picture.cursor);
    parts.push(shape("line", { class: "cursor", x1: x, x2: x, y1: at.top, y2: at.bottom }));
    for (const { values, kind } of picture.lines) {
      const value = values[picture.cursor];
      if (!kind.startsWith("seed") && Number.isFinite(value)) {
        parts.push(shape("circle", { class: `dot ${kind}`, cx: x, cy: at.y(value), r: 3.5 }));
      }
    }
  }
  svg.setAttribute("viewBox", `0 0 ${picture.width} ${picture.height}`);
  svg.setAttribute("height", picture.height);
  svg.replaceChildren(...parts);
}
