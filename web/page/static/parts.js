/**
 * What a question has besides text: images and other files, and the results of tools.
 *
 * Only what this service stores is loaded, from its own address. An image that is elsewhere is shown
 * as its address: to fetch it would tell its server who reads what, and when.
 */

import { link as secret, readFile } from "./api.js";
import { el } from "./dom.js";
import { t } from "./t.js";

const STORED = "/api/files/";

/** An element for each of these parts. */
export const partsOf = (parts) => (parts ?? []).map(one);

function one({ kind, text, meta }) {
  if (kind === "tool_result") return result(text, meta);
  if (!text.startsWith(STORED)) return el("p", { className: "elsewhere" }, `${nameOf(kind)}: ${text}`);
  return kind === "image" ? image(text) : link(kind, text, meta);
}

function image(address) {
  const shown = el("img", { className: "sent", alt: t("Image"), loading: "lazy" });
  const fail = () => shown.replaceWith(el("p", { className: "elsewhere" }, t("An image")));
  shown.addEventListener("error", fail, { once: true });
  if (secret) readFile(address).then((data) => (shown.src = data), fail);
  else shown.src = address;
  return shown;
}

function link(kind, address, meta) {
  const shown = el("a", { href: address, download: meta?.filename ?? "" }, meta?.filename ?? nameOf(kind));
  const save = async (event) => {
    event.preventDefault();
    shown.href = await readFile(address);
    shown.removeEventListener("click", save);
    shown.click();
  };
  if (secret) shown.addEventListener("click", save);
  return shown;
}

function result(text, meta) {
  const shown = meta?.empty ? "" : text;
  return el("details", { className: "aside tool_result" }, el("summary", {}, t("Result of {tool}", { tool: meta?.tool_call_id ?? t("a tool") })), el("pre", {}, shown));
}

const nameOf = (kind) => ({ image: t("Image"), audio: t("Sound") })[kind] ?? t("File");
