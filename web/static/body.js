/**
 * The body of a message: parts that only grow, and the position behind them.
 *
 * Positions count Unicode code points. They are the server's: a snapshot carries one, and so does
 * the id of every frame. They are never taken from the length of a string here (UTF-16).
 */

/** A frame that does not start where we stand: something is missing, read again. */
export class Gap extends Error {}

export class Body {
  /** From a message as the server tells it. */
  constructor({ parts = [], position = 0 } = {}) {
    this.parts = parts.map(({ kind, text, meta }) => ({ kind, text, meta }));
    this.position = position;
  }

  /** Grow by a frame that ends at `end`. Raises Gap. */
  append({ start, part, kind, text, meta = null }, end) {
    const last = this.parts.length - 1;
    const fits = part === last ? this.parts[last].kind === kind : part === last + 1;
    if (start !== this.position || !Number.isSafeInteger(end) || end < start || !fits) throw new Gap();
    if (typeof text !== "string") throw new Gap();
    if (part > last) this.parts.push({ kind, text: "", meta });
    this.parts[part].text += text;
    this.position = end;
  }

  /** All parts joined in order: what `length` and `sha256` are about. */
  get content() {
    return this.parts.map((part) => part.text).join("");
  }

  /** What a person copies: the text parts. */
  get text() {
    return this.parts.map((part) => (part.kind === "text" ? part.text : "")).join("");
  }

  /** Whether this is, to the character, what the server says it wrote. */
  async proves({ length, sha256 }) {
    const content = this.content;
    if (codePoints(content) !== length) return false;
    if (!globalThis.crypto?.subtle) return true; // plain HTTP from elsewhere: the length only
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(content));
    return hex(digest) === sha256;
  }
}

/** The number of Unicode code points. */
export function codePoints(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** Bytes as hexadecimal digits. */
function hex(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
