/** One place that knows whether the server can be reached, and says so when it lasts. */

import { byId } from "./dom.js";

/** Milliseconds. Shorter interruptions are ordinary: a stream may be cut at any time and is back at once. */
const PATIENCE = 1000;

const troubled = new Set();
let timer = null;
let meanwhile = "";

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

/** What goes on although we are offline: "writing", "sending" or nothing. */
export function goesOn(what) {
  if (what === meanwhile) return;
  meanwhile = what;
  if (byId("connection").dataset.state === "offline") show();
}

const WORDS = {
  good: () => "",
  reconnecting: () => "Reconnecting…",
  offline: () =>
    ({ writing: "Offline. It is still being written.", sending: "Offline. It will be sent." })[meanwhile] ??
    "Offline. What you send waits here.",
};

/** Say how things are. */
function show() {
  const state = !troubled.size ? "good" : navigator.onLine ? "reconnecting" : "offline";
  byId("connection").dataset.state = state;
  byId("connection").textContent = WORDS[state]();
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
if (!navigator.onLine) trouble("network", true);
