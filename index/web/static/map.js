// The map: a dot for each picture between words; a box becomes a search.

import { $ } from "./ask.js";

const MOST = 10000; // pictures of a box that are searched
const canvas = $("dots");
const plot = $("plot");
const tip = $("tip");
const box = $("box");
let ids = [];
let places = []; // x and y of each, 0 to 1, y upwards
let known = null; // the tip's picture

function axis(from, to) {
  const less = (from.match(/"[^"]*"|\S+/g) || []).map((word) => `-${word}`);
  return [to, ...less].join(" ").trim();
}

async function load() {
  const form = new FormData($("axes"));
  const given = new URLSearchParams({ x: axis(form.get("left"), form.get("right")), y: axis(form.get("bottom"), form.get("top")) });
  const answer = await fetch(`/api/map?${given}`);
  if (!answer.ok) {
    const problem = await answer.json();
    $("trouble").textContent = `${problem.detail}: ${problem.hint}`;
    return;
  }
  const data = await answer.arrayBuffer();
  const count = data.byteLength / 16;
  ids = new Float64Array(data, 0, count);
  const raw = new Float32Array(data, 8 * count, 2 * count);
  places = new Float32Array(2 * count);
  for (const at of [0, 1]) {
    const sorted = raw.filter((_, index) => index % 2 === at).sort();
    const low = sorted[Math.floor(0.002 * (count - 1))];
    const span = sorted[Math.ceil(0.998 * (count - 1))] - low || 1;
    for (let n = 0; n < count; n++) places[2 * n + at] = Math.min(1, Math.max(0, (raw[2 * n + at] - low) / span));
  }
  canvas.setAttribute("aria-label", `A dot for each of ${count.toLocaleString("en")} pictures`);
  canvas.dataset.count = count;
  paint();
}

const PAD = 26;
const across = (x) => PAD + x * (canvas.clientWidth - 2 * PAD);
const down = (y) => PAD + (1 - y) * (canvas.clientHeight - 2 * PAD);

function paint() {
  const scale = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
  const count = ids.length;
  const size = count > 20000 ? 1.5 : count > 2000 ? 2.5 : 5;
  pen.globalAlpha = count > 20000 ? 0.35 : 0.7;
  for (let n = 0; n < count; n++) pen.fillRect(across(places[2 * n]) - size / 2, down(places[2 * n + 1]) - size / 2, size, size);
}

function nearest(x, y) {
  let best = -1;
  let least = 12 * 12;
  for (let n = 0; n < ids.length; n++) {
    const distance = (across(places[2 * n]) - x) ** 2 + (down(places[2 * n + 1]) - y) ** 2;
    if (distance < least) [best, least] = [n, distance];
  }
  return best;
}

function inside(x0, x1, y0, y1) {
  const found = [];
  for (let n = 0; n < ids.length && found.length < MOST; n++) {
    const [x, y] = [places[2 * n], places[2 * n + 1]];
    if (x >= x0 && x <= x1 && y >= y0 && y <= y1) found.push(ids[n]);
  }
  return found;
}

function show(found) {
  if (found.length) location.href = `/?ids=${found.join(",")}`;
  else $("told").textContent = "There is no picture in this box.";
}

let start = null;
const point = (event) => {
  const frame = canvas.getBoundingClientRect();
  return [event.clientX - frame.left, event.clientY - frame.top];
};
canvas.addEventListener("pointerdown", (event) => {
  start = point(event);
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  const [x, y] = point(event);
  if (start) {
    tip.hidden = true;
    box.hidden = false;
    Object.assign(box.style, {
      left: `${Math.min(x, start[0])}px`, top: `${Math.min(y, start[1])}px`,
      width: `${Math.abs(x - start[0])}px`, height: `${Math.abs(y - start[1])}px`,
    });
    return;
  }
  const found = nearest(x, y);
  tip.hidden = found < 0;
  if (found < 0 || known === found) return;
  known = found;
  tip.querySelector("img").src = `/thumb/${ids[found]}?s=240`;
  const [left, top] = [across(places[2 * found]), down(places[2 * found + 1])];
  tip.style.left = `${Math.min(left + 14, canvas.clientWidth - 180)}px`;
  tip.style.top = `${Math.min(top + 14, canvas.clientHeight - 140)}px`;
});
canvas.addEventListener("pointerup", (event) => {
  const [x, y] = point(event);
  const [a, b] = start;
  start = null;
  box.hidden = true;
  if (Math.abs(x - a) < 6 && Math.abs(y - b) < 6) {
    const found = nearest(x, y);
    if (found >= 0) location.href = `/p/${ids[found]}`;
    return;
  }
  const width = canvas.clientWidth - 2 * PAD;
  const height = canvas.clientHeight - 2 * PAD;
  const [x0, x1] = [Math.min(a, x), Math.max(a, x)].map((value) => (value - PAD) / width);
  const [y0, y1] = [Math.max(b, y), Math.min(b, y)].map((value) => 1 - (value - PAD) / height);
  show(inside(x0, x1, y0, y1));
});
canvas.addEventListener("pointerleave", () => {
  if (!start) tip.hidden = true;
});
$("edges").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  show(inside(...["x0", "x1", "y0", "y1"].map((name) => Number(form.get(name)) / 100)));
});
new ResizeObserver(paint).observe(plot);
load().catch((error) => ($("trouble").textContent = error.message));
