/**
 * Notifies when an answer is ready, also while no page is open. It answers no requests of pages and
 * keeps nothing but the few sentences that it shows, in the page's language (push.js leaves them).
 */

const WORDS = "outlive-words";
const ICON = "/static/icon-192.png";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

/** A sentence in the page's language; `fallback` before a page has left any. */
async function said(name, fallback) {
  const kept = await caches.open(WORDS).then((cache) => cache.match(`/${WORDS}`)).catch(() => null);
  const words = await kept?.json().catch(() => null);
  return words?.[name] ?? fallback;
}

const pages = () => self.clients.matchAll({ type: "window", includeUncontrolled: true });
const addressOf = (conversation) => (/^[0-9a-f-]{36}$/.test(conversation) ? `/c/${conversation}` : "/");

async function notify({ conversation, message, result, title, text }) {
  // A person who looks at a page sees it there.
  if ((await pages()).some(({ visibilityState }) => visibilityState === "visible")) return;
  const words =
    result === "failed" ? await said("failed", "Your answer failed.") : await said("ready", "Your answer is ready.");
  await self.registration.showNotification(title || words, {
    body: title ? text || words : "",
    tag: message, // the same answer is not shown twice
    icon: ICON,
    data: { url: addressOf(conversation) },
  });
}

self.addEventListener("push", (event) => event.waitUntil(notify(event.data.json())));

/** Show the page of the conversation: one that is open, or else a new one. */
async function open(url) {
  const all = await pages();
  const there = all.find((page) => new URL(page.url).pathname === url);
  if (there) return there.focus();
  const any = all.find((page) => /^\/(c\/|$)/.test(new URL(page.url).pathname));
  if (!any) return self.clients.openWindow(url);
  const page = await any.focus();
  page.postMessage({ open: url });
  return page;
}

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data?.url ?? "/"));
});
