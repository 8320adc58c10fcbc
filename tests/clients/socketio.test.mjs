// The stock client of Socket.IO, https://socket.io/docs/v4/client-api/.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { io } from 'socket.io-client';

import { assertDense, post } from '../harness/http.mjs';
import { DEADLINE_MS, Inbox } from '../harness/inbox.mjs';
import { startServer, temporaryFolder } from '../harness/server.mjs';

const SECRET = 'a secret of the tests, 32 bytes or more';
const OPEN = `
[server]
socketio = true
[allow]
all = true
[channel."chat/*"]
[channel.counter]
state = { count = 0 }
command.increment.args = { value = { type = "integer", minimum = 1 } }
command.increment.set = "{'count': state.count + args.value}"
command.decrement.args = { value = { type = "integer", minimum = 1 } }
command.decrement.set = "{'count': state.count - args.value}"
rule = [{ rule = "next.count >= 0", message = "count cannot be negative", reason = "count_negative" }]
`;
const CLOSED = `
[server]
socketio = true
[auth]
secret = "${SECRET}"
audience = "live.example"
[channel."chat/*"]
`;

async function start(t, config = OPEN) {
  const file = path.join(temporaryFolder(t), 'plainwire.toml');
  writeFileSync(file, config);
  return startServer(t, { args: ['serve', '--config', file] });
}

/** A token for `chat/*`, `seconds` from now on. */
function token(sub, seconds = 60) {
  const part = (json) => Buffer.from(JSON.stringify(json)).toString('base64url');
  const grants = { watch: ['chat/*'], post: ['chat/*'] };
  const claims = { sub, aud: 'live.example', exp: Math.floor(Date.now() / 1000) + seconds, plainwire: grants };
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}

/** A client. What happens to it goes to `seen`, events as `[event, data, more]`. */
function connect(t, server, options = {}) {
  const socket = io(server.origin, { reconnectionDelay: 20, reconnectionDelayMax: 200, ...options });
  t.after(() => socket.disconnect());
  const [seen, states] = [new Inbox('events'), new Inbox('states')];
  socket.onAny((...event) => seen.push(event));
  socket.on('connect', () => states.push('connect'));
  socket.on('disconnect', (reason) => states.push(reason));
  socket.on('connect_error', (error) => states.push(`refused: ${error.message}`));
  return { socket, seen, states, ask: (...event) => socket.timeout(10_000).emitWithAck(...event) };
}

for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
  test(`rooms are channels, over ${transports.join(' and then ')}`, async (t) => {
    const server = await start(t);
    const { seen, states, ask } = connect(t, server, { transports });
    assert.equal(await states.next(), 'connect');
    const joined = await ask('join', '/chat/general');
    assert.equal(joined.status, 200);
    assert.match(joined.cursor, /\.0$/);
    // By HTTP, by this client, and with an event's name.
    await post(server.url('/chat/general'), { text: 'one' });
    const posted = await ask('post', 'chat/general', { text: 'two' }, { key: 'k', event: 'said' });
    assert.equal(posted.status, 201);
    assert.equal((await ask('post', 'chat/general', { text: 'two' }, { key: 'k', event: 'said' })).replayed, true);
    await post(server.url('/chat/general?event=disconnect'), 'not what it is called');
    const isMessage = ([event]) => !event.startsWith('@');
    const one = await seen.find(isMessage);
    assert.deepEqual([one[0], one[1], one[2].channel], ['message', { text: 'one' }, 'chat/general']);
    const two = await seen.find(isMessage);
    assert.deepEqual([two[0], two[1], two[2].cursor], ['said', { text: 'two' }, posted.cursor]);
    const three = await seen.find(isMessage);
    assert.deepEqual([three[0], three[1], three[2].event], ['message', 'not what it is called', 'disconnect']);
    assert.equal((await ask('leave', '/chat/general')).status, 200);
  });
}

test('an acknowledgement says what came of a command, and a refused one is heard of by nobody', async (t) => {
  const server = await start(t);
  const { seen, ask } = connect(t, server);
  await ask('join', '/counter');
  assert.deepEqual((await seen.find(([event]) => event === '@state'))[1], { count: 0 });
  const done = await ask('post', '/counter:increment', { value: 5 });
  assert.deepEqual([done.status, done.body], [200, { count: 5 }]);
  const refused = await ask('post', '/counter:decrement', { value: 6 });
  assert.deepEqual([refused.status, refused.body.reason, refused.body.detail], [400, 'count_negative', 'count cannot be negative']);
  const again = await ask('post', '/counter:increment', { value: 1 });
  const heard = [await seen.find(([event]) => !event.startsWith('@')), await seen.find(([event]) => !event.startsWith('@'))];
  assert.deepEqual(heard.map(([, data]) => data), [{ count: 5 }, { count: 6 }]);
  assertDense(heard.map(([, , { cursor }]) => cursor));
  assert.equal(heard[1][2].cursor, again.cursor);
  assert.deepEqual((await ask('get', '/counter')).body, { count: 6 });
});

test('what is no request is refused, and the socket goes on', async (t) => {
  const server = await start(t);
  const { socket, ask } = connect(t, server);
  const wrong = [['chat message', 'hello'], ['join'], ['join', 5], ['join', '/nosuch'], ['post', '/chat/a', 1, { id: 7 }], ['join', '/chat/%zz']];
  for (const event of wrong) {
    const { status, body } = await ask(...event);
    assert.ok([400, 404].includes(status) && body.reason, JSON.stringify([event, status, body]));
  }
  // Without a callback there is nobody to tell.
  socket.emit('chat message', 'hello');
  assert.equal((await ask('post', '/chat/a', Buffer.from('binary'))).status, 400);
  assert.equal((await ask('post', '/chat/a', 'x'.repeat(100_000))).status, 201);
});

test('requests are begun in their order', async (t) => {
  const server = await start(t);
  const { seen, ask } = connect(t, server, { transports: ['websocket'] });
  await ask('join', '/chat/order');
  const posted = await Promise.all(Array.from({ length: 200 }, (_, number) => ask('post', '/chat/order', number)));
  assert.ok(posted.every(({ status }) => status === 201));
  const heard = [];
  while (heard.length < 200) heard.push(await seen.find(([event]) => event === 'message'));
  assert.deepEqual(heard.map(([, number]) => number), heard.map((_, index) => index));
  assertDense(heard.map(([, , { cursor }]) => cursor));
});

for (const transports of [['websocket'], ['polling']]) {
  test(`a channel is followed through a crash, over ${transports}`, async (t) => {
    const server = await start(t);
    const { socket, seen, states, ask } = connect(t, server, { transports });
    let cursor;
    const join = () => ask('join', '/chat/crash', cursor && { since: cursor });
    await states.next();
    cursor = (await join()).cursor;
    const got = [];
    const until = async (count) => {
      while (got.length < count) {
        const [, data, more] = await seen.find(([event]) => event === 'message');
        got.push(data);
        cursor = more.cursor;
      }
    };
    await post(server.url('/chat/crash'), 1);
    await until(1);
    socket.on('connect', join);
    await server.kill();
    await server.start();
    await post(server.url('/chat/crash'), 2);
    await post(server.url('/chat/crash'), 3);
    await until(3);
    assert.deepEqual(got, [1, 2, 3]);
  });
}

for (const transports of [['websocket'], ['polling']]) {
  test(`a stop asks clients to come back, and they do, over ${transports}`, async (t) => {
    const server = await start(t);
    const { seen, states, ask } = connect(t, server, { transports });
    assert.equal(await states.next(), 'connect');
    await ask('join', '/chat/stop');
    assert.equal(await server.stop(), 0);
    // Whoever polls may be between two polls.
    if (transports[0] === 'websocket') await seen.find(([event]) => event === '@drain');
    assert.match(await states.next(), /^transport (close|error)$/);
    await server.start();
    await states.find((state) => state === 'connect');
  });
}

test('a token is asked for, may be wrong, and ends', async (t) => {
  const server = await start(t, CLOSED);
  // Without one nothing may be done.
  const nobody = connect(t, server);
  const refused = await nobody.ask('join', '/chat/a');
  assert.deepEqual([refused.status, refused.body.reason], [401, 'unauthenticated']);
  assert.equal((await nobody.ask('auth', token('late'))).status, 200);
  assert.equal((await nobody.ask('join', '/chat/a')).status, 200);
  // A wrong one is refused before anything else.
  const forged = connect(t, server, { auth: { token: `${token('alice')}x` } });
  assert.match(await forged.states.next(), /^refused: token: /);
  const header = connect(t, server, { transports: ['polling'], extraHeaders: { authorization: 'Bearer nonsense' } });
  assert.match(await header.states.next(), /^refused: xhr poll error/);
  // One that ends takes the socket with it, which does not come back with it.
  const brief = connect(t, server, { auth: { token: token('brief', 3) }, transports: ['websocket'] });
  assert.equal(await brief.states.next(), 'connect');
  assert.equal((await brief.ask('join', '/chat/a')).status, 200);
  assert.equal((await brief.ask('join', '/other')).status, 404);
  const [, end] = await brief.seen.find(([event]) => event === '@end');
  assert.deepEqual(end, { reason: 'token_expired', status: 401 });
  assert.equal(await brief.states.next(), 'io server disconnect');
  // What is posted has its author.
  const alice = connect(t, server, { auth: { token: token('alice') } });
  await alice.ask('join', '/chat/a');
  assert.equal((await alice.ask('post', '/chat/a', 'hello')).status, 201);
  const [, , { from }] = await alice.seen.find(([event]) => event === 'message');
  assert.equal(from, 'alice');
});

test('a client that reads slowly gets all of it', async (t) => {
  const server = await start(t);
  const { socket, seen, states, ask } = connect(t, server, { transports: ['websocket'] });
  await states.next();
  await ask('join', '/chat/slow');
  const wire = socket.io.engine.transport.ws._socket;
  wire.pause();
  // More than any buffer on the way holds.
  const text = 'x'.repeat(200_000);
  for (let number = 0; number < 100; number++) await post(server.url('/chat/slow'), { number, text });
  wire.resume();
  for (let number = 0; number < 100; number++) {
    const [, data] = await seen.find(([event]) => event === 'message');
    assert.equal(data.number, number);
  }
  assert.deepEqual(states.pending, []);
});

test('sessions of one address are limited, and given back', async (t) => {
  const limits = OPEN.replace('[server]', '[limits]\nconnections_per_address = 20\n[server]\nheader_timeout = "1s"');
  const server = await start(t, limits);
  const open = async () => (await fetch(server.url('/socket.io/?EIO=4&transport=polling'))).status;
  const opened = [];
  while (opened.at(-1) !== 429 && opened.length < 30) opened.push(await open());
  assert.deepEqual(opened, [...Array(opened.length - 1).fill(200), 429]);
  assert.ok(opened.length > 10, `${opened.length}`);
  // Those that never connect to the namespace are let go of.
  const late = Date.now() + DEADLINE_MS;
  while ((await open()) !== 200) assert.ok(Date.now() < late, 'none is given back');
});

test('nothing is there unless it is configured, and channels keep their names', async (t) => {
  const server = await startServer(t);
  const { states } = connect(t, server, { reconnection: false });
  assert.match(await states.next(), /^refused: /);
  const on = await start(t, `${OPEN}\n[channel."socket.io"]\n`);
  assert.equal((await post(on.url('/socket.io'), 'a channel')).cursor.length > 0, true);
  const bad = async (query, options) => (await fetch(on.url(`/socket.io/${query}`), options)).status;
  assert.equal(await bad('?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA'), 400);
  assert.equal(await bad('?EIO=3&transport=polling'), 400);
  assert.equal(await bad(''), 400);
  assert.equal(await bad('?EIO=4&transport=polling', { method: 'DELETE' }), 405);
});
