/**
 * What the tabs of one browser know of each other, so that they never take each other's connections.
 *
 * Over HTTP/1.1 a browser has six connections to a server, for all its tabs together. An event
 * stream holds one as long as it lasts, so:
 *
 * - One tab, the leader, listens to the notices and passes them on. Where the browser has locks,
 *   whoever holds the lock leads, and a crash frees it. It has none on plain HTTP from another
 *   machine; there tabs ask "who leads?" over the channel, and one that is not contradicted takes
 *   over. Followers repeat the question, which finds a leader that crashed or was discarded.
 * - A hidden tab streams no answer. Of the visible ones that show an answer being written, STREAMS
 *   may stream at a time: the one that was used last, always, and the others in turns. Each tab
 *   works that out by itself, from what all of them say of themselves and the clock they share.
 *
 * So at most 1 + STREAMS connections are held, and the rest are free for questions, Stop and pages.
 * HTTP/2 has one connection for everything; there every visible tab may stream.
 *
 * Nothing is stored, so nothing is left over from a tab that is gone, and a browser that forbids
 * storage is no special case. Timers of hidden tabs are late, by a minute at worst; answers to
 * messages are not. So whoever needs to know asks, and what hidden tabs do by themselves can wait.
 */

const CHANNEL = "outlive.notices";
const LOCK = "outlive.notices";
/** Milliseconds within which a leader answers; with locks, longer: then its lock is taken away. */
const ANSWER = 400;
const ANSWER_WITH_LOCK = 2_500;
/** Milliseconds between two questions whether there is still a leader, where there are no locks. */
const ASK = 3_000;
/** Milliseconds between two notes of a visible tab that it is there; one not heard for three is gone. */
const BEAT = 1_000;
/** Answers that are streamed at a time over HTTP/1.1. */
const STREAMS = 3;
/** Milliseconds that a turn takes, and from its end to the next one's stream: first the others close. */
const TURN = 3_000;
const BETWEEN = 300;

/** Whether all requests share one connection. */
const shared = () => /^h[23]/.test(performance.getEntriesByType("navigation")[0]?.nextHopProtocol ?? "");

export class Tabs {
  /**
   * `on.lead()`, `on.yield()`: this tab begins or ceases to lead; `on.heard(message)`: another tab
   * passes something on; `on.greeted(id)`: a new tab wants to know all; `on.turn()`: whether we may
   * stream may have changed.
   */
  constructor(on) {
    this.on = on;
    // Two tabs that begin in the same millisecond still differ.
    this.id = `${Date.now()}-${Math.random()}`;
    this.leads = false;
    /** The other tabs that are seen, by id: {wants, streams, used, heard}. */
    this.others = new Map();
    this.wants = false;
    this.streams = false;
    /** When somebody last did something in this tab. */
    this.used = Date.now();
    for (const event of ["focus", "pointerdown", "keydown"]) addEventListener(event, () => this.#use(), { capture: true, passive: true });
    document.addEventListener("visibilitychange", () => this.#introduce());
    setInterval(() => document.hidden || this.#introduce(), BEAT);
    setInterval(() => this.crowded && on.turn(), BETWEEN / 2);
    if (!navigator.locks) setInterval(() => this.check(), ASK); // with locks the browser knows
  }

  /** Take part; again after `end`. */
  begin() {
    if (this.over && !this.over.signal.aborted) return;
    this.over = new AbortController();
    try {
      this.channel = new BroadcastChannel(CHANNEL);
      this.channel.onmessage = ({ data }) => this.#hear(data);
    } catch {
      this.channel = null; // then every tab is its own leader
    }
    if (!this.channel) return void this.#lead();
    this.#introduce();
    if (navigator.locks) this.#queue({});
    this.#ask({ hello: this.id });
  }

  /** Hold nothing: the page may be frozen now, or kept for Back. */
  end() {
    if (!this.over || this.over.signal.aborted) return;
    if (this.leads) this.tell({ free: this.id });
    this.tell({ here: { id: this.id, visible: false } });
    this.over.abort();
    clearTimeout(this.asking);
    this.asking = null;
    this.#yield();
    this.others.clear();
    this.channel?.close();
    this.channel = null;
  }

  /** Is there still a leader? */
  check() {
    if (this.channel && !this.leads && !this.asking) this.#ask({ who: this.id });
  }

  tell(message) {
    this.channel?.postMessage(message);
  }

  // --- who leads

  /** Ask for the leader; without an answer it is us. */
  #ask(question) {
    this.tell(question);
    clearTimeout(this.asking);
    this.asking = setTimeout(() => {
      this.asking = null;
      if (this.leads) return;
      if (navigator.locks) this.#queue({ steal: true });
      else this.#lead();
    }, navigator.locks ? ANSWER_WITH_LOCK : ANSWER);
  }

  #answered() {
    clearTimeout(this.asking);
    this.asking = null;
  }

  /** Wait for the lock, or take it away from a tab that does not answer. */
  #queue({ steal }) {
    const { signal } = this.over;
    const options = steal ? { steal } : { signal };
    navigator.locks
      .request(LOCK, options, () => {
        if (signal.aborted) return undefined;
        this.#lead();
        return new Promise((resolve) => signal.addEventListener("abort", resolve));
      })
      .catch(() => {
        if (signal.aborted) return;
        this.#yield(); // another tab took our place
        this.#queue({});
      });
  }

  #lead() {
    this.#answered();
    if (this.leads) return;
    this.leads = true;
    this.since = Date.now();
    this.#claim();
    this.on.lead();
  }

  #yield() {
    if (!this.leads) return;
    this.leads = false;
    this.on.yield();
  }

  #claim(to) {
    this.tell({ held: { id: this.id, since: this.since }, to });
  }

  #hear({ hello, who, held, free, here, to = this.id, ...message }) {
    const asks = hello ?? who;
    if (asks && this.leads) this.#claim(asks);
    // Two that ask at the same time: the elder takes it.
    else if (asks && this.asking && !navigator.locks && before(this.id, asks)) this.tell({ held: { id: this.id }, to: asks });
    if (hello) {
      this.#introduce();
      this.on.greeted(hello);
    }
    if (held && to === this.id) this.#contend(held);
    if (free && !navigator.locks) this.#ask({ who: this.id });
    if (here) this.#meet(here);
    if (to === this.id && (message.state || message.changes)) {
      if (message.state) this.#answered(); // also from a page of before, which says nothing else
      this.on.heard(message);
    }
  }

  /** Another tab leads, or is about to. If we do, too, the one that began earlier goes on. */
  #contend({ id, since }) {
    if (!this.leads) this.#answered();
    else if (since && !navigator.locks) {
      if (since < this.since || (since === this.since && before(id, this.id))) this.#yield();
      else this.#claim();
    }
  }

  // --- who is seen, and who may stream

  /** Say of ourselves what others have to know. */
  #introduce() {
    this.tell({ here: { id: this.id, visible: !document.hidden, wants: this.wants, streams: this.streams, used: this.used } });
  }

  #meet({ id, visible, ...said }) {
    if (visible) this.others.set(id, { ...said, id, heard: Date.now() });
    else this.others.delete(id);
    this.on.turn();
  }

  #use() {
    const last = this.seen.every(({ used }) => used < this.used);
    this.used = Date.now();
    if (last || !this.wants) return;
    this.#introduce();
    this.on.turn();
  }

  /** The other tabs that somebody sees. */
  get seen() {
    const lately = Date.now() - 3 * BEAT;
    return [...this.others.values()].filter(({ heard }) => heard > lately);
  }

  /** Whether somebody looks at any tab. */
  get watched() {
    return !document.hidden || this.seen.length > 0;
  }

  /** This tab shows an answer that is being written, or none any more. */
  want(wants) {
    if (wants === this.wants) return;
    this.wants = wants;
    this.#introduce();
  }

  /** This tab streams an answer from now on, or does not any more. */
  stream(streams) {
    if (streams === this.streams) return;
    this.streams = streams;
    this.#introduce();
  }

  get crowded() {
    return this.wants && !document.hidden && !shared() && this.seen.filter(({ wants }) => wants).length >= STREAMS;
  }

  /** Whether this tab may stream an answer now. */
  get turn() {
    if (document.hidden) return false;
    if (!this.crowded) return true;
    const all = [this, ...this.seen.filter(({ wants }) => wants)];
    const last = all.reduce((one, other) => (one.used > other.used || (one.used === other.used && before(one.id, other.id)) ? one : other));
    if (last === this) return true;
    if (!this.streams && this.seen.filter(({ streams }) => streams).length >= STREAMS) return false;
    const rest = all.filter((one) => one !== last).map(({ id }) => id).sort();
    const now = Date.now();
    return [now, now - BETWEEN].every((at) => this.#due(rest, at));
  }

  /** Whether our place in the circle is one of those that have their turn. */
  #due(circle, at) {
    const first = (Math.floor(at / TURN) * (STREAMS - 1)) % circle.length;
    const place = (circle.indexOf(this.id) - first + circle.length) % circle.length;
    return place < STREAMS - 1;
  }
}

/** Which of two tabs began earlier; the same for both of them. */
const before = (one, other) => one.localeCompare(other, "en", { numeric: true }) < 0;
