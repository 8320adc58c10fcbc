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
  const take = ({ type, lastEventId, data }) =>
    on.event({ event: type === 'message' ? undefined : type, cursor: lastEventId, data: JSON.parse(data) });

  source.onopen = on.open;
  source.onmessage = take;
  for (const name of ['@state', '@live', '@reset', '@drain']) source.addEventListener(name, take);

  await new Promise((over) => {
    source.onerror = () => (source.readyState === EventSource.CLOSED ? over() : on.retry());
    signal.addEventListener('abort', () => { source.close(); over(); });
  });
}

async function ndjson(url, since, on, signal) {
  const headers = { Accept: 'application/x-ndjson' };
  const response = await fetch(since ? `${url}?since=${since}` : url, { headers, signal });
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
    const response = await fetch(since ? `${url}?since=${since}` : url, { headers, signal });
    let cursor = response.headers.get('Plainwire-Cursor');
    if (response.status === 410) {
      const problem = await response.json(); // history is gone: start again from the state
      on.event({ event: '@reset', cursor: problem.cursor, data: { reason: problem.reason } });
      cursor = null;
    } else if (!response.ok) {
      throw new Error(`${response.status}`);
    } else if (!since) {
      on.event({ event: '@state', cursor, data: await response.json() });
    } else if (response.status === 200) {
      const page = await response.json();
      page.messages.forEach(on.event);
      cursor = page.cursor;
    }
    on.open();
    if (since) headers = { Prefer: 'wait=25' };
    since = cursor;
  }
}

async function poll(url, since, on, signal) {
  let headers = since ? { 'If-None-Match': `"${since}"` } : {};
  while (!signal.aborted) {
    const response = await fetch(url, { headers, signal });
    if (response.ok) {
      const cursor = response.headers.get('Plainwire-Cursor');
      on.event({ event: '@state', cursor, data: await response.json() });
      headers = { 'If-None-Match': response.headers.get('ETag') };
    } else if (response.status !== 304) {
      throw new Error(`${response.status}`);
    }
    on.open();
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

/**
 * Every transport by its key, in the order of the panes. `how` is its API or header, `resume` how it resumes; `held`:
 * it keeps one of the browser's six HTTP/1.1 connections; `snapshots`: it sees the newest state, not every step.
 */
export const TRANSPORTS = {
  ws: {
    name: 'WebSocket', short: 'WebSocket', how: 'new WebSocket', watch: websocket, held: false, snapshots: false,
    asks: 'GET /counter · Upgrade: websocket',
    resume: '?since=CURSOR',
    note: 'Two-way: commands can be pipelined on the same socket, each with one reply and an HTTP status.',
  },
  sse: {
    name: 'Server-Sent Events', short: 'SSE', how: 'new EventSource', watch: sse, held: true, snapshots: false,
    asks: 'GET /counter · Accept: text/event-stream',
    resume: 'Last-Event-ID, sent by the browser itself',
    note: 'The shortest client there is. The browser reconnects and resumes without a line of yours.',
  },
  ndjson: {
    name: 'Fetch stream', short: 'fetch', how: 'fetch + getReader', watch: ndjson, held: true, snapshots: false,
    asks: 'GET /counter · Accept: application/x-ndjson',
    resume: '?since=CURSOR',
    note: 'One JSON object a line, in any language that reads a response as it arrives.',
  },
  longpoll: {
    name: 'Long poll', short: 'long poll', how: 'Prefer: wait=25', watch: longpoll, held: true, snapshots: false,
    asks: 'GET /counter?since=CURSOR · Prefer: wait=25',
    resume: '?since=CURSOR, as in every request',
    note: 'Answers the moment there is news, 204 when there is none. Sees every step, through any proxy.',
  },
  poll: {
    name: 'Short poll', short: 'short poll', how: 'If-None-Match', watch: poll, held: false, snapshots: true,
    asks: 'GET /counter · If-None-Match: "CURSOR"',
    resume: 'nothing to resume: each answer is whole',
    note: 'Polling sees the latest state, not every step: offsets may be skipped, but never go back.',
  },
};

/** The order in which a pane's switch goes through the transports. */
export const ORDER = Object.keys(TRANSPORTS);
