/**
 * Notifications while the browser is closed: the dialog in which a person wants them or not, and this
 * browser's subscription. Loaded when it is wanted.
 */

import * as api from "./api.js";
import { button, el } from "./dom.js";
import { sheet } from "./sheet.js";
import { dateOf, t, why } from "./t.js";

await sheet("dialogs");

/** Where the service worker finds its sentences. */
const WORDS = "outlive-words";
/** How a browser says that it cannot subscribe. */
const NO_SERVICE = ["AbortError", "NotAllowedError", "NotSupportedError"];
const rules = { createScriptURL: () => "/service-worker.js" };
const policy = globalThis.trustedTypes?.createPolicy("service-worker", rules) ?? rules;

/** Leave the sentences in the page's language. */
async function leaveWords() {
  const said = { ready: t("Your answer is ready."), failed: t("Your answer failed.") };
  const cache = await caches.open(WORDS);
  await cache.put(`/${WORDS}`, new Response(JSON.stringify(said)));
}

async function subscribe(notifier, withText) {
  await navigator.serviceWorker.register(policy.createScriptURL(""));
  const { pushManager } = await navigator.serviceWorker.ready;
  await leaveWords();
  const options = { userVisibleOnly: true, applicationServerKey: notifier.key };
  const subscription = await pushManager.subscribe(options).catch(async (problem) => {
    const old = await pushManager.getSubscription(); // it may be one with another key
    if (!old) throw problem;
    await old.unsubscribe();
    return pushManager.subscribe(options);
  });
  const { endpoint, keys } = subscription.toJSON();
  const { id, with_text } = await api.subscribe({ endpoint, keys, with_text: withText });
  notifier.subscribed = { id, with_text };
}

async function unsubscribe(notifier) {
  const { id } = notifier.subscribed ?? {};
  notifier.subscribed = null;
  const registration = await navigator.serviceWorker.getRegistration();
  await (await registration?.pushManager.getSubscription())?.unsubscribe();
  if (id) await api.unsubscribe(id).catch(() => {}); // it may have been revoked elsewhere
}

/** Keep the subscription, which a browser may have renewed, and a sign-out has ended. */
export const renew = (notifier) => (notifier.wanted ? subscribe(notifier, notifier.subscribed.with_text) : unsubscribe(notifier));

/** Open the dialog. */
export function openDialog(notifier) {
  const check = (label, checked, onchange) => {
    const box = el("input", { type: "checkbox", checked, onchange });
    return { box, row: el("label", { className: "check" }, box, el("span", {}, label)) };
  };
  const status = el("p", { role: "status" });
  const others = el("ul", { className: "browsers", "aria-label": t("Other browsers that are notified") });
  const busy = async (step) => {
    on.box.disabled = words.box.disabled = true;
    status.textContent = "";
    await step().catch((problem) => (status.textContent = why(problem)));
    on.box.disabled = false;
    words.box.disabled = !on.box.checked;
  };
  const turn = async () => {
    if (!on.box.checked) {
      notifier.wanted = false;
      return unsubscribe(notifier);
    }
    if ((await Notification.requestPermission()) !== "granted") {
      on.box.checked = false;
      status.textContent = t("The browser forbids notifications for this page. Its settings can allow them.");
      return undefined;
    }
    notifier.wanted = true;
    return subscribe(notifier, words.box.checked).catch((problem) => {
      if (!NO_SERVICE.includes(problem.name)) throw problem;
      status.textContent = t("This browser reaches no push service. You are notified while a tab of this page is open.");
    });
  };
  const on = check(t("Notify me in this browser when an answer is ready, also while it is closed"), notifier.wanted, () => busy(turn));
  const words = check(t("Show the title and the first words; whoever sees the screen can read them"), Boolean(notifier.subscribed?.with_text), () => busy(turn));
  words.box.disabled = !notifier.wanted;
  const dialog = el(
    "dialog",
    { "aria-labelledby": "notify-title", onclose: () => dialog.remove() },
    el("h2", { id: "notify-title" }, t("Notifications")),
    on.row,
    words.row,
    status,
    others,
    el("div", { className: "row" }, button(t("Close"), () => dialog.close(), { className: "" })),
  );
  document.body.append(dialog);
  dialog.showModal();
  list(others, notifier).catch(() => {});
}

/** The other browsers of this user. */
async function list(root, notifier) {
  const { items } = await api.listSubscriptions();
  for (const { id, service, created_at: since } of items) {
    if (id === notifier.subscribed?.id) continue;
    const revoke = button(t("Revoke"), async () => {
      await api.unsubscribe(id).catch(() => {});
      item.remove();
    });
    const item = el("li", {}, el("span", {}, t("Another browser, by {service}, since {day}", { service, day: dateOf(since) })), revoke);
    root.append(item);
  }
}
