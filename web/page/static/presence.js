/**
 * Whether somebody looks at the page, and whether it runs at all.
 *
 * Being hidden is a state: a page that is hidden, from its beginning or since a moment ago, streams
 * no answer (see tabs.js). A page that is frozen or kept for Back holds no connection whatsoever,
 * else it would not be kept.
 */

/** Milliseconds: a timer that is late by twice that has slept, and so have the connections. */
const TICK = 5_000;
/** Milliseconds by which a hidden page's timers are late without anybody having slept. */
const THROTTLED = 60_000;

/**
 * `on.rest()`: nobody looks; `on.leave()`: we may be frozen now; `on.wake()`: we slept, and run again;
 * `on.back({ slept })`: somebody looks again; slept: connections from before are dead.
 */
export function watchPresence(on) {
  let slept = false;
  const back = (dead) => {
    slept ||= dead;
    if (dead) on.wake();
    if (document.hidden) return;
    on.back({ slept });
    slept = false;
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? on.rest() : back(false)));
  addEventListener("pagehide", on.leave);
  document.addEventListener("freeze", on.leave);
  document.addEventListener("resume", () => back(true));
  addEventListener("pageshow", ({ persisted }) => persisted && back(true));
  addEventListener("online", () => back(true));
  addEventListener("focus", () => back(false));
  let tick = Date.now();
  setInterval(() => {
    const late = Date.now() - tick - TICK;
    tick = Date.now();
    if (late > TICK * 2 + (document.hidden ? THROTTLED : 0)) back(true);
  }, TICK);
}
