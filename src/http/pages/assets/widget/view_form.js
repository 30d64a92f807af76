// The form that is filled in before the conversation begins.

import { el } from "./dom.js";
import { failureTexts, fillText } from "./text_format.js";

const EMAIL = /^[^\s@]+@[^\s@]+\.[^\s@]+$/;
const TELEPHONE = /^[+()\d][\d\s()/.-]{4,}$/;
/** What a browser may fill in by itself. */
const COMPLETES = { email: "email", tel: "tel" };

export class FormView {
  #frame;
  #fields = [];
  #submit;
  #refusal = el("p", { class: "mistake", role: "alert" });

  constructor(frame) {
    this.#frame = frame;
    const { texts, chat } = frame;
    this.#fields = chat.state.settings.form.map((field, index) => formField(texts, field, `field-${index}`));
    this.#submit = el("button", { type: "submit", class: "solid", part: "submit" }, texts.formSubmit);
    const intro = el(frame.heading, {}, texts.formIntro);
    const fields = this.#fields.map((field) => field.element);
    const onsubmit = (event) => this.#onSubmit(event);
    const form = el("form", { class: "column form", novalidate: true, part: "form", onsubmit }, intro, fields, this.#refusal, this.#submit);
    this.element = el("div", { class: "screen scroll" }, form);
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
    if (this.#submit.disabled) return;
    const wrong = this.#fields.filter((field) => !field.check());
    if (wrong.length > 0) return wrong[0].input.focus();
    const filled = this.#fields.filter((field) => field.value !== "");
    this.#submit.disabled = true;
    try {
      await this.#frame.chat.submitForm(Object.fromEntries(filled.map((field) => [field.variable, field.value])));
    } finally {
      this.#submit.disabled = false;
    }
  }
}

/** A field with its label, and its mistake once it has been checked. */
function formField(texts, { variable, label, type, required, max_length: limit }, id) {
  const mistake = el("p", { id: `${id}-mistake`, class: "mistake" });
  const input = el("input", {
    id,
    type,
    name: variable,
    class: "input",
    "aria-required": required ? "true" : null,
    "aria-describedby": mistake.id,
    autocomplete: COMPLETES[type] ?? (/name/i.test(variable) ? "name" : "off"),
    oninput: () => input.getAttribute("aria-invalid") === "true" && field.check(),
  });
  const optional = required ? null : el("span", { class: "optional" }, ` (${texts.optional})`);
  const field = {
    variable,
    input,
    element: el("div", { class: "form-field" }, el("label", { for: id }, label, optional), input, mistake),
    get value() {
      return input.value.trim();
    },
    /** Shows what is wrong. Returns whether nothing is. */
    check() {
      mistake.textContent = mistakeOf(texts, this.value, { type, required, limit });
      input.setAttribute("aria-invalid", String(mistake.textContent !== ""));
      return mistake.textContent === "";
    },
  };
  return field;
}

function mistakeOf(texts, value, { type, required, limit }) {
  if (value === "") return required ? texts.formRequired : "";
  if (limit && [...value].length > limit) return fillText(texts.formLong, { count: limit });
  if (type === "email" && !EMAIL.test(value)) return texts.formEmail;
  return type === "tel" && !TELEPHONE.test(value) ? texts.formTel : "";
}
