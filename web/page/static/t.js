/**
 * The words of the page. The English sentence is the key; another language's catalogue says it in
 * its own words, and what it lacks stays English (docs/translating.md).
 *
 * The server chooses the language, and has the browser load its catalogue (words/*.json) beside the
 * modules. An English page loads none.
 */

/** The page's language. */
const language = globalThis.document?.documentElement.lang || "en";
/** Its catalogue: what it says for sentences of ours, and for codes of errors. */
const { words = {}, errors = {} } = language === "en" ? {} : await read();
const plurals = new Intl.PluralRules(language);

/** For numbers and dates: the page's language as it is used where the person is. */
export const locale = globalThis.navigator?.languages?.find((one) => one.split("-")[0] === language) ?? language;

/** Without its catalogue the page is in English: that is better than no page. */
async function read() {
  try {
    return await (await fetch(`/static/words/${language}.json`)).json();
  } catch {
    return {};
  }
}

/** From right to left, what is put into a sentence keeps its own direction (Unicode's isolates). */
const isolated = globalThis.document?.documentElement.dir === "rtl" ? (text) => `\u2068${text}\u2069` : (text) => text;
const shown = (value) => (typeof value === "number" ? value.toLocaleString(locale) : isolated(value));

/** `{name}` replaced by `values.name`. */
const fill = (sentence, values) => sentence.replace(/\{(\w+)\}/g, (hole, name) => (name in values ? shown(values[name]) : hole));

/** A sentence, with `{name}` replaced by `values.name`. */
export const t = (sentence, values = {}) => fill(words[sentence] ?? sentence, values);

/** A sentence by a count, which is `{n}` in it: ours has two forms, other languages have up to six. */
export function n(count, one, many, values = {}) {
  const forms = words[many];
  const said = forms ? forms[plurals.select(count)] ?? forms.other : count === 1 ? one : many;
  return fill(said, { n: count, ...values });
}

/** What went wrong, said by the service: {code, message}. */
export const why = ({ code, message }) => fill(errors[code] ?? message, { message });

/** A number with separators, and with this many decimals. */
export const number = (value, decimals = 0) =>
  value.toLocaleString(locale, { minimumFractionDigits: decimals, maximumFractionDigits: decimals });

/** Words as a list: "a, b, c". (Intl's lists have an "and" in Arabic, where we want none.) */
export const list = (all) => all.reduce((before, more) => before + t(", {more}", { more }));

/** A day, or a moment, as people read it. */
export const dateOf = (moment) => new Date(moment).toLocaleDateString(locale, { dateStyle: "medium" });
export const momentOf = (moment) => new Date(moment).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
export const timeOf = (moment) => new Date(moment).toLocaleTimeString(locale);
