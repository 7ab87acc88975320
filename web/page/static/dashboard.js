/** The operators' dashboard: polls every two seconds while the page is visible. */

import { Chart, short as number } from "./charts.js";
import { byId, el } from "./dom.js";
import { t, timeOf, why } from "./t.js";

/** Milliseconds between two polls. */
const EVERY = 2_000;
/** Milliseconds after which a request is given up. */
const TIMEOUT = 20_000;

const NAMES = {
  running: t("Being written"),
  waiting: t("Waiting in the queue"),
  rate: t("Characters per second"),
  readers: t("Readers"),
  errors: t("Errors"),
};
const charts = Object.fromEntries(Object.entries(NAMES).map(([name, label]) => [name, new Chart(name, label)]));
byId("charts").append(...Object.values(charts).map((chart) => chart.element));
byId("series").querySelector("tr").append(...[t("At"), ...Object.values(NAMES)].map((name) => el("th", { scope: "col" }, name)));

/** Seconds as 4 s, 2 min 5 s, 1 h 3 min. */
function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return t("{seconds} s", { seconds: whole });
  if (whole < 3600) return t("{minutes} min {seconds} s", { minutes: Math.floor(whole / 60), seconds: whole % 60 });
  return t("{hours} h {minutes} min", { hours: Math.floor(whole / 3600), minutes: Math.floor((whole % 3600) / 60) });
}

const moment = (at) => timeOf(typeof at === "number" ? at * 1000 : at);
/** An answer's id: a link to one's own, as others' are not an operator's to read. */
function short({ id, conversation_id: place, user_id: user }) {
  const code = el("code", { title: id }, id.slice(0, 8));
  return user === document.body.dataset.user ? el("a", { href: `/c/${place}?leaf=${id}` }, code) : code;
}
const row = (...cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, cell)));
const fill = (table, rows) => byId(table).querySelector("tbody").replaceChildren(...rows);
const list = (name, counts) => byId(name).replaceChildren(...Object.entries(counts).map(([code, count]) => el("li", {}, el("code", {}, code), ` ${number(count)}`)));

function show(state) {
  const { series, running, errors, readers } = state;
  const readersOf = new Map(readers.map((one) => [one.message_id, one]));
  const now = {
    running: running.filter(({ status }) => status === "STREAMING").length,
    waiting: state.waiting,
    rate: running.reduce((sum, { rate }) => sum + (rate ?? 0), 0),
    readers: state.streams,
    errors: series.errors.reduce((sum, count) => sum + count, 0),
  };
  const lag = Math.max(0, ...readers.map((one) => one.lag));
  const notes = {
    waiting: state.waiting ? t("the oldest for {time}", { time: duration(state.oldest_waiting ?? 0) }) : "",
    readers: t("the slowest {characters} behind", { characters: number(lag) }),
    errors: t("in these minutes"),
  };
  for (const [name, chart] of Object.entries(charts)) chart.draw(series.at, series[name], now[name], notes[name] ?? "");
  fill("running", running.map((one) => runningRow(one, readersOf.get(one.id))));
  fill("errors", errors.map((one) => row(moment(one.at), el("code", {}, one.code), short(one))));
  list("causes", state.causes);
  list("refused", state.refused);
  fill("series", series.at.map((at, index) => row(moment(at), ...Object.keys(NAMES).map((name) => number(series[name][index])))).reverse());
  document.querySelector("main").setAttribute("aria-busy", "false");
  byId("quiet").hidden = running.length > 0;
  byId("fine").hidden = errors.length > 0;
  byId("welcome").hidden = byId("refused").childElementCount > 0;
  byId("flower").hidden = !state.flower;
  if (state.flower) byId("flower").href = state.flower;
}

function runningRow(one, readers) {
  const { owner, status, model, age, characters, rate } = one;
  const worker = status === "SENDING" ? el("span", { className: "waiting" }, t("waiting")) : owner?.replace(/^(.*?:.{8}).*$/, "$1") ?? "–";
  return row(short(one), worker, model ?? "–", duration(age), number(characters), number(rate), number(readers?.readers), number(readers?.lag));
}

function report(text, state = "good") {
  byId("as-of").textContent = text;
  byId("as-of").dataset.state = state;
}

let polling = false;

async function poll() {
  if (document.hidden || polling) return;
  polling = true;
  try {
    const response = await fetch("/api/live", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
    if (!response.ok) {
      const { code, detail } = await response.json().catch(() => ({}));
      throw new Error(detail ? why({ code, message: detail }) : t("The server answered {status}.", { status: String(response.status) }));
    }
    show(await response.json());
    report(t("as of {time}", { time: timeOf(Date.now()) }));
  } catch (error) {
    const unreachable = error instanceof TypeError || error.name === "TimeoutError";
    report(unreachable ? t("The server cannot be reached.") : error.message, "stale");
  }
  polling = false;
}

setInterval(poll, EVERY);
document.addEventListener("visibilitychange", poll);
poll();
