/** Server-sent events out of the body of an answer: EventSource itself cannot POST. */

/** The lines of a stream of bytes, whichever way they end; the last may lack its end. */
async function* linesOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      // A CR at the end waits: the LF that belongs to it may be in the next part.
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      yield* lines;
    }
    if (rest) yield rest.replace(/\r$/, "");
  } finally {
    // A reader that is left early stops the request as well.
    await reader.cancel().catch(() => undefined);
  }
}

/** The events of a stream, read as JSON; comments, and the end mark "[DONE]", are left out. */
export async function* eventsOf(stream) {
  let data = [];
  for await (const line of linesOf(stream)) {
    if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
    else if (line === "" && data.length) {
      const text = data.join("\n");
      data = [];
      if (text !== "[DONE]") yield JSON.parse(text);
    }
  }
}
