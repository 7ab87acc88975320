/** One place that knows whether the server can be reached, and says so when it lasts. */

import { byId } from "./dom.js";

/** Shorter interruptions are ordinary: a stream may be cut at any time and is back at once. */
const PATIENCE = 800;

const troubled = new Set();
let timer = null;

/** Note that something has, or no longer has, trouble reaching the server. */
export function trouble(source, is) {
  if (is) troubled.add(source);
  else troubled.delete(source);
  if (!troubled.size) {
    clearTimeout(timer);
    timer = null;
    show();
  } else if (timer === null) timer = setTimeout(show, PATIENCE);
}

/** Say how things are. */
function show() {
  const state = !troubled.size ? "good" : navigator.onLine ? "reconnecting" : "offline";
  const words = { good: "", reconnecting: "Reconnecting…", offline: "Offline. It is still being written." };
  byId("connection").dataset.state = state;
  byId("connection").textContent = words[state];
}

/** Wait so long, about: less when the network comes back or `signal` aborts. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const over = () => {
      clearTimeout(waiting);
      removeEventListener("online", over);
      signal?.removeEventListener("abort", over);
      resolve();
    };
    const waiting = setTimeout(over, milliseconds * (0.5 + Math.random()));
    addEventListener("online", over);
    signal?.addEventListener("abort", over);
  });
}

addEventListener("offline", () => {
  trouble("network", true);
  show();
});
addEventListener("online", () => trouble("network", false));
