// Node's `ws`.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import { once } from 'node:events';
import { test } from 'node:test';

import { WebSocket } from 'ws';

import { assertDense, isControl, post, position } from '../harness/http.mjs';
import { deadline, Inbox } from '../harness/inbox.mjs';
import { startServer } from '../harness/server.mjs';

/** Opens a WebSocket. Its pushes and its replies go to an inbox each. */
async function connect(t, url, options) {
  const socket = new WebSocket(url, options);
  t.after(() => socket.terminate());
  const [pushes, replies] = [new Inbox(`pushes of ${url}`), new Inbox(`replies of ${url}`)];
  socket.on('message', (data, isBinary) => {
    const frame = isBinary ? { binary: data } : JSON.parse(data);
    ('id' in frame ? replies : pushes).push(frame);
  });
  const closed = once(socket, 'close');
  closed.then(([code, reason]) => [pushes, replies].forEach((inbox) => inbox.close(`closed with ${code} ${reason}`)), () => {});
  socket.on('error', (error) => [pushes, replies].forEach((inbox) => inbox.close(error)));
  await deadline(once(socket, 'open'), `${url} did not open`);
  const ask = (request) => socket.send(JSON.stringify(request));
  return { socket, pushes, replies, ask, closed: () => deadline(closed, `${url} was not closed`) };
}

const isMessage = (envelope) => !isControl(envelope);

for (const perMessageDeflate of [true, false]) {
  test(`a watched state, ${perMessageDeflate ? 'deflated' : 'not deflated'}`, async (t) => {
    const server = await startServer(t);
    const { socket, pushes } = await connect(t, `${server.wsOrigin}/counter`, { perMessageDeflate });
    assert.equal(socket.extensions.includes('permessage-deflate'), perMessageDeflate);
    const state = await pushes.next('@state');
    assert.equal(state.event, '@state');
    assert.equal(state.channel, 'counter');
    assert.deepEqual(state.data, { count: 0 });
    const live = await pushes.find(({ event }) => event === '@live', '@live');
    assert.equal(live.cursor, state.cursor);
    for (let n = 1; n <= 100; n++) await post(server.url('/counter:increment'), { value: 1 });
    const messages = await pushes.take(100);
    assertDense(messages.map(({ cursor }) => cursor));
    assert.deepEqual(messages.map(({ data }) => data.count), messages.map((_, index) => index + 1));
  });
}

test('a refused command is a 400 with its id, and pushes nothing', async (t) => {
  const server = await startServer(t);
  const { pushes, replies, ask } = await connect(t, `${server.wsOrigin}/counter`);
  await pushes.find(({ event }) => event === '@live', '@live');
  ask({ id: 'up', post: '/counter:increment', body: { value: 5 } });
  const up = await replies.next();
  assert.deepEqual({ ...up, cursor: null }, { id: 'up', status: 200, cursor: null, body: { count: 5 } });
  assert.equal((await pushes.next()).cursor, up.cursor);

  ask({ id: 'down', post: '/counter:decrement', body: { value: 6 } });
  const down = await replies.next();
  assert.equal(down.id, 'down');
  assert.equal(down.status, 400);
  assert.equal(down.body.reason, 'count_negative');

  ask({ id: 'get', get: '/counter' });
  const get = await replies.next();
  assert.deepEqual([get.status, get.body, get.cursor], [200, { count: 5 }, up.cursor]);
  ask({ id: 'next', post: '/counter:increment', body: { value: 1 } });
  assert.deepEqual((await pushes.next()).data, { count: 6 });
});

test('pipelined commands: one reply each, one order', async (t) => {
  const server = await startServer(t);
  const { pushes, replies, ask } = await connect(t, `${server.wsOrigin}/counter`);
  const count = 1000;
  for (let id = 1; id <= count; id++) ask({ id, post: '/counter:increment', body: { value: 1 } });
  const all = await replies.take(count);
  assert.deepEqual(all.map(({ status }) => status).filter((status) => status !== 200), []);
  assert.deepEqual(all.map(({ id }) => id).sort((a, b) => a - b), all.map((_, index) => index + 1));
  assertDense(all.map(({ cursor }) => cursor).sort((a, b) => position(a).offset - position(b).offset));
  await pushes.find(({ data }) => data.count === count, 'the last push');
  assertDense(pushes.all.filter(isMessage).map(({ cursor }) => cursor));
});

test('watch, unwatch and resume on one connection', async (t) => {
  const server = await startServer(t);
  const { pushes, replies, ask } = await connect(t, `${server.wsOrigin}/counter`);
  ask({ id: 1, watch: '/chat/a' });
  const watching = await replies.next();
  assert.equal(watching.status, 200);
  const first = await post(server.url('/chat/a'), 'one');
  assert.equal((await pushes.find(({ channel, event }) => channel === 'chat/a' && !event, 'one')).cursor, first.cursor);

  ask({ id: 2, unwatch: '/chat/a' });
  assert.deepEqual(await replies.next(), { id: 2, status: 200 });
  await post(server.url('/chat/a'), 'two');
  await post(server.url('/chat/a'), 'three');
  await post(server.url('/counter:increment'), { value: 1 });
  await pushes.find(({ channel, event }) => channel === 'counter' && !event, 'the counter');
  assert.ok(!pushes.all.some(({ data }) => data === 'two'), 'pushed although it was unwatched');

  ask({ id: 3, watch: '/chat/a', since: first.cursor });
  assert.equal((await replies.next()).status, 200);
  await pushes.find(({ data }) => data === 'three', 'three');
  const chat = pushes.all.filter((envelope) => envelope.channel === 'chat/a' && isMessage(envelope));
  assert.deepEqual(chat.map(({ data }) => data), ['one', 'two', 'three']);
  assertDense(chat.map(({ cursor }) => cursor));
});

test('keys and preconditions are those of HTTP', async (t) => {
  const server = await startServer(t);
  const { replies, ask } = await connect(t, `${server.wsOrigin}/counter`);
  ask({ id: 1, post: '/counter:increment', body: { value: 1 }, key: 'k' });
  const once = await replies.next();
  const again = await post(server.url('/counter:increment'), { value: 1 }, { 'idempotency-key': 'k' });
  assert.equal(again.headers.get('idempotency-replayed'), 'true');
  assert.equal(again.cursor, once.cursor);
  await post(server.url('/counter:increment'), { value: 1 });
  ask({ id: 2, post: '/counter:increment', body: { value: 1 }, if_match: once.cursor });
  const stale = await replies.next();
  assert.equal(stale.status, 412);
  assert.equal(stale.body.reason, 'stale');
});

test('what is no request gets a 400, and the connection goes on', async (t) => {
  const server = await startServer(t);
  const { socket, replies, ask } = await connect(t, `${server.wsOrigin}/counter`);
  for (const [text, id] of [['not json', null], ['[]', null], ['{"nothing":1}', null], ['{"id":7,"post":5}', 7]]) {
    socket.send(text);
    const reply = await replies.next(`a reply to ${text}`);
    assert.equal(reply.id, id);
    assert.equal(reply.status, 400, text);
  }
  ask({ id: 8, get: '/nosuch' });
  assert.equal((await replies.next()).status, 404);
});

test('pings are answered, fragments are joined', async (t) => {
  const server = await startServer(t);
  const { socket, replies } = await connect(t, `${server.wsOrigin}/counter`);
  const payload = randomBytes(8);
  const ponged = once(socket, 'pong');
  socket.ping(payload);
  assert.deepEqual((await deadline(ponged, 'no pong'))[0], payload);
  const parts = ['{"id":1,', '"get":', '"/counter"}'];
  parts.forEach((part, index) => {
    socket.send(part, { fin: index === parts.length - 1 });
    if (index === 0) socket.ping();
  });
  assert.equal((await replies.next()).status, 200);
});

test('binary is closed with 1003, a message that is too big with 1009', async (t) => {
  const server = await startServer(t);
  for (const [frame, code] of [[Buffer.of(1, 2), 1003], ['x'.repeat(3 * 2 ** 20), 1009]]) {
    for (const perMessageDeflate of [false, true]) {
      const { socket, closed } = await connect(t, `${server.wsOrigin}/counter`, { perMessageDeflate });
      socket.send(frame);
      assert.equal((await closed())[0], code);
    }
  }
});

test('the closing handshake', async (t) => {
  const server = await startServer(t);
  const { socket, closed } = await connect(t, `${server.wsOrigin}/counter`);
  socket.close(1000, 'done');
  assert.equal((await closed())[0], 1000);
});

test('another version is 426, a wrong handshake 400', async (t) => {
  const server = await startServer(t);
  const key = Buffer.alloc(16).toString('base64');
  const upgrade = async (headers) => {
    const asked = http.get(server.url('/counter'), { headers: { connection: 'Upgrade', upgrade: 'websocket', ...headers } });
    const [response] = await deadline(once(asked, 'response'), 'no answer');
    response.resume();
    return response;
  };
  const old = await upgrade({ 'sec-websocket-version': '8', 'sec-websocket-key': key });
  assert.equal(old.statusCode, 426);
  assert.equal(old.headers['sec-websocket-version'], '13');
  assert.equal((await upgrade({ 'sec-websocket-version': '13' })).statusCode, 400);
  assert.equal((await upgrade({ 'sec-websocket-version': '13', 'sec-websocket-key': 'short' })).statusCode, 400);
});

test('after kill -9 it resumes from its cursor', async (t) => {
  const server = await startServer(t);
  const first = await connect(t, `${server.wsOrigin}/chat/a`);
  await first.pushes.find(({ event }) => event === '@live', '@live');
  for (let n = 1; n <= 3; n++) await post(server.url('/chat/a'), n);
  const { cursor } = await first.pushes.find(({ data }) => data === 3, 'the third');
  await server.crash();
  await first.closed();
  for (let n = 4; n <= 6; n++) await post(server.url('/chat/a'), n);
  const second = await connect(t, `${server.wsOrigin}/chat/a?since=${cursor}`);
  await second.pushes.find(({ data }) => data === 6, 'the sixth');
  const cursors = [...first.pushes.all, ...second.pushes.all].filter(isMessage).map((envelope) => envelope.cursor);
  assertDense(cursors);
});

test('a server that stops says 1001 or 1012', async (t) => {
  const server = await startServer(t);
  const { closed } = await connect(t, `${server.wsOrigin}/counter`);
  assert.equal(await server.stop(), 0);
  const [code] = await closed();
  assert.ok(code === 1001 || code === 1012, `closed with ${code}`);
});
