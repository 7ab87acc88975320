/**
 * How the tabs of one browser share its connections to the server.
 *
 * Over HTTP/1.1 a browser has six connections to a server, for all tabs together, and an event stream
 * holds one of them. So:
 *
 * - One tab, the leader, has the stream of notices and passes them on. Where the browser has locks, the
 *   tab with the lock leads; a crash frees it. On plain HTTP from another machine there are none: tabs
 *   ask "who leads?" over the channel, and lead if no tab objects. They repeat the question, which
 *   finds a leader that crashed or was discarded.
 * - A hidden tab streams no answer. Of the visible tabs that show an answer being written, STREAMS
 *   stream at a time: the one used last always, the others in turns. Each tab computes that from what
 *   all tabs report and from the clock they share.
 *
 * So at most 1 + STREAMS connections are held; the others are free for questions, Stop and pages. HTTP/2
 * has one connection for everything: there every visible tab may stream.
 *
 * Nothing is stored, so nothing is left over from a closed tab, and a browser without storage is no
 * special case. Timers of hidden tabs may be a minute late, replies to messages are not: so tabs ask
 * when they need to know, and what hidden tabs do by timer is never urgent.
 */

const CHANNEL = "outlive.notices";
const LOCK = "outlive.notices";
/** Milliseconds within which a leader replies; longer with locks, because then its lock is stolen. */
const REPLY = 400;
const REPLY_WITH_LOCK = 2_500;
/** Milliseconds between two questions for a leader, without locks. */
const ASK = 3_000;
/** Milliseconds between two reports of a visible tab; without one for three of these it is gone. */
const BEAT = 1_000;
/** Answers streamed at a time over HTTP/1.1. */
const STREAMS = 3;
/** Milliseconds of a turn, and of the pause after it, in which the others close their streams. */
const TURN = 3_000;
const BETWEEN = 300;

/** Whether all requests share one connection. */
const shared = () => /^h[23]/.test(performance.getEntriesByType("navigation")[0]?.nextHopProtocol ?? "");

export class Tabs {
  /**
   * `on.lead()`, `on.yield()`: this tab leads, or no longer; `on.message(message)`: another tab passes
   * something on; `on.greeted(id)`: a new tab needs the state; `on.turn()`: whether this tab may stream
   * may have changed.
   */
  constructor(on) {
    this.on = on;
    // Differs even between tabs that open in the same millisecond.
    this.id = `${Date.now()}-${Math.random()}`;
    this.leads = false;
    /** The other visible tabs by id: {wants, streams, used, seen}. */
    this.others = new Map();
    this.wants = false;
    this.streams = false;
    /** When this tab was last used. */
    this.used = Date.now();
    for (const event of ["focus", "pointerdown", "keydown"]) addEventListener(event, () => this.#use(), { capture: true, passive: true });
    document.addEventListener("visibilitychange", () => this.#report());
    setInterval(() => document.hidden || this.#report(), BEAT);
    setInterval(() => this.crowded && on.turn(), BETWEEN / 2);
    if (!navigator.locks) setInterval(() => this.check(), ASK); // with locks the browser knows
  }

  /** Take part; again after `end`. */
  begin() {
    if (this.ended && !this.ended.signal.aborted) return;
    this.ended = new AbortController();
    try {
      this.channel = new BroadcastChannel(CHANNEL);
      this.channel.onmessage = ({ data }) => this.#receive(data);
    } catch {
      this.channel = null; // then every tab leads for itself
    }
    if (!this.channel) return void this.#lead();
    this.#report();
    if (navigator.locks) this.#queue({});
    this.#ask({ hello: this.id });
  }

  /** Close everything: the page may be frozen now, or kept for Back. */
  end() {
    if (!this.ended || this.ended.signal.aborted) return;
    if (this.leads) this.send({ free: this.id });
    this.send({ here: { id: this.id, visible: false } });
    this.ended.abort();
    clearTimeout(this.asking);
    this.asking = null;
    this.#yield();
    this.others.clear();
    this.channel?.close();
    this.channel = null;
  }

  /** Ask whether there is a leader. */
  check() {
    if (this.channel && !this.leads && !this.asking) this.#ask({ who: this.id });
  }

  send(message) {
    this.channel?.postMessage(message);
  }

  // --- who leads

  /** Ask for the leader; without a reply this tab leads. */
  #ask(question) {
    this.send(question);
    clearTimeout(this.asking);
    this.asking = setTimeout(() => {
      this.asking = null;
      if (this.leads) return;
      if (navigator.locks) this.#queue({ steal: true });
      else this.#lead();
    }, navigator.locks ? REPLY_WITH_LOCK : REPLY);
  }

  #replied() {
    clearTimeout(this.asking);
    this.asking = null;
  }

  /** Wait for the lock, or steal it from a tab that does not reply. */
  #queue({ steal }) {
    const { signal } = this.ended;
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
    this.#replied();
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
    this.send({ held: { id: this.id, since: this.since }, to });
  }

  #receive({ hello, who, held, free, here, to = this.id, ...message }) {
    const asks = hello ?? who;
    if (asks && this.leads) this.#claim(asks);
    // Of two that ask at the same time the older one leads.
    else if (asks && this.asking && !navigator.locks && before(this.id, asks)) this.send({ held: { id: this.id }, to: asks });
    if (hello) {
      this.#report();
      this.on.greeted(hello);
    }
    if (held && to === this.id) this.#contend(held);
    if (free && !navigator.locks) this.#ask({ who: this.id });
    if (here) this.#note(here);
    if (to === this.id && (message.state || message.changes)) {
      if (message.state) this.#replied(); // a page of an older version sends nothing else
      this.on.message(message);
    }
  }

  /** Another tab leads, or is about to. If this one does, too, the one that led first stays. */
  #contend({ id, since }) {
    if (!this.leads) this.#replied();
    else if (since && !navigator.locks) {
      if (since < this.since || (since === this.since && before(id, this.id))) this.#yield();
      else this.#claim();
    }
  }

  // --- who may stream

  /** Report this tab to the others. */
  #report() {
    this.send({ here: { id: this.id, visible: !document.hidden, wants: this.wants, streams: this.streams, used: this.used } });
  }

  #note({ id, visible, ...tab }) {
    if (visible) this.others.set(id, { ...tab, id, seen: Date.now() });
    else this.others.delete(id);
    this.on.turn();
  }

  #use() {
    const last = this.visible.every(({ used }) => used < this.used);
    this.used = Date.now();
    if (last || !this.wants) return;
    this.#report();
    this.on.turn();
  }

  /** The other visible tabs. */
  get visible() {
    const since = Date.now() - 3 * BEAT;
    return [...this.others.values()].filter(({ seen }) => seen > since);
  }

  /** Whether any tab is visible. */
  get watched() {
    return !document.hidden || this.visible.length > 0;
  }

  /** Whether this tab shows an answer that is being written. */
  want(wants) {
    if (wants === this.wants) return;
    this.wants = wants;
    this.#report();
  }

  /** Whether this tab streams an answer now. */
  stream(streams) {
    if (streams === this.streams) return;
    this.streams = streams;
    this.#report();
  }

  get crowded() {
    return this.wants && !document.hidden && !shared() && this.visible.filter(({ wants }) => wants).length >= STREAMS;
  }

  /** Whether this tab may stream an answer now. */
  get turn() {
    if (document.hidden) return false;
    if (!this.crowded) return true;
    const all = [this, ...this.visible.filter(({ wants }) => wants)];
    const last = all.reduce((one, other) => (one.used > other.used || (one.used === other.used && before(one.id, other.id)) ? one : other));
    if (last === this) return true;
    if (!this.streams && this.visible.filter(({ streams }) => streams).length >= STREAMS) return false;
    const rest = all.filter((one) => one !== last).map(({ id }) => id).sort();
    const now = Date.now();
    return [now, now - BETWEEN].every((at) => this.#due(rest, at));
  }

  /** Whether this tab is among those whose turn it is. */
  #due(circle, at) {
    const first = (Math.floor(at / TURN) * (STREAMS - 1)) % circle.length;
    const place = (circle.indexOf(this.id) - first + circle.length) % circle.length;
    return place < STREAMS - 1;
  }
}

/** Whether tab `one` is older; both tabs agree. */
const before = (one, other) => one.localeCompare(other, "en", { numeric: true }) < 0;
