/**
 * The body of an answer: blocks that never change once they are finished, and the one being written.
 *
 * Positions count Unicode code points. They are the server's: each block carries where it starts and
 * ends. They are never taken from the length of a string here (UTF-16).
 */

/** A block that does not start where we stand: something is missing, read again. */
export class Gap extends Error {}

export class Body {
  constructor() {
    this.blocks = [];
    /** The block being written: its HTML so far, without its source. */
    this.open = null;
    /** How far all of it reaches. */
    this.covered = 0;
  }

  /** Behind the last finished block: where a stream goes on. */
  get position() {
    return this.blocks.at(-1)?.end ?? 0;
  }

  /** Take in a frame. Raises Gap. */
  take({ blocks, open, position }) {
    for (const block of blocks) this.#put(block);
    if (open && open.n !== this.blocks.length) throw new Gap();
    if (open !== undefined) this.open = open;
    this.covered = Math.max(position ?? 0, this.position);
  }

  /** A block that is here already is the same; the next one begins where the last one ends. */
  #put(block) {
    const { n, start } = block;
    if (n > this.blocks.length || start !== (n ? this.blocks[n - 1].end : 0)) throw new Gap();
    this.blocks[n] = block;
  }

  /** Whether there is nothing in it but thoughts. */
  get silent() {
    return this.blocks.every(({ kind }) => kind === "reasoning");
  }

  /** All sources joined in order: what `length` and `sha256` are about. */
  get content() {
    return this.blocks.map((block) => block.text).join("");
  }

  /** What a person copies: the text, without what was thought and called. */
  get text() {
    return this.blocks.map((block) => (block.kind === "text" ? block.text : "")).join("");
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
