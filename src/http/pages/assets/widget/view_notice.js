// Notices of a message for a visitor who is elsewhere: the launcher's count and the tab's title.

import { el } from "./dom.js";
import { fillText } from "./text_format.js";

/** The count that stands before the page's title. A site may have one of its own there. */
let prefix = "";

/** Shows on the launcher whether the panel is open, and the number of new messages. */
export function markLauncher(launcher, texts, isOpen, unread) {
  if (!launcher) return;
  launcher.querySelector(".badge")?.remove();
  launcher.toggleAttribute("data-open", isOpen);
  launcher.setAttribute("aria-expanded", String(isOpen));
  const hasNew = unread > 0 && !isOpen;
  const name = isOpen ? texts.launcherClose : hasNew ? fillText(texts.launcherUnread, { count: unread }) : texts.launcher;
  launcher.setAttribute("aria-label", name);
  if (hasNew) launcher.append(el("span", { class: "badge", part: "badge", "aria-hidden": "true" }, unread > 99 ? "99+" : String(unread)));
}

/** Puts the number of new messages before the page's title; 0 removes it. */
export function markTitle(unread) {
  const bare = document.title.startsWith(prefix) ? document.title.slice(prefix.length) : document.title;
  prefix = unread > 0 ? `(${unread}) ` : "";
  if (document.title !== prefix + bare) document.title = prefix + bare;
}
