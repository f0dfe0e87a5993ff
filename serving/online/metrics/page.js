"use strict";
/* Keeps the page's numbers up to date: asks /status.json every two seconds and fills in what has changed. Rates and
   percentiles are of the last ten seconds; the small curves, one point an answer, are kept here alone. How numbers are
   written is said in numbers.py, and done here in the same way. */

const POLL_MS = 2000;
const PATIENCE_MS = 5000;
const WINDOW_S = 10;
const POINTS = 150;
const FEWEST = 30; // points that a curve has room for from the start
const NOTHING = "–";

let seen = []; // the answers of the last ten seconds, oldest first
const curves = {}; // name -> values, oldest first

const count = (value) => Math.round(value).toLocaleString("en-US");
const rate = (value) => (value >= 100 || value === 0 ? count(value) : value.toFixed(1));
const percent = (part) => `${count(100 * part)} %`;
const size = (bytes) => (bytes === null ? NOTHING : `${count(bytes / 2 ** 20)} MiB`);

function duration(ns) {
  if (ns === null) return NOTHING;
  const [scale, unit] = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]].find(([least]) => ns >= least) || [1e3, "µs"];
  const value = ns / scale;
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${unit}`;
}

function age(seconds) {
  let left = Math.floor(seconds);
  const parts = [];
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const amount = Math.floor(left / length);
    left -= amount * length;
    if (amount || parts.length || unit === "s") parts.push(`${amount} ${unit}`);
  }
  return parts.slice(0, 2).join(" ");
}

function percentile(buckets, bounds, part) {
  const rank = part * buckets.reduce((sum, n) => sum + n, 0);
  let below = 0;
  for (let i = 0; i < bounds.length; i++) {
    if (buckets[i] && below + buckets[i] >= rank) {
      const low = i ? bounds[i - 1] : 0;
      return low + ((bounds[i] - low) * (rank - below)) / buckets[i];
    }
    below += buckets[i];
  }
  return rank ? bounds[bounds.length - 1] : null;
}

const sum = (counts) => Object.values(counts).reduce((total, n) => total + n, 0);
/* A version that has been out of service for long takes its counts along, so differences are cut off at zero. */
const grown = (now, before) => Math.max(0, now - before);
const spread = (now, before) => now.map((n, i) => grown(n, before[i]));
const ratio = (total, n) => (n ? total / n : null);

const failed = (status) =>
  sum(status.totals.calls) - (status.totals.calls.OK || 0) + sum(status.refusals);
const waiting = (status) =>
  status.models.flatMap((model) => model.versions).reduce((total, version) => total + (version.waiting || 0), 0);

/* The load between two answers, as numbers. */
function load(now, before) {
  const seconds = now.server.now_s - before.server.now_s;
  const calls = spread(now.totals.call, before.totals.call);
  return {
    rows: grown(now.totals.rows, before.totals.rows) / seconds,
    calls: grown(sum(now.totals.calls), sum(before.totals.calls)) / seconds,
    p50: percentile(calls, now.bounds_ns, 0.5),
    p99: percentile(calls, now.bounds_ns, 0.99),
    waiting: waiting(now),
    failed: grown(failed(now), failed(before)) / seconds,
  };
}

/* Everything that the page shows by name, as text. */
function texts(now, before) {
  const tiles = load(now, before);
  const seconds = now.server.now_s - before.server.now_s;
  const found = {
    ready: now.server.ready ? "ready" : "not ready",
    uptime: age(now.server.uptime_s),
    memory: size(now.server.memory_bytes),
    cpu: percent((now.server.cpu_s - before.server.cpu_s) / seconds),
    window: `Numbers of the last ${Math.round(seconds)} seconds, curves of five minutes at most.`,
    rows: rate(tiles.rows),
    calls: rate(tiles.calls),
    p50: duration(tiles.p50),
    p99: duration(tiles.p99),
    waiting: count(tiles.waiting),
    failed: rate(tiles.failed),
  };
  for (const table of ["refusals", "load_failures"])
    for (const [name, n] of Object.entries(now[table])) found[`${table}/${name}`] = count(n);
  for (const [name, n] of Object.entries(now.totals.calls)) found[`calls/${name}`] = count(n);
  now.models.forEach((model, place) =>
    model.versions.forEach((version, number) => {
      if (version.members) describe(found, `${place}.${number}`, version, before.models[place].versions[number], now, before);
    }),
  );
  return found;
}

function describe(found, key, version, earlier, now, before) {
  const calls = spread(version.call, earlier.call);
  const rows = grown(version.rows, earlier.rows);
  const batch = ratio(rows, grown(version.executions, earlier.executions));
  found[`${key}.rows`] = rate(rows / (now.server.now_s - before.server.now_s));
  found[`${key}.p50`] = duration(percentile(calls, now.bounds_ns, 0.5));
  found[`${key}.p99`] = duration(percentile(calls, now.bounds_ns, 0.99));
  found[`${key}.queue`] = duration(percentile(spread(version.queue, earlier.queue), now.bounds_ns, 0.99));
  found[`${key}.batch`] = batch === null ? NOTHING : batch.toFixed(1);
  found[`${key}.all`] = count(version.rows);
  version.members.forEach((member, i) => {
    const ns = grown(member.ns, earlier.members[i].ns);
    found[`${key}.${i}.run`] = duration(ratio(ns, grown(member.runs, earlier.members[i].runs)));
    found[`${key}.${i}.row`] = duration(ratio(ns, grown(member.rows, earlier.members[i].rows)));
  });
}

function fill(found) {
  for (const node of document.querySelectorAll("[data-k]")) {
    const text = found[node.dataset.k];
    if (text !== undefined && node.textContent !== text) node.textContent = text;
  }
}

function draw() {
  for (const path of document.querySelectorAll("[data-spark]")) {
    const values = curves[path.dataset.spark] || [];
    const most = Math.max(...values.map((value) => value || 0)) || 1;
    const span = Math.max(FEWEST, values.length);
    let line = "";
    values.forEach((value, i) => {
      const x = (100 * (span - values.length + i)) / (span - 1);
      const starts = !line || values[i - 1] === null;
      if (value !== null) line += `${starts ? "M" : "L"}${x.toFixed(2)} ${(23 - (22 * value) / most).toFixed(2)}`;
    });
    path.setAttribute("d", line);
  }
}

function show(status) {
  const last = seen[seen.length - 1];
  const continues = last && last.layout === status.layout && status.server.uptime_s > last.server.uptime_s;
  if (continues) {
    for (const [name, value] of Object.entries(load(status, last))) {
      curves[name] = [...(curves[name] || []), value].slice(-POINTS);
    }
  }
  seen = [...(continues ? seen : []), status].filter((each) => each.server.now_s >= status.server.now_s - WINDOW_S - 1);
  if (seen.length > 1) fill(texts(status, seen[0]));
  const ready = document.querySelector("[data-k=ready]");
  ready.className = `chip ${status.server.ready ? "good" : "bad"}`;
  ready.textContent = status.server.ready ? "ready" : "not ready";
  document.title = `widedeep: ${ready.textContent}`;
  draw();
}

/* Takes over what the server draws, once that is more than other numbers. */
async function redraw() {
  const answer = await fetch("/", { signal: AbortSignal.timeout(PATIENCE_MS) });
  const drawn = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of ["header", "main"]) document.querySelector(part).replaceWith(drawn.querySelector(part));
}

async function poll() {
  const polled = document.querySelector("[data-k=polled]");
  try {
    const answer = await fetch("/status.json", { signal: AbortSignal.timeout(PATIENCE_MS) });
    const status = await answer.json();
    if (status.layout !== document.querySelector("main").dataset.layout) await redraw();
    show(status);
    polled.textContent = "Read only. Up to date every 2 seconds.";
    document.documentElement.classList.remove("stale");
  } catch {
    if (!document.documentElement.classList.contains("stale"))
      polled.textContent = `No answer from the server since ${new Date().toLocaleTimeString()}.`;
    document.documentElement.classList.add("stale");
  }
}

async function run() {
  if (!document.hidden) await poll();
  setTimeout(run, POLL_MS);
}

run();
