/** A device in words. Pure. */

import { t } from "./t.js";

/** "phone Safari", as the server says it, as people say it. */
export function deviceName(device) {
  const [kind, ...browser] = (device ?? "").split(" ");
  const name = { phone: t("phone"), tablet: t("tablet"), desktop: t("computer") }[kind] ?? t("device");
  return browser.length ? t("{device} ({browser})", { device: name, browser: browser.join(" ") }) : name;
}
