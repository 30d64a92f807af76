// A reader of server-sent events over `fetch`, which unlike `EventSource` can POST and send headers.

/** Yields `{ event, data, id }` of each event of a response's body; `id` is the last that was sent, or null. Comments are skipped, as is an
 * event that the end of the body cuts off. Throws a `TimeoutError` if nothing, not even a comment, comes for `idleTimeout` milliseconds.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation */
export async function* readEvents(body, idleTimeout) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let fields = {};
  let id = null;
  try {
    for (;;) {
      const { value, done } = await within(reader.read(), idleTimeout);
      if (done) return;
      // A CR at the end of a chunk may be the first half of a CRLF.
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        const [, name, text] = /^([^:]*):? ?(.*)$/s.exec(line);
        if (line === "") {
          id = fields.id ?? id;
          if (fields.data !== undefined) yield { event: fields.event || "message", data: fields.data, id };
          fields = {};
        } else if (name === "data" && fields.data !== undefined) fields.data += `\n${text}`;
        else fields[name] = text;
      }
    }
  } finally {
    // Closes the connection of a reader that leaves early. A connection that is already broken has nothing to close.
    reader.cancel().catch(() => {});
  }
}

/** The result of a promise, or a `TimeoutError` after that many milliseconds. */
export function within(promise, milliseconds) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new DOMException("There was no answer in time.", "TimeoutError")), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Waits; ends early if `signal` is aborted. */
export function pause(milliseconds, signal) {
  return new Promise((done) => {
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end, { once: true });
    function end() {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      done();
    }
  });
}
