/**
 * Whether somebody looks at the page, and whether it runs at all.
 *
 * A hidden page keeps no stream of an answer open: a browser has six connections for all its tabs.
 * A page that is frozen or kept for Back keeps none whatsoever, else it would not be kept.
 */

/** Milliseconds for which a hidden page goes on as if it were seen. */
const LINGER = 20_000;
/** Milliseconds: a timer that is late by twice that has slept, and so have the connections. */
const TICK = 5_000;
/** Milliseconds by which a hidden page's timers are late without anybody having slept. */
const THROTTLED = 60_000;

/**
 * `on.rest()`: nobody looks; `on.leave()`: we may be frozen now; `on.wake()`: we slept, and run again;
 * `on.back({ slept })`: somebody looks again; slept: connections from before are dead.
 */
export function watchPresence(on) {
  let resting = null;
  let slept = false;
  const back = (dead) => {
    slept ||= dead;
    if (dead) on.wake();
    if (document.hidden) return;
    on.back({ slept });
    slept = false;
  };
  document.addEventListener("visibilitychange", () => {
    clearTimeout(resting);
    if (document.hidden) resting = setTimeout(on.rest, LINGER);
    else back(false);
  });
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
