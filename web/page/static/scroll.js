/**
 * Follow the end while text arrives, but never against a person who scrolls.
 *
 * Any move up that is not ours is a person's: touch, wheel, key, scrollbar, a search in the page, the
 * focus, a dragged selection. The first one ends the following, however small. (Nothing else moves
 * the pane up then: the browser's scroll anchoring is off, and a pane that shrinks stays at its end.)
 *
 * A move takes a moment to have an effect, and would be lost if we scrolled meanwhile. So we do not
 * scroll while a finger or button is down, and for GRACE after a wheel or key.
 *
 * Following begins again only at the end: when a person scrolls there, or by the button.
 *
 * A place can be held, too (`hold`): until a person moves it stays where it is on the screen, however the
 * text above and below it grows.
 */

/** Pixels from the end that count as the end. */
const NEAR = 48;
/** Pixels down that are intended: more than a trembling finger. */
const DOWN = 24;
/** Pixels from which on a touch is no tap. */
const DRAG = 10;
/** Milliseconds from a wheel or key event to its first effect, and between two effects. */
const GRACE = 400;
const KEYS = ["ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End", " "];

export class Scroll {
  /** `pane` scrolls, `content` grows, `latest` is the button that scrolls to the end. */
  constructor(pane, content, latest) {
    this.pane = pane;
    this.content = content;
    this.latest = latest;
    /** What `hold` was given. */
    this.anchor = null;
    /** The last seen position, and the highest since the end was left. */
    this.top = 0;
    this.highest = 0;
    /** Fingers and buttons that are down; until when a wheel or key may have effects. */
    this.fingers = 0;
    this.buttons = 0;
    this.moving = 0;
    /** How often a person left the end. */
    this.left = 0;
    this.#follow(true);
    const passive = { passive: true, capture: true };
    pane.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    pane.addEventListener("wheel", ({ ctrlKey }) => ctrlKey || this.#grace(), passive);
    addEventListener("keydown", (event) => this.#key(event), passive);
    pane.addEventListener("touchstart", (event) => this.#touch(event), passive);
    pane.addEventListener("pointerdown", ({ pointerType, buttons }) => pointerType === "touch" || this.#press(buttons), passive);
    for (const event of ["pointerup", "pointermove", "pointercancel", "dragend"]) {
      addEventListener(event, ({ pointerType, buttons }) => pointerType === "touch" || this.#press(buttons && this.buttons), passive);
    }
    addEventListener("blur", () => this.#press(0));
    latest.addEventListener("click", () => this.down());
    new ResizeObserver(() => this.#grown()).observe(content);
    new ResizeObserver(() => this.#grown()).observe(pane);
  }

  get #toEnd() {
    return this.pane.scrollHeight - this.pane.clientHeight - this.pane.scrollTop;
  }

  #follow(following) {
    if (this.following && !following) this.left += 1;
    this.following = following;
    this.anchor = null;
    this.pane.style.overflowAnchor = following ? "none" : "";
    this.highest = this.top;
  }

  /** Scroll to the end and follow it. */
  down() {
    this.#follow(true);
    this.#place(this.pane.scrollHeight);
  }

  /** Begin at the top. */
  up() {
    this.#follow(false);
    this.#place(0);
  }

  /** Hold a place: `find()` returns how far to scroll for it, or null while it is not there. */
  hold(find) {
    this.#follow(false);
    this.pane.style.overflowAnchor = "none"; // we do that
    this.anchor = find;
    this.#grown();
  }

  /** Whether the end is visible, or followed. */
  get atEnd() {
    return this.following || this.#toEnd < NEAR;
  }

  /** Change what is above without moving what is visible. */
  keep(change) {
    const below = this.pane.scrollHeight - this.pane.scrollTop;
    change();
    this.#place(this.pane.scrollHeight - below);
  }

  #place(top) {
    this.pane.scrollTop = top;
    this.top = this.pane.scrollTop;
    this.#button();
  }

  // --- events

  /** Whether a person may be scrolling. */
  get #held() {
    return this.fingers > 0 || this.buttons > 0 || performance.now() < this.moving;
  }

  #grace() {
    this.moving = performance.now() + GRACE;
    clearTimeout(this.after);
    this.after = setTimeout(() => this.#grown(), GRACE + 20);
  }

  #key({ key, target, defaultPrevented }) {
    const typing = target.closest?.("input, textarea, select, [contenteditable]");
    const ours = target === document.body || this.pane.contains(target);
    if (ours && !typing && !defaultPrevented && (KEYS.includes(key) || key === "Tab")) this.#grace();
  }

  #press(buttons) {
    if (buttons === this.buttons) return;
    this.buttons = buttons;
    if (!buttons) this.#release();
  }

  /** Listen on the touched element: if it is removed, its events do not bubble any more. */
  #touch({ target, touches }) {
    const from = touches[0];
    this.fingers = touches.length;
    const ended = new AbortController();
    const options = { passive: true, signal: ended.signal };
    const moved = ({ touches: [to], touches: { length } }) => {
      const [across, along] = [Math.abs(to.clientX - from.clientX), to.clientY - from.clientY];
      const up = length === 1 && along > DRAG && along > across;
      if (up && this.following && this.pane.scrollTop > 0 && !scrollsUp(target, this.pane)) this.#leave();
    };
    const lifted = ({ touches: { length }, targetTouches }) => {
      if (!targetTouches.length) ended.abort();
      this.fingers = length;
      this.#grace(); // momentum
      if (!length) this.#release();
    };
    target.addEventListener("touchmove", moved, options);
    for (const event of ["touchend", "touchcancel"]) target.addEventListener(event, lifted, options);
  }

  /** The last finger or button is up. */
  #release() {
    this.#grace();
    this.#return();
    this.#grown();
  }

  // --- following

  #leave() {
    this.#follow(false);
    this.#button();
  }

  /** Follow again if a person has scrolled down to the end and let go. */
  #return() {
    if (this.following || this.fingers || this.buttons) return;
    const [left, down] = [this.#toEnd, this.pane.scrollTop - this.highest];
    if ((left < NEAR && down > DOWN && this.#held) || (left <= 1 && down > 0)) this.#follow(true);
  }

  #scrolled() {
    const { scrollTop } = this.pane;
    const moved = scrollTop - this.top;
    this.top = scrollTop;
    if (this.anchor && (moved > 1 || (moved < -1 && this.#toEnd > 1))) this.#follow(false);
    if (moved < 0 && this.following && this.#toEnd > 1) this.#follow(false);
    if (moved < 0) this.highest = Math.min(this.highest, scrollTop);
    if (moved && this.#held) this.#grace(); // momentum and repeated keys
    if (moved > 0) this.#return();
    this.#button();
  }

  #grown() {
    const { activeElement } = document;
    const typing = activeElement.tagName === "TEXTAREA" && this.content.contains(activeElement); // an open editor stays in view
    if (this.following && !this.#held && !typing) this.#place(this.pane.scrollHeight);
    const top = this.anchor && !this.#held ? this.anchor() : null;
    if (top !== null) {
      this.#place(top);
      this.highest = this.top;
    }
    this.#button();
  }

  #button() {
    this.latest.hidden = this.atEnd || !this.content.childElementCount;
  }
}

/** Whether an element between `target` and `pane` would scroll up instead of the pane. */
function scrollsUp(target, pane) {
  for (let one = target; one && one !== pane; one = one.parentElement) {
    if (one.scrollTop > 0 && one.scrollHeight > one.clientHeight) return true;
  }
  return false;
}
