/** A small chart of one number over the last minutes. */

import { el } from "./dom.js";
import { locale, t, timeOf } from "./t.js";

const SVG = "http://www.w3.org/2000/svg";
/** The viewBox; CSS stretches it. */
const WIDTH = 240;
const HEIGHT = 50;

function shape(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** A number with separators: 1,234 and 12.5. */
export const short = (value) => (value ?? 0).toLocaleString(locale, { maximumFractionDigits: value < 10 ? 1 : 0 });

export class Chart {
  constructor(name, label) {
    this.label = label;
    this.value = el("p", { className: "value" }, "–");
    this.note = el("p", { className: "note" });
    this.area = shape("path", { class: "area" });
    this.line = shape("path", { class: "line" });
    this.cursor = shape("line", { class: "cursor", y1: 0, y2: HEIGHT, visibility: "hidden" });
    this.svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.svg.append(this.area, this.line, this.cursor);
    this.element = el("article", { className: "chart", dataset: { name } }, el("h2", {}, label), this.value, this.note, this.svg);
    this.element.addEventListener("pointermove", (event) => this.#point(event));
    this.element.addEventListener("pointerleave", () => this.#leave());
    this.values = [];
  }

  /** Draw the values at these times (epoch seconds); `now` and `text` are shown above the chart. */
  draw(at, values, now, text = "") {
    Object.assign(this, { at, values, now, text });
    const max = Math.max(...values, 1);
    const x = (index) => (values.length < 2 ? WIDTH : (index / (values.length - 1)) * WIDTH);
    const y = (value) => HEIGHT - 1 - (value / max) * (HEIGHT - 6);
    const path = values.map((value, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    this.line.setAttribute("d", path);
    this.area.setAttribute("d", path && `${path}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`);
    const minutes = at.length > 1 ? Math.round((at.at(-1) - at[0]) / 60) : 0;
    this.svg.setAttribute("aria-label", t("{label}: at most {max} in the last {minutes} min", { label: this.label, max: short(max), minutes: minutes || 1 }));
    if (this.cursor.getAttribute("visibility") === "hidden") this.#leave();
  }

  #leave() {
    this.cursor.setAttribute("visibility", "hidden");
    this.value.textContent = short(this.now);
    this.note.textContent = this.text;
  }

  /** Show the value at the pointer. */
  #point({ clientX }) {
    if (this.values.length < 2) return;
    const { left, width } = this.svg.getBoundingClientRect();
    const share = Math.min(Math.max((clientX - left) / width, 0), 1);
    const index = Math.round(share * (this.values.length - 1));
    const place = (index / (this.values.length - 1)) * WIDTH;
    for (const name of ["x1", "x2"]) this.cursor.setAttribute(name, place);
    this.cursor.setAttribute("visibility", "visible");
    this.value.textContent = short(this.values[index]);
    this.note.textContent = timeOf(this.at[index] * 1000);
  }
}
