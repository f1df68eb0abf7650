// The folders of the library as a tree. What is in a folder is asked for when it is opened; keys as trees have them.

import { $, ask, make } from "./ask.js";

const ITEM = "[role=treeitem]";

export function folders(chosen) {
  const tree = $("tree");
  const field = $("folder");
  let asked = false;
  field.parentElement.hidden = true;
  $("pick").hidden = false;

  // ---- making items

  function item(path, name, count, more) {
    const made = make("li", {
      role: "treeitem", tabindex: -1, "aria-selected": "false", "aria-expanded": more ? "false" : null,
      "aria-label": count === null ? name : `${name}, ${count.toLocaleString("en")} ${count === 1 ? "picture" : "pictures"}`,
    }, make("span", { class: "branch" },
      make("i", { class: "twig", "aria-hidden": "true" }, more ? "▸" : ""), make("span", { class: "leaf" }, name),
      count === null ? "" : make("small", {}, count.toLocaleString("en"))));
    made.path = path;
    return made;
  }

  async function fill(list, path, after = 0) {
    const found = await ask(`/api/folders?${new URLSearchParams({ in: path, after })}`);
    list.append(...found.folders.map((one) => item(one.path, one.name, one.pictures, one.more)));
    if (found.next) {
      const rest = item(null, "more …", null, false);
      rest.load = async () => {
        rest.remove();
        const before = list.children.length;
        await fill(list, path, found.next);
        move(list.children[before]);
      };
      list.append(rest);
    }
  }

  async function open(one) {
    let list = one.querySelector(":scope > ul");
    if (!list) {
      list = make("ul", { role: "group" });
      await fill(list, one.path);
      one.append(list);
    }
    list.hidden = false;
    one.setAttribute("aria-expanded", "true");
  }

  function close(one) {
    const list = one.querySelector(":scope > ul");
    if (list) list.hidden = true;
    one.setAttribute("aria-expanded", "false");
  }

  // ---- what is chosen

  // Mark the folder in the field, and open what is above it.
  async function show() {
    if (!asked) return;
    const path = field.value;
    let list = tree;
    let found = tree.firstElementChild;
    while (list) {
      const next = [...list.children].find((one) => one.path && (path === one.path || path.startsWith(one.path.replace(/\/?$/, "/"))));
      if (!next) break;
      found = next;
      if (next.path === path || !next.hasAttribute("aria-expanded")) break;
      await open(next);
      list = next.querySelector(":scope > ul");
    }
    for (const one of tree.querySelectorAll(ITEM)) {
      one.setAttribute("aria-selected", String(one === found && (one.path ?? "") === path));
    }
    roam(found);
  }

  async function start() {
    if (asked) return;
    asked = true;
    tree.append(item("", "All folders", null, false));
    await fill(tree, "");
    if (tree.children.length === 2 && tree.lastChild.hasAttribute("aria-expanded")) await open(tree.lastChild);
    await show();
  }

  function choose(one) {
    if (one.load) {
      one.load().catch(() => tree.append(one));
      return;
    }
    field.value = one.path;
    chosen();
  }

  // ---- moving

  function roam(one) {
    for (const other of tree.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
    if (one) one.tabIndex = 0;
  }

  function move(one) {
    if (!one) return;
    roam(one);
    one.focus();
    one.firstElementChild.scrollIntoView({ block: "nearest" });
  }

  tree.addEventListener("click", (event) => {
    const one = event.target.closest(ITEM);
    if (!one) return;
    roam(one);
    if (!event.target.closest(".twig") || !one.hasAttribute("aria-expanded")) choose(one);
    else if (one.getAttribute("aria-expanded") === "true") close(one);
    else open(one);
  });
  tree.addEventListener("keydown", (event) => {
    const one = event.target.closest(ITEM);
    if (!one || event.ctrlKey || event.metaKey || event.altKey) return;
    const seen = [...tree.querySelectorAll(ITEM)].filter((other) => !other.parentElement.closest("[hidden]"));
    const at = seen.indexOf(one);
    const expanded = one.getAttribute("aria-expanded");
    const acts = {
      ArrowDown: () => move(seen[at + 1]),
      ArrowUp: () => move(seen[at - 1]),
      Home: () => move(seen[0]),
      End: () => move(seen.at(-1)),
      ArrowRight: () => (expanded === "false" ? open(one) : expanded && move(one.querySelector(ITEM))),
      ArrowLeft: () => (expanded === "true" ? close(one) : move(one.parentElement.closest(ITEM))),
      Enter: () => choose(one),
      " ": () => choose(one),
    };
    const letter = event.key.length === 1 && event.key !== " " && event.key !== "?" && event.key !== "/";
    if (acts[event.key]) acts[event.key]();
    else if (letter) move([...seen.slice(at + 1), ...seen.slice(0, at)].find((other) => {
      return other.querySelector(".leaf").textContent.toLowerCase().startsWith(event.key.toLowerCase());
    }));
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const filters = $("filters");
  filters.addEventListener("toggle", () => filters.open && start());
  if (filters.open) start();
  return { show };
}
