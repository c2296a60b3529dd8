// Starts the page of the local server, which measures.
import { mount } from "./explore.js";

/** Text that is JSON in a part of the page. */
const island = (id) => JSON.parse(document.getElementById(id).textContent);

const headers = { "content-type": "application/json", "x-vgcore-token": island("token") };
const measure = async (request, signal) => {
  const answer = await fetch("measure", { method: "POST", headers, signal, body: JSON.stringify(request) });
  return answer.json();
};
mount(document.getElementById("explorer"), { measure, settings: island("settings"), hash: true });
