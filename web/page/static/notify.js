/** Desktop notifications for answers that end while no tab is visible. */

import { byId } from "./dom.js";
import { recall, remember } from "./outbox.js";
import { t } from "./t.js";
import { nameOf } from "./words.js";

const WANTED = "outlive.notify";
const WORDS = { finished: t("The answer is ready."), failed: t("The answer failed."), stopped: t("The answer was stopped.") };

/** `open(id)` shows a conversation; `tabs.watched`: a tab is visible. */
export class Notifier {
  constructor(open, tabs) {
    this.open = open;
    this.tabs = tabs;
    this.button = byId("notify");
    if (!globalThis.Notification) return;
    this.button.hidden = false;
    this.button.addEventListener("click", () => this.#toggle());
    this.#show();
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
    this.button.title = denied ? t("The browser forbids notifications for this page") : t("Notify me on the desktop when an answer is ready");
  }

  /** Show a change of a conversation. */
  show(what, { id, title, answer }) {
    const words = WORDS[what.find((one) => one in WORDS)];
    if (!words || !this.wanted || this.tabs.watched) return;
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
