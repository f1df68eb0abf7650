// A picture on a page of its own.

import { $ } from "./ask.js";
import { list } from "./keys.js";
import { enliven } from "./picture.js";

const help = list();

enliven(document.querySelector(".picture"));
document.addEventListener("rewritten", (event) => location.replace(`/p/${event.detail.row.id}${location.search}`));
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && !help.open) location.href = document.querySelector(".back a").href;
  else if (event.key === "s" && $("similar")) location.href = $("similar").href;
  else if (event.key === "?") {
    event.preventDefault();
    if (help.open) help.close();
    else help.showModal();
  } else if (event.key === "/") {
    event.preventDefault();
    $("q").focus();
  }
});
