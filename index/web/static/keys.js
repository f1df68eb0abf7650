// Keys: / to search, arrows between pictures, s for similar ones, Esc to close, ? for this list.

import { $, make } from "./ask.js";

const LIST = [["/", "search"], ["← →", "previous, next picture"], ["s", "pictures like this one"], ["Esc", "close"], ["?", "this list"]];

// The list of keys as a dialog.
export function list() {
  const help = make("dialog", { class: "help", "aria-label": "Keys" },
    make("h2", {}, "Keys"),
    make("dl", { class: "exif" }, ...LIST.flatMap(([key, what]) => [make("dt", {}, key), make("dd", {}, what)])),
    make("button", { type: "button", class: "act", onclick: () => help.close() }, "close"));
  document.body.append(help);
  return help;
}

export function keys(dialog, go) {
  const help = list();

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, textarea, select")) {
      return;
    }
    const acts = {
      "/": () => dialog.shown === null && $("q").focus(),
      "?": () => (help.open ? help.close() : help.showModal()),
      ArrowLeft: () => dialog.shown !== null && dialog.step(-1),
      ArrowRight: () => dialog.shown !== null && dialog.step(1),
      s: () => similar(),
    };
    const act = acts[event.key];
    if (!act) return;
    if (event.key === "/" || event.key === "?") event.preventDefault();
    act();
  });

  function similar() {
    const id = dialog.shown ?? document.activeElement.closest(".tile")?.hit.id;
    if (!id) return;
    const wish = new URLSearchParams({ like: id });
    if (dialog.shown !== null) dialog.leave();
    go(wish);
  }
}
