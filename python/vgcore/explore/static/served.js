// Starts the page of the local server, which measures.
import { mount } from "./explore.js";

/** Text that is JSON in a part of the page. */
const island = (id) => JSON.parse(document.getElementById(id).textContent);

const headers = { "content-type": "application/json", "x-vgcore-token": island("token") };
const measure = async (request, signal) => {
  let answer;
  try {
    answer = await fetch("measure", { method: "POST", headers, signal, body: JSON.stringify(request) });
  } catch {
    throw new Error("The server does not answer: was it ended?");
  }
  // This page had its token from the server, so one that does not know it is another.
  if (answer.status === 403) throw new Error("The server was started anew: open the address that it has printed now.");
  return answer.json();
};
mount(document.getElementById("explorer"), { measure, settings: island("settings"), hash: true });
