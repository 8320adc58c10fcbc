// The transports, one function each, with one shape: watch `url` from the cursor `since` (null: from the present state),
// give every event to `on.event` as {event, cursor, data}, call `on.open` when connected, and return when it is over.
//
// The page shows the source of these very functions, to copy. So each stands alone: no import, no shared code.

async function websocket(url, since, on, signal) {
  const address = url.replace(/^http/, 'ws') + (since ? `?since=${since}` : '');
  const socket = new WebSocket(address);
  signal.addEventListener('abort', () => socket.close());

  socket.onopen = on.open;
  socket.onmessage = (message) => on.event(JSON.parse(message.data));
  await new Promise((over) => { socket.onclose = over; });
}

async function sse(url, since, on, signal) {
  // Not `since`: when the browser reconnects by itself, its Last-Event-ID header must win.
  const source = new EventSource(since ? `${url}?last_event_id=${since}` : url);
  const take = ({ type, lastEventId, data }) => {
    const event = type === 'message' ? undefined : type;
    on.event({ event, cursor: lastEventId, data: JSON.parse(data) });
  };

  source.onopen = on.open;
  source.onmessage = take;
  for (const name of ['@state', '@live', '@reset', '@drain']) source.addEventListener(name, take);

  await new Promise((over) => {
    source.onerror = () => (source.readyState === EventSource.CLOSED ? over() : on.retry());
    signal.addEventListener('abort', () => { source.close(); over(); });
  });
}

async function ndjson(url, since, on, signal) {
  // no-store: in the browser's cache, a request waits for another one of the same URL that is under way.
  const options = { headers: { Accept: 'application/x-ndjson' }, cache: 'no-store', signal };
  const response = await fetch(since ? `${url}?since=${since}` : url, options);
  if (!response.ok) throw new Error(`${response.status}`);
  on.open();

  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) if (line) on.event(JSON.parse(line));
  }
}

async function longpoll(url, since, on, signal) {
  let headers = {}; // the first answer comes at once, the others when there is news
  while (!signal.aborted) {
    const options = { headers, cache: 'no-store', signal }; // no waiting for others in the browser's cache
    const response = await fetch(since ? `${url}?since=${since}` : url, options);
    if (!response.ok && response.status !== 410) throw new Error(`${response.status}`);
    on.open();

    let cursor = response.headers.get('Plainwire-Cursor');
    if (response.status === 410) {
      const problem = await response.json(); // history is gone: start again from the state
      on.event({ event: '@reset', cursor: problem.cursor, data: { reason: problem.reason } });
      cursor = null;
    } else if (!since) {
      on.event({ event: '@state', cursor, data: await response.json() });
    } else if (response.status === 200) {
      const page = await response.json();
      page.messages.forEach(on.event);
      cursor = page.cursor;
    }
    headers = cursor ? { Prefer: 'wait=25' } : {};
    since = cursor;
  }
}

async function poll(url, since, on, signal) {
  let headers = since ? { 'If-None-Match': `"${since}"` } : {};
  while (!signal.aborted) {
    const response = await fetch(url, { headers, signal });
    if (!response.ok && response.status !== 304) throw new Error(`${response.status}`);
    on.open();

    if (response.status === 200) {
      const cursor = response.headers.get('Plainwire-Cursor');
      on.event({ event: '@state', cursor, data: await response.json() });
      headers = { 'If-None-Match': response.headers.get('ETag') };
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

/**
 * Every transport by its key, in the order of the panes. `how` is its API or header; `held`: it keeps one of the browser's
 * six HTTP/1.1 connections; `snapshots`: it sees the newest state, not every step. The rest is said on the page.
 */
export const TRANSPORTS = {
  ws: {
    watch: websocket,
    held: false,
    snapshots: false,
    name: 'WebSocket',
    short: 'WebSocket',
    how: 'new WebSocket',
    line: 'Pushed as it happens, and commands can go the other way',
    asks: 'GET /counter\nUpgrade: websocket',
    resume: '?since=CURSOR',
    note: 'Commands can be pipelined on the same socket. Each has one reply, with its id and an HTTP status.',
    brief: `socket.send('{"id":1,"post":"/counter:increment","body":{"value":1}}')`,
  },
  sse: {
    watch: sse,
    held: true,
    snapshots: false,
    name: 'Server-Sent Events',
    short: 'SSE',
    how: 'new EventSource',
    line: 'Pushed as it happens. The browser resumes by itself',
    asks: 'GET /counter\nAccept: text/event-stream',
    resume: 'Last-Event-ID: CURSOR',
    note: 'The browser reconnects and sends the cursor without a line of yours.',
    brief: `new EventSource('/counter').onmessage = (e) => console.log(e.data)`,
  },
  ndjson: {
    watch: ndjson,
    held: true,
    snapshots: false,
    name: 'Fetch stream',
    short: 'fetch',
    how: 'response.body',
    line: 'Pushed as it happens, one JSON object a line',
    asks: 'GET /counter\nAccept: application/x-ndjson',
    resume: '?since=CURSOR',
    note: 'One JSON object a line, for any language that can read a response as it arrives.',
    brief: `curl -N -H 'Accept: application/x-ndjson' URL`,
  },
  longpoll: {
    watch: longpoll,
    held: true,
    snapshots: false,
    name: 'Long poll',
    short: 'long poll',
    how: 'Prefer: wait=25',
    line: 'Every step, in plain answers. Asks again at once',
    asks: 'GET /counter?since=CURSOR\nPrefer: wait=25',
    resume: '?since=CURSOR',
    note: 'Answers the moment there is news, or 204 when the time is over. Sees every step, through any proxy.',
    brief: `curl -H 'Prefer: wait=25' 'URL?since=CURSOR'`,
  },
  poll: {
    watch: poll,
    held: false,
    snapshots: true,
    name: 'Short poll',
    short: 'short poll',
    how: 'If-None-Match',
    line: 'Once a second. Sees the latest state, not every step',
    asks: 'GET /counter\nIf-None-Match: "CURSOR"',
    resume: 'Nothing to resume: every answer is whole',
    note: 'Offsets may be skipped, but never go back. 304 without a body while nothing changes.',
    brief: `curl -i -H 'If-None-Match: "CURSOR"' URL`,
  },
};

/** The order in which a pane's switch goes through the transports. */
export const ORDER = Object.keys(TRANSPORTS);
