// Every text that the widget shows. A site replaces any of them by the option `texts`.

import { lazyPart } from "./parts.js";
import { ENGLISH } from "./texts_en.js";

const german = lazyPart((suffix) => import("./texts_de.js" + suffix));

/** Loads the texts in the language that is desired; null if they are there. Resolves to whether they have come. */
export function loadTexts(desired) {
  if (languageOf(localeFor(desired)) !== "de" || german.module) return null;
  return german.get().then(Boolean);
}

/** The locale that is desired, and the texts in its language, or in English; `replaced` are a site's own. */
export function textsFor(desired, replaced = {}) {
  const locale = localeFor(desired);
  const language = languageOf(locale);
  const languages = { en: ENGLISH, de: german.module?.GERMAN };
  const texts = { ...(languages[language] ?? ENGLISH) };
  for (const [name, text] of Object.entries(replaced ?? {})) {
    texts[name] = typeof texts[name] === "object" ? { ...texts[name], ...text } : (text ?? texts[name]);
  }
  const isKnown = languages[language] || Object.keys(replaced ?? {}).length > 0;
  return { ...texts, locale, language: isKnown ? language : "en" };
}

function localeFor(desired) {
  const candidates = [desired, document.documentElement.lang, ...(navigator.languages ?? [])].filter(Boolean);
  return candidates.find(isLocale) ?? "en";
}

const languageOf = (locale) => locale.split("-")[0].toLowerCase();

/** Whether the browser can write dates for `tag`. */
function isLocale(tag) {
  try {
    return Intl.DateTimeFormat.supportedLocalesOf(tag).length > 0;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}
