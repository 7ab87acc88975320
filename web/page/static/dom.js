/** Elements without HTML strings: everything a person or a model wrote becomes a text node. */

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** A new element; `props` are properties, or attributes where there is no such property. */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A small button that says what it does. */
export function button(label, onclick, props = {}) {
  return el("button", { type: "button", className: "quiet", onclick, ...props }, label);
}

/** Copy a text, and say on the button whether that went well. */
export async function copyFor(pressed, text) {
  try {
    await navigator.clipboard.writeText(text);
    pressed.textContent = "Copied";
  } catch {
    pressed.textContent = "Not copied"; // the browser forbids it, or has no clipboard here
  }
  setTimeout(() => (pressed.textContent = "Copy"), 1500);
}

/** A picture that the page carries. */
export function icon(name) {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("class", "icon");
  picture.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  picture.append(use);
  return picture;
}

/** Run once before the next paint; a hidden page does not paint, so there after a while. */
export function soon(task) {
  if (document.hidden) setTimeout(task, 250);
  else requestAnimationFrame(task);
}
