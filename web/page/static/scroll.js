/**
 * Follow what is written, but never against the person who scrolls.
 *
 * Whatever moves the pane up and is not ours is a person: a finger, the wheel, a key, the scrollbar,
 * a search in the page, the focus, a selection that is dragged. The first such move ends the
 * following, however small it is. (Nothing else moves it up while we follow: the browser's own
 * anchoring is switched off then, and a pane that became shorter stands at its end.)
 *
 * A move needs a moment to become visible, and would be lost if we went to the end meanwhile. So
 * nothing is moved while a finger or a button is down, and for GRACE after a wheel or a key.
 *
 * The following begins again at the end only: when a person has gone down to it, or by the button.
 */

/** Pixels from the end that count as the end for somebody who goes there. */
const NEAR = 48;
/** Pixels down that are a direction, and no trembling finger. */
const DOWN = 24;
/** Pixels of a finger's way that are no tap. */
const DRAG = 10;
/** Milliseconds from a wheel's or key's turn to its first effect, and from the last effect to the next. */
const GRACE = 400;
const KEYS = ["ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End", " "];

export class Scroll {
  /** `pane` scrolls, `content` grows, `latest` is the button that leads back down. */
  constructor(pane, content, latest) {
    this.pane = pane;
    this.latest = latest;
    /** Where it stood when we last looked, and the highest place since it was left. */
    this.top = 0;
    this.highest = 0;
    /** Fingers and buttons that are down; until when a wheel or a key may still move it. */
    this.fingers = 0;
    this.buttons = 0;
    this.moving = 0;
    /** How often a person has left the end. */
    this.left = 0;
    this.#follow(true);
    const quietly = { passive: true, capture: true };
    pane.addEventListener("scroll", () => this.#look(), { passive: true });
    pane.addEventListener("wheel", ({ ctrlKey }) => ctrlKey || this.#grace(), quietly);
    addEventListener("keydown", (event) => this.#key(event), quietly);
    pane.addEventListener("touchstart", (event) => this.#touch(event), quietly);
    pane.addEventListener("pointerdown", ({ pointerType, buttons }) => pointerType === "touch" || this.#press(buttons), quietly);
    for (const event of ["pointerup", "pointermove", "pointercancel", "dragend"]) {
      addEventListener(event, ({ pointerType, buttons }) => pointerType === "touch" || this.#press(buttons && this.buttons), quietly);
    }
    addEventListener("blur", () => this.#press(0));
    latest.addEventListener("click", () => this.down());
    new ResizeObserver(() => this.#grown()).observe(content);
    new ResizeObserver(() => this.#grown()).observe(pane);
  }

  get #rest() {
    return this.pane.scrollHeight - this.pane.clientHeight - this.pane.scrollTop;
  }

  #follow(following) {
    if (this.following && !following) this.left += 1;
    this.following = following;
    this.pane.style.overflowAnchor = following ? "none" : "";
    this.highest = this.top;
  }

  /** Go to the end and stay there. */
  down() {
    this.#follow(true);
    this.#place(this.pane.scrollHeight);
  }

  /** Change what is above without moving what is seen. */
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

  // --- what a person does

  /** Whether a person's move may be under way. */
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

  /** Followed by what it touches: that may leave the page while it is written, and its events with it. */
  #touch({ target, touches }) {
    const from = touches[0];
    this.fingers = touches.length;
    const over = new AbortController();
    const how = { passive: true, signal: over.signal };
    const moved = ({ touches: [to], touches: { length } }) => {
      const [across, along] = [Math.abs(to.clientX - from.clientX), to.clientY - from.clientY];
      const up = length === 1 && along > DRAG && along > across;
      if (up && this.following && this.pane.scrollTop > 0 && !scrollsUp(target, this.pane)) this.#leave();
    };
    const lifted = ({ touches: { length }, targetTouches }) => {
      if (!targetTouches.length) over.abort();
      this.fingers = length;
      this.#grace(); // what it has set going
      if (!length) this.#release();
    };
    target.addEventListener("touchmove", moved, how);
    for (const event of ["touchend", "touchcancel"]) target.addEventListener(event, lifted, how);
  }

  /** Nothing is held any more: is it at the end? */
  #release() {
    this.#grace();
    this.#return();
    this.#grown();
  }

  // --- what comes of it

  #leave() {
    this.#follow(false);
    this.#button();
  }

  /** Follow again if a person has gone down to the end and let go. */
  #return() {
    if (this.following || this.fingers || this.buttons) return;
    const [rest, down] = [this.#rest, this.pane.scrollTop - this.highest];
    if ((rest < NEAR && down > DOWN && this.#held) || (rest <= 1 && down > 0)) this.#follow(true);
  }

  #look() {
    const { scrollTop } = this.pane;
    const moved = scrollTop - this.top;
    this.top = scrollTop;
    if (moved < 0 && this.following && this.#rest > 1) this.#follow(false);
    if (moved < 0) this.highest = Math.min(this.highest, scrollTop);
    if (moved && this.#held) this.#grace(); // a throw or a key goes on for a while
    if (moved > 0) this.#return();
    this.#button();
  }

  #grown() {
    if (this.following && !this.#held) this.#place(this.pane.scrollHeight);
    this.#button();
  }

  #button() {
    this.latest.hidden = this.following || this.#rest < NEAR;
  }
}

/** Whether something between `target` and `pane` would scroll up instead of the pane. */
function scrollsUp(target, pane) {
  for (let one = target; one && one !== pane; one = one.parentElement) {
    if (one.scrollTop > 0 && one.scrollHeight > one.clientHeight) return true;
  }
  return false;
}
