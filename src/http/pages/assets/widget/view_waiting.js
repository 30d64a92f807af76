// Dots that show that something will come.

import { el } from "./dom.js";

export function waitingDots() {
  return el("div", { class: "waiting" }, el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i")));
}
