/**
 * Who is signed in, and signing out. (account-dialog.js: the password, and all that is the user's.)
 *
 * What the browser has stored is the user's: it is removed when they sign out, and when another user
 * signs in. Pages that are open then load again, so that none sends as another user.
 */

import * as api from "./api.js";
import { byId } from "./dom.js";
import * as outbox from "./outbox.js";
import { why } from "./t.js";

const USER = "outlive.user";
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
  byId("who").addEventListener("click", () => import("./account-dialog.js").then(({ open }) => open()).catch(() => {}));
}

/** Whether what the browser has stored is still that of this page's user: nobody has signed out. */
export const isStored = () => outbox.recall(USER) === document.body.dataset.user;

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
export function leave(why) {
  outbox.clear();
  location.assign(why ? `/sign-in?problem=${why}` : "/sign-in");
}
