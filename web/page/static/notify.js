/**
 * Notifications of answers that end while no tab is visible: by the page while one is open, and where
 * push is there (push.js) also while the browser is closed.
 */

import { byId } from "./dom.js";
import { recall, remember } from "./outbox.js";
import { t } from "./t.js";
import { offer } from "./toast.js";
import { nameOf } from "./words.js";

const WANTED = "outlive.notify";
const OFFERED = "outlive.notify.offered";
/** The subscription of this browser, as JSON: {id, with_text}. */
const SUBSCRIBED = "outlive.push";
const WORDS = { finished: t("The answer is ready."), failed: t("The answer failed."), stopped: t("The answer was stopped.") };

/** `open(id)` shows a conversation; `tabs.watched`: a tab is visible. */
export class Notifier {
  constructor(open, tabs) {
    this.open = open;
    this.tabs = tabs;
    this.button = byId("notify");
    if (!globalThis.Notification) return;
    /** The key with which a browser subscribes; "" where none can. */
    this.key = (globalThis.PushManager && navigator.serviceWorker && document.body.dataset.push) || "";
    this.button.hidden = false;
    this.button.addEventListener("click", () => this.#press());
    this.update();
    document.addEventListener("visibilitychange", () => this.#offer());
    if (!this.key) return;
    navigator.serviceWorker.addEventListener("message", ({ data }) => data.open && open(data.open.split("/")[2] ?? null));
    if (this.subscribed) requestIdleCallback(async () => (await import("./push.js")).renew(this).catch(() => {}));
  }

  get wanted() {
    return globalThis.Notification?.permission === "granted" && recall(WANTED) === "yes";
  }

  set wanted(wanted) {
    remember(WANTED, wanted ? "yes" : "no");
    this.update();
  }

  get subscribed() {
    return JSON.parse(recall(SUBSCRIBED) ?? "null");
  }

  set subscribed(subscription) {
    remember(SUBSCRIBED, subscription && JSON.stringify(subscription));
  }

  async #press() {
    if (this.key) (await import("./push.js")).openDialog(this);
    else this.wanted = !this.wanted && (await Notification.requestPermission()) === "granted";
  }

  /** A person who left while an answer was written, and is back, knows what this is for. */
  #offer() {
    if (document.hidden) {
      this.left = this.tabs.wants;
      return;
    }
    if (!this.left || Notification.permission !== "default" || this.button.hidden || recall(OFFERED)) return;
    remember(OFFERED, "yes");
    offer(t("Answers go on while you are away."), t("Notify me"), () => this.#press());
  }

  /** Show whether notifications are on. */
  update() {
    this.button.setAttribute("aria-pressed", String(this.wanted));
    const denied = Notification.permission === "denied";
    this.button.title = denied ? t("The browser forbids notifications for this page") : t("Notify me on the desktop when an answer is ready");
  }

  /** Show a change of a conversation. */
  show(what, { id, title, answer }) {
    const words = WORDS[what.find((one) => one in WORDS)];
    if (!words || !this.wanted || this.subscribed || this.tabs.watched) return; // push comes while a tab is open, too
    let notification;
    try {
      notification = new Notification(nameOf({ title }), { body: words, tag: answer?.id ?? id, icon: "/static/icon.svg" });
    } catch {
      this.button.hidden = true; // Chrome for Android has the class, but pages may not use it
      return;
    }
    notification.onclick = () => {
      focus();
      this.open(id);
      notification.close();
    };
  }
}
