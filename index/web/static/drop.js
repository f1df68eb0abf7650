// A picture that is dropped or pasted on any other screen: it is searched, with the words and filters in the address.

import { NAMES, make } from "./ask.js";
import { give } from "./handover.js";
import { receive } from "./receive.js";

receive(async (file) => {
  const from = new URLSearchParams(location.search);
  const kept = NAMES.filter((name) => from.get(name) && !["like", "like_weight", "ids"].includes(name));
  const words = new URLSearchParams(kept.map((name) => [name, from.get(name)])).toString();
  try {
    await give(file);
    location.href = words ? `/?${words}` : "/";
  } catch {
    document.querySelector("main").prepend(
      make("p", { class: "trouble", role: "alert" }, "This browser cannot hand the picture on: drop it on the search screen."));
  }
});
