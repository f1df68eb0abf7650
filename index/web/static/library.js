// The library screen: how far a build is, and what a check finds.

import { $, ask, make } from "./ask.js";

async function follow() {
  const facts = await ask("/api/info").catch(() => null);
  if (facts) {
    $("build").hidden = !facts.building;
    $("bar").max = facts.todo || 1;
    $("bar").value = facts.done;
    $("done").textContent = `${facts.done} of ${facts.todo} files`;
    $("pictures").textContent = facts.pictures.toLocaleString("en");
  }
  setTimeout(follow, facts?.building ? 1000 : 5000);
}
follow();

const button = $("check");
if (button) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    $("found").textContent = "looking at every file…";
    $("findings").replaceChildren();
    try {
      const { pictures, findings } = await ask("/api/check", { method: "POST" });
      $("found").textContent = findings.length ? `${findings.length} findings:` : `All is well with ${pictures.toLocaleString("en")} pictures.`;
      $("findings").append(...findings.map((one) => make("li", {}, `${one.message}: ${one.remedy}`)));
    } catch (error) {
      $("found").textContent = error.message;
    }
    button.disabled = false;
  });
}
