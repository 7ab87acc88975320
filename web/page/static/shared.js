/**
 * The page of a conversation that others share: read, as it grows. Without a conversation it lists
 * what is shared with the user.
 *
 * An answer comes by its stream. New questions are found by asking every few seconds, as a reader of a
 * link has no notices.
 */

import * as api from "./api.js";
import { codeBelow } from "./blocks.js";
import { byId, copyFor, el, NAME } from "./dom.js";
import { LinkStream } from "./link-stream.js";
import { pause } from "./outlive.js";
import { watchPresence } from "./presence.js";
import { Scroll } from "./scroll.js";
import { dateOf, t, why } from "./t.js";
import { Thread } from "./thread.js";
import { nameOf } from "./words.js";

api.useLinkStream(LinkStream);

/** Turns to read at first, and to look for new ones; milliseconds between. */
const PAGE = 20;
const FEW = 4;
const EVERY = 3_000;

const here = { id: location.pathname.match(/^\/s\/([0-9a-f-]{36})$/i)?.[1] ?? null, leaf: null, earlier: null, gone: false };
const thread = new Thread(byId("thread"), {
  visit: (leaf) => {
    here.leaf = leaf;
    thread.clear();
    refresh();
  },
  changed: update,
  edited: () => {},
  ended: () => refresh(),
  focusLost: () => {},
});
const scroll = new Scroll(byId("scroll"), byId("thread"), byId("latest"));

/** Read the newest turns and show what is new. */
async function refresh() {
  const { leaf } = here;
  try {
    if (!here.id && !api.link) return void showList((await api.listShared()).items);
    here.id ??= (await api.listShared()).items[0]?.id ?? null;
    if (!here.id) return void showGone();
    const all = thread.empty;
    const found = await api.getTurns(here.id, { leaf, limit: all ? PAGE : FEW });
    if (leaf !== here.leaf || here.gone) return;
    if (!thread.show(found.items, all ? null : found.earlier)) thread.clear(); // read from the next time on
    else if (all) setEarlier(found.earlier);
    byId("mark").hidden = false;
    byId("title").textContent = nameOf(found.conversation);
    document.title = `${nameOf(found.conversation)} · ${NAME}`;
  } catch (problem) {
    if ([401, 404].includes(problem.status)) showGone(); // without a link the page goes to sign in
    else notify(why(problem));
  }
  update();
}

function setEarlier(cursor) {
  here.earlier = cursor;
  byId("earlier").hidden = !cursor;
}

async function loadEarlier() {
  const { leaf, earlier: before } = here;
  const found = await api.getTurns(here.id, { leaf, before, limit: PAGE }).catch(() => null);
  if (!found || leaf !== here.leaf || before !== here.earlier) return;
  scroll.keep(() => {
    thread.showEarlier(found.items);
    setEarlier(found.earlier);
  });
}

/** It is not shared any more, or never was: the server does not say which. */
function showGone() {
  if (here.gone) return; // two requests learn it
  const was = Boolean(byId("title").textContent);
  here.gone = true;
  thread.clear();
  setEarlier(null);
  notify("");
  byId("mark").hidden = true;
  byId("title").textContent = "";
  document.title = NAME;
  const what = was ? t("This conversation is not shared any more.") : t("Nothing is shared here, or not any more.");
  const more = was ? "" : `${t("If somebody sent you a link, make sure that it is complete.")} `;
  showNothing(what, more + t("Whoever shared it with you can share it again."));
}

function showNothing(what, more) {
  byId("gone").replaceChildren(el("h2", {}, what), el("p", {}, more));
  byId("gone").hidden = false;
}

/** What others share with the user who is signed in. */
function showList(found) {
  here.gone = true; // nothing to watch
  byId("title").textContent = t("Shared with you");
  document.title = `${t("Shared with you")} · ${NAME}`;
  const line = (one) => el("a", { href: `/s/${one.id}`, dir: "auto" }, nameOf(one), el("small", {}, dateOf(one.updated_at)));
  byId("list").replaceChildren(...found.map((one) => el("li", {}, line(one))));
  byId("list").hidden = !found.length;
  if (!found.length) showNothing(t("Nothing is shared with you now."), t("What others share with you by name is listed here."));
}

function notify(text) {
  byId("notice").hidden = !text;
  byId("notice").textContent = text;
}

/** Stream while the page is visible. */
function update() {
  thread.setMode(document.hidden ? "pause" : "stream");
}

async function watch() {
  while (!here.gone) {
    await pause(EVERY);
    if (!document.hidden && !here.gone) await refresh();
  }
}

byId("earlier").addEventListener("click", loadEarlier);
byId("thread").addEventListener("click", ({ target }) => {
  if (target.classList.contains("copy-code")) copyFor(target, codeBelow(target.parentElement));
});
addEventListener("hashchange", () => location.reload()); // another link
watchPresence({
  visible: ({ slept }) => {
    update();
    thread.poke({ always: slept });
  },
  hidden: update,
  wake: () => thread.poke(),
  leave: () => thread.setMode("pause"),
});
refresh();
watch();
