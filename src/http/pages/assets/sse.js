// A reader of server-sent events over `fetch`, which unlike `EventSource` can POST and send headers. It uses nothing else of
// this folder.

/** Yields the data of each event of a response's body. Comments and all other fields are skipped, as is an event that the end
 * of the body cuts off. Throws a `TimeoutError` if nothing, not even a comment, comes for `silence` milliseconds.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation */
async function* readEvents(body, silence) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await within(reader.read(), silence);
      if (done) return;
      // A CR at the end of a chunk may be the first half of a CRLF.
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (data.length > 0) yield data.join("\n");
          data = [];
        } else if (line === "data" || line.startsWith("data:")) {
          data.push(line.slice(5).replace(/^ /, ""));
        }
      }
    }
  } finally {
    // Closes the connection of a reader that leaves early. A connection that is already broken has nothing to close.
    reader.cancel().catch(() => {});
  }
}

/** The result of a promise, or a `TimeoutError` after that many milliseconds. */
function within(promise, milliseconds) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new DOMException("There was no answer in time.", "TimeoutError")), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
