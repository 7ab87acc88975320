/** Texts about an answer. Pure. */

import { momentOf, n, number, t, why } from "./t.js";

/** Bytes from which on the progress of a question's upload is shown. */
const LONG = 50_000;
/** The provider ended an answer that has no text. */
const EMPTY = "provider_empty";
const NO_ANSWER = t("The model gave no answer. Retry asks again.");
const INTERRUPTED = ["worker_lost", "worker_shutdown"];

/** Advice by error code. */
const ADVICE = {
  provider_rejected: t("Retry alone will not help."),
  provider_unavailable: t("Try again in a moment."),
  queue_timeout: t("Try again; if that is no better, no worker is running."),
  storage: t("Try again in a moment."),
};

/**
 * An answer's state in a few words; "" if it is complete. `without`: what it has instead of text, once it
 * has ended; `above`: there are messages below it; `retry`: {count, answered} while its provider is asked again.
 */
export function stateText(message, { covered, thinking, without, above, retry } = {}) {
  const { status, finish_reason: reason, error } = message;
  const branch = above && !without && continuable(message, covered) ? ` ${t("Continue and Retry begin a branch here.")}` : "";
  if (status === "SENDING") return t("Waiting in the queue");
  if (status === "STREAMING" && retry && !covered) return trying(retry);
  if (status === "STREAMING") return !covered ? t("Waiting for the first word") : thinking ? t("Thinking") : t("Writing");
  if (status === "CANCELLED") return stopped(without) + (branch && `.${branch}`);
  if (error?.code === EMPTY) return NO_ANSWER;
  if (status === "ERROR") return failure(error, covered) + branch;
  if (status === "GONE") return error?.message ? why(error) : t("This answer is gone.");
  if (reason === "length") return without ? t("Cut off at the length limit, before any text") : t("Cut off at the length limit") + (branch && `.${branch}`);
  if (reason === "content_filter") return t("Ended by the provider's content filter");
  if (without === "tool_call") return t("The model called a tool and wrote no text.");
  return without ? NO_ANSWER : "";
}

const ORDINALS = new Intl.PluralRules("en", { type: "ordinal" });

/** The provider is busy, and is asked again for the nth time. */
function trying({ count: n, answered }) {
  const what = answered ? t("The provider is busy;") : t("The provider cannot be reached;");
  const again = {
    one: t("trying again, {n}st time", { n }),
    two: t("trying again, {n}nd time", { n }),
    few: t("trying again, {n}rd time", { n }),
    other: t("trying again, {n}th time", { n }),
  };
  return `${what} ${again[ORDINALS.select(n)]}`;
}

function stopped(without) {
  if (without === "nothing") return t("Stopped by you, before the first word");
  return without ? t("Stopped by you, before any text") : t("Stopped by you");
}

/** Why it failed, and what to do. */
function failure(error, covered) {
  const reason = error?.message ? why(error) : t("the reason is unknown.");
  const what = INTERRUPTED.includes(error?.code) ? t("Interrupted: {reason}", { reason }) : t("Failed: {reason}", { reason });
  const always = covered ? t("Continue goes on from here, Retry begins again.") : t("Retry asks again.");
  return `${what} ${ADVICE[error?.code] ?? always}`;
}

/** What is announced when the state changes. */
export function spokenState(message, body) {
  if (message.status === "STREAMING") return t("The answer is being written.");
  return stateText(message, body) || t("The answer is complete.");
}

/** The state of a question that is being sent; a long one may take a while. */
export function sendingText({ part, whole } = { whole: 0 }) {
  if (whole < LONG) return t("Sending");
  const size = whole < 1e6 ? t("{size} kB", { size: number(whole / 1000) }) : t("{size} MB", { size: number(whole / 1e6, 1) });
  return part < whole ? t("Sending {size}: {percent} %", { size, percent: Math.floor((100 * part) / whole) }) : t("Sending {size}", { size });
}

/** The tokens written. */
export function tokensText(usage) {
  const tokens = usage?.completion_tokens;
  if (!tokens) return "";
  return usage.source === "estimated" ? n(tokens, "about {n} token", "about {n} tokens") : n(tokens, "{n} token", "{n} tokens");
}

/** Details of how it was written, as [name, value] pairs. */
export function facts({ model, usage, created_at: asked, started_at: started, first_text_at: first, ended_at: ended }) {
  const found = [
    [t("Model"), model],
    [t("In the queue"), seconds(asked, started)],
    [t("First token after"), seconds(asked, first)],
    [t("Written in"), seconds(first, ended)],
    [t("Speed"), speed(usage, first, ended)],
    [t("Tokens read"), usage?.prompt_tokens && number(usage.prompt_tokens)],
    [t("Tokens written"), written(usage)],
    [t("Ended"), ended && momentOf(ended)],
  ];
  return found.filter(([, value]) => value);
}

function written(usage) {
  const tokens = usage?.completion_tokens;
  if (!tokens) return "";
  return usage.source === "estimated" ? t("about {number}", { number: tokens }) : number(tokens);
}

function seconds(from, to) {
  if (!from || !to) return "";
  const passed = Math.max(0, (Date.parse(to) - Date.parse(from)) / 1000);
  return t("{seconds} s", { seconds: number(passed, passed < 10 ? 1 : 0) });
}

function speed(usage, from, to) {
  const tokens = usage?.completion_tokens;
  const passed = (Date.parse(to) - Date.parse(from)) / 1000;
  return tokens && passed > 0.05 ? t("{number} tokens/s", { number: number(tokens / passed, tokens / passed < 10 ? 1 : 0) }) : "";
}

/** Whether Continue makes sense. `written`: there is text to go on from. */
export function continuable({ status, finish_reason: reason, error }, written) {
  return written > 0 && error?.code !== EMPTY && (["CANCELLED", "ERROR"].includes(status) || (status === "DONE" && reason === "length"));
}

/** A conversation's title. */
export const nameOf = (conversation) => conversation?.title?.trim() || t("Untitled");
