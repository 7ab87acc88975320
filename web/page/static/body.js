/**
 * The body of an answer: finished blocks, which never change, and the open block.
 *
 * Positions count Unicode code points and come from the server with each block. They are never
 * computed from the length of a string here, which counts UTF-16 units.
 */

import { proves } from "./outlive.js";

/** A block does not start where the last one ends: read again. */
export class Gap extends Error {}

export class Body {
  constructor() {
    this.blocks = [];
    /** The open block: its HTML so far, without its text. */
    this.open = null;
    /** The end of all blocks, the open one included. */
    this.covered = 0;
  }

  /** The end of the last finished block, where a stream resumes. */
  get position() {
    return this.blocks.at(-1)?.end ?? 0;
  }

  /** Add a frame. Throws Gap. */
  take({ blocks, open, position }) {
    for (const block of blocks) this.#put(block);
    if (open && open.n !== this.blocks.length) throw new Gap();
    if (open !== undefined) this.open = open;
    this.covered = Math.max(position ?? 0, this.position);
  }

  /** A repeated block is the same as before; a new one starts where the last one ends. */
  #put(block) {
    const { n, start } = block;
    if (n > this.blocks.length || start !== (n ? this.blocks[n - 1].end : 0)) throw new Gap();
    this.blocks[n] = block;
  }

  /** What it holds instead of text: "nothing", "reasoning" or "tool_call"; "" if it has text. */
  get without() {
    const kinds = new Set(this.blocks.map(({ kind }) => kind));
    if (kinds.has("text")) return "";
    return kinds.has("tool_call") ? "tool_call" : kinds.size ? "reasoning" : "nothing";
  }

  /** All text, which `length` and `sha256` cover. */
  get content() {
    return this.blocks.map((block) => block.text).join("");
  }

  /** The text that is copied: without reasoning and tool calls. */
  get text() {
    return this.blocks.map((block) => (block.kind === "text" ? block.text : "")).join("");
  }

  /** Whether this is exactly what the server wrote. */
  proves(end) {
    return proves(this.content, end);
  }
}
