// Node's HTTP/2 client, without TLS, by prior knowledge.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import { test } from 'node:test';

import { Receiver, Sender } from 'ws';

import { assertDense, isControl, post } from '../harness/http.mjs';
import { deadline, Inbox, lines } from '../harness/inbox.mjs';
import { startServer } from '../harness/server.mjs';

async function connect(t, server) {
  const session = http2.connect(server.origin);
  t.after(() => session.destroy());
  // The server may be gone before the session is; what matters to a test, its streams say.
  session.on('error', () => {});
  await deadline(once(session, 'connect'), 'no HTTP/2 connection');
  return session;
}

/** Sends one request and reads its answer to the end. */
async function ask(session, path, { method = 'GET', body, headers = {} } = {}) {
  const stream = session.request({ ':path': path, ':method': method, ...headers });
  stream.end(body === undefined ? undefined : JSON.stringify(body));
  const [answer] = await deadline(once(stream, 'response'), `no answer to ${path}`);
  let text = '';
  stream.setEncoding('utf8');
  for await (const part of stream) text += part;
  return { status: answer[':status'], headers: answer, text, cursor: answer['plainwire-cursor'] };
}

/** Opens an NDJSON stream. */
async function watch(session, path) {
  const stream = session.request({ ':path': path, accept: 'application/x-ndjson' });
  const [answer] = await deadline(once(stream, 'response'), `no answer to ${path}`);
  assert.equal(answer[':status'], 200);
  assert.match(answer['content-type'], /^application\/x-ndjson/);
  const inbox = lines(stream, new Inbox(`HTTP/2 ${path}`));
  await inbox.find((line) => line.includes('"@live"'), '@live');
  return { stream, inbox };
}

test('requests and an NDJSON stream on one connection', async (t) => {
  const server = await startServer(t);
  const session = await connect(t, server);
  const { inbox } = await watch(session, '/counter');
  const up = await ask(session, '/counter:increment', { method: 'POST', body: { value: 5 } });
  assert.equal(up.status, 200);
  assert.equal(up.text, '{"count":5}');
  const message = JSON.parse(await inbox.next());
  assert.deepEqual(message.data, { count: 5 });
  assert.equal(message.cursor, up.cursor);

  const down = await ask(session, '/counter:decrement', { method: 'POST', body: { value: 6 } });
  assert.equal(down.status, 400);
  assert.match(down.headers['content-type'], /^application\/problem\+json/);
  const same = await ask(session, '/counter', { headers: { 'if-none-match': `"${up.cursor}"` } });
  assert.equal(same.status, 304);
});

test('twenty streams on one connection, each whole', async (t) => {
  const server = await startServer(t);
  const session = await connect(t, server);
  const streams = await Promise.all(Array.from({ length: 20 }, (_, n) => watch(session, `/chat/${n % 4}`)));
  for (let n = 1; n <= 50; n++) await Promise.all([0, 1, 2, 3].map((channel) => post(server.url(`/chat/${channel}`), n)));
  for (const { inbox } of streams) {
    const messages = (await inbox.take(50)).map((line) => JSON.parse(line));
    assert.deepEqual(messages.map(({ data }) => data), messages.map((_, index) => index + 1));
    assertDense(messages.map(({ cursor }) => cursor));
  }
});

test('a stream that is cut does not disturb its neighbours', async (t) => {
  const server = await startServer(t);
  const session = await connect(t, server);
  const [one, two] = [await watch(session, '/chat/a'), await watch(session, '/chat/a')];
  await post(server.url('/chat/a'), 1);
  await one.inbox.next();
  one.stream.close(http2.constants.NGHTTP2_CANCEL);
  await post(server.url('/chat/a'), 2);
  assert.deepEqual((await two.inbox.take(2)).map((line) => JSON.parse(line).data), [1, 2]);
  assert.equal((await ask(session, '/_/health')).status, 200);
});

test('a reader with a closed window gets everything once it opens', async (t) => {
  const server = await startServer(t);
  const session = await connect(t, server);
  const stream = session.request({ ':path': '/chat/a', accept: 'application/x-ndjson' });
  await deadline(once(stream, 'response'), 'no answer');
  const count = 40;
  for (let n = 1; n <= count; n++) await post(server.url('/chat/a'), { n, filler: 'x'.repeat(8192) });
  const inbox = lines(stream, new Inbox('the late reader'));
  await inbox.find((line) => line.includes(`"n":${count},`), 'the last message');
  const messages = inbox.all.map((line) => JSON.parse(line)).filter((envelope) => !isControl(envelope));
  assert.deepEqual(messages.map(({ data }) => data.n), messages.map((_, index) => index + 1));
  assert.equal(messages.length, count);
});

test('a WebSocket by extended CONNECT (RFC 8441)', async (t) => {
  const server = await startServer(t);
  const session = await connect(t, server);
  if (!session.remoteSettings.enableConnectProtocol) await deadline(once(session, 'remoteSettings'), 'no SETTINGS');
  assert.equal(session.remoteSettings.enableConnectProtocol, true, 'SETTINGS_ENABLE_CONNECT_PROTOCOL');

  const stream = session.request(
    { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/counter', 'sec-websocket-version': '13' },
    { endStream: false },
  );
  const [answer] = await deadline(once(stream, 'response'), 'no answer to CONNECT');
  assert.equal(answer[':status'], 200);
  const frames = new Inbox('WebSocket over HTTP/2');
  const receiver = new Receiver({ isServer: false });
  receiver.on('message', (data) => frames.push(JSON.parse(data)));
  receiver.on('conclude', (code) => frames.close(`closed with ${code}`));
  receiver.on('error', frames.close);
  stream.pipe(receiver);
  const sender = new Sender(stream, {});
  const send = (value) => sender.send(Buffer.from(JSON.stringify(value)), { mask: true, fin: true, binary: false, compress: false });

  assert.deepEqual((await frames.find(({ event }) => event === '@state', '@state')).data, { count: 0 });
  await frames.find(({ event }) => event === '@live', '@live');
  send({ id: 1, post: '/counter:increment', body: { value: 5 } });
  const both = await frames.take(2, 'a reply and a push');
  assert.deepEqual(both.find(({ id }) => id === 1).body, { count: 5 });
  assert.deepEqual(both.find(({ id }) => id === undefined).data, { count: 5 });
  sender.close(1000, undefined, true, () => {});
  assert.equal(await frames.closed(), 'closed with 1000');
  // The connection goes on.
  assert.equal((await ask(session, '/_/health')).status, 200);
});
