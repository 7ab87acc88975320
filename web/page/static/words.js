/** What the page says about an answer. Pure. */

/** Bytes from which a question is said to take a while. */
const LONG = 50_000;
/** The provider ended an answer in which it had said nothing. */
const EMPTY = "provider_empty";
const NO_ANSWER = "The model gave no answer. Retry asks again.";
const INTERRUPTED = ["worker_lost", "worker_shutdown"];

/** What helps, by the code of an error; by default what always does. */
const ADVICE = {
  provider_rejected: "Retry alone will not help.",
  provider_unavailable: "Try again in a moment.",
  queue_timeout: "Try again; if that is no better, no worker is running.",
  storage: "Try again in a moment.",
};

/** How an answer stands, in a few words; "" when it is simply there. `silent`: it holds no text and no call. */
export function standing({ status, finish_reason: reason, error }, { covered, thinking, silent } = {}) {
  if (status === "SENDING") return "Waiting in the queue";
  if (status === "STREAMING") return !covered ? "Waiting for the first word" : thinking ? "Thinking" : "Writing";
  if (status === "CANCELLED") return "Stopped by you";
  if (error?.code === EMPTY) return NO_ANSWER;
  if (status === "ERROR") return failure(error, covered);
  if (status === "GONE") return error?.message || "This answer is gone.";
  if (reason === "length") return "Cut off at the length limit";
  if (reason === "content_filter") return "Ended by the provider's content filter";
  return silent ? NO_ANSWER : "";
}

/** Why it failed and what to do. */
function failure(error, covered) {
  const what = INTERRUPTED.includes(error?.code) ? "Interrupted" : "Failed";
  const always = covered ? "Continue goes on from here, Retry begins again." : "Retry asks again.";
  return `${what}: ${error?.message || "nobody knows why."} ${ADVICE[error?.code] ?? always}`;
}

/** What listeners hear when it changes. */
export function spoken(message, body) {
  if (message.status === "STREAMING") return "The answer is being written.";
  return standing(message, body) || "The answer is complete.";
}

/** How far a question is on its way: a long one takes a while on a weak link. */
export function sending({ part, whole } = { whole: 0 }) {
  if (whole < LONG) return "Sending";
  const size = whole < 1e6 ? `${Math.round(whole / 1000)} kB` : `${(whole / 1e6).toFixed(1)} MB`;
  return part < whole ? `Sending ${size}: ${Math.floor((100 * part) / whole)} %` : `Sending ${size}`;
}

/** What it cost. */
export function spent(usage) {
  const tokens = usage?.completion_tokens;
  if (!tokens) return "";
  const about = usage.source === "estimated" ? "about " : "";
  return `${about}${tokens.toLocaleString("en")} ${tokens === 1 ? "token" : "tokens"}`;
}

/** All that is known about how it was written, as [name, value] pairs. */
export function facts({ model, usage, created_at: asked, started_at: started, first_text_at: first, ended_at: ended }) {
  const found = [
    ["Model", model],
    ["In the queue", seconds(asked, started)],
    ["First token after", seconds(asked, first)],
    ["Written in", seconds(first, ended)],
    ["Speed", speed(usage, first, ended)],
    ["Tokens read", usage?.prompt_tokens?.toLocaleString("en")],
    ["Tokens written", spent(usage).replace(/ tokens?$/, "")],
    ["Ended", ended && new Date(ended).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })],
  ];
  return found.filter(([, value]) => value);
}

function seconds(from, to) {
  if (!from || !to) return "";
  const passed = Math.max(0, (Date.parse(to) - Date.parse(from)) / 1000);
  return `${passed.toFixed(passed < 10 ? 1 : 0)} s`;
}

function speed(usage, from, to) {
  const tokens = usage?.completion_tokens;
  const passed = (Date.parse(to) - Date.parse(from)) / 1000;
  return tokens && passed > 0.05 ? `${(tokens / passed).toFixed(tokens / passed < 10 ? 1 : 0)} tokens/s` : "";
}

/** Whether it makes sense to ask it to go on. */
export function continuable({ status, finish_reason: reason, error }, covered) {
  return covered > 0 && error?.code !== EMPTY && (["CANCELLED", "ERROR"].includes(status) || (status === "DONE" && reason === "length"));
}

/** What a conversation is called. */
export const nameOf = (conversation) => conversation?.title?.trim() || "Untitled";
