// One picture, in the dialog or on its page: heat, where, words of the caption, copying the path.

import { ask, make } from "./ask.js";
import { clear, draw, place } from "./heat.js";

export function enliven(article) {
  const id = article.dataset.id;
  const part = (name) => article.querySelector(name);
  const canvas = part("canvas");
  const image = part(".large img");
  const looks = part(".looks");
  let pinned = null;

  function show(found, words) {
    draw(canvas, image, found.cells, found.side);
    looks.textContent = words;
  }

  function hide() {
    if (pinned) return;
    clear(canvas);
    looks.textContent = "";
  }

  function unpin() {
    pinned?.setAttribute("aria-pressed", "false");
    pinned = null;
  }

  const copy = part("#copy");
  copy.hidden = !navigator.clipboard;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(part("#path").textContent);
    copy.textContent = "copied";
  });
  edit(article, id);
  if (!canvas) return;

  for (const button of article.querySelectorAll(".where")) {
    button.hidden = false;
    button.setAttribute("aria-pressed", "false");
    const word = button.dataset.word;
    let found = null;
    const look = async () => {
      try {
        found ??= await ask(`/api/where/${id}?q=${encodeURIComponent(word)}`);
        show(found, `“${word}” looks at: ${place(found.cells, found.side)}`);
      } catch (error) {
        looks.textContent = error.message;
      }
    };
    button.addEventListener("click", async () => {
      const again = pinned === button;
      unpin();
      if (again) return hide();
      pinned = button;
      button.setAttribute("aria-pressed", "true");
      await look();
    });
    button.addEventListener("mouseenter", () => pinned || look());
    button.addEventListener("focus", () => pinned || look());
    button.addEventListener("mouseleave", hide);
    button.addEventListener("blur", hide);
  }

  attend(id, part("#sentence"), part(".made"), show, hide, unpin);
}

// A caption by hand takes the place of the model's; the picture has a new number then.
function edit(article, id) {
  const form = article.querySelector(".edit");
  if (!form) return;
  form.hidden = false;
  form.querySelector("#xmp").addEventListener("click", async () => {
    const told = form.querySelector("[role=status]");
    try {
      const body = JSON.stringify({ ids: [Number(id)] });
      const found = await ask("/api/sidecar", { method: "POST", headers: { "Content-Type": "application/json" }, body });
      told.textContent = found.written.length ? `written: ${found.written[0]}` : found.skipped[0].reason;
    } catch (error) {
      told.textContent = error.message;
    }
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const told = form.querySelector("[role=status]");
    try {
      const body = JSON.stringify({ caption: form.elements.caption.value });
      const row = await ask(`/api/picture/${id}`, { method: "PATCH", headers: { "Content-Type": "application/json" }, body });
      article.dispatchEvent(new CustomEvent("rewritten", { bubbles: true, detail: { before: Number(id), row } }));
    } catch (error) {
      told.textContent = error.message;
    }
  });
}

// The model's caption, each word a button that shows where the decoder looked.
async function attend(id, sentence, made, show, hide, unpin) {
  let found;
  try {
    found = await ask(`/api/attention/${id}`);
  } catch {
    return; // a model without captions: the sentence stays as it is
  }
  if (!found.side) return;
  const own = found.caption === sentence.textContent.trim();
  const row = own ? sentence : make("p", { class: "sentence model" });
  row.replaceChildren();
  for (const word of found.words) {
    const button = make("button", { type: "button" }, word.word);
    const look = () => {
      const share = word.sentinel === null ? "" : `, ${Math.round(100 * word.sentinel)}% from language only`;
      unpin();
      show({ cells: word.cells, side: found.side }, `“${word.word}” looks at: ${place(word.cells, found.side)}${share}`);
    };
    for (const event of ["mouseenter", "focus", "click"]) button.addEventListener(event, look);
    for (const event of ["mouseleave", "blur"]) button.addEventListener(event, hide);
    row.append(button, " ");
  }
  if (!own) made?.after(make("p", { class: "made" }, "the model says:"), row);
}
