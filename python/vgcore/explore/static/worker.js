/**
 * The engine of the page in a thread of its own.
 *
 * It is sent `{wasm}` once, vgcore.wasm as LZMA has packed it, and answers `{ready: true, version}`, or
 * `{ready: false, error}` where the browser cannot run it. Then each `{id, request}` is answered by `{id, reply}`:
 * numbers, theory and verdict, or `{error}` with a sentence. The page puts the rules of the judge before it, as RULES.
 */
import { load } from "./engine.js";
import { judge } from "./judge.js";
import { predict } from "./theory.js";
import { unpack } from "./unpack.js";

let engine = null;

/** The reply to a request. */
function reply(request) {
  const started = performance.now();
  try {
    const measured = engine.measure(request);
    const theory = predict(request, engine.core);
    const verdict = judge({ ...measured, request }, RULES);
    const took_ms = Math.round(10 * (performance.now() - started)) / 10;
    return { request, engine: `vgcore ${engine.version}, WebAssembly`, ...measured, ...theory, verdict, took_ms };
  } catch (error) {
    return { error: error.message };
  }
}

self.onmessage = async ({ data }) => {
  if (data.wasm === undefined) {
    self.postMessage({ id: data.id, reply: reply(data.request) });
    return;
  }
  try {
    engine = await load(unpack(new Uint8Array(data.wasm)));
    self.postMessage({ ready: true, version: engine.version });
  } catch (error) {
    self.postMessage({ ready: false, error: error.message });
  }
};
