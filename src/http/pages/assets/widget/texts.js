// Every text that the widget shows. A site replaces any of them by the option `texts`.

import { GERMAN } from "./texts_de.js";
import { ENGLISH } from "./texts_en.js";

const LANGUAGES = { en: ENGLISH, de: GERMAN };

/** The locale that is wanted, and the texts in its language, or in English; `replaced` are a site's own. */
export function textsFor(wanted, replaced = {}) {
  const candidates = [wanted, document.documentElement.lang, ...(navigator.languages ?? [])].filter(Boolean);
  const locale = candidates.find(isLocale) ?? "en";
  const language = locale.split("-")[0].toLowerCase();
  const texts = { ...(LANGUAGES[language] ?? ENGLISH) };
  for (const [name, text] of Object.entries(replaced ?? {})) {
    texts[name] = typeof texts[name] === "object" ? { ...texts[name], ...text } : (text ?? texts[name]);
  }
  const isKnown = language in LANGUAGES || Object.keys(replaced ?? {}).length > 0;
  return { ...texts, locale, language: isKnown ? language : "en" };
}

/** Whether the browser can write dates for `tag`. */
function isLocale(tag) {
  try {
    return Intl.DateTimeFormat.supportedLocalesOf(tag).length > 0;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

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
