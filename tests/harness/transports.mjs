// Every transport as one thing: an async generator of what a channel's reader receives after a cursor. Leaving the loop
// cuts the connection. Each is a stock client; none knows of the others.

import { once } from 'node:events';
import http2 from 'node:http2';

import { createParser } from 'eventsource-parser';
import { WebSocket } from 'ws';

import { deadline, Inbox, lines } from './inbox.mjs';

/** Messages a page may have, so that a history takes several. */
const PAGE = 50;

/** Pages of history, asked for until there is news: `{cursor, event, data}` each. */
async function* pages(server, channel, since) {
  for (;;) {
    const page = await getPage(server.url(`/${channel}?since=${since}&limit=${PAGE}`));
    yield* page?.messages ?? [];
    since = page?.cursor ?? since;
  }
}

async function* longPoll(server, channel, since) {
  for (;;) {
    const page = await getPage(server.url(`/${channel}?since=${since}&limit=${PAGE}`), { prefer: 'wait=5' });
    yield* page?.messages ?? [];
    since = page?.cursor ?? since;
  }
}

async function getPage(url, headers) {
  const response = await fetch(url, { headers, signal: AbortSignal.timeout(15_000) });
  if (response.status === 204) return null;
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  return response.json();
}

async function* sse(server, channel, since) {
  const headers = { accept: 'text/event-stream', 'last-event-id': since };
  const [inbox, cut] = await fetchStream(server.url(`/${channel}`), headers, (inbox) => {
    const parser = createParser({ onEvent: ({ id, event, data }) => inbox.push({ cursor: id, event, data: JSON.parse(data) }) });
    return (text) => parser.feed(text);
  });
  yield* drain(inbox, cut);
}

async function* ndjson(server, channel, since) {
  const [inbox, cut] = await fetchStream(server.url(`/${channel}?since=${since}`), { accept: 'application/x-ndjson' }, (inbox) => {
    let rest = '';
    return (text) => {
      const parts = (rest + text).split('\n');
      rest = parts.pop();
      parts.forEach((line) => inbox.push(JSON.parse(line)));
    };
  });
  yield* drain(inbox, cut);
}

async function* http2Stream(server, channel, since) {
  const session = http2.connect(server.origin);
  const inbox = new Inbox('HTTP/2');
  session.on('error', inbox.close);
  const stream = session.request({ ':path': `/${channel}?since=${since}`, accept: 'application/x-ndjson' });
  lines(stream, inbox);
  yield* drain(inbox, () => session.destroy(), JSON.parse);
}

async function* webSocket(server, channel, since) {
  const socket = new WebSocket(`${server.wsOrigin}/${channel}?since=${since}`);
  const inbox = new Inbox('WebSocket');
  socket.on('message', (data) => inbox.push(JSON.parse(data)));
  socket.on('close', (code) => inbox.close(`closed with ${code}`));
  socket.on('error', inbox.close);
  await deadline(once(socket, 'open'), 'the WebSocket did not open');
  yield* drain(inbox, () => socket.terminate());
}

/** Those that give every message, by name. */
export const TRANSPORTS = { pages, longPoll, sse, ndjson, http2Stream, webSocket };

async function fetchStream(url, headers, reader) {
  const abort = new AbortController();
  const response = await fetch(url, { headers, signal: abort.signal });
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  const inbox = new Inbox(url);
  const feed = reader(inbox);
  const decoder = new TextDecoder();
  const pump = async () => {
    for await (const chunk of response.body) feed(decoder.decode(chunk, { stream: true }));
  };
  pump().then(() => inbox.close(), inbox.close);
  return [inbox, () => abort.abort()];
}

async function* drain(inbox, cut, parse = (item) => item) {
  try {
    for (;;) yield parse(await inbox.next());
  } finally {
    cut();
  }
}
