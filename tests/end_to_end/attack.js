// What a page of another site can try against an address. `attack(target)` resolves to the ways in
// which it learned something; each way ends with an event of the browser, whatever the server does.

const SAFETY = 15_000; // milliseconds after which a way without an event has learned nothing

const first = (start) =>
  new Promise((resolve) => {
    setTimeout(() => resolve(""), SAFETY);
    start(resolve);
  });

const element = (name, attribute, url, more = {}) =>
  first((learned) => {
    const made = document.createElement(name);
    Object.assign(made, more);
    made.onload = () => learned("loaded");
    made.onerror = () => learned("");
    made[attribute] = url;
    document.body.append(made);
  });

const inside = (frame) => {
  try {
    return frame.contentDocument?.body?.innerText ?? "";
  } catch {
    return "";
  }
};

// A frame, object or embed may say nothing when it fails; the document around it loads in any case.
const embedded = (tag, attribute, url) =>
  first((learned) => {
    const made = document.createElement("iframe");
    made.srcdoc = `<${tag} ${attribute}="${url}"><p>instead</p></${tag}>`;
    made.onload = () => {
      const element = made.contentDocument.querySelector(tag);
      const found = element.contentDocument?.body?.innerText;
      learned(found ?? (element.getSVGDocument() ? "an image" : ""));
    };
    document.body.append(made);
  });

const fetched = async (url, options) => {
  try {
    const response = await fetch(url, options);
    if (response.type === "opaque") return response.status ? "status" : "";
    const reader = response.body?.getReader();
    const { value } = reader ? await reader.read() : {};
    reader?.cancel();
    return `${response.status} ${new TextDecoder().decode(value)}`;
  } catch {
    return "";
  }
};

// A form in a frame of its own; resolves when the frame has loaded whatever came back.
const posted = (url, enctype) =>
  first((learned) => {
    const frame = document.createElement("iframe");
    frame.name = `frame-${Math.random()}`;
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, { method: "POST", action: url, enctype, target: frame.name });
    const input = document.createElement("input");
    input.name = '{"content": "';
    input.value = '"}';
    form.append(input);
    document.body.append(form);
    frame.onload = () => learned(inside(frame));
    form.submit();
  });

const opened = (url) =>
  first((learned) => {
    const other = window.open(url);
    if (!other) return learned("");
    const received = (event) => event.source === other && learned("a message");
    addEventListener("message", received);
    const poll = setInterval(() => {
      let text = "";
      try {
        if (other.closed || other.location.href === "about:blank") {
          if (!other.closed) return;
        } else {
          text = other.document.documentElement.innerText;
        }
      } catch {
        other.postMessage({ please: "answer" }, "*");
        if (other.length) text = "its frames";
      }
      clearInterval(poll);
      removeEventListener("message", received);
      other.close();
      learned(text);
    }, 20);
  });

const streamed = (url) =>
  first((learned) => {
    const source = new EventSource(url, { withCredentials: true });
    source.onopen = () => (source.close(), learned("open"));
    source.onerror = () => (source.close(), learned(""));
  });

const socket = (url) =>
  first((learned) => {
    const made = new WebSocket(url.replace(/^http/, "ws"));
    made.onopen = () => (made.close(), learned("open"));
    made.onerror = () => learned("");
  });

const READ = {
  fetch: (url) => fetched(url, {}),
  "fetch with credentials": (url) => fetched(url, { credentials: "include" }),
  "fetch without CORS": (url) => fetched(url, { mode: "no-cors", credentials: "include" }),
  image: (url) => element("img", "src", url),
  "image with CORS": (url) => element("img", "src", url, { crossOrigin: "use-credentials" }),
  script: (url) => element("script", "src", url),
  module: (url) => element("script", "src", url, { type: "module" }),
  style: (url) => element("link", "href", url, { rel: "stylesheet" }),
  frame: (url) => embedded("iframe", "src", url),
  object: (url) => embedded("object", "data", url),
  embed: (url) => embedded("embed", "src", url),
  "event stream": streamed,
  WebSocket: socket,
  window: opened,
};
const WRITTEN = {
  form: (url) => posted(url, "text/plain"),
  "form of parts": (url) => posted(url, "multipart/form-data"),
  beacon: async (url) => (navigator.sendBeacon(url, '{"content": "theirs"}'), ""),
  "blind POST": (url) =>
    fetched(url, {
      method: "POST",
      mode: "no-cors",
      credentials: "include",
      headers: { "Content-Type": "text/plain" },
      body: '{"content": "theirs"}',
    }),
  ...Object.fromEntries(
    ["POST", "PUT", "PATCH", "DELETE"].map((method) => [
      method,
      (url) =>
        fetched(url, {
          method,
          credentials: "include",
          headers: { "Content-Type": "application/json" },
          body: '{"content": "theirs", "title": "theirs"}',
        }),
    ]),
  ),
};

// [[way, url, what it learned], ...] of those that learned something.
window.attack = async (readable, writable) => {
  const found = [];
  for (const [urls, all] of [[readable, READ], [writable, WRITTEN]]) {
    for (const url of urls) {
      const ways = Object.entries(all);
      const learned = await Promise.all(ways.map(async ([way, go]) => [way, url, await go(url)]));
      found.push(...learned.filter(([, , what]) => what));
    }
  }
  return found;
};
