// Starts a page that measures by itself: the engine runs in a worker beside it, so that controls never wait for it.
import { mount } from "./explore.js";

/** Text that is JSON in a part of the page. */
const island = (id) => JSON.parse(document.getElementById(id).textContent);

/** The bytes that a part of the page holds as base64. */
const bytes = (id) => Uint8Array.from(atob(island(id)), (sign) => sign.charCodeAt(0));

/** What gzip made such bytes of, to be read. */
const unzipped = (id) => new Response(new Blob([bytes(id)]).stream().pipeThrough(new DecompressionStream("gzip")));

/** Starts the worker, and gives back what asks it. */
async function started() {
  const source = URL.createObjectURL(new Blob([await unzipped("worker").text()], { type: "text/javascript" }));
  const worker = new Worker(source); // of no module, which browsers refuse beside a page that is a file
  const open = new Map();
  let id = 0;
  const ready = new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => {
      if (data.ready) resolve();
      else if (data.id === undefined) reject(new Error(data.error));
      open.get(data.id)?.resolve(data.reply);
      open.delete(data.id);
    };
    worker.onerror = (event) => {
      const error = new Error(event.message || "it could not be started");
      reject(error);
      for (const each of open.values()) each.reject(error);
      open.clear();
    };
  });
  const wasm = bytes("engine").buffer;
  worker.postMessage({ wasm }, [wasm]);
  await ready;
  // Nothing is taken back: what the worker was sent it measures, and a newer net had to wait behind it.
  return (request) => new Promise((resolve, reject) => {
    open.set(++id, { resolve, reject: ({ message }) => reject(new Error(`The engine does not answer: ${message}`)) });
    worker.postMessage({ id, request });
  });
}

const engine = started().catch(({ message }) => {
  throw new Error(`The engine cannot be loaded: ${message}`);
});
const measure = async (request) => (await engine)(request);
const settings = await unzipped("settings").json();
mount(document.getElementById("explorer"), { measure, ready: engine, settings, hash: true });
