/** What the page says about a message. Pure. */

/** How a message stands, in a few words; "" when there is nothing to say. */
export function standing({ status, finish_reason: reason, error }, position) {
  if (status === "SENDING") return "Waiting for a worker";
  if (status === "STREAMING") return position ? "" : "Waiting for the first word";
  if (status === "CANCELLED") return "Stopped";
  if (status === "ERROR" || status === "GONE") return error?.message || "This answer failed.";
  if (reason === "length") return "Cut off at the length limit";
  return reason === "content_filter" ? "Ended by the provider's content filter" : "";
}

/** What listeners hear when it changes. */
export function spoken(message) {
  if (message.status === "DONE") return standing(message) || "The answer is complete.";
  return message.status === "STREAMING" ? "The answer is being written." : standing(message);
}

/** What it cost. */
export function spent(usage) {
  const tokens = usage?.completion_tokens;
  if (!tokens) return "";
  const about = usage.source === "estimated" ? "about " : "";
  return `${about}${tokens.toLocaleString("en")} ${tokens === 1 ? "token" : "tokens"}`;
}

/** Whether it makes sense to ask it to go on. */
export function continuable({ status, finish_reason: reason }, position) {
  return position > 0 && (["CANCELLED", "ERROR"].includes(status) || (status === "DONE" && reason === "length"));
}
