/**
 * Whether the page is visible, and whether it runs at all.
 *
 * A hidden page streams no answer (see tabs.js). A page that is frozen or kept for Back has no
 * connection at all: browsers do not keep pages that have one.
 */

/** Milliseconds. A timer that is late by twice this has slept, and so have the connections. */
const TICK = 5_000;
/** Milliseconds by which a hidden page's timers may be late without sleep. */
const THROTTLED = 60_000;

/**
 * `on.hidden()`; `on.leave()`: the page may be frozen now; `on.wake()`: it slept, and runs again;
 * `on.visible({ slept })`: after sleep, old connections are dead.
 */
export function watchPresence(on) {
  let slept = false;
  const check = (dead) => {
    slept ||= dead;
    if (dead) on.wake();
    if (document.hidden) return;
    on.visible({ slept });
    slept = false;
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? on.hidden() : check(false)));
  addEventListener("pagehide", on.leave);
  document.addEventListener("freeze", on.leave);
  document.addEventListener("resume", () => check(true));
  addEventListener("pageshow", ({ persisted }) => persisted && check(true));
  addEventListener("online", () => check(true));
  addEventListener("focus", () => check(false));
  let tick = Date.now();
  setInterval(() => {
    const late = Date.now() - tick - TICK;
    tick = Date.now();
    if (late > TICK * 2 + (document.hidden ? THROTTLED : 0)) check(true);
  }, TICK);
}
