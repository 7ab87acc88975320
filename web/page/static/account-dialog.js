/** The dialog of the account: the password, and what a user may do with all that is theirs. Loaded when it is opened. */

import { leave } from "./account.js";
import * as api from "./api.js";
import { byId } from "./dom.js";
import { t, why } from "./t.js";

/** What is sent to delete everything, after it was typed in the language of the page. */
const WORDS = "delete everything";

byId("erase-word").addEventListener("input", allow);
byId("erase-word").addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault()); // it would close the dialog
byId("erase").addEventListener("click", erase);
byId("password")?.addEventListener("submit", changePassword); // there is none for who signs in elsewhere

/** The dialog with what a user may do with all that is theirs. */
export function open() {
  byId("erase-word").value = "";
  notify("account-notice", "");
  if (byId("password")) {
    byId("password").reset();
    notify("password-notice", "");
  }
  allow();
  byId("account").showModal();
}

/** Deletion needs the words, typed. */
function allow() {
  byId("erase").disabled = byId("erase-word").value.trim().toLowerCase() !== t("delete everything");
}

async function erase() {
  byId("erase").disabled = true;
  try {
    await api.deleteEverything(WORDS);
  } catch (problem) {
    notify("account-notice", why(problem));
    return allow();
  }
  return leave("deleted");
}

async function changePassword(event) {
  event.preventDefault();
  const [now, fresh, again] = ["now", "new", "again"].map((name) => byId(`password-${name}`));
  notify("password-notice", "");
  if (fresh.value !== again.value) return refuse(again, t("The new passwords differ. Type the same one twice."));
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    await api.changePassword(now.value, fresh.value);
  } catch (problem) {
    return refuse(problem.code === "invalid_password" ? fresh : now, why(problem));
  } finally {
    button.disabled = false;
  }
  event.target.reset();
  notify("password-notice", t("Your password is changed."), true);
}

/** Say what is wrong with a field, and let it be typed again. */
function refuse(field, why) {
  notify("password-notice", why);
  field.focus();
  field.select();
}

function notify(place, text, isGood = false) {
  byId(place).hidden = !text;
  byId(place).textContent = text;
  byId(place).classList.toggle("good", isGood);
}
