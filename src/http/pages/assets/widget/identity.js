// The token of an identified visitor, as far as the browser reads it: only the server checks it.

/** `{ token, subject, expires }` of a JWT, `expires` in milliseconds. Throws a `TypeError` if it has no subject. */
export function readIdentity(token) {
  let claims;
  try {
    const [, payload] = String(token).split(".");
    const text = atob(payload.replace(/-/g, "+").replace(/_/g, "/"));
    const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
    claims = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new TypeError("Rejoinder: the identity token is not a JWT.", { cause: error });
  }
  if (typeof claims?.sub !== "string" || claims.sub === "") throw new TypeError("Rejoinder: the identity token has no `sub`.");
  return { token, subject: claims.sub, expires: claims.exp ? claims.exp * 1000 : Infinity };
}

/** A short name for `text` (FNV-1a). It keeps what visitors of one browser store apart; it is no secret. */
export function hashOf(text) {
  let hash = 0x811c9dc5;
  for (const character of text) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193);
  return (hash >>> 0).toString(36);
}
