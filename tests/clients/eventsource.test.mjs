// npm eventsource and eventsource-parser.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EventSource } from 'eventsource';
import { createParser } from 'eventsource-parser';

import { assertDense, post } from '../harness/http.mjs';
import { Inbox } from '../harness/inbox.mjs';
import { startServer } from '../harness/server.mjs';

/** Opens an EventSource whose messages and control events go to the inbox. */
function watch(t, url) {
  const source = new EventSource(url);
  t.after(() => source.close());
  const inbox = new Inbox(`EventSource ${url}`);
  const take = ({ type, lastEventId, data }) => inbox.push({ type, cursor: lastEventId, data: JSON.parse(data) });
  for (const type of ['message', '@state', '@live', '@reset']) source.addEventListener(type, take);
  return { source, inbox };
}

const isMessage = ({ type }) => type === 'message';

test('eventsource: a state, and what changes it', async (t) => {
  const server = await startServer(t);
  const { inbox } = watch(t, server.url('/counter'));
  const state = await inbox.find(({ type }) => type === '@state', '@state');
  assert.deepEqual(state.data, { count: 0 });
  await inbox.find(({ type }) => type === '@live', '@live');
  const { cursor } = await post(server.url('/counter:increment'), { value: 5 });
  assert.deepEqual(await inbox.next(), { type: 'message', cursor, data: { count: 5 } });
});

test('eventsource: named events, and names on a channel of messages', async (t) => {
  const server = await startServer(t);
  const { source, inbox } = watch(t, server.url('/chat/a'));
  source.addEventListener('said', ({ lastEventId, data }) => inbox.push({ type: 'said', cursor: lastEventId, data: JSON.parse(data) }));
  await inbox.find(({ type }) => type === '@live', '@live');
  const { cursor } = await post(server.url('/chat/a?event=said'), { text: 'zwölf € 🦀\nnext line' });
  assert.deepEqual(await inbox.next(), { type: 'said', cursor, data: { text: 'zwölf € 🦀\nnext line' } });
});

test('eventsource: the server is killed, and it resumes by itself', async (t) => {
  const server = await startServer(t);
  const { inbox } = watch(t, server.url('/chat/a'));
  await inbox.find(({ type }) => type === '@live', '@live');
  for (let round = 0; round < 2; round++) {
    for (let n = 0; n < 5; n++) await post(server.url('/chat/a'), { round, n, when: 'before' });
    await inbox.find(({ data }) => data.round === round && data.n === 4, 'the last before the crash');
    await server.crash();
    for (let n = 0; n < 5; n++) await post(server.url('/chat/a'), { round, n, when: 'away' });
    await inbox.find(({ data }) => data.round === round && data.when === 'away' && data.n === 4, 'the last sent while it was away');
  }
  assertDense(inbox.all.filter(isMessage).map(({ cursor }) => cursor));
  assert.ok(!inbox.all.some(({ type }) => type === '@reset'));
});

test('eventsource: several channels in one stream carry envelopes, and a combined id that resumes', async (t) => {
  const server = await startServer(t);
  const target = '/_/live?channel=chat/a&channel=chat/b';
  const { source, inbox } = watch(t, server.url(target));
  await inbox.find(({ type }) => type === '@live', '@live');
  await post(server.url('/chat/a'), 1);
  const first = await inbox.find(isMessage, 'the first');
  assert.equal(first.data.channel, 'chat/a');
  assert.equal(first.data.data, 1);
  source.close();
  await post(server.url('/chat/b'), 2);
  await post(server.url('/chat/a'), 3);
  const { inbox: again } = watch(t, server.url(`${target}&last_event_id=${first.cursor}`));
  const both = [await again.find(isMessage, 'the second'), await again.find(isMessage, 'the third')];
  assert.deepEqual(both.map(({ data }) => data.data).sort(), [2, 3]);
});

test('eventsource-parser: the stream byte by byte', async (t) => {
  const server = await startServer(t);
  await post(server.url('/chat/a'), 'ä€🦀');
  await post(server.url('/chat/a?event=b'), { two: [2, '\r\n'] });
  const cut = new AbortController();
  const response = await fetch(server.url('/chat/a?since=0'), { headers: { accept: 'text/event-stream' }, signal: cut.signal });
  assert.match(response.headers.get('content-type'), /^text\/event-stream/);

  const inbox = new Inbox('eventsource-parser');
  let retry;
  const parser = createParser({
    onEvent: ({ id, event, data }) => inbox.push({ id, event, data: JSON.parse(data) }),
    onRetry: (ms) => (retry = ms),
    onError: inbox.close,
  });
  const decoder = new TextDecoder();
  const reading = (async () => {
    for await (const chunk of response.body) for (const byte of chunk) parser.feed(decoder.decode(Uint8Array.of(byte), { stream: true }));
  })().catch(inbox.close);
  const [first, second] = await inbox.take(2);
  assert.deepEqual([first.event, first.data], [undefined, 'ä€🦀']);
  assert.deepEqual([second.event, second.data], ['b', { two: [2, '\r\n'] }]);
  assertDense([first.id, second.id]);
  assert.ok(retry >= 100 && retry <= 60_000, `retry: ${retry}`);
  cut.abort();
  await reading;
});
