// A picture that is dropped anywhere, pasted, or chosen from a file.

import { $ } from "./ask.js";

export function receive(use) {
  const picked = (list) => [...(list || [])].find((file) => file.type.startsWith("image/") || /\.(heic|heif|tiff?)$/i.test(file.name));
  let depth = 0;
  const over = (on) => document.body.classList.toggle("dropping", on);
  window.addEventListener("dragenter", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    depth++;
    over(true);
  });
  window.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    over(depth > 0);
  });
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    over(false);
    const file = picked(event.dataTransfer.files);
    if (file) use(file);
  });
  window.addEventListener("paste", (event) => {
    const file = picked(event.clipboardData.files);
    if (!file) return;
    event.preventDefault();
    use(file);
  });
  const chooser = $("choose"); // only the search screen has one
  if (!chooser) return;
  chooser.parentElement.hidden = false;
  chooser.addEventListener("change", () => {
    const file = picked(chooser.files);
    chooser.value = "";
    if (file) use(file);
  });
}
