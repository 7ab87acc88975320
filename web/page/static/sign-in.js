/** The sign-in page. */

import { byId } from "./dom.js";
import { keepAddress, takeFragment } from "./fragment.js";
import { t, why } from "./t.js";

const form = byId("sign-in");
const problem = byId("problem");
/** The place in the page comes along as this page's fragment, which no server sees. */
const fragment = location.hash || takeFragment(form.dataset.next);
const next = () => form.dataset.next + fragment;

/** An identity provider brings the browser back without it. */
document.querySelector(".provider")?.addEventListener("click", () => keepAddress(next()));

/** Sign in; the sentence for what went wrong, or null. */
async function signIn(login, password) {
  const body = JSON.stringify({ login, password });
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  try {
    const response = await fetch("/api/sign-in", { method: "POST", headers, body });
    if (response.ok) return null;
    const data = await response.json().catch(() => null);
    return data?.detail ? why({ code: data.code, message: data.detail }) : t("The server answered {status}.", { status: String(response.status) });
  } catch {
    return t("The server cannot be reached.");
  }
}

/** Another tab has signed in: this one needs not. */
if ("BroadcastChannel" in window) new BroadcastChannel("outlive.sign-in").onmessage = () => location.replace(next());

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  const password = byId("password");
  problem.hidden = true;
  button.disabled = true;
  const wrong = await signIn(byId("login").value, password.value);
  if (wrong === null) return void location.replace(next());
  button.disabled = false;
  problem.textContent = wrong;
  problem.hidden = false;
  password.focus();
  password.select();
});
