// The JavaScript client, in Node.js.

import assert from 'node:assert/strict';
import http from 'node:http';
import { once } from 'node:events';
import { test } from 'node:test';

import { WebSocket } from 'ws';

import { connect } from '../../clients/js/src/index.js';
import { connect as connectSse } from '../../clients/js/src/sse.js';
import { Backoff } from '../../clients/js/src/backoff.js';
import { Lines } from '../../clients/js/src/lines.js';
import { Queue } from '../../clients/js/src/queue.js';
import { events } from '../../clients/js/src/streams.js';
import { assertDense, position, post } from '../harness/http.mjs';
import { Inbox } from '../harness/inbox.mjs';
import { random, SEED } from '../harness/random.mjs';
import { startServer } from '../harness/server.mjs';

const TRANSPORTS = ['websocket', 'sse', 'ndjson', 'poll'];
/** Failures are over soon. */
const BACKOFF = { base: 20, cap: 200 };

function client(t, server, options = {}) {
  const pw = connect(server.origin, { WebSocket, backoff: BACKOFF, ...options });
  t.after(() => pw.close());
  return pw;
}

/** What a watch is told, and its end. */
function heard(watch) {
  const inbox = new Inbox(`watch of ${watch.channel}`);
  (async () => {
    for await (const envelope of watch) inbox.push(envelope);
  })().then(() => inbox.close('it was closed'), inbox.close);
  return inbox;
}

for (const transport of TRANSPORTS) {
  test(`${transport}: a channel through restarts, and a state`, async (t) => {
    const server = await startServer(t);
    const pw = client(t, server, { transports: [transport] });
    const chat = heard(pw.watch('/chat/general', { since: '0' }));
    const counter = heard(pw.watch('counter'));
    const first = await counter.next('its state');
    assert.deepEqual([first.event, first.data], ['@state', { count: 0 }]);
    for (let n = 1; n <= 60; n++) {
      if (n % 20 === 0) await server.crash();
      const { ok, status } = await pw.post('/chat/general', { n });
      assert.deepEqual([ok, status], [true, 201]);
    }
    const messages = await chat.take(60);
    assertDense(messages.map(({ cursor }) => cursor));
    assert.deepEqual(messages.map(({ data }) => data.n), messages.map((_, index) => index + 1));
    const { body } = await pw.post('counter:increment', { value: 3 });
    assert.deepEqual(body, { count: 3 });
    assert.deepEqual((await counter.next()).data, { count: 3 });
  });
}

for (const transport of TRANSPORTS) {
  test(`${transport}: a state by its changes is the same state, through restarts`, async (t) => {
    const server = await startServer(t);
    t.diagnostic(`PLAINWIRE_SEED=${SEED}`);
    const below = random();
    const names = ['red', 'blue', 'green', '__proto__', '7'];
    const asked = [];
    const spying = (url, ...more) => (asked.push(String(url)), fetch(url, ...more));
    const pw = client(t, server, { transports: [transport], delta: true, fetch: spying });
    const change = async (body) => {
      const answer = await pw.post('/scores', body, { method: 'PATCH', type: 'application/merge-patch+json' });
      assert.equal(answer.status, 200, JSON.stringify(answer));
      return answer;
    };
    const given = (values) => Object.fromEntries(values);
    await change(given([['red', 1], ['blue', 2]]));
    const { cursor } = await change(given([['blue', 3]]));
    const whole = new Map();
    // With a cursor and without one, and beside a channel that has no state.
    const watches = [pw.watch('/scores'), client(t, server, { transports: [transport], delta: true }).watch('/scores', { since: cursor })];
    const chat = heard(pw.watch('/chat/general', { since: '0' }));
    const got = watches.map((watch) => {
      const states = new Inbox('states');
      for (const type of ['@state', 'message']) watch.on(type, states.push);
      return states;
    });
    await got[0].next('the whole state');
    for (let n = 0; n < 40; n++) {
      if (n % 15 === 14) await server.crash();
      const name = names[below(names.length)];
      const { cursor, body } = await change(given([[name, below(4) ? below(9) : null]]));
      whole.set(cursor, body);
    }
    await pw.post('/chat/general', 'over');
    assert.equal((await chat.next()).data, 'over');
    const last = [...whole.keys()].at(-1);
    for (const states of got) {
      await states.find((envelope) => envelope.cursor === last, 'the last state');
      const told = states.all.filter((envelope) => whole.has(envelope.cursor));
      for (const { cursor, data } of told) assert.deepEqual(data, whole.get(cursor), cursor);
      assert.ok(states.all.every(({ event }) => event === undefined || event === '@state'));
    }
    for (const states of got) {
      const offsets = states.all.map(({ cursor }) => position(cursor).offset);
      assert.ok(offsets.every((offset, index) => !index || offset > offsets[index - 1]), offsets.join());
    }
    if (transport === 'sse' || transport === 'ndjson') assert.ok(asked.some((url) => url.includes('&delta=merge-patch')));
  });
}

for (const transport of TRANSPORTS) {
  test(`${transport}: whoever lags hears how many messages newer ones replaced`, async (t) => {
    const server = await startServer(t);
    const symbols = ['ACME', 'BOLT', 'CRUX'];
    const quote = (n) => post(server.url('/ticker/lag'), { symbol: symbols[n % 3], n });
    const { cursor } = await quote(0);
    for (let n = 1; n <= 60; n++) await quote(n);
    const watch = client(t, server, { transports: [transport] }).watch('/ticker/lag', { since: cursor });
    const [skipped, messages] = [new Inbox('@skipped'), new Inbox('messages')];
    watch.on('@skipped', skipped.push);
    watch.on('message', messages.push);
    const newest = await messages.take(3);
    assert.deepEqual(newest.map(({ data }) => data.n), [58, 59, 60]);
    assert.equal(skipped.all.reduce((sum, { data }) => sum + data.count, 0), 57);
    const { cursor: next } = await quote(61);
    assert.equal((await messages.next()).cursor, next);
  });
}

for (const transport of TRANSPORTS) {
  test(`${transport}: a channel that begins anew does not hold up the others`, async (t) => {
    const server = await startServer(t);
    let requests = 0;
    const count = (...all) => ((requests += 1), fetch(...all));
    const pw = client(t, server, { transports: [transport], fetch: count });
    // Of what is ephemeral nothing outlives the server, so that a cursor of before leads nowhere.
    const [room, typing] = ['/chat/general', '/typing/general'].map((channel) => pw.watch(channel, { since: '0' }));
    const both = [heard(room), heard(typing)];
    await pw.post('/typing/general', { n: 0 });
    await pw.post('/chat/general', { n: 0 });
    for (const inbox of both) await inbox.find(({ data }) => data.n === 0, 'what was said before');
    await server.crash();
    await both[1].find(({ event }) => event === '@reset', 'the reset');
    for (let n = 1; n <= 20; n++) await pw.post('/chat/general', { n });
    await pw.post('/typing/general', { n: 20 });
    for (const inbox of both) await inbox.find(({ data }) => data.n === 20, 'what was said after');
    assertDense(both[0].all.filter(({ event }) => !event).map(({ cursor }) => cursor));
    assert.ok(requests < 150, `${requests} requests`);
  });
}

test('what a rule refuses is a result and no error, and nothing is heard of it', async (t) => {
  const server = await startServer(t);
  const pw = client(t, server);
  const counter = heard(pw.watch('/counter'));
  await counter.next('its state');
  const refused = await pw.post('/counter:decrement', { value: 1 });
  assert.deepEqual([refused.ok, refused.status, refused.problem.reason], [false, 400, 'count_negative']);
  const done = await pw.post('/counter:increment', { value: 5 });
  assert.deepEqual([done.ok, done.status, done.body, done.replayed], [true, 200, { count: 5 }, false]);
  const again = await pw.post('/counter:increment', { value: 5 }, { key: done.key });
  assert.deepEqual([again.cursor, again.replayed], [done.cursor, true]);
  const heardOf = await counter.next();
  assert.deepEqual([heardOf.cursor, heardOf.data], [done.cursor, { count: 5 }]);
  assert.deepEqual((await pw.get('counter')).body, { count: 5 });
});

test('it moves to another transport in mid-stream, and nothing is missing', async (t) => {
  const server = await startServer(t);
  const pw = client(t, server);
  const chat = heard(pw.watch('/chat/a', { since: '0' }));
  for (let round = 0; round < 12; round++) {
    pw.transport = TRANSPORTS[round % TRANSPORTS.length];
    await post(server.url('/chat/a'), round);
    assert.equal((await chat.next()).data, round);
  }
  assertDense(chat.all.map(({ cursor }) => cursor));
});

test('watches come and go over one connection', async (t) => {
  const server = await startServer(t);
  for (const transport of TRANSPORTS) {
    const pw = client(t, server, { transports: [transport] });
    const names = Array.from({ length: 10 }, (_, index) => `chat/${transport}-${index}`);
    const inboxes = names.map((name) => heard(pw.watch(name, { since: '0' })));
    for (const name of names) await post(server.url(`/${name}`), name);
    for (const [index, inbox] of inboxes.entries()) assert.equal((await inbox.next()).data, names[index]);
    const late = heard(pw.watch(`chat/${transport}-late`, { since: '0' }));
    await post(server.url(`/chat/${transport}-late`), 'late');
    await post(server.url(`/${names[3]}`), 'more');
    assert.equal((await late.next()).data, 'late');
    assert.equal((await inboxes[3].next()).data, 'more');
    pw.close();
    assert.match(await late.closed(), /closed/);
  }
});

test('a channel that nobody may watch ends alone', async (t) => {
  const server = await startServer(t, { args: ['dev'] });
  for (const transport of TRANSPORTS) {
    const pw = client(t, server, { transports: [transport] });
    const good = heard(pw.watch(`chat/of-${transport}`, { since: '0' }));
    const bad = pw.watch('no/such/channel');
    const [error] = await Promise.all([new Promise((resolve) => bad.on('end', resolve)), post(server.url(`/chat/of-${transport}`), 1)]);
    assert.deepEqual([error.status, error.reason, error.remedy], [404, 'no_such_channel', 'stop'], transport);
    assert.equal((await good.next()).data, 1);
  }
});

test('history first, then what comes', async (t) => {
  const server = await startServer(t);
  for (let n = 1; n <= 8; n++) await post(server.url('/chat/h'), n);
  const pw = client(t, server);
  const chat = heard(pw.watch('/chat/h', { last: 3 }));
  assert.deepEqual((await chat.take(3)).map(({ data }) => data), [6, 7, 8]);
  await post(server.url('/chat/h'), 9);
  assert.equal((await chat.next()).data, 9);
});

test('a reader that blocks misses nothing; one that does not says what it misses', async (t) => {
  const server = await startServer(t);
  for (const transport of ['websocket', 'sse']) {
    const pw = client(t, server, { transports: [transport] });
    const states = new Inbox('states');
    pw.onState(states.push);
    const channel = `chat/slow-${transport}`;
    const blocked = pw.watch(channel, { since: '0', limit: 4 })[Symbol.asyncIterator]();
    const dropping = pw.watch(channel, { since: '0', limit: 4, overflow: 'drop-oldest' });
    const reader = dropping[Symbol.asyncIterator]();
    const received = new Inbox('what was received');
    dropping.on('message', received.push);
    for (let n = 1; n <= 30; n++) await post(server.url(`/${channel}`), n);
    await received.take(30);
    const seen = [];
    while (seen.length < 30) seen.push((await blocked.next()).value.data);
    assert.deepEqual(seen, Array.from({ length: 30 }, (_, index) => index + 1), transport);
    const first = (await reader.next()).value;
    assert.deepEqual([first.data, first.dropped], [27, 26], transport);
    assert.ok(!states.all.some(({ state }) => state === 'waiting'), 'the others of its connection notice nothing of it');
  }
});

test('posts wait while there is no server, in order, and are applied once', async (t) => {
  const server = await startServer(t);
  const pw = client(t, server);
  await pw.post('/chat/o', 0);
  await server.kill();
  const posts = Array.from({ length: 10 }, (_, index) => pw.post('/chat/o', index + 1));
  assert.equal(pw.pending, 10);
  await server.start();
  const results = await Promise.all(posts);
  assertDense(results.map(({ cursor }) => cursor), 2);
  assert.equal(pw.pending, 0);
});

test('a post has a deadline, a bound and a signal', async (t) => {
  const server = await startServer(t);
  const pw = client(t, server, { outbox: { limit: 2, deadline: 150 } });
  await server.kill();
  const late = assert.rejects(pw.post('/chat/o', 1), { name: 'PlainwireError', reason: 'deadline', wasSent: true });
  const stop = new AbortController();
  const aborted = assert.rejects(pw.post('/chat/o', 2, { signal: stop.signal, deadline: 60_000 }), { name: 'AbortError', wasSent: false });
  await assert.rejects(pw.post('/chat/o', 3), { reason: 'full' });
  stop.abort();
  await Promise.all([late, aborted]);
  assert.equal(pw.pending, 0);
});

/** A server that is none of Plainwire's. */
async function impostor(t, answer) {
  const asked = [];
  const server = http.createServer((request, response) => {
    asked.push(performance.now());
    answer(response, request);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { origin: `http://127.0.0.1:${server.address().port}`, asked };
}

test('an answer in HTML is a clear state, and not asked for in a hot loop', async (t) => {
  const server = await impostor(t, (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<p>Welcome to the hotel'));
  const pw = client(t, server, { backoff: { base: 100, cap: 400 } });
  const states = new Inbox('states');
  pw.onState(states.push);
  pw.watch('/chat/a');
  let waits = 0;
  const began = performance.now();
  while (waits < 8) {
    const { state, error } = await states.next();
    if (state !== 'waiting') continue;
    waits++;
    assert.ok(['foreign', 'network'].includes(error.reason), error.reason);
  }
  const seconds = (performance.now() - began) / 1000;
  // After each attempt: whether there is a server at all.
  assert.ok(server.asked.length <= 2 * (8 + 1), `${server.asked.length} requests in ${seconds} s`);
});

test('a Retry-After is waited for', async (t) => {
  const busy = { type: 'about:blank', status: 503, reason: 'connections', detail: 'too many' };
  const server = await impostor(t, (response) => {
    response.writeHead(503, { 'content-type': 'application/problem+json', 'retry-after': '1' }).end(JSON.stringify(busy));
  });
  const pw = client(t, server, { transports: ['sse'], backoff: { base: 1, cap: 1 } });
  const states = new Inbox('states');
  pw.onState(states.push);
  pw.watch('/chat/a');
  const { error, retryIn } = await states.find(({ state }) => state === 'waiting');
  assert.deepEqual([error.reason, error.retryAfter], ['connections', 1000]);
  assert.ok(retryIn >= 1000, `${retryIn}`);
  await states.find(({ state }) => state === 'waiting', 'another attempt');
  assert.ok(server.asked.at(-1) - server.asked[0] >= 1000);
});

test('tokens are asked for by one, and again when one is over', async (t) => {
  let tokens = 0;
  const shown = [];
  const server = await impostor(t, (response, { headers }) => {
    shown.push(headers.authorization);
    const isGood = headers.authorization === 'Bearer t2';
    const body = isGood ? { count: 1 } : { status: 401, reason: 'token_expired' };
    const type = isGood ? 'application/json' : 'application/problem+json';
    response.writeHead(isGood ? 200 : 401, { 'content-type': type, 'plainwire-cursor': 'a.1' }).end(JSON.stringify(body));
  });
  const pw = client(t, server, { token: async () => `t${++tokens}` });
  const answers = await Promise.all(Array.from({ length: 5 }, () => pw.get('/counter')));
  assert.deepEqual(answers.map(({ body }) => body), Array(5).fill({ count: 1 }));
  assert.deepEqual([tokens, new Set(shown)], [2, new Set(['Bearer t1', 'Bearer t2'])]);
});

test('Server-Sent Events alone', async (t) => {
  const server = await startServer(t);
  const pw = connectSse(server.origin, { backoff: BACKOFF });
  t.after(() => pw.close());
  const chat = heard(pw.watch('/chat/é-ü', { since: '0' }));
  await pw.post('/chat/é-ü', 'ß');
  assert.equal((await chat.next()).data, 'ß');
});

const bytes = (text) => new TextEncoder().encode(text);

test('lines are the same wherever they are split', () => {
  const text = 'id: 1\r\ndata: "é€🎈"\n\n: beat\r\rdata: {"a":\rdata: 1}\n\nretry: 250\r\n';
  const all = bytes(text);
  const whole = [...new Lines().push(all)];
  assert.deepEqual(whole, ['id: 1', 'data: "é€🎈"', '', ': beat', '', 'data: {"a":', 'data: 1}', '', 'retry: 250']);
  for (let first = 0; first <= all.length; first++) {
    for (let second = first; second <= all.length; second++) {
      const lines = new Lines();
      const got = [all.slice(0, first), all.slice(first, second), all.slice(second)].flatMap((part) => [...lines.push(part)]);
      assert.deepEqual(got, whole, `split at ${first} and ${second}`);
    }
  }
  const state = { data: [] };
  assert.deepEqual([...events(whole, state)], ['é€🎈', { a: 1 }, { event: '@retry', data: 250 }]);
});

test('waits are random up to a limit that doubles', () => {
  const backoff = new Backoff({ base: 100, cap: 1000 });
  const limits = [100, 200, 400, 800, 1000, 1000];
  for (const limit of limits) assert.ok(backoff.next() <= limit);
  assert.ok(backoff.next(5000) >= 5000);
  backoff.reset();
  assert.ok(backoff.next() <= 100);
});

test('of each key the newest waits', () => {
  const queue = new Queue({ limit: 2, overflow: 'latest', key: ({ data }) => data.key });
  const lost = [];
  for (const data of [{ key: 'a', n: 1 }, { key: 'b', n: 2 }, { key: 'a', n: 3 }, { key: 'c', n: 4 }]) lost.push(...queue.push({ data }));
  assert.deepEqual(lost.map(({ data }) => data.n), [1, 2]);
  assert.deepEqual([queue.shift(), queue.shift(), queue.shift()], [{ data: { key: 'a', n: 3 }, dropped: 2 }, { data: { key: 'c', n: 4 } }, undefined]);
});
