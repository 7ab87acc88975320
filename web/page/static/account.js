/**
 * Who is signed in, and signing out.
 *
 * What the browser has stored is the user's: it is removed when they sign out, and when another user
 * signs in. Pages that are open then load again, so that none sends as another user.
 */

import * as api from "./api.js";
import { byId } from "./dom.js";
import * as outbox from "./outbox.js";

const USER = "outlive.user";

/** Whose page this is; before anything that is stored is read. */
export function begin() {
  const { user } = document.body.dataset;
  const before = outbox.recall(USER);
  if (before && before !== user) outbox.clear();
  if (before !== user) outbox.remember(USER, user);
  addEventListener("storage", ({ key, newValue }) => key === USER && newValue !== user && location.reload());

  const dialog = byId("leave");
  if (!dialog) return; // nobody has to sign in
  byId("sign-out").addEventListener("click", () => {
    dialog.returnValue = "";
    dialog.showModal();
  });
  dialog.addEventListener("close", () => dialog.returnValue && signOut(dialog.returnValue === "everywhere"));
}

async function signOut(everywhere) {
  try {
    await api.signOut(everywhere);
  } catch (problem) {
    byId("sign-out").title = problem.message;
    return;
  }
  outbox.clear();
  location.assign("/sign-in");
}
