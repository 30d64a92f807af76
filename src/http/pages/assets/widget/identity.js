// The token of an identified visitor, as far as the browser reads it: only the server checks it.

/** `{ token, subject, expires }` of a JWT, `expires` in milliseconds. Throws a `TypeError` if it has no subject. */
export function readIdentity(token) {
  let claims;
  try {
    const [, payload] = String(token).split(".");
    const bytes = Uint8Array.from(atob(payload.replace(/-/g, "+").replace(/_/g, "/")), (character) => character.charCodeAt(0));
    claims = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new TypeError("Rejoinder: the identity token is not a JWT.", { cause: error });
  }
  if (typeof claims?.sub !== "string" || claims.sub === "") throw new TypeError("Rejoinder: the identity token has no `sub`.");
  return { token, subject: claims.sub, expires: claims.exp ? claims.exp * 1000 : Infinity };
}

/** A short name for `text`, 53 bits of it (cyrb53). It keeps what visitors of one browser store apart; it is no secret. */
export function hashOf(text) {
  let high = 0xdeadbeef;
  let low = 0x41c6ce57;
  for (const character of text) {
    const code = character.codePointAt(0);
    high = Math.imul(high ^ code, 2654435761);
    low = Math.imul(low ^ code, 1597334677);
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  return (4294967296 * (2097151 & low) + (high >>> 0)).toString(36);
}
