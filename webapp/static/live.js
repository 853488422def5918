// Pages about jobs move by themselves: the page is asked again, at intervals or when the job's stream says that something happened.
import {ask, events} from "./ask.js";
import {losses} from "./losses.js";

const pulse = document.getElementById("pulse");
const live = document.getElementById("live");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const clock = () => `${new Date().toISOString().slice(11, 19)} UTC`;
let seen = clock();

function say(away) {
  pulse.classList.toggle("bad", away);
  const words = away ? `The connection is away. This is how it stood at ${seen}; trying again.` : "Live";
  if (pulse.textContent !== words) pulse.textContent = words;
}

const leaves = (root) => [...root.querySelectorAll("[id]")].filter((each) => !each.querySelector("[id]"));
const names = (root) => [...root.querySelectorAll("[id]")].map((each) => each.id).join();

// Only what is different is replaced, so that the keyboard, and whoever reads, stay where they are.
function renew(old, fresh) {
  tick(fresh);
  if (names(old) !== names(fresh) || !fresh.dataset.events !== !old.dataset.events) return old.replaceWith(fresh);
  for (const each of leaves(fresh)) {
    const before = document.getElementById(each.id);
    each.querySelectorAll("details").forEach((part, n) => { part.open = before.querySelectorAll("details")[n]?.open ?? part.open; });
    if (!before.isEqualNode(each)) before.replaceWith(each);
  }
}

async function look() {
  const answer = await ask(location.href, {headers: {Accept: "text/html"}});
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  seen = clock();
  renew(document.getElementById("live"), document.importNode(page.getElementById("live"), true));
}

function tick(root = document) {
  for (const each of root.querySelectorAll("[data-since]")) {
    const seconds = Math.max(0, Math.round((Date.now() - Date.parse(each.dataset.since)) / 1000));
    each.textContent = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  }
}

async function every(seconds) {
  for (;;) {
    await pause(seconds * 1000);
    if (document.hidden) continue;
    await look().then(() => say(false), () => say(true));
  }
}

// Any number of events within a second are one look.
let due = null;
function soon() {
  due ??= pause(400).then(() => { due = null; return look().catch(() => say(true)); });
  return due;
}

async function follow(path) {
  let last = null;
  for (let rest = 500; ; rest = Math.min(2 * rest, 10_000)) {
    try {
      for await (const told of events(path, last, new AbortController().signal)) {
        [last, rest] = [told.id, 500];
        say(false);
        if (told.event === "metric") losses(told.data);
        else soon();
        if (told.event === "end") return;
      }
    } catch {
      say(true);
    }
    await pause(rest);
    await look().catch(() => say(true));
    if (!document.getElementById("live").dataset.events) return;
  }
}

tick();
setInterval(() => tick(), 1000);
if (live.dataset.every) every(Number(live.dataset.every));
if (live.dataset.events) follow(live.dataset.events);
if (live.dataset.every || live.dataset.events) say(false);
