// The token of an identified visitor, as far as the browser reads it: only the server checks it, and says what is wrong with it.

/** `{ token, subject, expires }` of a JWT, `expires` in milliseconds. The subject of anything else is its text. */
export function readIdentity(text) {
  // A header cannot have other characters.
  const token = String(text).replace(/[^!-~]/g, "");
  const { sub, exp } = claimsOf(token) ?? {};
  return { token, subject: String(sub || token), expires: exp ? exp * 1000 : Infinity };
}

function claimsOf(token) {
  try {
    const payload = atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(payload, (character) => character.charCodeAt(0))));
  } catch {
    return null;
  }
}

/** A short name for `text` (FNV-1a). It keeps what visitors of one browser store apart; it is no secret. */
export function hashOf(text) {
  let hash = 0x811c9dc5;
  for (const character of text) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193);
  return (hash >>> 0).toString(36);
}
