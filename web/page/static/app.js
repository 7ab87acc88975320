/** The page: which conversation is open, and what happens when somebody does something. */

import * as api from "./api.js";
import { codeBelow } from "./blocks.js";
import { Composer } from "./composer.js";
import { goesOn } from "./connection.js";
import { byId, copyFor } from "./dom.js";
import { Instructions } from "./instructions.js";
import { Models } from "./models.js";
import { Notices } from "./notices.js";
import { Notifier } from "./notify.js";
import * as outbox from "./outbox.js";
import { watchPresence } from "./presence.js";
import { Scroll } from "./scroll.js";
import { Sidebar } from "./sidebar.js";
import { Thread } from "./thread.js";
import { offer } from "./toast.js";
import { nameOf, sending } from "./words.js";

/** Turns of a conversation that is opened, and of one that has changed. */
const PAGE = 20;
const FEW = 4;

/** The open conversation (null: a new one), the leaf of the branch shown (null: the newest), and what is above. */
const here = { id: null, leaf: null, conversation: null, earlier: null };
/** One stay at one place; and in which of them the questions on their way were asked, by key. */
let visit = null;
const asked = new Map();
/** How many bytes of them have been sent, by key: {part, whole}. */
const sent = new Map();
let reading = new AbortController();
/** The page may be frozen at any moment, or is. */
let away = false;

const thread = new Thread(byId("thread"), {
  retry: ({ id }) => act(() => api.retry(id, models.wanted)),
  goOn: ({ id }) => act(() => api.goOn(id, models.wanted)),
  edit: ({ id, parent_id: parent }, text) => ask(text, parent, id),
  edited: () => noticed(),
  visit: (leaf) => go(here.id, leaf),
  changed,
  ended: () => look(),
  lost: () => composer.focus(),
});
const models = new Models();
const composer = new Composer({
  send: (text) => ask(text, thread.last?.id ?? null),
  stop: () => thread.writing && act(() => api.stop(thread.writing.message.id), { moves: false }),
});
const instructions = new Instructions((text) => here.id && act(() => api.changeConversation(here.id, { system: text || null }), { moves: false }));
const scroll = new Scroll(byId("scroll"), byId("thread"), byId("latest"));
const notices = new Notices({ state: () => noticed(), change: noticed, turn: () => flow() });
const sidebar = new Sidebar(notices, { open: go, remove, rename });
const notifier = new Notifier(go, notices.tabs);

// --- where we are

/** Open a conversation, as a step in the browser's history. */
function go(id, leaf = null) {
  history.pushState(null, "", id ? `/c/${id}${leaf ? `?leaf=${leaf}` : ""}` : "/");
  arrive();
}

/** Show what the address says. */
function arrive() {
  const id = location.pathname.match(/^\/c\/([0-9a-f-]{36})$/i)?.[1] ?? null;
  const leaf = new URLSearchParams(location.search).get("leaf");
  const same = id === here.id && here.conversation;
  const branch = leaf !== here.leaf;
  Object.assign(here, { id, leaf });
  visit = Symbol(id);
  drawer(false);
  sidebar.select(id);
  if (!same) {
    here.conversation = null;
    above(null);
    thread.clear();
    composer.enter(id);
    instructions.show("");
    scroll.down();
  }
  changed();
  refresh(same && !branch ? FEW : PAGE);
}

/** Read the newest turns again and show what is new in them. */
async function refresh(limit = FEW) {
  reading.abort();
  reading = new AbortController();
  const { signal } = reading;
  if (!here.id) return;
  const { id, leaf } = here;
  try {
    const all = limit === PAGE || thread.empty;
    const found = await api.turns(id, { leaf, limit: all ? PAGE : limit }, signal);
    if (signal.aborted) return;
    here.conversation = found.conversation;
    if (!thread.show(found.items, all ? null : found.earlier)) return void refresh(PAGE);
    if (all) above(found.earlier);
    instructions.show(found.conversation.system);
    promise();
    look();
    if (all) more(signal);
  } catch (problem) {
    if (signal.aborted) return;
    if (here.leaf && [404, 422].includes(problem.status)) {
      history.replaceState(null, "", `/c/${id}`); // there is no such branch
      return void arrive();
    }
    composer.say(problem.status === 404 ? "This conversation is gone." : problem.message);
    if (problem.status === 404) thread.clear();
  }
  changed();
}

/** Turns above those that are shown can be asked for. */
function above(cursor) {
  here.earlier = cursor;
  byId("earlier").hidden = !cursor;
}

/** A page of turns may be short where they are long: fetch as many as one page would have. */
async function more(signal) {
  let count = 0;
  while (here.earlier && thread.count < PAGE && thread.count > count && !signal.aborted) {
    count = thread.count;
    await earlier();
  }
}

async function earlier() {
  const { id, leaf, earlier: before } = here;
  byId("earlier").disabled = true;
  const found = await api.turns(id, { leaf, before, limit: PAGE }).catch(() => null);
  byId("earlier").disabled = false;
  if (!found || id !== here.id || leaf !== here.leaf || before !== here.earlier) return;
  scroll.keep(() => {
    thread.showEarlier(found.items);
    above(found.earlier);
  });
}

/** Everything that depends on whether something is being written. */
function changed() {
  const writing = thread.writing;
  composer.update(Boolean(writing || thread.promised), Boolean(writing));
  goesOn(thread.promised ? "sending" : writing ? "writing" : "");
  flow();
  byId("empty").hidden = !thread.empty || Boolean(here.id && !here.conversation);
  byId("title").textContent = here.conversation ? nameOf(here.conversation) : "";
  title();
}

/** Stream what is being written here, if somebody looks and it is our turn. */
function flow() {
  const writing = Boolean(thread.writing);
  notices.tabs.want(writing);
  const mode = away || document.hidden ? "rest" : notices.tabs.turn ? "live" : "wait";
  if (mode !== "live") thread.flow(mode); // others may begin once we say that we have closed
  notices.tabs.stream(writing && mode === "live");
  thread.flow(mode);
}

/** Whether something is written here: a hidden page knows that from the notices only. */
function busy() {
  const told = notices.entries.get(here.id);
  return Boolean(thread.writing) && !(document.hidden && told && !["waiting", "writing"].includes(told.status));
}

/** What the browser's tab says: written here, or seen by nobody elsewhere. */
function title() {
  const unseen = [...notices.entries.values()].filter(({ id, status }) => id !== here.id && ["unseen", "failed"].includes(status));
  const mark = busy() ? "● " : unseen.length ? `(${unseen.length}) ` : "";
  document.title = `${mark}${here.conversation ? `${nameOf(here.conversation)} · ` : ""}Outlive`;
}

// --- what happens in all conversations

/** The state of all of them, or changes in some. */
function noticed(changes = null, { first = false } = {}) {
  sidebar.show();
  const mine = notices.entries.get(here.id);
  if (mine) follow(mine, !changes || changes.some(({ conversation }) => conversation?.id === here.id));
  else if (changes?.some(({ what, id }) => id === here.id && what.includes("deleted"))) gone();
  for (const { what, conversation } of changes ?? []) if (first && conversation) notifier.tell(what, conversation);
  title();
}

/** What is said of the open conversation (`told`: just now): is it what we show? */
function follow({ title: name, answer, status }, told) {
  if (!here.conversation) return;
  if (here.conversation.title !== name) {
    here.conversation.title = name;
    changed();
  }
  if (document.hidden) return; // once somebody looks
  const shown = answer && thread.views.get(answer.id);
  if (answer && !here.leaf && !shown && !thread.promised && !thread.editing) refresh();
  else if (told && shown?.open && !["SENDING", "STREAMING"].includes(answer.status)) shown.follower?.hasEnded();
  if (["unseen", "failed"].includes(status)) look();
}

/** The open conversation was deleted, here or elsewhere. */
function gone() {
  history.replaceState(null, "", "/");
  arrive();
}

/** Somebody sees the end of the answer: say so, for the dots elsewhere. */
function look() {
  const { status, answer } = notices.entries.get(here.id) ?? {};
  if (document.hidden || !here.conversation || !["unseen", "failed"].includes(status)) return;
  if (thread.views.get(answer?.id)?.open) return;
  api.seen(here.id, answer?.id).catch(() => {});
}

// --- what somebody does

/** A change on the server, after which the newest branch is shown. */
async function act(change, { moves = true } = {}) {
  composer.say("");
  const { left } = scroll;
  try {
    await change();
    if (moves) newest({ down: scroll.left === left });
  } catch (problem) {
    composer.say(problem.message);
    refresh();
  }
}

/** Something new has been asked here: show it; `down`: unless somebody has scrolled away meanwhile. */
function newest({ down }) {
  if (here.leaf) history.replaceState(null, "", `/c/${here.id}`);
  const limit = here.leaf ? PAGE : FEW;
  here.leaf = null;
  if (down) scroll.down();
  return refresh(limit);
}

/** Ask; `before` is the question that this one takes the place of. */
function ask(content, parent, before = null) {
  const system = here.id ? null : instructions.text || null;
  const entry = { key: api.newKey(), conversation: here.id, parent, before, content, wanted: models.wanted, system };
  outbox.keep(entry);
  asked.set(entry.key, visit);
  promise();
  scroll.down();
  changed();
  return deliver(entry.key);
}

/** Whether a question that begins a conversation belongs to what is shown. */
const adopted = ({ key }) => !here.id && asked.get(key) === visit;

/** Show the question of this conversation that is on its way, if one is. */
function promise() {
  const entry = outbox.waiting().find((one) => (one.conversation ? one.conversation === here.id : adopted(one)));
  if (entry) thread.promise(entry.content, entry.before, sending(sent.get(entry.key)));
}

/** So many bytes of a question have been sent. */
function uploaded(key, part, whole) {
  sent.set(key, { part, whole });
  const entry = outbox.kept(key);
  if (entry && entry.conversation === here.id) thread.sending(sending(sent.get(key)));
}

/** Bring a question to the server, however long that takes. */
function deliver(key) {
  return outbox.alone(key, async () => {
    const entry = outbox.kept(key);
    if (!entry) return restore(); // another tab has
    try {
      if (!entry.conversation) await settle(entry);
      await api.ask(entry.conversation, entry.content, entry.parent, key, entry.wanted, (part, whole) => uploaded(key, part, whole));
      outbox.drop(entry);
      if (here.id === entry.conversation) await newest({ down: false });
    } catch (problem) {
      outbox.drop(entry);
      giveBack(entry, problem);
    } finally {
      sent.delete(key);
    }
    return undefined;
  });
}

/** Give a first question the conversation it begins. */
async function settle(entry) {
  const fields = entry.system ? { system: entry.system } : {};
  entry.conversation = (await api.createConversation(fields, `${entry.key}-c`)).id;
  outbox.keep(entry);
  if (!adopted(entry)) return;
  here.id = entry.conversation;
  history.replaceState(null, "", `/c/${here.id}`);
  composer.settle(here.id);
  sidebar.select(here.id);
}

/** The server refused: the text goes back to who wrote it, above what was typed meanwhile. */
function giveBack(entry, problem) {
  const mine = here.id === entry.conversation;
  const typed = mine ? composer.area.value : outbox.draft(entry.conversation);
  const text = [entry.content, typed].filter(Boolean).join("\n\n");
  outbox.keepDraft(entry.conversation, text);
  if (!mine) return;
  restore();
  composer.put(text);
  composer.say(problem.message);
}

/** Nothing is on its way any more: show what there is. */
function restore() {
  thread.unpromise();
  promise();
  changed();
  return refresh();
}

/** Delete it, and offer to bring it back. */
function remove(entry) {
  const open = entry.id === here.id;
  notices.entries.delete(entry.id);
  sidebar.show();
  if (open) go(null);
  const deleted = api.deleteConversation(entry.id).catch((problem) => {
    if (problem.status === 404) return; // it is gone already
    composer.say(problem.message);
    notices.entries.set(entry.id, entry);
    sidebar.show();
  });
  offer(`“${nameOf(entry)}” was deleted.`, "Undo", async () => {
    await deleted;
    await act(() => api.undelete(entry.id), { moves: false });
    if (open) go(entry.id);
  });
}

function rename(entry, title) {
  entry.title = title;
  if (entry.id === here.id && here.conversation) here.conversation.title = title;
  changed();
  return act(() => api.changeConversation(entry.id, { title }), { moves: false });
}

// --- what happens around us

/** On a narrow screen the conversations are behind a button. */
function drawer(open) {
  const was = document.body.classList.contains("drawer");
  document.body.classList.toggle("drawer", open);
  byId("menu").setAttribute("aria-expanded", String(open));
  if (open) byId("search").focus();
  else if (was && byId("side").contains(document.activeElement)) byId("menu").focus();
}

/** Somebody looks at the page again: go on from where we stand. */
function back({ slept }) {
  away = false;
  flow();
  thread.poke({ always: slept });
  notices.begin();
  noticed();
  look();
}

/** The page may be frozen now, and should be kept. */
function leave() {
  away = true;
  flow();
  notices.end();
}

byId("menu").addEventListener("click", () => drawer(!document.body.classList.contains("drawer")));
byId("shade").addEventListener("click", () => drawer(false));
byId("earlier").addEventListener("click", earlier);
for (const link of [byId("new"), document.querySelector(".brand")]) {
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(null);
  });
}
byId("thread").addEventListener("click", ({ target }) => {
  if (target.classList.contains("copy-code")) copyFor(target, codeBelow(target.parentElement));
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.classList.contains("drawer")) drawer(false);
  if (!(event.ctrlKey || event.metaKey) || event.altKey || event.key.toLowerCase() !== "k") return;
  event.preventDefault();
  if (getComputedStyle(byId("menu")).display !== "none") drawer(true);
  sidebar.search();
});
addEventListener("popstate", arrive);
watchPresence({ back, rest: flow, wake: () => notices.again(), leave });

/** Bring what was left behind to the server; what another tab is at is that tab's. */
async function resume(key) {
  const now = visit;
  if (!(await outbox.taken(key))) asked.set(key, now);
  promise();
  changed();
  return deliver(key);
}

arrive();
promise();
changed();
for (const { key } of outbox.waiting()) resume(key);
models.load().catch(() => {});
