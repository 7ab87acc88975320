/** The dialog for a conversation's system prompt. */

import { byId } from "./dom.js";
import { t } from "./t.js";

export class Instructions {
  /** `save(text)` is called when it has changed. */
  constructor(save) {
    this.dialog = byId("system");
    this.area = byId("system-text");
    this.opener = byId("instructions");
    this.text = "";
    this.opener.addEventListener("click", () => {
      this.area.value = this.text;
      this.dialog.returnValue = "";
      this.dialog.showModal();
      this.area.focus();
    });
    this.dialog.addEventListener("close", () => {
      const text = this.area.value.trim();
      if (this.dialog.returnValue !== "keep" || text === this.text) return;
      this.show(text);
      save(text);
    });
  }

  /** Set the open conversation's prompt. */
  show(text) {
    this.text = text ?? "";
    this.opener.dataset.set = String(Boolean(this.text));
    this.opener.title = this.text || t("What the model keeps in mind in this conversation");
  }
}
