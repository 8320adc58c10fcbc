// The JavaScript client on bad days: servers that fall silent, flap or are none, proxies, clocks, storage.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { WebSocket, WebSocketServer } from 'ws';

import { connect } from '../../clients/js/src/index.js';
import { Page } from '../../clients/js/src/wait.js';
import { bufferingProxy, impostor } from '../harness/faults.mjs';
import { assertDense, post } from '../harness/http.mjs';
import { Inbox } from '../harness/inbox.mjs';
import { startServer, temporaryFolder } from '../harness/server.mjs';

const TRANSPORTS = ['websocket', 'sse', 'ndjson', 'poll'];
const BACKOFF = { base: 20, cap: 200 };
const SECRET = 'a secret of the tests, 32 bytes or more';

/** A client, and what becomes of its state. */
function client(t, { origin }, options = {}) {
  const pw = connect(origin, { WebSocket, backoff: BACKOFF, ...options });
  t.after(() => pw.close());
  const states = new Inbox('states');
  pw.onState(states.push);
  return { pw, states };
}

function heard(watch) {
  const inbox = new Inbox(`watch of ${watch.channel}`);
  for (const type of ['message', '@state', '@reset']) watch.on(type, inbox.push);
  watch.on('end', (error) => inbox.close(error ?? 'it was closed'));
  return inbox;
}

/** Every wait is the longest of its kind, or `part` of that. */
function fixRandom(t, part = 0.999) {
  t.mock.method(Math, 'random', () => part);
}

const STREAM = { 'content-type': 'text/event-stream' };
const sse = (envelope) => `data: ${JSON.stringify(envelope)}\n\n`;
const ndjson = (envelope) => `${JSON.stringify(envelope)}\n`;
const live = (cursor) => ({ channel: 'a', event: '@live', cursor, data: {} });
const message = (offset, data = offset) => ({ channel: 'a', cursor: `x.${offset}`, data, at: 1 });
const sinceOf = ({ url }) => new URL(url, 'http://x').searchParams.get('since');

for (const [name, type, frame] of [['sse', 'text/event-stream', sse], ['ndjson', 'application/x-ndjson', ndjson]]) {
  test(`${name}: frames are the same wherever they are split`, async (t) => {
    const frames = [live('x.0'), message(1, 'é€🎈'), message(2, { a: '\u2028\\n' }), message(3, [])].map(frame).join(name === 'sse' ? ': beat\r\n\r\n' : '\n');
    const bytes = new TextEncoder().encode(frames);
    for (let at = 0; at <= bytes.length; at++) {
      const fetch = async () => {
        const body = new ReadableStream({
          start(stream) {
            stream.enqueue(bytes.slice(0, at));
            stream.enqueue(bytes.slice(at));
          },
        });
        return new Response(body, { headers: { 'content-type': type } });
      };
      const { pw } = client(t, { origin: 'http://fake' }, { fetch, transports: [name] });
      const messages = await heard(pw.watch('a', { since: 'x.0' })).take(3);
      assert.deepEqual(messages.map(({ data }) => data), ['é€🎈', { a: '\u2028\\n' }, []], `split at ${at}`);
      pw.close();
    }
  });
}

for (const [name, frame] of [['sse', sse], ['ndjson', ndjson]]) {
  test(`${name}: a change that stands for several is told as the whole state, and nothing that comes before it counts`, async (t) => {
    const told = (event, cursor, data) => frame({ channel: 'a', cursor, event, data });
    const asked = [];
    const server = await impostor(t, (response, request) => {
      asked.push(sinceOf(request));
      response.writeHead(200, { 'content-type': name === 'sse' ? 'text/event-stream' : 'application/x-ndjson' });
      if (asked.length === 1) return response.end(told('@state', 'x.1', { n: 1, kept: 1 }) + told('@skipped', undefined, { count: 6 }));
      response.write(told('@skipped', undefined, { count: 7 }) + told('@patch', 'x.9', { n: 9 }) + told('@patch', 'x.10', { n: 10 }));
      response.write(told('@reset', undefined, { reason: 'trimmed' }) + told('@state', 'y.4', { n: 4 }) + told('@patch', 'y.5', { n: 5 }));
    });
    const { pw } = client(t, server, { transports: [name], delta: true });
    const states = await heard(pw.watch('a')).take(6);
    assert.deepEqual(asked, ['*', 'x.1']);
    assert.deepEqual(
      states.map(({ event, cursor, data }) => [event, cursor, data]),
      [
        ['@state', 'x.1', { n: 1, kept: 1 }],
        ['@state', 'x.9', { n: 9, kept: 1 }],
        [undefined, 'x.10', { n: 10, kept: 1 }],
        ['@reset', undefined, { reason: 'trimmed' }],
        ['@state', 'y.4', { n: 4 }],
        [undefined, 'y.5', { n: 5 }],
      ],
    );
  });
}

for (const [name, frame] of [['sse', sse], ['ndjson', ndjson]]) {
  test(`${name}: a connection that falls silent is replaced, from where it stood`, async (t) => {
    const server = await impostor(t, (response, request) => {
      const first = Number(sinceOf(request).split('.')[1]) + 1;
      response.writeHead(200, { 'content-type': name === 'sse' ? 'text/event-stream' : 'application/x-ndjson' });
      response.write(frame(live(`x.${first - 1}`)) + frame(message(first)));
    });
    const { pw, states } = client(t, server, { transports: [name], heartbeat: 60 });
    const messages = await heard(pw.watch('a', { since: 'x.0' })).take(3);
    assertDense(messages.map(({ cursor }) => cursor));
    const { error } = await states.find(({ state }) => state === 'waiting');
    assert.equal(error.reason, 'silence');
  });
}

test('websocket: one that is half open is found out by what it is asked, and one that is only quiet is kept', async (t) => {
  let isDeaf = false;
  const opened = [];
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  t.after(() => {
    server.clients.forEach((socket) => socket.terminate());
    server.close();
  });
  await once(server, 'listening');
  server.on('connection', (socket) => {
    opened.push(performance.now());
    socket.on('message', (data) => {
      const { id, watch } = JSON.parse(data);
      if (isDeaf && !watch) return;
      socket.send(JSON.stringify({ id, status: 200, cursor: 'x.0' }));
    });
  });
  const { states, pw } = client(t, { origin: `http://127.0.0.1:${server.address().port}` }, { transports: ['websocket'], heartbeat: 60 });
  pw.watch('a', { since: 'x.0' });
  await states.find(({ state }) => state === 'live');
  await sleep(400);
  assert.equal(opened.length, 1, 'it was quiet for several heartbeats, but there');
  isDeaf = true;
  const { error } = await states.find(({ state }) => state === 'waiting');
  assert.equal(error.reason, 'silence');
  await states.find(({ state }) => state === 'live');
  assert.ok(opened.length >= 2);
});

test('through a proxy that buffers it falls to what works, remembers it, and nothing is missing', async (t) => {
  const server = await startServer(t);
  const proxy = await bufferingProxy(t, server);
  const stored = new Map();
  const storage = { getItem: (key) => stored.get(key), setItem: (key, value) => stored.set(key, value) };
  const { pw } = client(t, proxy, { patience: 300, storage });
  const inbox = heard(pw.watch('/chat/a', { since: '0' }));
  for (let n = 1; n <= 3; n++) await pw.post('/chat/a', n);
  await inbox.take(3);
  await post(server.url('/chat/a'), 4);
  await inbox.take(1);
  assertDense(inbox.all.map(({ cursor }) => cursor));
  assert.deepEqual([pw.transport, stored.get('plainwire.transport')], ['poll', 'poll']);

  const next = client(t, proxy, { patience: 300, storage });
  await heard(next.pw.watch('/chat/a', { since: '0' })).take(4);
  assert.ok(!next.states.all.some(({ state }) => state === 'waiting'), 'the next begins with what worked');
});

test('a server that is gone says nothing about the transport: the one that worked is the one that it comes back over', async (t) => {
  const server = await startServer(t);
  const { pw, states } = client(t, server);
  const inbox = heard(pw.watch('/chat/a', { since: '0' }));
  await states.find(({ state }) => state === 'live');
  for (let n = 1; n <= 3; n++) {
    await server.kill();
    for (let attempt = 0; attempt < 4; attempt++) await states.find(({ state }) => state === 'waiting');
    await server.start();
    await pw.post('/chat/a', n);
    await inbox.take(1);
    assert.equal(pw.transport, 'websocket');
  }
});

test('a write whose answers are lost is applied once', async (t) => {
  const server = await startServer(t);
  let lost = 0;
  const proxy = await bufferingProxy(t, server, (response, { method }) => method === 'POST' && lost++ < 2 && response.destroy());
  const { pw } = client(t, proxy);
  const { ok, replayed, cursor } = await pw.post('/chat/a', 'once');
  assert.deepEqual([ok, replayed, lost], [true, true, 3]);
  const { body } = await pw.get('/chat/a', { since: '0' });
  assert.deepEqual(body.messages.map((one) => [one.cursor, one.data]), [[cursor, 'once']]);
});

test('storage that throws is done without', async (t) => {
  const server = await startServer(t);
  const storage = { getItem: () => { throw new Error('blocked'); }, setItem: () => { throw new Error('blocked'); } };
  const { pw } = client(t, server, { storage });
  const inbox = heard(pw.watch('/counter'));
  await inbox.next('the state');
  Object.defineProperty(globalThis, 'localStorage', { configurable: true, get: () => { throw new Error('blocked'); } });
  t.after(() => delete globalThis.localStorage);
  await heard(client(t, server).pw.watch('/counter')).next('the state');
});

test('what was trimmed is a visible @reset, on every transport', async (t) => {
  const config = path.join(temporaryFolder(t), 'plainwire.toml');
  writeFileSync(config, '[server]\nengine = "memory"\n[allow]\nall = true\n[channel."log/*"]\nretain = { count = 5 }\n');
  const server = await startServer(t, { args: ['serve', '--config', config] });
  const { cursor } = await post(server.url('/log/a'), 1);
  for (let n = 2; n <= 40; n++) await post(server.url('/log/a'), n);
  for (const transport of TRANSPORTS) {
    const { pw } = client(t, server, { transports: [transport] });
    const inbox = heard(pw.watch('/log/a', { since: cursor }));
    const reset = await inbox.next('a reset');
    assert.deepEqual([reset.event, reset.data.reason], ['@reset', 'trimmed'], transport);
    const last = await inbox.find(({ data }) => data === 40, 'the newest');
    assert.ok(last);
    assertDense(inbox.all.slice(1).map((one) => one.cursor), Number(reset.cursor.split('.')[1]) + 1);
  }
});

test('where changes of a state are lost it goes on with the state, on every transport', async (t) => {
  const config = path.join(temporaryFolder(t), 'plainwire.toml');
  writeFileSync(config, '[allow]\nall = true\n[channel.board]\nstate = {}\nreplace = true\nretain = { count = 2 }\n');
  const server = await startServer(t, { args: ['serve', '--config', config] });
  const put = async (n) => (await fetch(server.url('/board'), { method: 'PUT', body: JSON.stringify({ n }) })).headers.get('plainwire-cursor');
  const since = await put(1);
  for (let n = 2; n <= 9; n++) await put(n);
  let n = 9;
  for (const delta of [false, true]) {
    for (const transport of TRANSPORTS) {
      const { pw } = client(t, server, { transports: [transport], delta });
      const inbox = heard(pw.watch('/board', { since }));
      const told = await inbox.take(2, transport);
      const last = await put(++n);
      told.push(await inbox.next(transport));
      assert.deepEqual(told.map(({ event, data }) => [event, data]), [
        ['@reset', { reason: 'trimmed' }],
        ['@state', { n: n - 1 }],
        [undefined, { n }],
      ], transport);
      assert.deepEqual([told[0].cursor, told[2].cursor], [undefined, last], transport);
      pw.close();
    }
  }
});

/** A token of the server's secret. */
function token(claims, secret = SECRET) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const said = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${said}.${createHmac('sha256', secret).update(said).digest('base64url')}`;
}

test('tokens are renewed before they end, by one at a time, and no stream is cut', async (t) => {
  const config = path.join(temporaryFolder(t), 'plainwire.toml');
  writeFileSync(config, `[server]\nengine = "memory"\nexpiring_notice = "1s"\n[auth]\nsecret = "${SECRET}"\nleeway = "0s"\n[channel."chat/*"]\n`);
  const server = await startServer(t, { args: ['serve', '--config', config] });
  const forAnHour = token({ sub: 'alice', exp: Math.floor(Date.now() / 1000) + 3600, plainwire: { watch: ['chat/*'], post: ['chat/*'] } });
  await Promise.all(TRANSPORTS.map(async (transport) => {
    let asked = 0, atOnce = 0;
    const source = async () => {
      assert.equal(atOnce++, 0, 'two ask at the same time');
      await sleep(20);
      atOnce--;
      asked++;
      return token({ sub: 'alice', n: asked, exp: Math.floor(Date.now() / 1000) + 3, plainwire: { watch: ['chat/*'], post: ['chat/*'] } });
    };
    const { pw, states } = client(t, server, { transports: [transport], token: source });
    const inbox = heard(pw.watch(`/chat/${transport}`, { since: '0' }));
    for (let n = 1; n <= 28; n++) {
      await post(server.url(`/chat/${transport}`), n, { authorization: `Bearer ${forAnHour}` });
      await inbox.next();
      await sleep(200);
    }
    assertDense(inbox.all.map(({ cursor }) => cursor));
    assert.ok(asked >= 2 && asked <= 6, `${transport}: ${asked} tokens in six seconds`);
    if (transport !== 'poll') assert.ok(!states.all.some(({ state }) => state === 'waiting'), `${transport} was cut`);
  }));
});

test('a 401 in mid-stream: another token, and on from where it stood; without one the watch ends, and says why', async (t) => {
  const shown = [];
  const server = await impostor(t, (response, request) => {
    shown.push(request.headers.authorization);
    if (!request.url.startsWith('/_/live')) return response.writeHead(401, { 'content-type': 'application/problem+json' }).end('{"status":401,"reason":"token_revoked"}');
    const first = Number(sinceOf(request).split('.')[1]) + 1;
    response.writeHead(200, STREAM).write(sse(live(`x.${first - 1}`)) + sse(message(first)));
    return setTimeout(() => response.end(sse({ event: '@end', data: { reason: 'token_revoked', status: 401 } })), 30);
  });
  let tokens = 0;
  const { pw } = client(t, server, { transports: ['sse'], token: () => `t${++tokens}` });
  const messages = await heard(pw.watch('a', { since: 'x.0' })).take(3);
  assertDense(messages.map(({ cursor }) => cursor));
  assert.deepEqual(shown.slice(0, 3), ['Bearer t1', 'Bearer t2', 'Bearer t3']);
  pw.close();

  const fixed = client(t, server, { transports: ['sse'], token: 'the only one' });
  const watch = fixed.pw.watch('a', { since: 'x.0' });
  const error = await new Promise((resolve) => watch.on('end', resolve));
  assert.deepEqual([error.status, error.reason, error.remedy], [401, 'token_revoked', 'renew']);
});

test('@drain is waited for, and retry: is the first limit of the waits', async (t) => {
  fixRandom(t, 0);
  const server = await impostor(t, (response, request) => {
    const first = Number(sinceOf(request).split('.')[1]) + 1;
    response.writeHead(200, STREAM).end(`retry: 700\n\n${sse(live(`x.${first - 1}`))}${sse(message(first))}${sse({ event: '@drain', data: { reconnect_in_ms: 150 } })}`);
  });
  const { pw, states } = client(t, server, { transports: ['sse'], backoff: {} });
  const inbox = heard(pw.watch('a', { since: 'x.0' }));
  await inbox.take(2);
  assert.deepEqual((await states.find(({ state }) => state === 'waiting')).retryIn, 150);
  const [first, second] = server.asked;
  assert.ok(second.at - first.at >= 149, `${second.at - first.at}`);
  assert.deepEqual([sinceOf(first), sinceOf(second)], ['x.0', 'x.1']);
  pw.close();

  t.mock.method(Math, 'random', () => 0.999);
  const plain = await impostor(t, (response) => response.writeHead(200, STREAM).end(`retry: 700\n\n${sse(live('x.0'))}`));
  const next = client(t, plain, { transports: ['sse'], backoff: {} });
  next.pw.watch('a', { since: 'x.0' });
  assert.equal((await next.states.find(({ state }) => state === 'waiting')).retryIn, 699);
});

test('a server that flaps is left alone for longer each time; one that was there for longer than that is not', async (t) => {
  fixRandom(t);
  let lasts = 0;
  const server = await impostor(t, (response) => {
    response.writeHead(200, STREAM).write(sse(live('x.0')));
    setTimeout(() => response.end(), lasts);
  });
  const { pw, states } = client(t, server, { transports: ['sse'], backoff: { base: 20, cap: 160 } });
  pw.watch('a', { since: 'x.0' });
  const wait = async () => (await states.find(({ state }) => state === 'waiting')).retryIn;
  const waits = [await wait(), await wait(), await wait(), await wait(), await wait()];
  assert.deepEqual(waits, [20, 40, 80, 160, 160]);
  lasts = 250;
  await wait();
  assert.equal(await wait(), 20);
});

/** Servers that cannot be used, each in its own way. */
const USELESS = {
  'is not there': (response) => response.destroy(),
  'answers HTML': (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<p>Welcome'),
  'answers 502 in HTML': (response) => response.writeHead(502, { 'content-type': 'text/html' }).end('<p>Bad gateway'),
  'answers 503': (response) => response.writeHead(503, { 'content-type': 'application/problem+json' }).end('{"status":503,"reason":"busy"}'),
  'has garbage in its streams': (response, { headers }) => response.writeHead(200, { 'content-type': headers.accept }).end('data: {"channel\n\n{]\n'),
  'has JSON that is none of ours': (response, { headers }) => response.writeHead(200, { 'content-type': headers.accept }).end('data: 7\n\n'),
  'ends as soon as it begins': (response, { headers }) => {
    const frame = headers.accept === STREAM['content-type'] ? sse : ndjson;
    response.writeHead(200, { 'content-type': headers.accept, 'plainwire-cursor': 'x.0' });
    response.end(headers.accept === 'application/json' ? '{"messages":7}' : frame(live('x.0')));
  },
  'drains at once': (response) => response.writeHead(200, STREAM).end(sse({ event: '@drain', data: { reconnect_in_ms: 0 } })),
  'leaves gaps': (response) => response.writeHead(200, STREAM).end(sse(live('x.0')) + sse(message(7))),
  'takes no token': (response) => response.writeHead(401, { 'content-type': 'application/problem+json' }).end('{"status":401,"reason":"token_expired"}'),
};

test('a server that cannot be used is asked no more often than the waits allow', async (t) => {
  const SECONDS = 2;
  fixRandom(t, 0.5);
  await Promise.all(Object.entries(USELESS).map(async ([way, answer]) => {
    const server = await impostor(t, answer);
    let tokens = 0;
    const isAuth = way === 'takes no token';
    const { pw, states } = client(t, server, {
      backoff: { base: 100, cap: 400 },
      patience: 500,
      WebSocket: class {
        constructor() {
          queueMicrotask(() => this.onclose({ code: 1006, reason: '' }));
        }
        close() {}
      },
      ...(isAuth && { token: () => `t${++tokens}` }),
    });
    const watch = pw.watch('a', { since: 'x.0' });
    watch.on('message', () => assert.fail('there are no messages'));
    await sleep(SECONDS * 1000);
    const asked = server.asked.length;
    if (isAuth) {
      assert.ok(watch.isOver, `${way}: it is no use`);
      // Four connections, twice over as the token is renewed, and the channel by itself.
      assert.ok(asked <= 12, `${way}: ${asked} requests`);
      return;
    }
    // Waits of 50, 100 and then 200 ms, with two requests after each at most.
    const most = 2 * (2 + (SECONDS * 1000) / 200);
    assert.ok(asked >= 4 && asked <= most, `${way}: ${asked} requests in ${SECONDS} s, of ${most}`);
    const { state, error } = states.all.findLast((one) => one.error) ?? {};
    assert.equal(state, 'waiting', way);
    assert.ok(error.reason && error.remedy === 'retry', `${way}: ${error}`);
    assert.ok(!watch.isOver, `${way}: it may come back`);
  }));
});

test('long polls that are answered at once, or with what is known, are asked for once in a second', async (t) => {
  const page = JSON.stringify({ messages: [message(1)], cursor: 'x.1' });
  const answers = {
    nothing: (response) => response.writeHead(204, { 'plainwire-cursor': 'x.1' }).end(),
    'the same': (response, { headers }) =>
      headers.prefer ? response.writeHead(200, { 'content-type': 'application/json', 'plainwire-cursor': 'x.1' }).end(page) : answers.nothing(response),
  };
  await Promise.all(Object.entries(answers).map(async ([what, answer]) => {
    const server = await impostor(t, answer);
    const { pw, states } = client(t, server, { transports: ['poll'] });
    pw.watch('a', { since: 'x.1' }).on('message', () => assert.fail('there is nothing new'));
    await states.find(({ state }) => state === 'live');
    await sleep(2500);
    assert.ok(server.asked.length >= 3 && server.asked.length <= 5, `${what}: ${server.asked.length} requests`);
  }));
});

test('a server that is gone for a while: states say so, and nothing is lost that was accepted', async (t) => {
  const server = await startServer(t);
  const { pw, states } = client(t, server);
  const inbox = heard(pw.watch('/chat/a', { since: '0' }));
  const accepted = [await pw.post('/chat/a', 0)];
  await inbox.take(1);
  await server.kill();
  const posts = [1, 2, 3].map((n) => pw.post('/chat/a', n));
  await states.find(({ state, error }) => state === 'waiting' && error.reason === 'network');
  await sleep(1500);
  await server.start();
  accepted.push(...(await Promise.all(posts)));
  await inbox.take(3);
  assert.deepEqual(inbox.all.map(({ cursor }) => cursor), accepted.map(({ cursor }) => cursor));
  const seen = states.all.map(({ state }) => state).filter((state, index, all) => state !== all[index - 1]);
  assert.deepEqual([seen[0], seen.at(-1)], ['connecting', 'live']);
  assert.ok(seen.includes('waiting'));
  pw.close();
  assert.equal(states.all.at(-1).state, 'closed');
});

test('many watches share one connection', async (t) => {
  const server = await impostor(t, (response) => response.writeHead(200, STREAM).write(sse(live('x.0'))));
  const { pw, states } = client(t, server, { transports: ['sse'] });
  for (let n = 0; n < 64; n++) pw.watch(`c${n}`, { since: 'x.0' });
  await states.find(({ state }) => state === 'live');
  assert.equal(server.asked.length, 1);
  pw.watch('one more', { since: 'x.0' });
  await states.find(({ state }) => state === 'connecting');
  await states.find(({ state }) => state === 'live');
  assert.equal(server.asked.length, 2, 'a connection has 64 channels at most');
});

test('a signal ends a watch, a read and a post, and nothing of them goes on', async (t) => {
  const closed = new Inbox('closed connections');
  const server = await impostor(t, (response, { url }) => {
    response.on('close', () => closed.push(url));
    if (url.startsWith('/_/live')) response.writeHead(200, STREAM).write(sse(live('x.0')));
  });
  const { pw, states } = client(t, server, { transports: ['sse'] });
  const stop = new AbortController();
  const watch = pw.watch('a', { since: 'x.0', signal: stop.signal });
  const reader = (async () => {
    for await (const _ of watch) assert.fail('there is nothing to read');
  })();
  await states.find(({ state }) => state === 'live');
  const read = assert.rejects(pw.get('b', { signal: stop.signal }), { name: 'AbortError' });
  const written = assert.rejects(pw.post('c', 1, { signal: stop.signal }), { name: 'AbortError' });
  await sleep(50);
  stop.abort();
  await Promise.all([reader, read, written]);
  assert.equal((await closed.take(3)).length, 3);
  assert.ok(watch.isOver);
  assert.equal(pw.pending, 0);
  assert.throws(() => stop.signal.throwIfAborted());
  assert.ok(pw.watch('d', { signal: stop.signal }).isOver);
  await assert.rejects(pw.post('e', 1, { signal: stop.signal }), { name: 'AbortError' });
  await sleep(100);
  assert.equal(server.asked.length, 3);
});

test('a clock that is wrong, or is set while it runs, changes nothing', async (t) => {
  const server = await startServer(t);
  let skew = -20 * 365 * 86_400_000;
  const { now } = Date;
  t.mock.method(Date, 'now', () => now() + skew);
  for (const transport of TRANSPORTS) {
    const { pw, states } = client(t, server, { transports: [transport] });
    const inbox = heard(pw.watch(`/chat/clock-${transport}`, { since: '0' }));
    for (let n = 1; n <= 4; n++) {
      skew = [0, 86_400_000, -86_400_000, 3_600_000][n - 1];
      await pw.post(`/chat/clock-${transport}`, n);
      assert.equal((await inbox.next()).data, n);
    }
    assert.ok(!states.all.some(({ state }) => state === 'waiting'), transport);
  }

  // A date to wait for is compared with the clock of whoever sent it.
  const busy = await impostor(t, (response) => {
    const headers = { 'content-type': 'application/problem+json', date: 'Sun, 06 Nov 1994 08:49:37 GMT', 'retry-after': 'Sun, 06 Nov 1994 08:49:40 GMT' };
    response.writeHead(503, headers).end('{"status":503,"reason":"busy"}');
  });
  const { pw, states } = client(t, busy, { transports: ['sse'] });
  pw.watch('a');
  assert.equal((await states.find(({ state }) => state === 'waiting')).error.retryAfter, 3000);
});

/** What a page has, for a client in Node.js: `tell(type)` is an event of it. */
function page(t) {
  const [target, document] = [new EventTarget(), new EventTarget()];
  const network = { onLine: true };
  const given = { document, addEventListener: target.addEventListener.bind(target), navigator: network };
  for (const [name, value] of Object.entries(given)) {
    const before = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { configurable: true, writable: true, value });
    t.after(() => (before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]));
  }
  return { document, network, tell: (type) => (type === 'visibilitychange' ? document : target).dispatchEvent(new Event(type)) };
}

for (const event of ['online', 'visibilitychange', 'pageshow']) {
  test(`${event}: another attempt at once, but never more than one in a second`, async (t) => {
    const { tell, document, network } = page(t);
    fixRandom(t);
    const server = await impostor(t, (response) => response.destroy());
    const { pw, states } = client(t, server, { transports: ['sse'], backoff: { base: 60_000, cap: 60_000 } });
    network.onLine = false;
    pw.watch('a', { since: 'x.0' });
    const { retryIn } = await states.find(({ state }) => state === 'offline', 'a machine without a network');
    assert.ok(retryIn > 50_000);
    network.onLine = true;
    document.hidden = true;
    tell('visibilitychange');
    tell('offline');
    document.hidden = false;
    const burst = setInterval(() => tell(event), 20);
    t.after(() => clearInterval(burst));
    await states.find(({ state }) => state === 'waiting', 'another attempt');
    await states.find(({ state }) => state === 'waiting', 'and another');
    const waits = server.asked.map(({ at }, index, all) => at - (all[index - 1]?.at ?? 0)).slice(1);
    assert.equal(waits.length, 2);
    for (const wait of waits) assert.ok(wait >= 950 && wait < 5000, `${waits}`);
  });
}

test('a page that is shown does not cut short what the server asked for', async (t) => {
  const { tell } = page(t);
  const pages = new Page();
  const began = performance.now();
  const pause = pages.pause(1300, undefined, 1200);
  tell('pageshow');
  await pause;
  const took = performance.now() - began;
  assert.ok(took >= 1190 && took < 1299, `${took}`);
  pages.close();
});

test('a machine that slept looks for a connection that does not know it', async (t) => {
  const { tell } = page(t);
  const server = await impostor(t, (response) => response.writeHead(200, STREAM).write(sse(live('x.0'))));
  const { pw, states } = client(t, server, { transports: ['sse'] });
  pw.watch('a', { since: 'x.0' });
  await states.find(({ state }) => state === 'live');
  tell('visibilitychange');
  await sleep(50);
  assert.equal(server.asked.length, 1, 'it was heard of just now');
  const { now } = Date;
  t.mock.method(Date, 'now', () => now() + 3_600_000);
  tell('visibilitychange');
  await states.find(({ state, error }) => state === 'waiting' && error.reason === 'silence');
  await states.find(({ state }) => state === 'live');
});

test('the newest of each key, or the newest of all, and every loss is told of', async (t) => {
  const frames = Array.from({ length: 30 }, (_, index) => sse(message(index + 1, { key: index % 3, n: index + 1 }))).join('');
  const server = await impostor(t, (response) => response.writeHead(200, STREAM).write(sse(live('x.0')) + frames));
  const { pw } = client(t, server, { transports: ['sse'] });
  const watch = pw.watch('a', { since: 'x.0', limit: 10, overflow: 'latest', key: ({ data }) => data.key });
  const reader = watch[Symbol.asyncIterator]();
  const lost = new Inbox('what was lost');
  watch.on('dropped', lost.push);
  const received = heard(watch);
  await received.take(30);
  const seen = [(await reader.next()).value, (await reader.next()).value, (await reader.next()).value];
  assert.deepEqual(seen.map(({ data }) => data.n), [28, 29, 30]);
  assert.equal(lost.all.length, 27);
  assert.equal(seen.reduce((sum, { dropped = 0 }) => sum + dropped, 0), 27);
  const more = reader.next();
  assert.deepEqual(await reader.return(), { done: true, value: undefined }, 'whoever gives up does not wait');
  assert.equal((await more).done, true);
  assert.ok(watch.isOver);
});
