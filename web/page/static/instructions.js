/** The dialog for a conversation's system prompt. What is typed in it is kept until it is saved or cancelled. */

import { byId } from "./dom.js";
import { keepSystem, system } from "./outbox.js";
import { t } from "./t.js";

export class Instructions {
  /** `save(text)` is called when it has changed. */
  constructor(save) {
    this.dialog = byId("system");
    this.area = byId("system-text");
    this.opener = byId("instructions");
    this.conversation = null;
    this.text = "";
    this.opener.addEventListener("click", () => {
      this.area.value = this.typed ?? this.text;
      this.dialog.returnValue = "";
      this.dialog.showModal();
      this.area.focus();
    });
    this.area.addEventListener("input", () => keepSystem(this.conversation, true, this.area.value));
    this.dialog.addEventListener("close", () => {
      const { returnValue: how } = this.dialog;
      if (how) keepSystem(this.conversation, true, ""); // Escape is no decision
      const text = this.area.value.trim();
      if (how === "keep" && text !== this.text) {
        this.show(text);
        if (!this.conversation) keepSystem(null, false, text);
        save(text);
      } else this.show(this.text);
    });
  }

  /** What was typed and not saved. */
  get typed() {
    return system(this.conversation, true);
  }

  /** Open another conversation; those of a new one are in the browser. */
  open(conversation) {
    this.dialog.close();
    this.conversation = conversation;
    this.show(conversation ? "" : (system(null, false) ?? this.area.dataset.first));
  }

  /** The new conversation has an id now, and the server its instructions. */
  rename(conversation) {
    this.conversation = conversation;
  }

  /** Set the open conversation's prompt. */
  show(text) {
    this.text = text ?? "";
    const unsaved = this.typed !== null && this.typed !== this.text;
    this.opener.dataset.set = String(Boolean(this.text || unsaved));
    this.opener.title = unsaved ? t("Not saved yet") : this.text || t("What the model keeps in mind in this conversation");
  }
}
