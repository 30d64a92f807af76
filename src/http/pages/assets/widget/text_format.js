// Texts with values in them, and the texts of failures.

/** `text` with its placeholders filled from `values`. */
export function fillText(text, values) {
  return text.replace(/\{(\w+)\}/g, (slot, name) => values[name] ?? slot);
}

/** Failures that mean the same to a visitor. */
const SAME_FAILURES = { suspended: "no_credit", gone: "ended" };

/** Title and detail of a failure. The server's own words are shown where a visitor can use them. */
export function failureTexts(texts, failure) {
  const [title, detail = ""] = [texts.failures[SAME_FAILURES[failure.code] ?? failure.code] ?? texts.failures.defect].flat();
  return { title, detail: failure.code === "invalid" && failure.detail ? failure.detail : detail };
}
