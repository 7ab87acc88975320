/**
 * The page of a conversation that others share: read, as it grows.
 *
 * An answer comes by its stream. New questions are found by asking every few seconds, as a reader of a
 * link has no notices.
 */

import * as api from "./api.js";
import { codeBelow } from "./blocks.js";
import { byId, copyFor } from "./dom.js";
import { pause } from "./outlive.js";
import { watchPresence } from "./presence.js";
import { Scroll } from "./scroll.js";
import { Thread } from "./thread.js";
import { nameOf } from "./words.js";

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
    here.id ??= (await api.listShared()).items[0]?.id ?? null;
    if (!here.id) return void showGone();
    const all = thread.empty;
    const found = await api.getTurns(here.id, { leaf, limit: all ? PAGE : FEW });
    if (leaf !== here.leaf || here.gone) return;
    if (!thread.show(found.items, all ? null : found.earlier)) thread.clear(); // read from the next time on
    else if (all) setEarlier(found.earlier);
    byId("title").textContent = nameOf(found.conversation);
    document.title = `${nameOf(found.conversation)} · Outlive`;
  } catch (problem) {
    if ([401, 404].includes(problem.status)) showGone(); // without a link the page goes to sign in
    else notify(problem.message);
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

/** It is not shared any more, or never was. */
function showGone() {
  here.gone = true;
  thread.clear();
  setEarlier(null);
  byId("title").textContent = "";
  notify("This is not shared, or not any more.");
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
