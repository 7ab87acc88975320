/**
 * Who is signed in, signing out, changing the password, and what a user may do with all that is theirs.
 *
 * What the browser has stored is the user's: it is removed when they sign out, and when another user
 * signs in. Pages that are open then load again, so that none sends as another user.
 */

import * as api from "./api.js";
import { byId } from "./dom.js";
import * as outbox from "./outbox.js";
import { t, why } from "./t.js";

const USER = "outlive.user";
/** What is sent to delete everything, after it was typed in the language of the page. */
const WORDS = "delete everything";
/** To tabs on the sign-in page; there is none where storage is forbidden. */
const channel = "BroadcastChannel" in window ? new BroadcastChannel("outlive.sign-in") : null;

/** Whose page this is; before anything that is stored is read. */
export function begin() {
  const { user } = document.body.dataset;
  const before = outbox.recall(USER);
  if (before !== user && (before || byId("leave"))) outbox.clear();
  if (before !== user) outbox.remember(USER, user);
  addEventListener("storage", ({ key, newValue }) => key === USER && newValue !== user && location.reload());

  channel?.postMessage("in"); // tabs that wait on the sign-in page go on
  const dialog = byId("leave");
  if (!dialog) return; // nobody has to sign in
  byId("sign-out").addEventListener("click", () => {
    dialog.returnValue = "";
    dialog.showModal();
  });
  dialog.addEventListener("close", () => dialog.returnValue && signOut(dialog.returnValue === "everywhere"));
  byId("who").addEventListener("click", open);
  byId("erase-word").addEventListener("input", allow);
  byId("erase-word").addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault()); // it would close the dialog
  byId("erase").addEventListener("click", erase);
  byId("password")?.addEventListener("submit", changePassword); // there is none for who signs in elsewhere
}

/** Whether what the browser has stored is still that of this page's user: nobody has signed out. */
export const isStored = () => outbox.recall(USER) === document.body.dataset.user;

/** The dialog with what a user may do with all that is theirs. */
function open() {
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

async function signOut(everywhere) {
  try {
    await api.signOut(everywhere);
  } catch (problem) {
    byId("sign-out").title = why(problem);
    return;
  }
  leave("");
}

/** Nothing of the user stays in the browser. */
function leave(why) {
  outbox.clear();
  location.assign(why ? `/sign-in?problem=${why}` : "/sign-in");
}

function notify(place, text, isGood = false) {
  byId(place).hidden = !text;
  byId(place).textContent = text;
  byId(place).classList.toggle("good", isGood);
}
