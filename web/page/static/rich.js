/**
 * What one does with formulas and footnotes, on a page that has some.
 *
 * Whoever copies a formula gets its LaTeX, alone or in a selection. A footnote and its reference lead
 * to one another.
 */

const FORMULA = ".math[data-tex]";
const REFERENCE = "sup.footnote";

/** The formula in which a node is. */
const formulaOf = (node) => (node.closest ? node : node.parentElement)?.closest(FORMULA);

/** A range with whole formulas at its ends. */
function whole(range) {
  const found = range.cloneRange();
  const [first, last] = [formulaOf(range.startContainer), formulaOf(range.endContainer)];
  if (first) found.setStartBefore(first);
  if (last) found.setEndAfter(last);
  return found;
}

document.addEventListener("copy", (event) => {
  const selection = getSelection();
  if (event.defaultPrevented || event.target.closest?.("textarea, input") || !selection.rangeCount) return;
  if (![...document.querySelectorAll(FORMULA)].some((one) => selection.containsNode(one, true))) return;
  const box = document.createElement("div");
  box.className = "block copying";
  box.append(whole(selection.getRangeAt(0)).cloneContents());
  for (const one of box.querySelectorAll("button, .below")) one.remove();
  const html = box.innerHTML;
  for (const one of box.querySelectorAll(FORMULA)) one.replaceChildren(one.dataset.tex);
  document.body.append(box); // only what is laid out has lines
  event.clipboardData.setData("text/plain", box.innerText);
  event.clipboardData.setData("text/html", html);
  event.preventDefault();
  box.remove();
});

/** Go from a footnote's label to the other one. */
function visit(label) {
  const answer = label.closest(".message");
  const { note } = label.closest("[data-note]").dataset;
  const same = (selector) => answer.querySelector(selector.replace("?", CSS.escape(note)));
  const other = label.matches(REFERENCE) ? same(`div.footnote[data-note="?"] > sup`) : same(`sup.footnote[data-note="?"]`);
  other?.focus();
  other?.scrollIntoView({ block: "nearest" });
}

for (const kind of ["click", "keydown"]) {
  document.addEventListener(kind, (event) => {
    const label = event.target.closest?.(`${REFERENCE}, .footnote > sup`);
    if (label && (kind === "click" || event.key === "Enter")) visit(label);
  });
}
