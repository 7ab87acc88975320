/** Texts about an answer. Pure. */

/** Bytes from which on the progress of a question's upload is shown. */
const LONG = 50_000;
/** The provider ended an answer that has no text. */
const EMPTY = "provider_empty";
const NO_ANSWER = "The model gave no answer. Retry asks again.";
const INTERRUPTED = ["worker_lost", "worker_shutdown"];

/** Advice by error code. */
const ADVICE = {
  provider_rejected: "Retry alone will not help.",
  provider_unavailable: "Try again in a moment.",
  queue_timeout: "Try again; if that is no better, no worker is running.",
  storage: "Try again in a moment.",
};

/** An answer's state in a few words; "" if it is complete. `silent`: it has only reasoning. */
export function stateText({ status, finish_reason: reason, error }, { covered, thinking, silent } = {}) {
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

/** Why it failed, and what to do. */
function failure(error, covered) {
  const what = INTERRUPTED.includes(error?.code) ? "Interrupted" : "Failed";
  const always = covered ? "Continue goes on from here, Retry begins again." : "Retry asks again.";
  return `${what}: ${error?.message || "the reason is unknown."} ${ADVICE[error?.code] ?? always}`;
}

/** What is announced when the state changes. */
export function spokenState(message, body) {
  if (message.status === "STREAMING") return "The answer is being written.";
  return stateText(message, body) || "The answer is complete.";
}

/** The state of a question that is being sent; a long one may take a while. */
export function sendingText({ part, whole } = { whole: 0 }) {
  if (whole < LONG) return "Sending";
  const size = whole < 1e6 ? `${Math.round(whole / 1000)} kB` : `${(whole / 1e6).toFixed(1)} MB`;
  return part < whole ? `Sending ${size}: ${Math.floor((100 * part) / whole)} %` : `Sending ${size}`;
}

/** The tokens written. */
export function tokensText(usage) {
  const tokens = usage?.completion_tokens;
  if (!tokens) return "";
  const about = usage.source === "estimated" ? "about " : "";
  return `${about}${tokens.toLocaleString("en")} ${tokens === 1 ? "token" : "tokens"}`;
}

/** Details of how it was written, as [name, value] pairs. */
export function facts({ model, usage, created_at: asked, started_at: started, first_text_at: first, ended_at: ended }) {
  const found = [
    ["Model", model],
    ["In the queue", seconds(asked, started)],
    ["First token after", seconds(asked, first)],
    ["Written in", seconds(first, ended)],
    ["Speed", speed(usage, first, ended)],
    ["Tokens read", usage?.prompt_tokens?.toLocaleString("en")],
    ["Tokens written", tokensText(usage).replace(/ tokens?$/, "")],
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

/** Whether Continue makes sense. */
export function continuable({ status, finish_reason: reason, error }, covered) {
  return covered > 0 && error?.code !== EMPTY && (["CANCELLED", "ERROR"].includes(status) || (status === "DONE" && reason === "length"));
}

/** A conversation's title. */
export const nameOf = (conversation) => conversation?.title?.trim() || "Untitled";
