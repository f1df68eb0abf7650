// One hit in the grid, as index/page/_tile.html.j2 makes it.

import { make } from "./ask.js";

export function score(hit, labelled) {
  if (hit.score === null) return "";
  return labelled ? `${Math.round(100 * hit.score)}%` : hit.score.toFixed(3);
}

function spoken(hit) {
  if (!hit.caption) return "no caption";
  return hit.by_hand ? hit.caption : `${hit.caption} (machine-made)`;
}

const SAID = { caption: "caption", keywords: "keywords", name: "name", picture: "in the picture" };

// Where a picture says the text that was asked for, unless the caption shows it anyway.
function told({ match, caption }) {
  if (!match || (caption || "").includes(match.snippet.replace(/^…+|…+$/g, ""))) return "";
  return `${SAID[match.field]}: ${match.snippet}`;
}

export function tile(hit, href, labelled) {
  const [width, height] = hit.width ? [hit.width, hit.height] : [4, 3];
  const image = make("img", {
    src: `/thumb/${hit.id}?s=480&v=${hit.v}`, alt: spoken(hit),
    loading: "lazy", decoding: "async", width, height,
  });
  const line = make("p", { class: "line" });
  if (hit.score !== null) line.append(make("b", { class: "score" }, score(hit, labelled)), " ");
  line.append(make("span", { class: "caption" }, hit.caption || (hit.taken || "").slice(0, 10)));
  const made = make("li", { class: `tile ${shape(width, height)}` }, make("a", { class: "frame", href }, image), line);
  const said = told(hit);
  if (said) made.append(make("p", { class: "said" }, said));
  made.hit = hit;
  return made;
}

// Of a tile that the server has made, read what it knows.
export function read(made) {
  const image = made.querySelector("img");
  const caption = image.alt === "no caption" ? null : made.querySelector(".caption").textContent;
  made.hit = { ...JSON.parse(made.dataset.hit), caption, width: Number(image.getAttribute("width")), height: Number(image.getAttribute("height")) };
  return made.hit;
}

// The class that makes a tile as wide as its picture's shape needs, as index/page/grid.py names it.
function shape(width, height) {
  return `r${Math.min(400, Math.max(40, Math.round((100 * width) / height)))}`;
}

export function rescored(made, labelled) {
  const shown = made.querySelector(".score");
  if (shown) shown.textContent = score(made.hit, labelled);
}
