// What the tests read in a page. This stands before each of their scripts. `host` is the element of the chat, `root` its shadow root.
const host = document.querySelector("rejoinder-chat");
const root = host?.shadowRoot;
const panel = root?.querySelector(".panel") ?? null;

/** The shown elements of a selector. */
const shown = (css) => [...root.querySelectorAll(css)].filter((element) => element.checkVisibility());
const style = (css) => getComputedStyle(root.querySelector(css));
const box = (css) => root.querySelector(css).getBoundingClientRect();
const describe = (element) => `${element.localName}.${element.className} ${element.textContent.slice(0, 20)}`;

/** Controls that are smaller than 24 px. A link in a text need not be larger (WCAG 2.5.8). */
function smallTargets() {
  const controls = shown("button, input, textarea, select, summary, a").filter((control) => !control.closest("p, li, td, th"));
  return controls.filter((control) => Math.min(control.offsetWidth, control.offsetHeight) < 24).map(describe);
}

/** What lies beyond the sides of the window or of the panel, unless the visitor can scroll to it. */
function cutOff() {
  const page = document.scrollingElement;
  const sides = panel.getBoundingClientRect();
  const isOutside = ({ left, right }) => left < sides.left - 1 || right > sides.right + 1;
  const parts = shown(".panel *").filter((part) => !part.closest(".table *, pre, .visually-hidden, svg *"));
  const found = parts.filter((part) => isOutside(part.getBoundingClientRect()));
  const sideways = shown(".scroll, .parts, .prose, .bubble, .field").filter((part) => part.scrollWidth > part.clientWidth + 1);
  const isWide = page.scrollWidth > innerWidth || sides.left < 0 || sides.right > innerWidth;
  return [...found, ...sideways].map(describe).concat(isWide ? ["the page"] : []);
}

/** Animations that go on. */
const animations = () => root.getAnimations().filter(({ playState }) => playState === "running").length;

/** The violations that axe-core finds in the page, as text, and the rules that something in the shadow root satisfies. */
async function inspect() {
  const { violations, passes } = await axe.run(document, { rules: { "target-size": { enabled: true } } });
  const isInside = ({ target }) => Array.isArray(target[0]);
  const describeNode = ({ target, failureSummary }) => `  ${target.flat().join(" >>> ")}\n  ${failureSummary}`;
  const describeRule = ({ id, help, nodes }) => [`${id}: ${help}`, ...nodes.map(describeNode)].join("\n");
  return {
    violations: violations.map(describeRule),
    passed: passes.filter(({ nodes }) => nodes.some(isInside)).map(({ id }) => id),
  };
}

/** The texts of the widget itself, which a visitor sees or hears: without messages, names of code, numbers and times. */
function ownTexts() {
  const isOther = (element) => element.closest(".bubble, .prose :not(.copy), .chip, .title, .subtitle, .preview, code, time, dl, .visually-hidden[role=status]");
  const found = [];
  for (const element of shown("*")) {
    const names = ["aria-label", "title", "placeholder"].map((name) => element.getAttribute(name));
    const texts = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data);
    if (!isOther(element)) found.push(...names, ...texts);
  }
  return [...new Set(found.filter((text) => /\p{L}/u.test(text ?? "")))];
}
