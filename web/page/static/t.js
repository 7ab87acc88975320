/**
 * The words of the page. The English sentence is the key; another language's catalogue says it in
 * its own words, and what it lacks stays English.
 */

/** Sentences of the page's language by their English ones; empty in English. */
const catalogue = {};

/** A sentence, with `{name}` replaced by `values.name`. */
export function t(sentence, values = {}) {
  const said = catalogue[sentence] ?? sentence;
  return said.replace(/\{(\w+)\}/g, (hole, name) => values[name] ?? hole);
}

/** One of two sentences by a count, which is `{n}` in them. */
export function n(count, one, many, values = {}) {
  return t(count === 1 ? one : many, { n: count.toLocaleString("en"), ...values });
}
