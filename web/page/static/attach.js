/**
 * Where files come into a question: the button, a drop, a paste. What is done with them is loaded when
 * the first one comes (`attachments.js`), or when a draft has some.
 */

import { byId } from "./dom.js";
import { recall } from "./outbox.js";

/** Set in the browser's storage where a draft has files. */
export const FLAG = "outlive.files.";

/** What is loaded. */
export const attachments = () => import("./attachments.js");

export class Attach {
  /** `notify(sentence)` shows a message; `changed()` is called when there are other files. */
  constructor(notify, changed) {
    this.on = { notify, changed };
    this.conversation = null;
    /** The files of the draft, once there are some. */
    this.tray = null;
    const picker = byId("files");
    byId("attach").addEventListener("click", () => picker.click());
    picker.addEventListener("change", () => {
      this.add([...picker.files]);
      picker.value = ""; // else the same file could not be chosen again
    });
    byId("question").addEventListener("paste", (event) => this.#take(event, event.clipboardData));
    const main = document.querySelector("main");
    const over = (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      main.classList.toggle("dropping", event.type === "dragover");
    };
    main.addEventListener("dragover", over);
    main.addEventListener("dragleave", over);
    main.addEventListener("drop", (event) => {
      over(event);
      this.#take(event, event.dataTransfer);
    });
  }

  /** How many files the question has. */
  get count() {
    return this.tray?.items.length ?? 0;
  }

  #take(event, { files }) {
    if (!files.length) return;
    event.preventDefault();
    this.add([...files]);
  }

  async #load() {
    const { Tray } = await attachments();
    this.tray ??= new Tray(byId("tray"), this.on);
    if (this.tray.conversation !== this.conversation) await this.tray.open(this.conversation);
    return this.tray;
  }

  async add(files) {
    await (await this.#load()).add(files);
  }

  /** Show the files of another conversation's draft. */
  open(conversation) {
    this.conversation = conversation;
    if (this.tray || recall(FLAG + (conversation ?? "new"))) this.#load();
  }

  /** The new conversation has an id now. */
  rename(conversation) {
    this.conversation = conversation;
    this.tray?.rename(conversation);
  }

  /** They belong to a question that is being sent, from now on. */
  take(key) {
    return this.tray?.take(key) ?? 0;
  }

  /** A question was refused: they belong to its draft again. */
  async giveBack(key, conversation) {
    const { giveBack } = await attachments();
    await giveBack(key, conversation);
    if (conversation !== this.conversation) return;
    const tray = await this.#load();
    await tray.open(conversation);
  }
}
