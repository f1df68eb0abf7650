// Ask the server; an error comes as RFC 9457 has it.

export async function ask(address, options = {}) {
  const answer = await fetch(address, { headers: { Accept: "application/json" }, ...options });
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const problem = await answer.json().catch(() => ({ detail: `the server answered ${answer.status}`, hint: "" }));
  throw new Error(problem.hint ? `${problem.detail}: ${problem.hint}` : problem.detail);
}

// What of a search stands in the address.
export const NAMES = ["q", "like", "like_weight", "in", "from", "to", "camera", "near", "text", "min_score", "sort", "ids"];

export const $ = (id) => document.getElementById(id);

export function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}
