// The search screen: what is typed, dropped, weighed and filtered becomes hits, and an address to come back to.

import { $, NAMES, ask, make } from "./ask.js";
import { calibrate, coefficients, cosine, typed } from "./board.js";
import { viewer } from "./dialog.js";
import { folders } from "./folders.js";
import { take } from "./handover.js";
import { keys } from "./keys.js";
import { receive } from "./receive.js";
import { read, rescored, tile } from "./tile.js";

const PAUSE = 350; // milliseconds after the last move of a slider

const main = $("main");
const grid = $("grid");
const form = $("seek");
const fields = [...document.querySelectorAll("[form=seek]"), $("q")].filter((field) => field.name);
let answer = { ...JSON.parse(main.dataset.answer), hits: [...grid.children].map(read) };
let labelled = main.dataset.labelled === "yes";
let sent = null; // the picture that was dropped: { file, weight, address }; never in the address of the page
let number = 0; // of the last question: an older answer that comes late is dropped

// ---- the state is the address

function current() {
  const from = new URLSearchParams(location.search);
  return new URLSearchParams(NAMES.filter((name) => from.get(name)).map((name) => [name, from.get(name)]));
}

function addressOf(wish, path = "/") {
  const words = wish.toString();
  return words ? `${path}?${words}` : path;
}

function fromFields() {
  const wish = new URLSearchParams();
  for (const name of NAMES) {
    const field = fields.find((one) => one.name === name);
    const value = field ? field.value.trim() : current().get(name);
    if (value && !(name === "sort" && value === "match") && !(name === "like_weight" && value === "1")) wish.set(name, value);
  }
  if (!wish.get("like")) wish.delete("like_weight");
  return wish;
}

function toFields(wish) {
  for (const field of fields) field.value = wish.get(field.name) ?? (field.name === "sort" ? "match" : "");
  tree.show();
}

async function go(wish, { replace = false, keep = false } = {}) {
  const address = addressOf(wish);
  if (replace) history.replaceState({}, "", address);
  else if (address !== location.pathname + location.search) history.pushState({}, "", address);
  toFields(wish);
  await look(wish, keep);
}

// ---- asking and showing

function question(wish, after) {
  if (!sent) {
    const given = new URLSearchParams(wish);
    if (after) given.set("after", after);
    return ask(`/api/search?${given}`);
  }
  const body = new FormData();
  for (const [name, value] of wish) if (!["like", "like_weight", "ids"].includes(name)) body.set(name, value);
  body.set("file", sent.file);
  body.set("like_weight", sent.weight);
  body.set("after", after);
  return ask("/api/search", { method: "POST", body });
}

async function look(wish, keep = false) {
  const mine = ++number;
  grid.setAttribute("aria-busy", "true");
  try {
    const found = await question(wish, 0);
    if (mine !== number) return;
    answer = found;
    labelled = Boolean(found.curve);
    grid.replaceChildren(...found.hits.map((hit) => tile(hit, addressOf(wish, `/p/${hit.id}`), labelled)));
    say("");
    if (!keep) chips();
    afterwards(wish);
  } catch (error) {
    if (mine === number) say(error.message);
  } finally {
    if (mine === number) grid.removeAttribute("aria-busy");
  }
}

async function more() {
  if (!answer.next || grid.hasAttribute("aria-busy")) return;
  const mine = ++number;
  const wish = current();
  grid.setAttribute("aria-busy", "true");
  try {
    const found = await question(wish, answer.next);
    if (mine !== number) return;
    answer = { ...found, hits: [...answer.hits, ...found.hits] };
    grid.append(...found.hits.map((hit) => tile(hit, addressOf(wish, `/p/${hit.id}`), labelled)));
    afterwards(wish);
  } catch (error) {
    say(error.message);
  } finally {
    grid.removeAttribute("aria-busy");
  }
}

function say(trouble) {
  $("trouble").textContent = trouble;
}

function afterwards(wish) {
  const words = answer.terms.length ? "" : ", by date";
  $("count").textContent = `${grid.children.length.toLocaleString("en")} of ${answer.total.toLocaleString("en")} pictures${words}`;
  $("none").hidden = answer.hits.length > 0;
  $("more").hidden = !answer.next;
  if (answer.next) {
    const after = new URLSearchParams(wish);
    after.set("after", answer.next);
    $("next").href = addressOf(after);
  }
  unknown(wish);
  decorate();
  document.title = `${wish.get("q") || "Photos"} – vsearch`;
}

function unknown(wish) {
  $("unknown").replaceChildren(...answer.unknown.flatMap(({ word, guess }) => {
    const told = `“${word}” is not in the dictionary; its letters were used. `;
    if (!guess) return [told];
    const other = new URLSearchParams(wish);
    other.set("q", (wish.get("q") || "").replace(word, guess));
    return [told, "Did you mean ", make("a", { href: addressOf(other) }, guess), "? "];
  }));
}

// ---- the board: a chip with a slider for each term; hits move at once, the server is asked a moment later

function chips() {
  const made = answer.terms.filter((term) => term.kind === "word" || term.kind === "picture").map(chip);
  $("chips").replaceChildren(...made);
}

function chip(term) {
  const picture = term.kind === "picture";
  const name = picture ? "looks like" : term.word;
  const out = make("output", {}, sign(term.weight));
  const slider = make("input", {
    type: "range", min: -2, max: 2, step: 0.1, value: term.weight, "aria-label": `weight of ${picture ? "the picture" : term.word}`,
    oninput: () => {
      const value = Number(slider.value);
      term.weight = Math.abs(value) < 0.1 ? (term.weight < 0 ? -0.1 : 0.1) : value;
      out.textContent = sign(term.weight);
      made.classList.toggle("away", term.weight < 0);
      reorder();
      later();
    },
  });
  const drop = make("button", {
    type: "button", class: "drop", "aria-label": `take ${picture ? "the picture" : term.word} away`, onclick: () => away(term),
  }, "×");
  const made = make("li", { class: term.weight < 0 ? "chip away" : "chip", "data-kind": term.kind });
  if (picture) made.append(make("img", { src: sent ? sent.address : `/thumb/${current().get("like")}?s=240`, alt: "", width: 28, height: 28 }));
  made.append(make("span", {}, name), slider, out, drop);
  return made;
}

function sign(weight) {
  return (weight > 0 ? "+" : "−") + Math.abs(weight).toFixed(1);
}

function reorder() {
  const c = coefficients(answer.terms, answer.gram);
  if (!c) return;
  for (const hit of answer.hits) {
    hit.cosine = cosine(c, hit.parts);
    hit.score = calibrate(hit.cosine, answer.curve);
  }
  const order = [...grid.children].sort((one, other) => other.hit.cosine - one.hit.cosine);
  for (const one of order) rescored(one, labelled);
  grid.append(...order);
}

let waiting = 0;
function later() {
  clearTimeout(waiting);
  waiting = setTimeout(() => go(weighed(), { replace: true, keep: true }), PAUSE);
}

function weighed() {
  const wish = current();
  const picture = answer.terms.find((term) => term.kind === "picture");
  const q = typed(answer.terms);
  if (q) wish.set("q", q);
  else wish.delete("q");
  if (picture && sent) sent.weight = picture.weight;
  else if (picture) wish.set("like_weight", Number(picture.weight.toFixed(2)));
  return wish;
}

function away(term) {
  answer.terms = answer.terms.filter((one) => one !== term);
  const wish = weighed();
  if (term.kind === "picture") {
    forget();
    wish.delete("like");
    wish.delete("like_weight");
  }
  $("q").focus();
  go(wish);
}

// ---- a picture that is dropped, pasted or chosen

function forget() {
  if (sent) URL.revokeObjectURL(sent.address);
  sent = null;
}

function given(file) {
  forget();
  sent = { file, weight: 1, address: URL.createObjectURL(file) };
  const wish = current();
  for (const name of ["like", "like_weight", "ids"]) wish.delete(name);
  go(wish, { replace: addressOf(wish) === location.pathname + location.search });
}

receive(given);

// ---- what each tile can do beyond its link

// Votes are kept for words; they re-rank at once.
function decorate() {
  if (main.dataset.votes !== "yes" || !answer.terms.some((term) => term.kind === "word")) return;
  for (const one of grid.children) {
    if (one.querySelector(".votes")) continue;
    const name = one.hit.caption || `picture ${one.hit.id}`;
    one.append(make("div", { class: "votes" }, thumb(one, true, `fits: ${name}`), thumb(one, false, `does not fit: ${name}`)));
  }
}

function thumb(one, good, label) {
  const pressed = one.hit.vote === good;
  return make("button", {
    type: "button", "aria-label": label, title: good ? "fits" : "does not fit", "aria-pressed": String(pressed),
    onclick: async () => {
      const q = current().get("q") || "";
      try {
        if (pressed) await ask(`/api/vote?${new URLSearchParams({ id: one.hit.id, q })}`, { method: "DELETE" });
        else {
          const body = JSON.stringify({ id: one.hit.id, q, good });
          await ask("/api/vote", { method: "POST", headers: { "Content-Type": "application/json" }, body });
        }
        await look(current(), true);
      } catch (error) {
        say(error.message);
      }
    },
  }, good ? "▲" : "▼");
}

// ---- the beginning

form.addEventListener("submit", (event) => {
  event.preventDefault();
  go(fromFields());
});
for (const field of fields) if (field !== $("q")) field.addEventListener("change", () => go(fromFields()));

const tree = folders(() => go(fromFields()));

$("months")?.addEventListener("click", (event) => {
  const month = event.target.closest("rect")?.textContent.slice(0, 7);
  if (!month) return;
  const last = new Date(Date.UTC(Number(month.slice(0, 4)), Number(month.slice(5)), 0)).getUTCDate();
  const wish = current();
  wish.set("from", `${month}-01`);
  wish.set("to", `${month}-${last}`);
  go(wish);
});

$("next").addEventListener("click", (event) => {
  event.preventDefault();
  more();
});
new IntersectionObserver(([seen]) => seen.isIntersecting && more(), { rootMargin: "600px" }).observe($("more"));

let typing = 0;
$("q").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(async () => {
    const [, before, word] = $("q").value.match(/^(.*?)([\p{L}\p{N}'-]*)$/u);
    const prefix = word.replace(/^-+/, "");
    if (prefix.length < 2) return;
    const { words } = await ask(`/api/words?prefix=${encodeURIComponent(prefix)}&k=8`).catch(() => ({ words: [] }));
    const start = before + word.slice(0, word.length - prefix.length);
    $("words").replaceChildren(...words.map((one) => make("option", { value: start + one })));
  }, 120);
});

const dialog = viewer(grid, current, addressOf);
window.addEventListener("popstate", () => {
  if (dialog.follow()) return;
  toFields(current());
  look(current());
});
keys(dialog, (wish) => go(wish));
chips();
afterwards(current());
take().then((file) => file && given(file), () => {}); // from another screen
