// The element `<rejoinder-chat>`: a chat that a page places by itself.

const TRUE_WORDS = ["", "true"];
/** The options that an attribute may give, by its name. */
const OPTION_ATTRIBUTES = {
  assistant: "assistant",
  server: "server",
  mode: "mode",
  locale: "locale",
  theme: "theme",
  accent: "accent",
  position: "position",
  // `title` itself would be a tooltip.
  "data-title": "title",
  subtitle: "subtitle",
  tools: "tools",
  variables: "variables",
  sound: "sound",
};

/** Defines the element. `start({ host, options })` starts a chat in it, and returns what changes (`set`) and ends (`destroy`) it. */
export function defineElement(start) {
  if (customElements.get("rejoinder-chat")) return;
  customElements.define("rejoinder-chat", chatElementClass(start));
}

function chatElementClass(start) {
  return class extends HTMLElement {
    static observedAttributes = Object.keys(OPTION_ATTRIBUTES);
    #controller = null;

    connectedCallback() {
      if (this.hasAttribute("assistant")) this.#controller ??= start({ host: this, options: optionsOf(this) });
    }

    disconnectedCallback() {
      this.#controller?.destroy();
      this.#controller = null;
    }

    attributeChangedCallback(name, before, now) {
      if (before === now || !this.isConnected) return;
      if (!this.#controller || name === "assistant" || name === "server" || name === "mode") {
        this.disconnectedCallback();
        this.connectedCallback();
      } else this.#controller.set(optionsOf(this));
    }
  };
}

/** The options that the element's attributes give. */
function optionsOf(element) {
  const options = { mode: "inline" };
  for (const [attribute, name] of Object.entries(OPTION_ATTRIBUTES)) {
    const value = element.getAttribute(attribute);
    if (value === null) continue;
    if (name === "sound") options.sound = TRUE_WORDS.includes(value);
    else options[name] = name === "variables" ? JSON.parse(value) : value;
  }
  return options;
}
