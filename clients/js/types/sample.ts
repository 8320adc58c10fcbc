// Uses of the whole API that must compile, and wrong ones that must not: `npm run check`.

import { connect, PlainwireError } from './index.js';
import { connect as connectSse } from './sse.js';
import { useWatch } from './react.js';
import type { UseWatchOptions, Watched } from './react.js';
import type { Client, Envelope, Options, Problem, Result, State, TransportName, Watch } from './index.js';

interface Line {
  text: string;
}

const options: Options = {
  token: async () => 'a token',
  transports: ['sse', 'poll'],
  share: 'alice',
  delta: true,
  heartbeat: 25_000,
  patience: 10_000,
  backoff: { base: 500, cap: 30_000 },
  buffer: { limit: 100, overflow: 'drop-oldest' },
  outbox: { limit: 10, deadline: 5_000 },
  credentials: 'include',
  fetch: globalThis.fetch,
  WebSocket: globalThis.WebSocket,
  storage: globalThis.localStorage,
};

export async function sample(): Promise<void> {
  const pw: Client = connect('https://example.org', options);
  const other = connectSse(new URL('https://example.org'), { token: 'a token' });
  const stop = new AbortController();

  const watch: Watch<Line> = pw.watch<Line>('/chat/general', {
    since: '0',
    last: 10,
    limit: 5,
    overflow: 'latest',
    key: (message) => message.data.text,
    signal: stop.signal,
  });
  const off: () => void = watch.on('message', ({ data, cursor, event, at, from, channel, dropped }: Envelope<Line>) => {
    console.log(data.text.length, cursor.length, event?.length, at?.toFixed(), from?.length, channel.length, dropped?.toFixed());
  });
  watch.on('end', (error) => console.log(error?.remedy === 'stop', watch.isOver, watch.cursor, watch.channel));
  for await (const message of watch) console.log(message.data.text);
  off();
  watch.close();

  const result: Result<{ count: number }> = await pw.post<{ count: number }>('/counter:increment', { value: 5 }, {
    key: 'k1',
    event: 'counted',
    ifMatch: 'x7.42',
    deadline: 1_000,
    method: 'POST',
    type: 'application/json',
    signal: stop.signal,
  });
  if (result.ok) console.log(result.body.count, result.cursor, result.replayed, result.key, result.status);
  else console.log(result.problem.reason, result.problem.detail, result.problem.title, result.problem['limit'], result.status, result.key);
  const problem: Problem | undefined = result.ok ? undefined : result.problem;

  const page = await pw.get<{ messages: Envelope<Line>[]; cursor: string }>('/chat/general', { since: '0', limit: 10, signal: stop.signal });
  if (page.ok) console.log(page.body.messages[0]?.data.text);

  const name: TransportName = pw.transport;
  pw.transport = 'ndjson';
  pw.onState(({ state, transport, error, retryIn }: State) => console.log(state === 'offline', transport, error?.status, retryIn?.toFixed()));
  console.log(pw.state, pw.pending, name, problem?.status);
  try {
    await other.post('/chat/general', 'hi');
  } catch (error) {
    if (error instanceof PlainwireError) console.log(error.status, error.reason, error.problem, error.retryAfter, error.remedy, error.wasSent, error.message);
  }
  pw.close();

  // @ts-expect-error a server has a URL
  connect();
  // @ts-expect-error no such transport
  connect('https://example.org', { transports: ['carrier-pigeon'] });
  // @ts-expect-error no such transport
  pw.transport = 'carrier-pigeon';
  // @ts-expect-error what is shared is no transport to begin with
  connect('https://example.org', { transports: ['shared'], share: true });
  // @ts-expect-error an option that is misspelt
  connect('https://example.org', { tokens: 'a token' });
  // @ts-expect-error a cursor is text
  pw.watch('/chat/general', { since: 7 });
  // @ts-expect-error no such policy
  pw.watch('/chat/general', { overflow: 'explode' });
  // @ts-expect-error a refusal has no body
  if (!result.ok) console.log(result.body);
  // @ts-expect-error a body is there only if it is known that it went well
  console.log(result.body);
  // @ts-expect-error a post is a promise
  console.log(pw.post('/chat/general', 1).ok);
  // @ts-expect-error data is what it was said to be
  watch.on('message', ({ data }) => console.log(data.length));
  // @ts-expect-error a deadline is a number of milliseconds
  pw.post('/chat/general', 1, { deadline: '1s' });
  // @ts-expect-error what the client says of itself is not written to
  pw.state = 'live';
}

export function component(pw: Client): number {
  const options: UseWatchOptions = { since: '0', last: 10, keep: 50 };
  const { data, messages, error, reset }: Watched<Line> = useWatch<Line>(pw, '/chat/general', options);
  const nothing = useWatch(pw, null);
  // @ts-expect-error a channel is named by text
  useWatch(pw, 7);
  // @ts-expect-error what a component sees is not written to
  messages.push(nothing.messages[0]);
  return (data?.text.length ?? 0) + messages.length + (error?.status ?? 0) + (reset?.length ?? 0);
}
