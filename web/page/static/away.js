/** "While you were away": what came since a person left, of one conversation or of all. Loaded when there is something. */

import { el } from "./dom.js";
import { fragmentOf } from "./fragment.js";
import { endOf } from "./place.js";
import { n, t } from "./t.js";
import { nameOf, stateText } from "./words.js";

/** Headings that are listed, and conversations of each kind. */
const HEADINGS = 30;
const LISTED = 8;
/** Words; where none are written with blanks between, letters. */
const WORDS = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|[\p{L}\p{N}][\p{L}\p{N}'’-]*/gu;

/** A stretch of time in words. */
function span(milliseconds) {
  const minutes = Math.max(0, milliseconds) / 60_000;
  if (minutes < 1) return n(Math.round(minutes * 60), "{n} second", "{n} seconds");
  if (minutes < 90) return n(Math.round(minutes), "{n} minute", "{n} minutes");
  if (minutes < 36 * 60) return n(Math.round(minutes / 60), "{n} hour", "{n} hours");
  return n(Math.round(minutes / 1440), "{n} day", "{n} days");
}

/** The answers that have something after `end`, each with the position from which on it is new. */
function newIn(views, end) {
  const at = views.findIndex(({ message }) => message.id === end.message_id);
  const found = views.slice(Math.max(0, at)).map((view, index) => ({ view, from: index ? 0 : end.position }));
  return found.filter(({ view, from }) => view.body && (endOf(view) > from || (view.message.status === "ERROR" && from === 0)));
}

/** An answer's text after a position, without reasoning. */
function textAfter({ body }, from) {
  const texts = body.blocks.filter(({ kind, end }) => kind === "text" && end > from);
  return texts.map(({ text, start }) => (start < from ? [...text].slice(from - start).join("") : text)).join("");
}

/** What went wrong with an answer, as far as it is recorded; each a sentence. */
function troubles({ message }, restarted) {
  const found = [];
  const times = restarted.find(({ message_id: id }) => id === message.id)?.times;
  if (times) {
    found.push(n(times, "A worker was lost before the first word; another one began the answer.", "{n} workers were lost before the first word; another one began the answer."));
  }
  if (message.continues_id) found.push(t("It went on after it had broken off."));
  if (message.status === "ERROR") found.push(stateText(message, { covered: message.length }));
  if (message.status === "CANCELLED") found.push(t("It was stopped."));
  return found;
}

/** Fill the line with what came since: one fold, which stays as the person left it. */
export function fill(line, place, views) {
  const fresh = newIn(views, place.end);
  const words = fresh.reduce((sum, { view, from }) => sum + (textAfter(view, from).match(WORDS)?.length ?? 0), 0);
  const thoughts = fresh.map(({ view }) => view.element.querySelector(".reasoning > summary")?.textContent).filter((text) => /\d/.test(text ?? ""));
  const broken = fresh.flatMap(({ view }) => troubles(view, place.restarted));
  const open = fresh.some(({ view }) => view.open);
  const ended = fresh.filter(({ view }) => !view.open);
  const whole = ended.length > 0 && ended.every(({ view }) => view.element.dataset.proof === "ok");
  const headings = fresh.flatMap(({ view, from }) => headingsOf(view, from)).slice(0, HEADINGS);
  // Fixed when it is first shown, so that it does not count on while it is read.
  place.away ??= Date.now() - Date.parse(place.read_at);
  const short = [span(place.away), words && n(words, "{n} word", "{n} words"), ...thoughts, open && t("still being written"), broken.length && t("something broke"), whole && t("✓ nothing lost")];
  const text = short.filter(Boolean).join(" · ");
  const key = JSON.stringify([text, broken, headings.length, ended.map(({ view }) => view.message.sha256)]);
  if (line.dataset.key === key) return;
  line.dataset.key = key;
  const before = line.querySelector("details");
  const summary = el("summary", {}, el("span", {}, t("New since you left")), el("small", {}, text));
  const rows = [t("You were away for {time}.", { time: span(place.away) }), words && n(words, "{n} word was written meanwhile.", "{n} words were written meanwhile."), ...thoughts, ...broken];
  const list = el("ul", {}, ...rows.filter(Boolean).map((row) => el("li", {}, row)), ...(whole ? [el("li", {}, proofOf(ended))] : []));
  const fold = el("details", { open: before?.open ?? false }, summary, list, ...(headings.length ? [outline(headings)] : []));
  const focused = before?.contains(document.activeElement);
  line.replaceChildren(fold);
  if (focused) summary.focus({ preventScroll: true });
}

/** That nothing was lost, explained on a tap. */
function proofOf(ended) {
  const rows = ended.map(({ view: { message } }) => el("p", {}, n(message.length, "{n} character", "{n} characters"), " · SHA-256 ", el("code", {}, message.sha256)));
  const why = t("When an answer ends, the server stores its length and a digest of its text. This page has computed both from what it shows, and they are equal: no character is missing, twice or different, whatever broke meanwhile.");
  return el("details", { className: "proof" }, el("summary", {}, t("✓ Nothing was lost")), el("p", {}, why), ...rows);
}

/** The headings of an answer after a position. */
function headingsOf(view, from) {
  const blocks = [...view.element.querySelectorAll(".text .block")].filter(({ dataset }) => Number(dataset.end ?? Infinity) > from);
  return blocks.flatMap((block) =>
    [...block.querySelectorAll("h1, h2, h3, h4")].map((heading) => ({ text: heading.textContent, to: { message_id: view.message.id, position: Number(block.dataset.start) } })),
  );
}

function outline(headings) {
  const links = headings.map(({ text, to }) => el("li", {}, el("a", { href: fragmentOf(to), dir: "auto" }, text)));
  return el("nav", { "aria-label": t("Not read yet") }, el("p", {}, t("Not read yet")), el("ul", {}, ...links));
}

// --- all conversations

const KINDS = [
  ["waits", t("Waiting for you")],
  ["failed", t("Failed")],
  ["finished", t("Finished")],
  ["writing", t("Still being written")],
];

/** What became of a conversation; null: nothing that is new. */
function kindOf({ status, answer }) {
  if (["waiting", "writing"].includes(status)) return "writing";
  if (status === "failed") return ["worker_lost", "worker_shutdown", "provider_cut", "provider_stalled"].includes(answer?.error_code) ? "waits" : "failed";
  return status === "unseen" ? "finished" : null;
}

/** Show on the first page what came since; `open(id)` opens a conversation where one was. */
export function showAll(root, entries, open) {
  const kinds = KINDS.map(([kind, label]) => [kind, label, entries.filter((entry) => kindOf(entry) === kind)]).filter(([, , all]) => all.length);
  const news = kinds.some(([kind]) => kind !== "writing");
  root.hidden = !news;
  const key = JSON.stringify(news && kinds.map(([kind, , all]) => [kind, all.map(({ id, title, answer }) => [id, title, answer?.ended_at])]));
  if (root.dataset.key === key) return;
  root.dataset.key = key;
  const sections = kinds.flatMap(([kind, label, all]) => [
    el("h4", { dataset: { kind } }, label),
    el("ul", {}, ...all.slice(0, LISTED).map((entry) => item(entry, kind, open)), ...(all.length > LISTED ? [el("li", {}, n(all.length - LISTED, "and {n} more", "and {n} more"))] : [])),
  ]);
  root.replaceChildren(el("h3", {}, t("While you were away")), ...sections);
}

function item({ id, title, answer }, kind, open) {
  const link = el("a", { href: `/c/${id}`, dir: "auto" }, nameOf({ title }));
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    open(id);
  });
  const when = answer?.ended_at && t("{time} ago", { time: span(Date.now() - Date.parse(answer.ended_at)) });
  const what = kind === "waits" ? t("broke off: Continue goes on") : "";
  return el("li", {}, link, el("small", {}, [what, when].filter(Boolean).join(" · ")));
}
