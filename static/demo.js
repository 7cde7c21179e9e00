// Keeps the demo page up to date. Without it the page works by reloading.

// In milliseconds.
const FIRST_WAIT = 1000; // before a stream that was refused is asked for again
const LONGEST_WAIT = 15000;
const QUIET_GAP = 2500; // between two streams, before the page speaks of it

const ROWS = 20; // as many as the core remembers

const byId = (id) => document.getElementById(id);
const status = byId("status");

function say(state, text) {
  status.hidden = false;
  status.dataset.state = state;
  if (status.textContent !== text) status.textContent = text;
}

function copyOf(id, slot) {
  const copy = byId(id).content.firstElementChild.cloneNode(true);
  copy.dataset.slot = slot;
  copy.dataset.hue = slot % 8;
  fill(copy, "slot", slot);
  return copy;
}

function fill(item, field, text) {
  const place = item.querySelector(`[data-field="${field}"]`);
  if (place.textContent !== String(text)) place.textContent = text;
  return place;
}

// The requests: only new rows are added, so that only these are read aloud.

function showVisits(core, visits) {
  const list = byId("visits");
  if (list.dataset.core !== String(core)) {
    // Another core, which began to number from 1.
    list.dataset.core = core;
    list.dataset.newest = 0;
    list.replaceChildren();
  }
  const fresh = visits.filter((visit) => visit.number > Number(list.dataset.newest));
  if (fresh.length === 0) return;
  list.dataset.newest = fresh[0].number;
  list.prepend(...fresh.map(rowOf));
  while (list.children.length > ROWS) list.lastElementChild.remove();
}

function rowOf(visit) {
  const row = copyOf("row", visit.slot);
  row.classList.add("fresh");
  fill(row, "what", visit.what);
  fill(row, "pid", visit.pid);
  fill(row, "times", `×${visit.times}`).hidden = visit.times === 1;
  fill(row, "at", visit.at.slice(11, 19)).dateTime = visit.at;
  return row;
}

// The bars: kept from one board to the next, so that they can move.

function showLife(bar, share) {
  bar.toggleAttribute("data-gone", share.here === false);
  const life = bar.querySelector('[data-field="life"]');
  life.dataset.since = share.here ? share.since : "";
  life.dataset.facts = share.starts > 1 ? `, ${share.starts} starts` : "";
  life.dataset.pid = share.pid ?? "";
  tick(life);
}

function tick(life) {
  const { since, pid, facts } = life.dataset;
  if (since && pid) {
    const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(since)) / 1000));
    const up = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`;
    life.textContent = `pid ${pid}, up ${up}${facts}`;
  } else if (pid) life.textContent = `pid ${pid} is gone; its successor is on its way`;
}

setInterval(() => document.querySelectorAll(".life").forEach(tick), 1000);

function showShares(shares) {
  const list = byId("shares");
  const bars = new Map([...list.children].map((bar) => [bar.dataset.slot, bar]));
  const wanted = shares.map((share) => {
    const bar = bars.get(String(share.slot)) ?? copyOf("bar", share.slot);
    fill(bar, "times", share.times);
    fill(bar, "percent", share.percent);
    bar.querySelector(".fill").setAttribute("width", `${share.percent}%`);
    showLife(bar, share);
    return bar;
  });
  const same =
    wanted.length === bars.size && wanted.every((bar) => bar.parentNode === list);
  if (!same) list.replaceChildren(...wanted);
}

function show(board) {
  if (byId("visits") === null) {
    // This page was made while there was no core.
    say("live", "The core is back: reload");
    return;
  }
  byId("counter").textContent = board.counter;
  byId("core").textContent = board.core;
  showShares(board.shares);
  showVisits(board.core, board.visits);
}

// The stream. Each lasts some seconds only, and the browser asks for the next by
// itself. It gives up when the answer is an error, as it is while there is no
// core: then we ask again.

let stream = null;
let wait = FIRST_WAIT;
let again;
let alarm = null;

function forgetAlarm() {
  clearTimeout(alarm);
  alarm = null;
}

function listen() {
  stream = new EventSource("/events");
  stream.onopen = () => {
    wait = FIRST_WAIT;
    forgetAlarm();
    say("live", "Live");
  };
  stream.onmessage = (event) => show(JSON.parse(event.data));
  stream.onerror = ({ target }) => {
    alarm ??= setTimeout(say, QUIET_GAP, "lost", "Reconnecting…");
    if (target.readyState !== EventSource.CLOSED) return;
    again = setTimeout(listen, wait);
    wait = Math.min(wait * 2, LONGEST_WAIT);
  };
}

function pause() {
  clearTimeout(again);
  forgetAlarm();
  stream?.close();
  stream = null;
}

// A browser opens six connections to a site at most, and each stream holds one:
// a page that nobody sees gives its own back.
function followWhileVisible() {
  if (document.hidden) pause();
  else if (stream === null) listen();
}

// The buttons.

async function count(event) {
  event.preventDefault();
  try {
    const answer = await fetch(event.target.action, {
      method: "POST",
      headers: { Accept: "application/json" },
    });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    byId("counter").textContent = (await answer.json()).counter;
  } catch {
    // It may have been counted, so it is not sent again.
    say("lost", "The core did not answer");
  }
}

async function burst(event) {
  const button = event.target;
  button.disabled = true;
  // Answers to / give up their connections, so other workers get a turn.
  const asked = Array.from({ length: 24 }, () => fetch("/", { method: "HEAD" }));
  const results = await Promise.allSettled(asked);
  button.disabled = false;
  if (results.some((result) => result.status === "rejected")) {
    say("lost", "Some requests failed");
  }
}

if (byId("visits") !== null) {
  byId("count").addEventListener("submit", count);
  byId("burst").addEventListener("click", burst);
  byId("burst").hidden = false;
}
document.addEventListener("visibilitychange", followWhileVisible);
addEventListener("pagehide", pause);
addEventListener("pageshow", followWhileVisible);
followWhileVisible();
