/** Style sheets of what is loaded later. */

import { el } from "./dom.js";

const loaded = new Map();

/** Load a style sheet once. Resolves when it is there, or cannot be had. */
export function sheet(name) {
  if (!loaded.has(name)) {
    loaded.set(
      name,
      new Promise((resolve) => {
        document.head.append(el("link", { rel: "stylesheet", href: `/static/${name}.css`, onload: resolve, onerror: resolve }));
      }),
    );
  }
  return loaded.get(name);
}
