// The form that is filled in before the conversation begins.

import { el } from "./dom.js";
import { failureTexts, fillText } from "./text_format.js";

const EMAIL = /^[^\s@]+@[^\s@]+\.[^\s@]+$/;
const TELEPHONE = /^[+()\d][\d\s()/.-]{4,}$/;
/** The values that a browser may fill in by itself. */
const COMPLETES = { email: "email", tel: "tel" };

export class FormView {
  #frame;
  #fields = [];
  #submit;
  #isSending = false;
  #intro;
  #refusal = el("p", { class: "field-error", role: "alert" });

  constructor(frame) {
    this.#frame = frame;
    this.#fields = frame.chat.state.settings.form.map((field, index) => formField(frame, field, `field-${index}`));
    // A frame with `sandbox` may forbid to submit forms. Enter in a field is a click, too.
    this.#submit = el("button", { type: "submit", class: "solid", part: "submit", onclick: (event) => this.#onSubmit(event) });
    this.#intro = el(frame.heading);
    const fields = this.#fields.map((field) => field.element);
    const form = el("form", { class: "column form", novalidate: true, part: "form" }, this.#intro, fields, this.#refusal, this.#submit);
    this.element = el("div", { class: "screen scroll" }, form);
    this.relabel();
  }

  relabel() {
    const { texts } = this.#frame;
    this.#intro.textContent = texts.formIntro;
    this.#submit.textContent = texts.formSubmit;
    this.#fields.forEach((field) => field.relabel());
    this.update();
  }

  /** Shows why the server refused the values. */
  update() {
    const { texts, chat } = this.#frame;
    const { title, detail } = chat.state.failure ? failureTexts(texts, chat.state.failure) : { title: "", detail: "" };
    this.#refusal.textContent = `${title} ${detail}`.trim();
  }

  focus() {
    this.#fields[0]?.input.focus({ preventScroll: true });
  }

  async #onSubmit(event) {
    event.preventDefault();
    if (this.#isSending) return;
    const wrong = this.#fields.filter((field) => !field.check());
    if (wrong.length > 0) return wrong[0].input.focus();
    const filled = this.#fields.filter((field) => field.value !== "");
    this.#showSending(true);
    try {
      await this.#frame.chat.submitForm(Object.fromEntries(filled.map((field) => [field.variable, field.value])));
    } finally {
      this.#showSending(false);
    }
  }

  /** A button that is disabled would lose the focus. */
  #showSending(isSending) {
    this.#isSending = isSending;
    this.#submit.setAttribute("aria-disabled", String(isSending));
  }
}

/** A field with its label, and its error once it has been checked. */
function formField(frame, { variable, label, type, required, max_length: limit }, id) {
  const fieldError = el("p", { id: `${id}-error`, class: "field-error" });
  const input = el("input", {
    id,
    type,
    name: variable,
    class: "input",
    "aria-required": required ? "true" : null,
    "aria-describedby": fieldError.id,
    autocomplete: COMPLETES[type] ?? (/name/i.test(variable) ? "name" : "off"),
    oninput: () => recheck(),
  });
  const recheck = () => input.getAttribute("aria-invalid") === "true" && field.check();
  const optional = required ? null : el("span", { class: "optional" });
  const field = {
    variable,
    input,
    element: el("div", { class: "form-field" }, el("label", { for: id }, label, optional), input, fieldError),
    relabel() {
      if (optional) optional.textContent = ` (${frame.texts.optional})`;
      recheck();
    },
    get value() {
      return input.value.trim();
    },
    /** Shows what is wrong. Returns whether nothing is. */
    check() {
      fieldError.textContent = fieldErrorOf(frame.texts, this.value, { type, required, limit });
      input.setAttribute("aria-invalid", String(fieldError.textContent !== ""));
      return fieldError.textContent === "";
    },
  };
  return field;
}

function fieldErrorOf(texts, value, { type, required, limit }) {
  if (value === "") return required ? texts.formRequired : "";
  if (limit && [...value].length > limit) return fillText(texts.formLong, { count: limit });
  if (type === "email" && !EMAIL.test(value)) return texts.formEmail;
  return type === "tel" && !TELEPHONE.test(value) ? texts.formTel : "";
}
