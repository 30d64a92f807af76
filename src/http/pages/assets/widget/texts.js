// Every text that the widget shows, by language. `{…}` are placeholders. A site replaces any of them by the option `texts`.

const ENGLISH = {
  title: "Chat",
  launcher: "Open chat",
  launcherClose: "Close chat",
  launcherUnread: "Open chat, {count} new",
  close: "Close",
  back: "Back",
  newConversation: "New conversation",
  conversation: "Conversation",
  conversations: "Conversations",
  noConversations: "There are no earlier conversations.",
  current: "Current",
  ended: "Ended",
  log: "Messages",
  you: "You",
  assistant: "Assistant",
  agent: "Team member",
  message: "Your message",
  placeholder: "Write a message",
  send: "Send",
  stop: "Stop",
  charactersLeft: "{count} characters left",
  charactersOver: "{count} characters too many",
  quickReplies: "Suggested messages",
  newest: "Newest",
  today: "Today",
  yesterday: "Yesterday",
  copy: "Copy",
  copied: "Copied",
  notCopied: "Not copied",
  code: "Code",
  table: "Table",
  helpful: "Helpful",
  notHelpful: "Not helpful",
  opening: "Opening the conversation…",
  sending: "Sending…",
  reconnecting: "Reconnecting…",
  slow: "Still working on it.",
  typing: "Someone is typing…",
  answering: "The assistant is answering.",
  stopped: "Stopped.",
  stoppedEmpty: "Stopped before there was a reply.",
  humanAnswers: "A person will answer here.",
  conversationEnded: "This conversation has ended.",
  formIntro: "Before we begin",
  formSubmit: "Start the chat",
  formRequired: "Please fill in this field.",
  formEmail: "Please enter an e-mail address, such as name@example.com.",
  formTel: "Please enter a telephone number.",
  formLong: "At most {count} characters.",
  optional: "optional",
  tryAgain: "Try again",
  tryAgainIn: "Try again in {seconds} s",
  notes: {
    ai_paused: "The assistant is paused. A person will answer here.",
    ai_resumed: "The assistant is answering again.",
    new_conversation: "The earlier conversation is no longer there, so this is a new one.",
    ended: "This conversation has ended.",
  },
  tools: {
    calendar_availability: ["Looking for free times", "Looked for free times"],
    calendar_booking: ["Booking an appointment", "Booked an appointment", "The appointment could not be booked"],
    calendar_cancel: ["Cancelling an appointment", "Cancelled an appointment", "The appointment could not be cancelled"],
    knowledge: ["Searching the documents", "Searched the documents"],
    other: ["Working on it", "Looked something up", "That did not work"],
  },
  toolRunning: "running",
  toolFailed: "failed",
  toolDone: "done",
  toolFound: "{count} found",
  toolNothing: "none found",
  toolFunction: "Function",
  toolArguments: "Arguments",
  toolResult: "Result",
  toolNone: "none",
  copyJson: "Copy as JSON",
  failures: {
    busy: ["The chat is busy right now.", "Please try again in a moment."],
    offline: ["You are offline.", "Trying again will not send your message twice."],
    timeout: ["There was no answer in time.", "Trying again will not send your message twice."],
    limit: ["That was a lot of messages.", "Please wait a moment."],
    full: ["This conversation is full.", "Please start a new one."],
    ended: ["This conversation has ended.", "You can start a new one."],
    no_credit: ["The assistant is not available at the moment.", "Please try again later."],
    refused_origin: ["The chat is not available on this page.", ""],
    invalid: ["The message was not accepted.", ""],
    no_reply: ["There was no reply.", "Please try again."],
    absent: ["The chat is not available.", ""],
    identity: ["You are not signed in any more.", "Please reload the page and sign in again."],
    defect: ["Something went wrong.", "Please try again."],
  },
};

const GERMAN = {
  title: "Chat",
  launcher: "Chat öffnen",
  launcherClose: "Chat schließen",
  launcherUnread: "Chat öffnen, {count} neu",
  close: "Schließen",
  back: "Zurück",
  newConversation: "Neue Unterhaltung",
  conversation: "Unterhaltung",
  conversations: "Unterhaltungen",
  noConversations: "Es gibt keine früheren Unterhaltungen.",
  current: "Aktuell",
  ended: "Beendet",
  log: "Nachrichten",
  you: "Sie",
  assistant: "Assistent",
  agent: "Team",
  message: "Ihre Nachricht",
  placeholder: "Nachricht schreiben",
  send: "Senden",
  stop: "Anhalten",
  charactersLeft: "Noch {count} Zeichen",
  charactersOver: "{count} Zeichen zu viel",
  quickReplies: "Vorschläge",
  newest: "Neueste",
  today: "Heute",
  yesterday: "Gestern",
  copy: "Kopieren",
  copied: "Kopiert",
  notCopied: "Nicht kopiert",
  code: "Code",
  table: "Tabelle",
  helpful: "Hilfreich",
  notHelpful: "Nicht hilfreich",
  opening: "Die Unterhaltung wird geöffnet…",
  sending: "Wird gesendet…",
  reconnecting: "Verbindung wird wiederhergestellt…",
  slow: "Das dauert noch etwas.",
  typing: "Jemand schreibt…",
  answering: "Der Assistent antwortet.",
  stopped: "Angehalten.",
  stoppedEmpty: "Angehalten, bevor es eine Antwort gab.",
  humanAnswers: "Hier antwortet ein Mensch.",
  conversationEnded: "Diese Unterhaltung ist beendet.",
  formIntro: "Bevor es losgeht",
  formSubmit: "Chat beginnen",
  formRequired: "Bitte füllen Sie dieses Feld aus.",
  formEmail: "Bitte geben Sie eine E-Mail-Adresse ein, etwa name@example.com.",
  formTel: "Bitte geben Sie eine Telefonnummer ein.",
  formLong: "Höchstens {count} Zeichen.",
  optional: "freiwillig",
  tryAgain: "Erneut versuchen",
  tryAgainIn: "Erneut versuchen in {seconds} s",
  notes: {
    ai_paused: "Der Assistent pausiert. Hier antwortet ein Mensch.",
    ai_resumed: "Der Assistent antwortet wieder.",
    new_conversation: "Die frühere Unterhaltung gibt es nicht mehr, dies ist eine neue.",
    ended: "Diese Unterhaltung ist beendet.",
  },
  tools: {
    calendar_availability: ["Freie Zeiten werden gesucht", "Freie Zeiten gesucht"],
    calendar_booking: ["Ein Termin wird gebucht", "Termin gebucht", "Der Termin konnte nicht gebucht werden"],
    calendar_cancel: ["Ein Termin wird abgesagt", "Termin abgesagt", "Der Termin konnte nicht abgesagt werden"],
    knowledge: ["Die Dokumente werden durchsucht", "Dokumente durchsucht"],
    other: ["Einen Moment", "Etwas nachgesehen", "Das hat nicht geklappt"],
  },
  toolRunning: "läuft",
  toolFailed: "fehlgeschlagen",
  toolDone: "fertig",
  toolFound: "{count} gefunden",
  toolNothing: "nichts gefunden",
  toolFunction: "Funktion",
  toolArguments: "Argumente",
  toolResult: "Ergebnis",
  toolNone: "keine",
  copyJson: "Als JSON kopieren",
  failures: {
    busy: ["Der Chat ist gerade ausgelastet.", "Bitte versuchen Sie es gleich noch einmal."],
    offline: ["Sie sind offline.", "Ihre Nachricht wird nicht doppelt gesendet."],
    timeout: ["Es kam rechtzeitig keine Antwort.", "Ihre Nachricht wird nicht doppelt gesendet."],
    limit: ["Das waren viele Nachrichten.", "Bitte warten Sie einen Moment."],
    full: ["Diese Unterhaltung ist voll.", "Bitte beginnen Sie eine neue."],
    ended: ["Diese Unterhaltung ist beendet.", "Sie können eine neue beginnen."],
    no_credit: ["Der Assistent ist zurzeit nicht erreichbar.", "Bitte versuchen Sie es später noch einmal."],
    refused_origin: ["Der Chat ist auf dieser Seite nicht verfügbar.", ""],
    invalid: ["Die Nachricht wurde nicht angenommen.", ""],
    no_reply: ["Es kam keine Antwort.", "Bitte versuchen Sie es noch einmal."],
    absent: ["Der Chat ist nicht verfügbar.", ""],
    identity: ["Sie sind nicht mehr angemeldet.", "Bitte laden Sie die Seite neu und melden Sie sich an."],
    defect: ["Etwas ist schiefgegangen.", "Bitte versuchen Sie es noch einmal."],
  },
};

const LANGUAGES = { en: ENGLISH, de: GERMAN };

/** The locale that is wanted, and the texts in its language, or in English; `replaced` are a site's own. */
export function textsFor(wanted, replaced = {}) {
  const candidates = [wanted, document.documentElement.lang, ...(navigator.languages ?? [])].filter(Boolean);
  const locale = candidates.find(isLocale) ?? "en";
  const language = locale.split("-")[0].toLowerCase();
  const texts = { ...(LANGUAGES[language] ?? ENGLISH) };
  for (const [name, text] of Object.entries(replaced ?? {})) {
    texts[name] = typeof text === "object" && !Array.isArray(text) ? { ...texts[name], ...text } : text;
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
  const [title, detail] = texts.failures[SAME_FAILURES[failure.code] ?? failure.code] ?? texts.failures.defect;
  return { title, detail: failure.code === "invalid" && failure.detail ? failure.detail : detail };
}
