// Keeps the page as the manager has it: it is fetched again when /events says that something has changed, and what differs is
// moved over, node by node, so that focus, selection, scroll and opened details stay. Nothing is ever sent but GET.
"use strict";

const BUSY_MS = 1000, IDLE_MS = 30000, LOST_MS = 2000, POLL_MS = 5000, PATIENCE_MS = 15000;
const lost = document.getElementById("lost");
let events, timer, quiet = 0, fetching = false, again = false, lostAt = null;

// `old` becomes like `now`.
function morph(old, now) {
  if (old.isEqualNode(now)) return;
  if (old.nodeName !== now.nodeName || old.id !== now.id) return old.replaceWith(now);
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.data = now.data;
    return;
  }
  for (const { name } of [...old.attributes])
    if (!now.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of now.attributes)
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const known = new Map([...old.children].filter((one) => one.id).map((one) => [one.id, one]));
  let at = old.firstChild;
  for (const next of [...now.childNodes]) {
    const same = next.id ? known.get(next.id) : at && !at.id && at;
    if (!same) old.insertBefore(next, at);
    else if (same === at) (at = at.nextSibling), morph(same, next);
    else move(old, same, at), morph(same, next);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function move(parent, node, before) {
  if (parent.moveBefore) parent.moveBefore(node, before);
  else parent.insertBefore(node, before);
}

function show(text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  const script = (of) => of.querySelector("script").getAttribute("src");
  // Another version of ramboot answers.
  if (script(page) !== script(document)) return location.reload();
  const focused = document.activeElement;
  morph(document.getElementById("page"), page.getElementById("page"));
  document.title = page.title;
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

async function refresh() {
  clearTimeout(timer);
  if (fetching) return void (again = true);
  [fetching, again] = [true, false];
  const begin = performance.now();
  let pause = IDLE_MS;
  try {
    const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    const text = await answer.text();
    if (answer.ok) {
      show(text);
      [lostAt, lost.hidden] = [null, true];
    } else tell("says that something is wrong", text);
    if (events.readyState === EventSource.CLOSED) listen();
  } catch {
    tell("does not answer", "Machines that are up need nobody.");
    pause = LOST_MS;
  }
  // A large page on a slow machine is not asked for all the time.
  quiet = performance.now() + Math.max(BUSY_MS, 4 * (performance.now() - begin));
  fetching = false;
  soon(again ? quiet - performance.now() : pause);
}

function tell(what, more) {
  lostAt ??= new Date().toLocaleTimeString([], { hourCycle: "h23" });
  lost.textContent = `The manager ${what} since ${lostAt}; what is below is old. ${more}`;
  lost.hidden = false;
  document.title = "no answer · ramboot";
}

function changed() {
  if (document.hidden) return;
  if (fetching) again = true;
  else soon(Math.max(0, quiet - performance.now()));
}

function soon(ms) {
  clearTimeout(timer);
  timer = setTimeout(refresh, ms);
}

function listen() {
  events = new EventSource("/events");
  events.addEventListener("open", changed);
  events.addEventListener("change", changed);
  events.addEventListener("error", () => {
    // Refused, as so many look already; what breaks off is opened again by the browser.
    if (events.readyState === EventSource.CLOSED) soon(POLL_MS);
    else changed();
  });
}

document.addEventListener("visibilitychange", changed);
listen();
