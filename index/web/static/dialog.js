// The picture over the grid: opened by a click, closed by Esc, the next by an arrow; the address goes along.

import { make } from "./ask.js";
import { enliven } from "./picture.js";

export function viewer(grid, current, addressOf) {
  const body = make("div", { class: "inside" });
  const button = (name, label, act) => make("button", { type: "button", "aria-label": name, title: name, onclick: act }, label);
  const dialog = make("dialog", { id: "dialog", "aria-label": "Picture" },
    make("div", { class: "tools" },
      button("previous picture", "←", () => step(-1)), button("next picture", "→", () => step(1)), button("close", "×", () => close())),
    body);
  document.body.append(dialog);
  let shown = null; // the id of the picture
  let searched = location.pathname + location.search; // the address of the grid below
  let question = 0;

  grid.addEventListener("click", (event) => {
    const frame = event.target.closest("a.frame");
    if (!frame || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    open(frame.closest(".tile").hit.id);
  });
  body.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='/p/']");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(Number(link.pathname.slice(3)));
  });
  body.addEventListener("rewritten", (event) => {
    const { before, row } = event.detail;
    const tile = [...grid.children].find((one) => one.hit.id === before);
    if (tile) {
      Object.assign(tile.hit, { id: row.id, caption: row.caption, by_hand: row.by_hand });
      tile.querySelector(".caption").textContent = row.caption;
      tile.querySelector("img").alt = row.caption;
      tile.querySelector("a").href = addressOf(current(), `/p/${row.id}`);
    }
    open(row.id);
  });
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    close();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && close());

  async function open(id) {
    const address = addressOf(current(), `/p/${id}`);
    if (!shown) searched = location.pathname + location.search;
    if (shown) history.replaceState({ picture: id }, "", address);
    else history.pushState({ picture: id }, "", address);
    await show(id);
  }

  async function show(id) {
    const mine = ++question;
    const address = addressOf(current(), `/p/${id}`);
    const answer = await fetch(`${address}${address.includes("?") ? "&" : "?"}fragment=1`);
    const text = await answer.text();
    if (mine !== question) return;
    const page = new DOMParser().parseFromString(text, "text/html");
    const article = page.querySelector(".picture") ?? make("p", { class: "gone" }, page.querySelector("h1")?.textContent ?? "gone");
    body.replaceChildren(document.adoptNode(article));
    shown = id;
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    if (article.matches(".picture")) enliven(article);
  }

  function hide() {
    question++;
    const before = shown;
    shown = null;
    dialog.close();
    body.replaceChildren();
    const tile = [...grid.children].find((one) => one.hit.id === before);
    tile?.querySelector("a").focus();
  }

  function close() {
    history.back(); // `follow` does the rest
  }

  function step(by) {
    const at = [...grid.children].findIndex((one) => one.hit.id === shown);
    const next = grid.children[at + by];
    if (next && (at >= 0 || by > 0)) open(next.hit.id);
  }

  // After the browser went back or forward: true if the grid is already what the address says.
  function follow() {
    const id = location.pathname.match(/^\/p\/(\d+)$/)?.[1];
    if (id) {
      show(Number(id));
      return true;
    }
    const was = shown;
    if (was) hide();
    const same = location.pathname + location.search === searched;
    searched = location.pathname + location.search;
    return Boolean(was) && same;
  }

  return { close, step, follow, leave: hide, get shown() { return shown; } };
}
