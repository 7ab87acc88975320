/** What the page says about an answer. Pure. */

const INTERRUPTED = ["worker_lost", "worker_shutdown"];

/** What helps, by the code of an error; by default what always does. */
const ADVICE = {
  provider_rejected: "Retry alone will not help.",
  provider_unavailable: "Try again in a moment.",
  queue_timeout: "Try again; if that is no better, no worker is running.",
  storage: "Try again in a moment.",
};

/** How an answer stands, in a few words; "" when it is simply there. */
export function standing({ status, finish_reason: reason, error }, { covered, thinking } = {}) {
  if (status === "SENDING") return "Waiting in the queue";
  if (status === "STREAMING") return !covered ? "Waiting for the first word" : thinking ? "Thinking" : "Writing";
  if (status === "CANCELLED") return "Stopped by you";
  if (status === "ERROR") return failure(error, covered);
  if (status === "GONE") return error?.message || "This answer is gone.";
  if (reason === "length") return "Cut off at the length limit";
  return reason === "content_filter" ? "Ended by the provider's content filter" : "";
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
export function continuable({ status, finish_reason: reason }, covered) {
  return covered > 0 && (["CANCELLED", "ERROR"].includes(status) || (status === "DONE" && reason === "length"));
}

/** What a conversation is called. */
export const nameOf = (conversation) => conversation?.title?.trim() || "Untitled";
