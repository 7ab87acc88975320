/** A word on the desktop when an answer is ready and nobody looks at any tab. */

import { byId } from "./dom.js";
import { recall, remember } from "./outbox.js";
import { nameOf } from "./words.js";

const LOOKED_AT = "outlive.looked-at";
const WANTED = "outlive.notify";
const WORDS = { finished: "The answer is ready.", failed: "The answer failed.", stopped: "The answer was stopped." };

/** Every tab that is seen holds this lock, so that the one that listens knows of the others. */
function look() {
  if (document.hidden || !navigator.locks) return;
  const seen = new Promise((resolve) => {
    const over = new AbortController();
    const left = () => (over.abort(), resolve());
    document.addEventListener("visibilitychange", () => document.hidden && left(), { signal: over.signal });
    addEventListener("pagehide", left, { signal: over.signal });
  });
  navigator.locks.request(LOOKED_AT, { mode: "shared" }, () => seen);
}

async function somebodyLooks() {
  if (!navigator.locks) return !document.hidden;
  return (await navigator.locks.query()).held.some(({ name }) => name === LOOKED_AT);
}

/** Offer it, where there is such a thing; `open(id)` shows a conversation. */
export class Notifier {
  constructor(open) {
    this.open = open;
    this.button = byId("notify");
    if (!globalThis.Notification) return;
    this.button.hidden = false;
    this.button.addEventListener("click", () => this.#toggle());
    this.#show();
    look();
    document.addEventListener("visibilitychange", look);
    addEventListener("pageshow", ({ persisted }) => persisted && look());
  }

  get wanted() {
    return globalThis.Notification?.permission === "granted" && recall(WANTED) === "yes";
  }

  async #toggle() {
    const wanted = !this.wanted && (await Notification.requestPermission()) === "granted";
    remember(WANTED, wanted ? "yes" : "no");
    this.#show();
  }

  #show() {
    this.button.setAttribute("aria-pressed", String(this.wanted));
    const denied = Notification.permission === "denied";
    this.button.title = denied ? "The browser forbids notifications for this page" : "Say on the desktop when an answer is ready";
  }

  /** Something has happened in a conversation. */
  async tell(what, { id, title, answer }) {
    const words = WORDS[what.find((one) => one in WORDS)];
    if (!words || !this.wanted || (await somebodyLooks())) return;
    let notification;
    try {
      notification = new Notification(nameOf({ title }), { body: words, tag: answer?.id ?? id, icon: "/static/icon.svg" });
    } catch {
      this.button.hidden = true; // Chrome for Android has the class, but lets no page use it
      return;
    }
    notification.onclick = () => {
      focus();
      this.open(id);
      notification.close();
    };
  }
}
