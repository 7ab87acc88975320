/**
 * The baton: which other devices of the person show this conversation and how far they are, and a
 * code that opens a phone at this very place.
 *
 * A visible page reports where it is every EVERY milliseconds, and more often while another device is
 * there. A hidden one says that it has left, and nothing after that.
 */

import { reportDevice } from "./api.js";
import { button, copyFor, el } from "./dom.js";
import { deviceName } from "./device-name.js";
import { sheet } from "./sheet.js";
import { t } from "./t.js";

/** Milliseconds between two reports: alone, and while another device is there. */
const EVERY = 10_000;
const TOGETHER = 3_000;
/** Pixels from the pane's top to the line that is being read. */
const EDGE = 20;
const STORED = "outlive.device";

/** Names that only this machine knows. */
const OWN = /^(localhost|.*\.localhost|127\..*|\[::1\])$/;

/** A random name of this browser. */
function deviceId() {
  try {
    return (localStorage[STORED] ||= newId());
  } catch {
    return newId(); // storage is forbidden
  }
}

/** (crypto.randomUUID is missing where a page came by plain HTTP.) */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** The message and position of the first line of the pane. */
export function placeIn(pane, thread) {
  const top = pane.getBoundingClientRect().top + EDGE;
  const views = [...thread.views.values()];
  // At the end of the pane the last line is read.
  const atEnd = pane.scrollHeight - pane.clientHeight - pane.scrollTop < EDGE;
  const view = atEnd ? views.at(-1) : (views.findLast(({ element }) => element.getBoundingClientRect().top <= top) ?? views[0]);
  if (!view) return null;
  if (atEnd && view.body) return { message_id: view.message.id, position: view.body.covered };
  let position = 0;
  for (const { start, end, n } of view.body?.blocks ?? []) {
    const box = view.blocks.shown[n]?.element.getBoundingClientRect();
    if (!box?.height || box.top > top) break;
    position = Math.round(start + (end - start) * Math.min(1, (top - box.top) / box.height));
  }
  return { message_id: view.message.id, position };
}

export class Baton {
  /** `pane` scrolls, `thread` is the open conversation, `open()` its id. */
  constructor(pane, thread, open) {
    Object.assign(this, { pane, thread, open, id: deviceId() });
    const bar = document.querySelector("header.bar");
    this.also = el("p", { id: "also", role: "status" });
    this.opener = button(t("Phone"), () => this.#show(), { id: "to-phone", hidden: true, title: t("Go on on your phone, at this place"), "aria-haspopup": "dialog" });
    bar.querySelector("#connection").after(this.also);
    bar.querySelector("#places").append(this.opener);
    sheet("baton");
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#leave() : this.#report()));
    addEventListener("pagehide", () => this.#leave());
    this.#report();
  }

  get place() {
    return this.open() ? placeIn(this.pane, this.thread) : null;
  }

  /** Say where this device is, and show where the others are. */
  async #report() {
    clearTimeout(this.timer);
    if (document.hidden) return;
    const place = this.place;
    let others = [];
    if (place) {
      this.here = true;
      others = await reportDevice({ device: this.id, ...place }).then(({ items }) => items, () => []);
    } else if (this.here) this.#leave();
    if (document.hidden) return;
    this.opener.hidden = !place;
    this.#draw(others.filter(({ message_id: id }) => this.thread.views.has(id)));
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#report(), this.also.firstChild ? TOGETHER : EVERY);
  }

  /** The page is hidden or closed: it may have no time for an answer. */
  #leave() {
    clearTimeout(this.timer);
    if (!this.here) return;
    this.here = false;
    const body = JSON.stringify({ device: this.id });
    fetch("/api/devices", { method: "POST", keepalive: true, headers: { "Content-Type": "application/json" }, body }).catch(() => {});
  }

  #draw(others) {
    const words = others.map(({ device, message_id: id, position }) => {
      const whole = this.thread.views.get(id).body?.covered;
      const name = deviceName(device);
      return whole ? t("{device}, at {percent} %", { device: name, percent: Math.min(100, Math.round((100 * position) / whole)) }) : name;
    });
    const text = words.length ? t("Also open: {devices}", { devices: words.join(" · ") }) : "";
    if (text === this.also.textContent) return;
    this.also.replaceChildren();
    if (!text) return;
    const [{ message_id: id, position }] = others;
    this.also.append(button(text, () => (location.hash = `${id}.${position}`), { title: t("Go to that place") }));
  }

  /** The code that opens this place. */
  #show() {
    const place = this.place;
    if (!place) return;
    const address = `${location.origin}/c/${this.open()}#${place.message_id}.${place.position}`;
    const parts = OWN.test(location.hostname) ? this.#notReachable() : this.#code(address, place);
    const close = button(t("Close"), () => dialog.close(), { className: "" });
    const dialog = el("dialog", { id: "baton", "aria-labelledby": "baton-title", onclose: () => (dialog.remove(), this.opener.focus()) },
      el("h2", { id: "baton-title" }, t("Go on on your phone")), ...parts, el("div", { className: "row" }, close));
    document.body.append(dialog);
    dialog.showModal();
  }

  #code(address, { message_id: id, position }) {
    const image = el("img", { src: `/api/messages/${id}/code?position=${position}`, alt: t("A QR code of this place’s address"), width: 240, height: 240 });
    return [
      el("p", {}, t("Point your phone’s camera at the code. It opens this conversation at the line that you are reading.")),
      image,
      el("p", { className: "hint" }, t("The code holds no password: where sign-in is needed, the phone asks for it first."), " ", button(t("Copy"), ({ target }) => copyFor(target, address))),
    ];
  }

  #notReachable() {
    return [
      el("p", {}, t("This page’s address, {host}, means this computer alone: a phone cannot open it.", { host: location.host })),
      el("p", {}, t("For a phone it needs an address in your network, and sign-in. Set {setting}, start with {option}, and open the page at that address.", { setting: "OUTLIVE_AUTH=required", option: "--host 0.0.0.0" })),
    ];
  }
}
