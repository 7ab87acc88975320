/**
 * Whether somebody looks at the page, and whether it runs at all.
 *
 * A hidden page keeps no stream of an answer open: a browser has six connections for all its tabs.
 * A page that is frozen or kept for Back keeps none whatsoever, else it would not be kept.
 */

/** Milliseconds for which a hidden page goes on as if it were seen. */
const LINGER = 20_000;
/** Milliseconds: a timer that is late by more has slept, and so have the connections. */
const TICK = 5_000;

/**
 * `on.rest()`: nobody looks; `on.leave()`: we may be frozen now;
 * `on.back({ slept })`: somebody looks again; slept: connections from before are dead.
 */
export function watchPresence(on) {
  let resting = null;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(resting);
    if (document.hidden) resting = setTimeout(on.rest, LINGER);
    else on.back({ slept: false });
  });
  addEventListener("pagehide", on.leave);
  document.addEventListener("freeze", on.leave);
  document.addEventListener("resume", () => on.back({ slept: true }));
  addEventListener("pageshow", ({ persisted }) => persisted && on.back({ slept: true }));
  addEventListener("online", () => on.back({ slept: true }));
  addEventListener("focus", () => on.back({ slept: false }));
  let tick = Date.now();
  setInterval(() => {
    const late = Date.now() - tick - TICK;
    tick = Date.now();
    if (late > TICK * 2 && !document.hidden) on.back({ slept: true });
  }, TICK);
}
