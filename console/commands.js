// Changing the counter: a POST whose status says whether it happened, and a burst pipelined over one WebSocket.

/** `POST /counter:NAME`. Returns `{status, body, cursor}`; a refusal is an answer too. Throws if there was none. */
export async function command(url, name, args) {
  const response = await fetch(`${url}:${name}`, { method: 'POST', body: JSON.stringify(args) });
  const body = await response.json();
  return { status: response.status, body, cursor: response.headers.get('Plainwire-Cursor') };
}

/**
 * Sends `commands` increments at once over a WebSocket of its own, and waits for the reply to each.
 * Returns how many were accepted and how long it took, in milliseconds.
 */
export async function burst(url, commands) {
  const socket = new WebSocket(url.replace(/^http/, 'ws'));
  try {
    await new Promise((opened, failed) => {
      socket.onopen = opened;
      socket.onclose = () => failed(new Error('the connection was closed'));
    });
    const begun = performance.now();
    const accepted = await new Promise((finished, failed) => {
      let replies = 0;
      let ok = 0;
      socket.onclose = () => failed(new Error(`the connection was closed after ${replies} replies`));
      socket.onmessage = ({ data }) => {
        const reply = JSON.parse(data);
        if (reply.id === undefined) return; // a push: the socket watches the channel, too
        if (reply.status === 200) ok += 1;
        if (++replies === commands) finished(ok);
      };
      for (let id = 1; id <= commands; id++) {
        socket.send(JSON.stringify({ id, post: '/counter:increment', body: { value: 1 } }));
      }
    });
    return { accepted, ms: performance.now() - begun };
  } finally {
    socket.close();
  }
}
