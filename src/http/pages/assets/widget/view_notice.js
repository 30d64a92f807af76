// Notices of a message for a visitor who is elsewhere: the launcher's count and the tab's title.

import { el } from "./dom.js";
import { fillText } from "./text_format.js";

/** The count that stands before the page's title. A site may have one of its own there. */
let prefix = "";

/** The pictures of the launcher while the panel is closed, as `loader.js` draws it, and while it is open. */
const ICON_CHAT = "M4 5.5h16v11H10L5.5 20v-3.5H4z";
const ICON_CROSS = "M6 6l12 12M18 6L6 18";

/** Shows on the launcher whether the panel is open, and the number of new messages. */
export function markLauncher(launcher, texts, isOpen, unread) {
  if (!launcher) return;
  launcher.querySelector("path").setAttribute("d", isOpen ? ICON_CROSS : ICON_CHAT);
  launcher.setAttribute("aria-expanded", String(isOpen));
  const hasNew = unread > 0 && !isOpen;
  const name = isOpen ? texts.launcherClose : hasNew ? fillText(texts.launcherUnread, { count: unread }) : texts.launcher;
  launcher.setAttribute("aria-label", name);
  let badge = launcher.querySelector(".badge");
  if (!hasNew) return badge?.remove();
  if (!badge) launcher.append((badge = el("span", { class: "badge", part: "badge", "aria-hidden": "true" })));
  badge.textContent = unread > 99 ? "99+" : unread;
}

/** Puts the number of new messages before the page's title; 0 removes it. */
export function markTitle(unread) {
  const bare = document.title.startsWith(prefix) ? document.title.slice(prefix.length) : document.title;
  prefix = unread > 0 ? `(${unread}) ` : "";
  if (document.title !== prefix + bare) document.title = prefix + bare;
}
