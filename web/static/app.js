/** The page: which conversation is open, and what happens when somebody does something. */

import * as api from "./api.js";
import { Composer } from "./composer.js";
import { goesOn } from "./connection.js";
import { byId } from "./dom.js";
import * as outbox from "./outbox.js";
import { watchPresence } from "./presence.js";
import { Scroll } from "./scroll.js";
import { Sidebar, nameOf } from "./sidebar.js";
import { Thread } from "./thread.js";

/** The open conversation (null: a new one) and the leaf of the branch shown (null: the newest). */
const here = { id: null, leaf: null, conversation: null };
let reading = new AbortController();
/** Other tabs of this browser, so that they need not wait until somebody looks at them. */
const tabs = new BroadcastChannel("outlive");

const thread = new Thread(byId("thread"), {
  retry: ({ id }) => act(() => api.retry(id)),
  goOn: ({ id }) => act(() => api.goOn(id)),
  edit: ({ id, parent_id: parent }, text) => ask(text, parent, id),
  visit: (leaf) => go(here.id, leaf),
  changed,
});
const composer = new Composer({
  send: (text) => ask(text, thread.last?.id ?? null),
  stop: () => thread.writing && act(() => api.stop(thread.writing.message.id), { moves: false }),
});
const sidebar = new Sidebar({
  open: (id) => go(id),
  gone: (id) => (id === here.id ? go(null) : null),
  renamed: () => refresh(),
});
const scroll = new Scroll(byId("scroll"), byId("thread"), byId("latest"));

// --- where we are

/** Open a conversation, as a step in the browser's history. */
function go(id, leaf = null) {
  history.pushState(null, "", id ? `/c/${id}${leaf ? `?leaf=${leaf}` : ""}` : "/");
  arrive();
}

/** Show what the address says. */
function arrive() {
  const id = location.pathname.match(/^\/c\/([0-9a-f-]{36})$/i)?.[1] ?? null;
  const same = id === here.id && here.conversation;
  here.id = id;
  here.leaf = new URLSearchParams(location.search).get("leaf");
  drawer(false);
  sidebar.select(id);
  if (!same) {
    here.conversation = null;
    thread.clear();
    composer.enter(id);
    scroll.down();
  }
  changed();
  refresh();
}

/** Read the conversation again and show what is new in it. */
async function refresh() {
  reading.abort();
  reading = new AbortController();
  const { signal } = reading;
  if (!here.id) return;
  try {
    const found = await api.showConversation(here.id, here.leaf, signal);
    if (signal.aborted) return;
    here.conversation = found;
    thread.show(found.messages);
    promise();
  } catch (problem) {
    if (signal.aborted) return;
    if (here.leaf) return go(here.id);
    composer.say(problem.status === 404 ? "This conversation is gone." : problem.message);
    if (problem.status === 404) thread.clear();
  }
  changed();
}

/** Everything that depends on whether something is being written. */
function changed() {
  const writing = thread.writing;
  composer.update(Boolean(writing || thread.promised), Boolean(writing));
  goesOn(thread.promised ? "sending" : writing ? "writing" : "");
  byId("empty").hidden = !thread.empty || Boolean(here.id && !here.conversation);
  const name = here.id ? nameOf(here.conversation ?? { title: " " }) : "";
  byId("title").textContent = here.conversation ? name : "";
  document.title = `${writing ? "● " : ""}${here.conversation ? `${name} · ` : ""}Outlive`;
}

// --- what somebody does

/** A change on the server, after which the newest branch is shown. */
async function act(change, { moves = true } = {}) {
  composer.say("");
  try {
    await change();
    if (moves) newest();
  } catch (problem) {
    composer.say(problem.message);
    refresh();
  }
}

/** Something new has been asked here: show it, and tell the other tabs. */
function newest() {
  if (here.leaf) history.replaceState(null, "", `/c/${here.id}`);
  here.leaf = null;
  scroll.down();
  tabs.postMessage(here.id);
  sidebar.refresh();
  return refresh();
}

/** Ask; `before` is the question that this one takes the place of. */
function ask(content, parent, before = null) {
  const entry = { key: api.newKey(), conversation: here.id, parent, before, content };
  outbox.keep(entry);
  promise();
  scroll.down();
  changed();
  return deliver(entry.key);
}

/** Show the question of this conversation that is on its way, if one is. */
function promise() {
  const entry = outbox.waiting().find(({ conversation }) => conversation === here.id);
  if (entry) thread.promise(entry.content, entry.before);
}

/** Bring a question to the server, however long that takes. */
function deliver(key) {
  return outbox.alone(key, async () => {
    const entry = outbox.kept(key);
    if (!entry) return restore(); // another tab has
    const adopted = here.id === entry.conversation;
    try {
      if (!entry.conversation) await settle(entry, adopted);
      await api.ask(entry.conversation, entry.content, entry.parent, key);
      outbox.drop(entry);
      if (here.id === entry.conversation) await newest();
      else sidebar.refresh();
    } catch (problem) {
      outbox.drop(entry);
      giveBack(entry, problem);
    }
    return undefined;
  });
}

/** Give a first question the conversation it begins. */
async function settle(entry, adopted) {
  entry.conversation = (await api.createConversation()).id;
  outbox.keep(entry);
  if (!adopted || here.id) return;
  here.id = entry.conversation;
  history.replaceState(null, "", `/c/${here.id}`);
  composer.conversation = here.id;
  sidebar.select(here.id);
}

/** The server refused: the text goes back to who wrote it. */
function giveBack(entry, problem) {
  outbox.keepDraft(entry.conversation, entry.content);
  if (here.id !== entry.conversation) return;
  restore();
  composer.put(entry.content);
  composer.say(problem.message);
}

/** Nothing is on its way any more: show what there is. */
function restore() {
  thread.show(here.conversation?.messages ?? []);
  changed();
  return refresh();
}

// --- what happens around us

/** On a narrow screen the conversations are behind a button. */
function drawer(open) {
  document.body.classList.toggle("drawer", open);
  byId("menu").setAttribute("aria-expanded", String(open));
}

/** Somebody looks at the page again: what happened meanwhile? */
function back({ slept }) {
  if (document.hidden) return;
  thread.poke({ always: slept });
  refresh();
  sidebar.refresh();
}

byId("menu").addEventListener("click", () => drawer(!document.body.classList.contains("drawer")));
byId("shade").addEventListener("click", () => drawer(false));
for (const link of [byId("new"), document.querySelector(".brand")]) {
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(null);
  });
}
byId("thread").addEventListener("click", ({ target }) => {
  if (target.className === "copy-code") navigator.clipboard.writeText(target.previousSibling.textContent);
});
addEventListener("popstate", arrive);
watchPresence({ back, rest: () => thread.rest(), leave: () => thread.rest() });
tabs.addEventListener("message", ({ data }) => {
  if (data === here.id) refresh();
  sidebar.refresh();
});

arrive();
sidebar.refresh();
promise();
for (const { key } of outbox.waiting()) deliver(key);
changed();
