/**
 * Images and files in questions, before they are sent.
 *
 * They are kept in the browser's database, with the draft and then with the question that is being
 * sent: nothing that was added is lost by a reload. Large photographs are made smaller here. What
 * cannot be sent is said at once, with the reason.
 */

import { readFile } from "./api.js";
import { FLAG } from "./attach.js";
import { button, el } from "./dom.js";
import { remember } from "./outbox.js";
import { sheet } from "./sheet.js";
import { n, t } from "./t.js";

/** Bytes of one file and of all files of a question, and how many there may be: the server's limits. */
const FILE_BYTES = 2_500_000;
const ALL_BYTES = 3_000_000;
const MOST = 10;
/** Photographs are made smaller from this many bytes on, to this many pixels on the longer side. */
const LARGE = 600_000;
const PIXELS = 2_048;
/** Pixels of a preview. */
const PREVIEW = 160;
const IMAGES = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const TEXTS = /\.(txt|md|csv|tsv|json|jsonl|xml|ya?ml|toml|ini|log|html?|css|js|ts|py|rb|go|rs|java|c|h|cpp|cs|php|sh|sql)$/i;

await sheet("attachments"); // nothing is shown without its style

// --- the browser's database, which other tabs change, too; this page's memory for what it does not take

const memory = new Map();
let opening = null;

function database() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("outlive", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("files");
    request.onsuccess = () => {
      request.result.onversionchange = () => {
        request.result.close(); // it is being deleted
        opening = null;
      };
      request.result.onclose = () => (opening = null);
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
  return opening;
}

/** Run `step(store)` in a transaction; the result of the request that it returns. */
async function transact(mode, step) {
  const opened = await database();
  return new Promise((resolve, reject) => {
    const transaction = opened.transaction("files", mode);
    const request = step(transaction.objectStore("files"));
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

async function load(name) {
  return memory.get(name) ?? (await transact("readonly", (store) => store.get(name)).catch(() => null)) ?? [];
}

/** Store files under a name, and remove another one. False: they are in this page's memory only. */
async function save(name, items, old = null) {
  memory.set(name, items);
  if (old) memory.delete(old);
  try {
    await transact("readwrite", (store) => {
      if (old) store.delete(old);
      if (items.length) store.put(items, name);
      else store.delete(name);
    });
    if (memory.get(name) === items) memory.delete(name);
    return true;
  } catch {
    return false; // forbidden, or full
  }
}

const draftName = (conversation) => `draft.${conversation ?? "new"}`;
const flag = (conversation, items) => remember(FLAG + (conversation ?? "new"), items.length ? "1" : "");

// --- files

const sizeOf = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1000))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** What the server takes a file for; "" if it takes none of that kind. */
function typeOf({ type, name }) {
  if (IMAGES.includes(type) || type === "application/pdf") return type;
  return type.startsWith("text/") || TEXTS.test(name) ? "text/plain" : "";
}

/** A picture of at most `pixels`, as a canvas; null if the browser cannot read it. */
async function drawn(blob, pixels) {
  const bitmap = await createImageBitmap(blob).catch(() => null);
  if (!bitmap) return null;
  const scale = Math.min(1, pixels / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((one) => Math.max(1, Math.round(one * scale)));
  const canvas = el("canvas", { width, height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return canvas;
}

/** A file as it is sent: {name, type, blob, preview}. Throws a sentence. */
async function prepared(file) {
  let type = typeOf(file);
  let blob = file;
  const image = file.type.startsWith("image/");
  const canvas = image ? await drawn(file, PIXELS) : null;
  if (image && !canvas) throw t("{name}: this browser cannot read this image.", { name: file.name });
  if (canvas && type !== "image/gif" && (!type || file.size > LARGE)) {
    type = "image/jpeg";
    const smaller = await new Promise((resolve) => canvas.toBlob(resolve, type, 0.85));
    if (smaller.size < file.size || !typeOf(file)) blob = smaller;
    else type = typeOf(file);
  }
  if (!type) throw t("{name}: only images, PDF and plain text can be sent.", { name: file.name });
  if (!blob.size) throw t("{name} is empty.", { name: file.name });
  if (blob.size > FILE_BYTES) {
    throw t("{name} has {size}; a file may have {limit}.", { name: file.name, size: sizeOf(blob.size), limit: sizeOf(FILE_BYTES) });
  }
  const preview = canvas && (await drawn(blob, PREVIEW)).toDataURL("image/webp", 0.8);
  return { name: file.name.slice(-255) || "file", type, blob: new Blob([blob], { type }), preview };
}

/** A file's picture, or its name. */
const picture = ({ name, preview }) => (preview ? el("img", { src: preview, alt: name }) : el("span", { className: "name" }, name));

/** The files of the draft, as they are shown above the question. */
export class Tray {
  constructor(root, on) {
    this.root = root;
    this.on = on;
    this.conversation = undefined;
    this.items = [];
    /** Files are added one after the other. */
    this.adding = Promise.resolve();
  }

  async open(conversation) {
    this.conversation = conversation;
    const items = await load(draftName(conversation));
    if (this.conversation !== conversation) return;
    this.items = items;
    this.#show();
  }

  add(files) {
    const added = this.adding.then(() => this.#add(files));
    this.adding = added.catch(() => {});
    return added;
  }

  async #add(files) {
    const { conversation } = this;
    this.on.notify("");
    this.root.hidden = false;
    this.root.append(el("p", { className: "preparing" }, t("Reading…")));
    const items = [...this.items];
    const problems = [];
    for (const file of files) {
      try {
        const item = await prepared(file);
        const all = items.reduce((sum, { blob }) => sum + blob.size, item.blob.size);
        if (items.length >= MOST) throw t("A question may have {most} files.", { most: MOST });
        if (all > ALL_BYTES) throw t("{name} does not fit: all files of a question may have {limit}.", { name: item.name, limit: sizeOf(ALL_BYTES) });
        items.push(item);
      } catch (problem) {
        problems.push(typeof problem === "string" ? problem : t("{name} could not be read.", { name: file.name }));
      }
    }
    const stored = await this.#keep(conversation, items);
    if (!stored && items.length) problems.push(t("There is no room to keep these files if this page is closed."));
    if (problems.length) this.on.notify([...new Set(problems)].join(" "));
  }

  async #keep(conversation, items) {
    if (conversation === this.conversation) {
      this.items = items;
      this.#show();
    }
    flag(conversation, items);
    return save(draftName(conversation), items);
  }

  #show() {
    this.root.replaceChildren(
      ...this.items.map((item) => {
        const label = t("Remove {name}", { name: item.name });
        const remove = button("×", () => this.#remove(item), { "aria-label": label, title: label });
        return el("li", { title: `${item.name}, ${sizeOf(item.blob.size)}` }, picture(item), el("small", {}, sizeOf(item.blob.size)), remove);
      }),
    );
    this.root.hidden = !this.items.length;
    this.root.setAttribute("aria-label", n(this.items.length, "{n} file", "{n} files"));
    this.on.changed();
  }

  #remove(item) {
    const at = this.items.indexOf(item);
    this.#keep(this.conversation, this.items.filter((one) => one !== item));
    const buttons = this.root.querySelectorAll("button");
    (buttons[at] ?? buttons[at - 1] ?? document.getElementById("attach")).focus();
  }

  /** The new conversation has an id now: its files move there. */
  rename(conversation) {
    if (this.items.length) save(draftName(conversation), this.items, draftName(this.conversation));
    flag(this.conversation, []);
    flag(conversation, this.items);
    this.conversation = conversation;
  }

  /** They belong to a question that is being sent; how many they are. */
  take(key) {
    const { length } = this.items;
    if (!length) return 0;
    save(`out.${key}`, this.items, draftName(this.conversation));
    flag(this.conversation, []);
    this.items = [];
    this.#show();
    return length;
  }
}

// --- files of a question that is being sent

/** A question was refused: its files come before those of the draft. */
export async function giveBack(key, conversation) {
  const items = [...(await load(`out.${key}`)), ...(await load(draftName(conversation)))];
  await save(draftName(conversation), items, `out.${key}`);
  flag(conversation, items);
}

/** It was accepted. */
export const forget = (key) => save(`out.${key}`, []);

/** Show the files of a question that is being sent. */
export async function show(key, pending) {
  const items = await load(`out.${key}`);
  const body = pending?.querySelector(".body");
  if (body && !body.querySelector(".sending")) body.append(el("div", { className: "sending" }, ...items.map(picture)));
}

const dataUrl = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });

/** A file as a part of a question. */
function part(type, url, filename) {
  if (type.startsWith("image/")) return { type: "image_url", image_url: { url } };
  return { type: "file", file: { file_data: url, filename } };
}

/** The parts of a question that is being sent; throws if its files are not in this browser any more. */
export async function partsOf(key, count) {
  const items = await load(`out.${key}`);
  if (items.length < count) throw new Error(t("The files of this question are not in this browser any more. Add them again."));
  return Promise.all(items.map(async ({ name, type, blob }) => part(type, await dataUrl(blob), name)));
}

/** The same parts for an edited question; what is stored here is sent once more, and stored once. */
export function carried(parts) {
  return Promise.all(
    parts.map(async ({ kind, text, meta }) => {
      const stored = text.startsWith("/api/files/");
      const url = stored ? await readFile(text, meta.type) : text;
      if (kind === "image") return { type: "image_url", image_url: meta?.detail ? { url, detail: meta.detail } : { url } };
      if (kind === "audio") return { type: "input_audio", input_audio: { data: url.slice(url.indexOf(",") + 1), format: meta.format } };
      return { type: "file", file: stored ? { file_data: url, filename: meta.filename } : { file_id: text } };
    }),
  );
}
