/**
 * The page: the open conversation, and what happens when a person acts.
 *
 * One long module, because every function here reads or changes `here` and the parts made below.
 */

import * as account from "./account.js";
import * as api from "./api.js";
import { attachments } from "./attach.js";
import { codeBelow } from "./blocks.js";
import { Composer, sizeOf, tooLong } from "./composer.js";
import { setActivity } from "./connection.js";
import { byId, copyFor, NAME } from "./dom.js";
import { fragmentOf, readFragment, takeFragment } from "./fragment.js";
import { Instructions } from "./instructions.js";
import { Models } from "./models.js";
import { Notices } from "./notices.js";
import { Notifier } from "./notify.js";
import * as outbox from "./outbox.js";
import { watchPresence } from "./presence.js";
import { Scroll } from "./scroll.js";
import { Sidebar } from "./sidebar.js";
import { number, t, why } from "./t.js";
import { Thread } from "./thread.js";
import { offer } from "./toast.js";
import { nameOf, sendingText } from "./words.js";

account.begin();

/** Turns to read when a conversation is opened, and when it has changed. */
const PAGE = 20;
const FEW = 4;

/** The open conversation (null: new), the leaf of the branch (null: newest), the cursor of earlier turns. */
const here = { id: null, leaf: null, conversation: null, earlier: null };
/** The place that the address, or a hit of the search, names; whether one must still arrive at it, or where one was. */
let target = null;
let arriving = false;
/** A token for each time a conversation is shown; and the token of each pending question, by key. */
let visit = null;
const askedIn = new Map();
/** Their bytes that have been sent, by key: {part, whole}. */
const sent = new Map();
let reading = new AbortController();
/** The page may be frozen, or is. */
let away = false;
/** The entry of the drawer is being taken out of the history. */
let passing = false;
/** What tells the user's other devices, once it is wanted. */
let baton = null;

const thread = new Thread(byId("thread"), {
  retry: ({ id }, model) => change(() => api.retry(id, model ? { model } : models.wanted)),
  continueAnswer: ({ id }) => change(() => api.continueAnswer(id, models.wanted)),
  edit: ({ id, parent_id: parent }, text) => ask(text, parent, id),
  mayEdit,
  edited: () => onNotices(),
  visit: (leaf) => navigate(here.id, leaf),
  changed: update,
  ended: () => markSeen(),
  focusLost: () => composer.focus(),
});
const models = new Models();
const composer = new Composer({
  send: (text) => ask(text, thread.last?.id ?? null),
  line: putInLine,
  stop: () => thread.writing && change(() => api.stop(thread.writing.message.id), { moves: false }),
});
/** The questions in line; null: not loaded, as there were none. What was last shown of them. */
let line = null;
let lineState = "";
const instructions = new Instructions((text) => here.id && change(() => api.changeConversation(here.id, { system: text || null }), { moves: false }));
/** Without sign-in there is nobody to share with. */
const share = byId("share");
let sharing = null;
const scroll = new Scroll(byId("scroll"), byId("thread"), byId("latest"));
/** Where one was: loaded with the first conversation that is opened. */
let places = null;
let loading = null;
const loadPlaces = () => (loading ??= import("./place.js").then(({ Places }) => (places = new Places(byId("scroll"), thread, scroll))));
const notices = new Notices({ state: () => onNotices(), change: onNotices, turn: () => updateStreaming() });
const sidebar = new Sidebar(notices, { open: navigate, remove, rename });
const notifier = new Notifier(navigate, notices.tabs);

// --- the open conversation

/** Open a conversation, with an entry in the browser's history; at `place`, with its `words` marked. */
function navigate(id, leaf = null, place = null) {
  places?.keep({ leaving: true });
  history[history.state?.drawer ? "replaceState" : "pushState"](null, "", id ? `/c/${id}${leaf ? `?leaf=${leaf}` : ""}` : "/");
  target = place;
  showAddress();
}

/** Show what the address says. */
function showAddress() {
  byId("gone").hidden = true;
  const id = location.pathname.match(/^\/c\/([0-9a-f-]{36})$/i)?.[1] ?? null;
  const leaf = new URLSearchParams(location.search).get("leaf");
  const named = readFragment(location.hash || takeFragment(location.pathname + location.search));
  if (named) {
    target = named;
    history.replaceState(history.state, "", location.pathname + location.search); // a reload is where one was
  }
  const same = id === here.id && here.conversation;
  const branch = leaf !== here.leaf;
  Object.assign(here, { id, leaf });
  visit = Symbol(id);
  closeDrawer();
  sidebar.select(id);
  if (!same) {
    here.conversation = null;
    setEarlier(null);
    places?.leave();
    thread.clear();
    arriving = true;
    composer.open(id);
    instructions.open(id);
    line?.clear(id);
    if (id) scroll.down();
    else scroll.up();
  } else if (target && !branch && thread.views.has(target.message_id)) {
    places.show(target);
    target = null;
  } else if (target) arriving = true;
  if (!id && location.pathname.startsWith("/c/")) byId("gone").hidden = false;
  update();
  refresh(same && !branch && !target ? FEW : PAGE);
}

/** Read the newest turns again and show what is new in them. */
async function refresh(limit = FEW) {
  reading.abort();
  reading = new AbortController();
  const { signal } = reading;
  if (!here.id) return;
  const { id, leaf } = here;
  try {
    const all = limit === PAGE || thread.empty || arriving;
    const found = all && arriving ? await findArrival(signal) : await api.getTurns(id, { leaf, limit: all ? PAGE : limit }, signal);
    if (signal.aborted) return;
    here.conversation = found.conversation;
    if (!thread.show(found.items, all ? null : found.earlier)) return void refresh(PAGE);
    if (all) setEarlier(found.earlier);
    if (all && arriving) await arrive(found.place, signal);
    if (signal.aborted) return;
    instructions.show(found.conversation.system);
    showPending();
    markSeen();
    if (all) fillPage(signal);
  } catch (problem) {
    if (signal.aborted) return;
    if (here.leaf && [404, 422].includes(problem.status)) {
      history.replaceState(null, "", `/c/${id}`); // there is no such branch
      return void showAddress();
    }
    if (problem.status === 404) showGone();
    else composer.notify(why(problem));
  }
  update();
}

/** There is no such conversation (any more): what is typed here is the draft of a new one. */
function showGone(said = "") {
  const typed = takeTyped();
  setEarlier(null);
  here.id = null;
  here.conversation = null;
  visit = Symbol("gone");
  sidebar.select(null);
  thread.clear();
  composer.open(null);
  instructions.open(null);
  line?.clear(null);
  byId("gone").hidden = Boolean(said);
  if (typed) composer.put([typed, composer.area.value].filter(Boolean).join("\n\n"));
  const kept = typed ? t("What you typed is the draft of a new conversation now.") : "";
  composer.notify([said, kept].filter(Boolean).join(" "));
  update();
}

/** Take what was typed in the open conversation: editors first, as they are above. */
function takeTyped() {
  const edits = [...thread.views.values()].filter(({ editing }) => editing);
  const texts = edits.filter(({ editing, message }) => editing.area.value !== message.text).map(({ editing }) => editing.area.value);
  for (const { editing } of edits) editing.drop();
  const system = outbox.system(here.id, true);
  if (system && !outbox.system(null, true)) outbox.keepSystem(null, true, system);
  texts.push(composer.area.value);
  outbox.keepDraft(here.id, "");
  return texts.filter((text) => text.trim()).join("\n\n");
}

/**
 * Read the branch in which one was, or that the address means: the newest, unless the place is on another
 * one and nothing has happened since. Returns its newest turns, with the `place` where one was.
 */
async function findArrival(signal) {
  const { id, leaf } = here;
  const to = target;
  const read = (which) => api.getTurns(id, { leaf: which, limit: PAGE }, signal);
  const [found, place] = await Promise.all([read(leaf), loadPlaces().then(() => places.find(id))]);
  const message = (to ?? place)?.message_id;
  if (!message || found.items.some((turn) => turn.id === message) || signal.aborted) return { ...found, place };
  const one = await api.getTurns(id, { leaf: message, limit: 1 }, signal).catch(() => null);
  const its = one?.items[0]?.siblings.find((sibling) => sibling.id === message)?.leaf;
  if (!its) return { ...found, place: to ? place : null }; // it is gone
  const newest = found.items.at(-1);
  const elsewhere = newest && its !== newest.id && (to || (!leaf && newest.created_at < place.read_at));
  if (!elsewhere || signal.aborted) return { ...found, place };
  here.leaf = its;
  history.replaceState(null, "", `/c/${id}?leaf=${its}`);
  return { ...(await read(its)), place };
}

/** The newest turns are shown: read up to the place, and be there. */
async function arrive(place, signal) {
  const to = target;
  const { id } = here;
  const message = (to ?? place)?.message_id;
  thread.root.classList.toggle("arriving", Boolean(message && !thread.views.has(message)));
  for (let count = -1; message && !thread.views.has(message) && here.earlier && thread.count > count && !signal.aborted; ) {
    count = thread.count;
    await loadEarlier();
  }
  thread.root.classList.remove("arriving");
  if (signal.aborted) return;
  [arriving, target] = [false, null];
  const known = (point) => (point && thread.views.has(point.message_id) ? point : null);
  places.arrive(id, known(place), known(to));
}

/** Set the cursor of the turns above. */
function setEarlier(cursor) {
  here.earlier = cursor;
  byId("earlier").hidden = !cursor;
}

/** Long turns come in short pages: read as many as one page would have. */
async function fillPage(signal) {
  let count = 0;
  while (here.earlier && thread.count < PAGE && thread.count > count && !signal.aborted) {
    count = thread.count;
    await loadEarlier();
  }
}

async function loadEarlier() {
  const { id, leaf, earlier: before } = here;
  byId("earlier").disabled = true;
  const found = await api.getTurns(id, { leaf, before, limit: PAGE }).catch(() => null);
  byId("earlier").disabled = false;
  if (!found || id !== here.id || leaf !== here.leaf || before !== here.earlier) return;
  scroll.keep(() => {
    thread.showEarlier(found.items);
    setEarlier(found.earlier);
  });
}

/** Print all of the open conversation: what has not been read yet is read first. */
async function printAll() {
  for (let cursor = null; here.earlier && here.earlier !== cursor; ) {
    cursor = here.earlier;
    await loadEarlier();
  }
  await thread.read();
  print();
}

async function exportHere() {
  const { openExport } = await import("./export.js");
  openExport({ id: here.id, leaf: thread.last.id, print: printAll });
}

/** Update everything that depends on whether an answer is being written. */
function update() {
  const writing = thread.writing;
  const busy = writing || thread.pending;
  composer.update(!busy ? "send" : here.id ? "line" : "", Boolean(writing));
  showLine();
  setActivity(thread.pending ? "sending" : writing ? "writing" : "");
  updateStreaming();
  byId("empty").hidden = !thread.empty || Boolean(here.id && !here.conversation) || !byId("gone").hidden;
  byId("link").hidden = !here.conversation;
  showAway();
  if (share) share.hidden = !here.conversation;
  if (sharing) sharing.id = here.conversation ? here.id : null;
  byId("export").hidden = !here.conversation || thread.empty;
  byId("title").textContent = here.conversation ? nameOf(here.conversation) : "";
  updateTitle();
  knowDevices();
}

async function shareHere() {
  const { Sharing } = await import("./sharing.js");
  sharing ??= new Sharing();
  if (here.conversation) sharing.open(here.id);
}

/** A link to what others share with this user, if they do. */
async function showShared() {
  const found = await api.listShared().catch(() => null);
  byId("shared-with").parentElement.hidden = !found?.items.length;
}

/** Know of the user's other devices, once a conversation is open and all that is needed to read it is here. */
function knowDevices() {
  if (baton || !here.id) return;
  baton = setTimeout(async () => {
    try {
      const [{ Baton }] = await Promise.all([import("./baton.js"), loadLine()]);
      new Baton(byId("scroll"), thread, () => here.id);
    } catch {
      baton = null; // offline: next time
    }
  }, 1500);
}

/** Stream the answer if the page is visible and it is this tab's turn. */
function updateStreaming() {
  const writing = Boolean(thread.writing);
  notices.tabs.want(writing);
  const mode = away || document.hidden ? "pause" : notices.tabs.turn ? "stream" : "wait";
  if (mode !== "stream") thread.setMode(mode); // close first: then the others may begin
  notices.tabs.stream(writing && mode === "stream");
  thread.setMode(mode);
}

/** Whether an answer is being written here; a hidden page learns its end from the notices only. */
function isWriting() {
  const entry = notices.entries.get(here.id);
  return Boolean(thread.writing) && !(document.hidden && entry && !["waiting", "writing"].includes(entry.status));
}

/** The tab's title: ● while an answer is written, else the number of unseen ones elsewhere. */
function updateTitle() {
  const unseen = [...notices.entries.values()].filter(({ id, status }) => id !== here.id && ["unseen", "failed"].includes(status));
  const mark = isWriting() ? "● " : unseen.length ? `(${number(unseen.length)}) ` : "";
  document.title = `${mark}${here.conversation ? `${nameOf(here.conversation)} · ` : ""}${NAME}`;
}

/** On the first page: what came while one was away. */
async function showAway() {
  const entries = [...notices.entries.values()];
  if (here.id || !(byId("away").dataset.key || entries.some(({ status }) => ["unseen", "failed"].includes(status)))) return;
  const { showAll } = await import("./away.js");
  showAll(byId("away"), entries, navigate);
}

// --- notices

/** All conversations are new, or these changed. */
function onNotices(changes = null, { first = false } = {}) {
  sidebar.show();
  showAway();
  const mine = notices.entries.get(here.id);
  if (mine) syncOpen(mine, !changes || changes.some(({ conversation }) => conversation?.id === here.id));
  else if (changes?.some(({ what, id }) => id === here.id && what.includes("deleted"))) onDeleted();
  for (const { what, conversation } of changes ?? []) if (first && conversation) notifier.show(what, conversation);
  updateTitle();
}

const loadLine = () => import("./line.js");

/** Show the questions in line, if there are any: what the notices say of them, and what is being sent. */
async function showLine() {
  const { waiting = 0, changed_at: at } = notices.entries.get(here.id)?.line ?? {};
  const coming = outbox.waiting().filter((one) => one.line && one.conversation === here.id);
  const state = `${here.id} ${waiting} ${at} ${isWriting()} ${notices.entries.get(here.id)?.status}`;
  if (!line && !waiting && !coming.length) return;
  const { Line } = await loadLine().catch(() => ({})); // offline: a later change tries again
  if (!Line) return;
  line ??= new Line(byId("line"), {
    sent: () => showNewest({ down: true }),
    failed: (problem) => composer.notify(sentenceOf(problem)),
    returned: (text) => composer.put([text, composer.area.value].filter(Boolean).join("\n\n")),
    again: putInLine,
  });
  if (line.conversation !== here.id) line.clear(here.id);
  const follows = scroll.following;
  line.wait(coming);
  if (lineState !== state && here.id && (waiting || line.items.length)) {
    lineState = state;
    await line.refresh();
  }
  if (follows && scroll.following) scroll.down();
}

/** Compare the open conversation with its notice; `now`: it has just changed. */
function syncOpen({ title: name, answer, status }, now) {
  if (!here.conversation) return;
  showLine();
  if (here.conversation.title !== name) {
    here.conversation.title = name;
    update();
  }
  if (document.hidden) return; // done when visible again
  const shown = answer && thread.views.get(answer.id);
  if (answer && !here.leaf && !shown && !thread.pending && !thread.editing) refresh();
  else if (now && shown?.open && !["SENDING", "STREAMING"].includes(answer.status)) shown.follower?.hasEnded();
  if (["unseen", "failed"].includes(status)) markSeen();
}

/** The open conversation was deleted, here or elsewhere. */
function onDeleted() {
  history.replaceState(null, "", "/");
  showGone(t("This conversation was deleted."));
}

/** The end of the answer is visible: report it to the server, which removes the mark in all tabs. */
function markSeen() {
  const { status, answer } = notices.entries.get(here.id) ?? {};
  if (document.hidden || !here.conversation || !["unseen", "failed"].includes(status)) return;
  if (thread.views.get(answer?.id)?.open) return;
  api.markSeen(here.id, answer?.id).catch(() => {});
}

// --- actions

/** Change something on the server, then show the newest branch. */
async function change(request, { moves = true } = {}) {
  composer.notify("");
  const { left } = scroll;
  try {
    await request();
    if (moves) showNewest({ down: scroll.left === left });
  } catch (problem) {
    composer.notify(why(problem));
    refresh();
  }
}

/** Show the newest branch; `down`: and its end. */
function showNewest({ down }) {
  if (here.leaf) history.replaceState(null, "", `/c/${here.id}`);
  const limit = here.leaf ? PAGE : FEW;
  here.leaf = null;
  if (down) scroll.down();
  return refresh(limit);
}

/** Whether an edited question may be sent now: while an answer is written, the person says what becomes of that. */
async function mayEdit() {
  const running = thread.writing?.message.id;
  if (!running) return true;
  const { choose } = await import("./choose.js");
  const how = await choose(t("An answer is still being written"), t("Your question begins another branch. What becomes of that answer?"), [
    ["", t("Cancel")],
    ["stop", t("Stop it")],
    ["go", t("Let it go on")],
  ]);
  if (how === "stop") await api.stop(running).catch(() => {}); // it may have ended
  return Boolean(how);
}

/** Put a question in line: the server sends it when the answer has ended. */
function putInLine(content) {
  const entry = { key: api.newKey(), conversation: here.id, content, wanted: models.wanted, line: true };
  outbox.keep(entry);
  showLine();
  scroll.down();
  return deliver(entry.key);
}

/** Ask; `before` is the question that this one replaces. */
function ask(content, parent, before = null) {
  const system = here.id ? null : instructions.text || null;
  if (system) outbox.keepSystem(null, false, "");
  byId("gone").hidden = true;
  const entry = { key: api.newKey(), conversation: here.id, parent, before, content, wanted: models.wanted, system };
  if (before) entry.carried = thread.views.get(before)?.message.parts ?? undefined;
  else entry.files = composer.attach.take(entry.key);
  outbox.keep(entry);
  askedIn.set(entry.key, visit);
  places?.seen();
  showPending();
  scroll.down();
  update();
  return deliver(entry.key);
}

/** Whether a question of a new conversation was asked on the page as it is now. */
const askedHere = ({ key }) => !here.id && askedIn.get(key) === visit;

/** Show this conversation's question that is being sent, if there is one. */
function showPending() {
  const entry = outbox.waiting().find((one) => !one.line && (one.conversation ? one.conversation === here.id : askedHere(one)));
  if (!entry) return;
  thread.showPending(entry.content, entry.before, sendingText(sent.get(entry.key)));
  if (entry.files) attachments().then(({ show }) => show(entry.key, thread.pending));
}

/** Show the progress of a question's upload. */
function onUpload(key, part, whole) {
  sent.set(key, { part, whole });
  const entry = outbox.kept(key);
  if (entry && entry.conversation === here.id) thread.setPendingState(sendingText(sent.get(key)));
}

/** Send a question, however long that takes. */
function deliver(key) {
  return outbox.exclusive(key, async () => {
    const entry = outbox.kept(key);
    if (!entry) return restore(); // another tab has sent it
    try {
      if (!entry.conversation) await createConversation(entry);
      const progress = (part, whole) => onUpload(key, part, whole);
      const found = entry.line && (await api.putInLine(entry.conversation, entry.content, key, entry.wanted, progress));
      if (!entry.line) await api.ask(entry.conversation, entry.content, entry.parent, key, entry.wanted, progress, await partsOf(entry));
      outbox.drop(entry);
      if (entry.files) (await attachments()).forget(key);
      if (found) {
        if (line?.conversation === entry.conversation) line.set(found);
        lineState = ""; // a later question may be in line already: read it again
        return void showLine();
      }
      if (here.id === entry.conversation) await showNewest({ down: false });
    } catch (problem) {
      outbox.drop(entry);
      returnText(entry, problem);
    } finally {
      sent.delete(key);
    }
    return undefined;
  });
}

/** What a question has besides text, as it is sent. */
async function partsOf({ key, files, carried }) {
  if (!files && !carried) return [];
  const loaded = await attachments();
  return carried ? loaded.carried(carried) : loaded.partsOf(key, files);
}

/** Create the conversation of a first question. */
async function createConversation(entry) {
  const fields = entry.system ? { system: entry.system } : {};
  entry.conversation = (await api.createConversation(fields, `${entry.key}-c`)).id;
  outbox.keep(entry);
  if (!askedHere(entry)) return;
  here.id = entry.conversation;
  history.replaceState(null, "", `/c/${here.id}`);
  composer.rename(here.id);
  instructions.rename(here.id);
  arriving = false;
  loadPlaces().then(() => here.id === entry.conversation && places.arrive(here.id, null, null));
  sidebar.select(here.id);
}

/** The server refused: put the text back into the form, above what was typed meanwhile. */
function returnText(entry, problem) {
  const mine = here.id === entry.conversation;
  const gone = problem.status === 404 && Boolean(entry.conversation);
  const place = gone && !mine ? null : entry.conversation; // its form is not shown any more
  const typed = here.id === place ? composer.area.value : outbox.draft(place);
  const text = [entry.content, typed].filter(Boolean).join("\n\n");
  outbox.keepDraft(place, text);
  if (entry.files) composer.attach.giveBack(entry.key, place);
  if (!entry.conversation && entry.system) outbox.keepSystem(null, false, entry.system);
  if (gone && mine) {
    composer.put(text);
    return void showGone();
  }
  if (here.id !== place) return;
  restore();
  composer.put(text);
  composer.notify(sentenceOf(problem, entry.content));
}

/** What a refusal says; of a question that is too long with the numbers. */
function sentenceOf(problem, content = "") {
  if (problem.code === "question_too_long" && problem.limit) return tooLong(sizeOf(content), problem.limit);
  if (problem.code !== "too_large") return why(problem);
  const size = number(new Blob([content]).size);
  return t("This question has {size} bytes, which is more than can be sent at once. Shorten it, or send it in pieces.", { size });
}

/** No question is being sent: show what there is. */
function restore() {
  thread.clearPending();
  showPending();
  update();
  return refresh();
}

/** Delete a conversation, and offer Undo. */
function remove(entry) {
  const open = entry.id === here.id;
  notices.entries.delete(entry.id);
  sidebar.show();
  if (open) navigate(null);
  const deleted = api.deleteConversation(entry.id).catch((problem) => {
    if (problem.status === 404) return; // already deleted
    composer.notify(why(problem));
    notices.entries.set(entry.id, entry);
    sidebar.show();
  });
  offer(t("“{title}” was deleted.", { title: nameOf(entry) }), t("Undo"), async () => {
    await deleted;
    await change(() => api.undelete(entry.id), { moves: false });
    if (open) navigate(entry.id);
  });
}

function rename(entry, title) {
  entry.title = title;
  if (entry.id === here.id && here.conversation) here.conversation.title = title;
  update();
  return change(() => api.changeConversation(entry.id, { title }), { moves: false });
}

// --- the browser

/** Open the conversations on a narrow screen, with an entry in the browser's history: Back closes them. */
function openDrawer() {
  if (document.body.classList.contains("drawer")) return;
  history.pushState({ drawer: true }, "");
  setDrawer(true);
}

/** Close them. Their entry goes, too, unless another page has taken its place. */
function closeDrawer() {
  if (!document.body.classList.contains("drawer")) return;
  setDrawer(false);
  if (!history.state?.drawer) return;
  passing = true;
  history.back();
}

/** An entry of the history is shown: that below the drawer's is the page as it is. */
function onBack() {
  const open = document.body.classList.contains("drawer");
  if (open) setDrawer(false);
  else if (!passing) showAddress();
  passing = false;
}

/** Show or hide them. */
function setDrawer(open) {
  const was = document.body.classList.contains("drawer");
  document.body.classList.toggle("drawer", open);
  byId("menu").setAttribute("aria-expanded", String(open));
  if (open) byId("search").focus();
  else if (was && byId("side").contains(document.activeElement)) byId("menu").focus();
}

/** Open what is loaded when it is wanted for the first time; offline it may not come. */
function later(name) {
  return () => import(`./${name}.js`).then(({ open }) => open()).catch(() => {});
}

/** Keys; shortcuts.js says to people what they do. */
const shortcuts = {
  "Control k": () => {
    if (getComputedStyle(byId("menu")).display !== "none") openDrawer();
    sidebar.focusSearch();
  },
  "Control O": () => navigate(null),
  "Control p": printAll,
  "/": () => byId("question").focus(),
  "?": later("shortcuts"),
};

/** The pressed key as it is called above; those without Control are letters in a field. */
function shortcutOf({ key, shiftKey, ctrlKey, metaKey, altKey, target }) {
  if (altKey) return "";
  if (ctrlKey || metaKey) return `Control ${shiftKey ? key.toUpperCase() : key.toLowerCase()}`;
  return target.closest?.("input, textarea, select") ? "" : key;
}

/** The page is visible again: go on. */
function onVisible({ slept }) {
  away = false;
  updateStreaming();
  thread.poke({ always: slept });
  notices.begin();
  onNotices();
  markSeen();
}

/** The page may be frozen now: close all connections. */
function leave() {
  away = true;
  updateStreaming();
  notices.end();
}

byId("menu").addEventListener("click", () => (document.body.classList.contains("drawer") ? closeDrawer() : openDrawer()));
byId("shade").addEventListener("click", closeDrawer);
byId("earlier").addEventListener("click", loadEarlier);
byId("export").addEventListener("click", exportHere);
share?.addEventListener("click", shareHere);
// A dialog gives the focus back to what had it: on a narrow screen that is the button of the menu.
byId("places").addEventListener("click", ({ target }) => target.ariaHasPopup && byId("places").hidePopover?.(), { capture: true });
for (const link of [byId("new"), byId("begin"), document.querySelector(".brand")]) {
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    navigate(null);
  });
}
byId("thread").addEventListener("click", ({ target }) => {
  if (target.classList.contains("copy-code")) copyFor(target, codeBelow(target.parentElement));
});
byId("link").addEventListener("click", async () => {
  const place = places?.now ?? { message_id: thread.last?.id, position: 0 };
  const query = here.leaf ? `?leaf=${here.leaf}` : "";
  const said = { textContent: "" };
  await copyFor(said, `${location.origin}/c/${here.id}${query}${fragmentOf(places?.selected ?? place)}`);
  byId("link").textContent = said.textContent;
  setTimeout(() => (byId("link").textContent = t("Link")), 1500);
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeDrawer();
  const pressed = shortcuts[shortcutOf(event)];
  if (!pressed || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  pressed();
});
for (const name of ["theme", "shortcuts"]) byId(name).addEventListener("click", later(name));
addEventListener("popstate", onBack);
watchPresence({ visible: onVisible, hidden: updateStreaming, wake: () => notices.reconnect(), leave });

/** Send a stored question, unless another tab is sending it. */
async function resume(key) {
  const now = visit;
  if (!(await outbox.locked(key))) askedIn.set(key, now);
  showPending();
  update();
  return deliver(key);
}

showAddress();
showPending();
update();
if (share) showShared();
for (const { key } of outbox.waiting()) resume(key);
