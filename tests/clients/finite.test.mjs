// Streams that end, as those of language models: a producer that counts its tokens, and readers that come when they like.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EventSource } from 'eventsource';
import { WebSocket } from 'ws';

import { connect } from '../../clients/js/src/index.js';
import { connect as connectSse } from '../../clients/js/src/sse.js';
import { deadline, Inbox } from '../harness/inbox.mjs';
import { startServer } from '../harness/server.mjs';

const TRANSPORTS = ['websocket', 'sse', 'ndjson', 'poll'];
const BACKOFF = { base: 20, cap: 200 };

function client(t, server, options = {}) {
  const pw = connect(server.origin, { WebSocket, backoff: BACKOFF, ...options });
  t.after(() => pw.close());
  return pw;
}

/** Everything that a watch is given, once it has ended; an error if it ended with one. */
const all = (watch) =>
  deadline(
    (async () => {
      const messages = [];
      for await (const message of watch) messages.push(message);
      return messages;
    })(),
    `the end of ${watch.channel}`,
    30_000,
  );

const texts = (messages) => messages.filter(({ event }) => !event).map(({ data }) => data);

/** A producer that posts tokens until there are no more, or somebody asks it to stop; then it ends the stream. */
async function produce(pw, channel, tokens, { between = () => {} } = {}) {
  let isCancelled = false;
  const watch = pw.watch(channel, { since: '0' });
  watch.on('@cancel', () => (isCancelled = true));
  let sequence = 0;
  for (const token of tokens) {
    if (isCancelled) break;
    const { ok, problem } = await pw.post(channel, token, { sequence: ++sequence });
    assert.ok(ok, JSON.stringify(problem));
    await between(sequence);
  }
  const { ok, problem } = await pw.post(`${channel}:complete`, { tokens: sequence, isCancelled }, { sequence: sequence + 1 });
  assert.ok(ok, JSON.stringify(problem));
  return sequence;
}

test('tokens of a model: readers join late, on several devices, and reload, and the server is killed in the middle', async (t) => {
  const server = await startServer(t);
  const tokens = Array.from({ length: 60 }, (_, n) => `token ${n} `);
  const devices = [];
  const join = () => TRANSPORTS.forEach((transport) => devices.push(all(client(t, server, { transports: [transport] }).watch('/ai/1', { since: '0' }))));
  const reloads = [];
  const between = async (count) => {
    if (count === 1 || count === 40) join();
    if (count === 10) {
      // A page is left, and opened again: it begins at what it had, or anew.
      for (const transport of TRANSPORTS) {
        const pw = client(t, server, { transports: [transport] });
        const had = [];
        const left = pw.watch('/ai/1', { since: '0' });
        for await (const message of left) if (had.push(message) === 7) break;
        pw.close();
        const again = client(t, server, { transports: [transport] });
        reloads.push(all(again.watch('/ai/1', { since: had.at(-1).cursor })).then((rest) => [...had, ...rest]));
      }
    }
    if (count === 25 || count === 45) await server.crash();
  };
  await produce(client(t, server), '/ai/1', tokens, { between });
  join();
  for (const messages of await Promise.all([...devices, ...reloads])) assert.deepEqual(texts(messages), tokens);
});

for (const transport of TRANSPORTS) {
  test(`${transport}: a consumer asks the producer to stop, and everybody sees how it ended`, async (t) => {
    const server = await startServer(t);
    const consumer = client(t, server, { transports: [transport] });
    const watch = consumer.watch('/ai/2', { since: '0' });
    const said = new Inbox('@end');
    for (const event of ['@cancel', '@end']) watch.on(event, said.push);
    const watching = all(watch);
    const producing = produce(client(t, server, { transports: [transport] }), '/ai/2', Array(100_000).fill('on and on '), {
      between: async (count) => {
        if (count !== 20) return;
        const { ok, body } = await consumer.post('/ai/2:cancel', { why: 'enough' });
        assert.deepEqual([ok, body.cancelled], [true, true]);
      },
    });
    const count = await deadline(producing, 'the producer did not stop');
    assert.ok(count < 100_000);
    assert.equal(texts(await watching).length, count);
    const [cancel, end] = await said.take(2);
    assert.deepEqual(cancel.data, { why: 'enough' });
    assert.deepEqual(end.data, { reason: 'complete', result: { tokens: count, isCancelled: true } });
    // Who has all of it and looks again is told at once that nothing will come, as is who comes for the first time.
    assert.deepEqual(await all(consumer.watch('/ai/2', { since: end.cursor })), []);
    assert.deepEqual(texts(await all(consumer.watch('/ai/2'))), []);
    assert.equal(texts(await all(consumer.watch('/ai/2', { last: 3 }))).length, 1);
    // What comes too late is a result like others.
    const late = await consumer.post('/ai/2', 'more');
    assert.deepEqual([late.ok, late.status, late.problem.reason], [false, 409, 'completed']);
  });

  test(`${transport}: a stream that failed ends with an error, after all that there was of it`, async (t) => {
    const server = await startServer(t);
    const pw = client(t, server, { transports: [transport] });
    await pw.post('/ai/3', 'half of ');
    await pw.post('/ai/3', 'a sentence');
    const other = pw.watch('/chat/general');
    const heard = new Inbox('a channel beside it');
    other.on('message', heard.push);
    const watch = pw.watch('/ai/3', { since: '0' });
    const received = [];
    const watching = deadline((async () => {
      for await (const { data } of watch) received.push(data);
    })(), 'its end');
    const failing = assert.rejects(watching, ({ name, reason, message }) => {
      assert.deepEqual([name, reason, message], ['PlainwireError', 'failed', 'The model is overloaded']);
      return true;
    });
    await pw.post('/ai/3:fail', { title: 'The model is overloaded' });
    await failing;
    assert.deepEqual(received, ['half of ', 'a sentence']);
    // What else is watched goes on.
    await pw.post('/chat/general', 'still there');
    assert.equal((await heard.next()).data, 'still there');
  });
}

test('a slow reader gets all of a stream that has long ended', async (t) => {
  const server = await startServer(t);
  const pw = client(t, server);
  for (let n = 0; n < 200; n++) await pw.post('/ai/4', n);
  await pw.post('/ai/4:complete');
  for (const transport of TRANSPORTS) {
    let requests = 0;
    const counted = (url, init) => {
      requests += 1;
      return fetch(url, init);
    };
    const slow = client(t, server, { transports: [transport], fetch: counted }).watch('/ai/4', { since: '0', limit: 16 });
    const seen = [];
    const reading = (async () => {
      for await (const { data } of slow) {
        seen.push(data);
        if (seen.length % 10 === 0) await new Promise((resolve) => setTimeout(resolve, seen.length === 50 ? 400 : 5));
      }
    })();
    await deadline(reading, () => `${transport}: the end after ${seen.length}`);
    assert.deepEqual(seen, Array.from({ length: 200 }, (_, n) => n), transport);
    assert.ok(requests < 100, `${requests} requests over ${transport}`);
  }
});

test('the smallest client ends with the stream, and an EventSource stays away after it', async (t) => {
  const server = await startServer(t);
  const pw = connectSse(server.origin, { backoff: BACKOFF });
  t.after(() => pw.close());
  const watching = all(pw.watch('/ai/5', { since: '0' }));
  let requests = 0;
  const source = new EventSource(server.url('/ai/5?last_event_id=0'), {
    fetch: (url, init) => {
      requests += 1;
      return fetch(url, init);
    },
  });
  t.after(() => source.close());
  const events = new Inbox('an EventSource');
  source.onmessage = ({ data }) => events.push(JSON.parse(data));
  source.addEventListener('@end', ({ data }) => events.push(JSON.parse(data)));
  const closed = new Promise((resolve) => {
    source.onerror = () => source.readyState === source.CLOSED && resolve();
  });
  await pw.post('/ai/5', 'all there is');
  await pw.post('/ai/5:complete');
  assert.deepEqual(await events.take(2), ['all there is', { reason: 'complete' }]);
  assert.deepEqual(texts(await watching), ['all there is']);
  // It comes back once by itself, is answered 204, and gives up.
  await deadline(closed, 'it did not give up');
  assert.equal(requests, 2);
});
