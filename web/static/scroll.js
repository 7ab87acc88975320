/** Follow what is written, but never pull back somebody who has scrolled up to read. */

const NEAR = 48;

export class Scroll {
  /** `pane` scrolls, `content` grows, `latest` is the button that leads back down. */
  constructor(pane, content, latest) {
    this.pane = pane;
    this.latest = latest;
    this.following = true;
    pane.addEventListener("scroll", () => this.#look(), { passive: true });
    pane.addEventListener("wheel", (event) => event.deltaY < 0 && this.#leave(), { passive: true });
    latest.addEventListener("click", () => this.down());
    new ResizeObserver(() => this.#grown()).observe(content);
    new ResizeObserver(() => this.#grown()).observe(pane);
  }

  get #rest() {
    return this.pane.scrollHeight - this.pane.clientHeight - this.pane.scrollTop;
  }

  /** Go to the end and stay there. */
  down() {
    this.following = true;
    this.pane.scrollTop = this.pane.scrollHeight;
    this.#button();
  }

  /** Change what is above without moving what is seen. */
  keep(change) {
    const below = this.pane.scrollHeight - this.pane.scrollTop;
    change();
    this.pane.scrollTop = this.pane.scrollHeight - below;
  }

  #leave() {
    if (this.pane.scrollHeight > this.pane.clientHeight) this.following = false;
    this.#button();
  }

  /** Whoever scrolls decides: up is leaving, all the way down is following again. */
  #look() {
    const up = this.pane.scrollTop < (this.top ?? 0);
    this.top = this.pane.scrollTop;
    if (this.#rest < NEAR && !up) this.following = true;
    else if (up && this.#rest >= NEAR) this.following = false;
    this.#button();
  }

  #grown() {
    if (this.following) this.pane.scrollTop = this.pane.scrollHeight;
    this.top = this.pane.scrollTop;
    this.#button();
  }

  #button() {
    this.latest.hidden = this.following || this.#rest < NEAR;
  }
}
