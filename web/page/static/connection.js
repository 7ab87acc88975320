/** Whether the server can be reached; shown if it cannot for a while. */

import { byId } from "./dom.js";
import { t } from "./t.js";

/** Milliseconds. Shorter interruptions are normal: a stream may be cut at any time. */
const PATIENCE = 1000;

const troubled = new Set();
let timer = null;
let activity = "";

/** Report whether `source` has trouble reaching the server. */
export function trouble(source, is) {
  if (is) troubled.add(source);
  else troubled.delete(source);
  if (!troubled.size) {
    clearTimeout(timer);
    timer = null;
    show();
  } else if (timer === null) timer = setTimeout(show, PATIENCE);
}

/** What goes on while we are offline: "writing", "sending" or "". */
export function setActivity(what) {
  if (what === activity) return;
  activity = what;
  if (byId("connection").dataset.state === "offline") show();
}

const WORDS = {
  good: () => "",
  reconnecting: () => t("Reconnecting…"),
  offline: () =>
    ({ writing: t("Offline. It is still being written."), sending: t("Offline. It will be sent.") })[activity] ??
    t("Offline. What you send waits here."),
};

function show() {
  const state = !troubled.size ? "good" : navigator.onLine ? "reconnecting" : "offline";
  byId("connection").dataset.state = state;
  byId("connection").textContent = WORDS[state]();
}

addEventListener("offline", () => {
  trouble("network", true);
  show();
});
addEventListener("online", () => trouble("network", false));
if (!navigator.onLine) trouble("network", true);
