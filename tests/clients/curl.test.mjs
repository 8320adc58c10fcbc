// curl against every route of docs/http.md.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { curl, stream } from '../harness/curl.mjs';
import { assertDense, position } from '../harness/http.mjs';
import { startServer, temporaryFolder } from '../harness/server.mjs';

const json = (body) => ['--data-binary', JSON.stringify(body)];

test('a publish and a page', async (t) => {
  const server = await startServer(t);
  const first = await curl(...json({ text: 'hello' }), server.url('/chat/general?event=said'));
  assert.equal(first.status, 201);
  assert.equal(first.json.cursor, first.cursor);
  const second = await curl(...json('plain text'), server.url('/chat/general'));
  assertDense([first.cursor, second.cursor]);

  const newest = await curl(server.url('/chat/general'));
  assert.equal(newest.status, 200);
  assert.equal(newest.cursor, second.cursor);
  assert.equal(newest.json.cursor, second.cursor);
  const [said, plain] = newest.json.messages;
  assert.equal(said.channel, 'chat/general');
  assert.equal(said.cursor, first.cursor);
  assert.equal(said.event, 'said');
  assert.deepEqual(said.data, { text: 'hello' });
  assert.ok(Math.abs(said.at - Date.now()) < 60_000, `at: ${said.at}`);
  assert.equal(plain.data, 'plain text');
  assert.ok(!('event' in plain) && !('from' in plain), JSON.stringify(plain));

  const page = await curl(server.url(`/chat/general?since=${first.cursor}`));
  assert.deepEqual(page.json.messages.map(({ cursor }) => cursor), [second.cursor]);
  const oldest = await curl(server.url('/chat/general?since=0&limit=1'));
  assert.deepEqual(oldest.json.messages.map(({ cursor }) => cursor), [first.cursor]);
  assert.equal(oldest.json.cursor, first.cursor);
  assert.match(oldest.headers.get('cache-control') ?? '', /no-cache/, 'what is oldest moves on');
  const full = await curl(server.url(`/chat/general?since=${first.cursor}&limit=1`));
  assert.match(full.headers.get('cache-control') ?? '', /immutable/, 'a full page after a position never changes');
});

test('short poll: a state, its ETag, 304', async (t) => {
  const server = await startServer(t);
  const before = await curl(server.url('/counter'));
  assert.equal(before.status, 200);
  assert.deepEqual(before.json, { count: 0 });
  assert.equal(before.headers.get('etag'), `"${before.cursor}"`);

  const same = await curl('--header', `If-None-Match: "${before.cursor}"`, server.url('/counter'));
  assert.equal(same.status, 304);
  assert.equal(same.text, '');
  assert.equal(same.cursor, before.cursor);

  await curl(...json({ value: 5 }), server.url('/counter:increment'));
  const changed = await curl('--header', `If-None-Match: "${before.cursor}"`, server.url('/counter'));
  assert.equal(changed.status, 200);
  assert.deepEqual(changed.json, { count: 5 });
});

test('long poll: answers with the message, and 204 at the deadline', async (t) => {
  const server = await startServer(t);
  const { cursor } = await curl(...json(1), server.url('/log/poll'));
  const quiet = await curl(server.url(`/log/poll?since=${cursor}&wait=1`));
  assert.equal(quiet.status, 204);
  assert.equal(quiet.text, '');
  assert.equal(quiet.cursor, cursor);

  const waiting = curl('--header', 'Prefer: wait=20', server.url(`/log/poll?since=${cursor}`));
  const posted = await curl(...json(2), server.url('/log/poll'));
  const answer = await waiting;
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.json.messages.map(({ data }) => data), [2]);
  assert.equal(answer.json.cursor, posted.cursor);
});

for (const [name, option] of [['HTTP/1.1', '--http1.1'], ['HTTP/2', '--http2-prior-knowledge']]) {
  test(`curl -N reads Server-Sent Events over ${name}`, async (t) => {
    const server = await startServer(t);
    const inbox = stream(t, option, '--header', 'Accept: text/event-stream', server.url('/counter'));
    assert.match(await inbox.next('a status line'), name === 'HTTP/2' ? /^HTTP\/2 200/ : /^HTTP\/1.1 200/);
    const headers = new Map();
    for (let line = await inbox.next(); line.trim(); line = await inbox.next('the end of the headers')) {
      headers.set(line.split(':')[0].toLowerCase(), line.slice(line.indexOf(':') + 1).trim());
    }
    assert.match(headers.get('content-type'), /^text\/event-stream/);
    assert.equal(headers.get('cache-control'), 'no-cache, no-transform');
    assert.equal(headers.get('x-accel-buffering'), 'no');

    await inbox.find((line) => /^retry: ?\d+$/.test(line), 'a retry: line');
    await inbox.find((line) => /^event: ?@state$/.test(line), 'the snapshot');
    await inbox.find((line) => /^event: ?@live$/.test(line), '@live');
    const { cursor } = await curl(...json({ value: 5 }), server.url('/counter:increment'));
    await inbox.find((line) => line.replace(': ', ':') === `id:${cursor}`, `id: ${cursor}`);
    assert.ok(inbox.all.some((line) => /^data: ?\{"count":5\}$/.test(line)) || (await inbox.find((line) => /^data: ?\{"count":5\}$/.test(line))));
  });

  test(`curl -N reads NDJSON over ${name}`, async (t) => {
    const server = await startServer(t);
    const inbox = stream(t, option, server.url('/chat/a?live=ndjson'));
    const live = JSON.parse(await inbox.find((line) => line.includes('"@live"'), '@live'));
    const { cursor } = await curl(...json('hi'), server.url('/chat/a'));
    const message = JSON.parse(await inbox.next('the message'));
    assert.equal(message.cursor, cursor);
    assert.equal(message.data, 'hi');
    assert.equal(position(message.cursor).offset, position(live.cursor).offset + 1);
  });

  test(`commands and rules over ${name}`, async (t) => {
    const server = await startServer(t);
    const up = await curl(option, ...json({ value: 5 }), server.url('/counter:increment'));
    assert.equal(up.status, 200);
    assert.deepEqual(up.json, { count: 5 });
    assert.equal(up.headers.get('etag'), `"${up.cursor}"`);

    const down = await curl(option, ...json({ value: 6 }), server.url('/counter:decrement'));
    assert.equal(down.status, 400);
    assert.match(down.headers.get('content-type'), /^application\/problem\+json/);
    assert.equal(down.json.status, 400);
    assert.equal(down.json.reason, 'count_negative');
    assert.match(down.json.detail, /count cannot be negative/);

    const after = await curl(option, server.url('/counter'));
    assert.deepEqual(after.json, { count: 5 });
    assert.equal(after.cursor, up.cursor, 'a refused command moves nothing');
  });
}

test('several channels over one stream, with one combined cursor', async (t) => {
  const server = await startServer(t);
  const target = '/_/live?channel=chat/a&channel=chat/b&live=ndjson';
  const inbox = stream(t, server.url(target));
  await inbox.find((line) => line.includes('"@live"'), '@live');
  await curl(...json('one'), server.url('/chat/a'));
  const first = JSON.parse(await inbox.find((line) => line.includes('"one"'), 'one'));
  assert.equal(first.channel, 'chat/a');
  assert.match(first.resume, /^[^~]+~[^~]+$/);
  await curl(...json('two'), server.url('/chat/b'));
  await curl(...json('three'), server.url('/chat/a'));

  const page = await curl(server.url(`/_/live?channel=chat/a&channel=chat/b&since=${first.resume}`));
  assert.deepEqual(page.json.messages.map(({ data }) => data).sort(), ['three', 'two']);
  assert.equal(page.cursor, page.json.cursor);
});

test('where a stream begins', async (t) => {
  const server = await startServer(t);
  const cursors = [];
  for (const n of [1, 2, 3, 4]) cursors.push((await curl(...json(n), server.url('/chat/a'))).cursor);
  const begins = async (...args) => {
    const inbox = stream(t, '--header', 'Accept: application/x-ndjson', ...args.slice(0, -1), server.url(args.at(-1)));
    await inbox.find((line) => line.includes('"@live"'), '@live');
    const envelopes = inbox.all.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
    return envelopes.map(({ event, data }) => event ?? data);
  };
  assert.deepEqual(await begins('/chat/a'), ['@live']);
  assert.deepEqual(await begins('/chat/a?last=2'), [3, 4, '@live']);
  assert.deepEqual(await begins('/chat/a?since=0'), [1, 2, 3, 4, '@live']);
  for (const name of ['since', 'last_event_id', 'lastEventId']) {
    assert.deepEqual(await begins(`/chat/a?${name}=${cursors[1]}`), [3, 4, '@live'], name);
  }
  const header = ['--header', `Last-Event-ID: ${cursors[2]}`];
  assert.deepEqual(await begins(...header, '/chat/a'), [4, '@live']);
  assert.deepEqual(await begins(...header, `/chat/a?last_event_id=${cursors[0]}`), [4, '@live'], 'the header first');
  assert.deepEqual(await begins(...header, `/chat/a?since=${cursors[0]}`), [2, 3, 4, '@live'], '?since= before the header');
  assert.deepEqual(await begins(...header, '/chat/a?last=4'), [4, '@live'], 'a cursor before ?last=');
  const { epoch } = position(cursors[0]);
  const [reset] = await begins(`/chat/a?since=${epoch}.99`);
  assert.equal(reset, '@reset', 'a stream says what a page answers with 410');
});

test('PUT and PATCH of a state that allows them', async (t) => {
  const server = await startServer(t);
  const send = (method, type, body, ...more) =>
    curl('--request', method, '--header', `Content-Type: ${type}`, ...json(body), ...more, server.url('/scores'));
  const put = await send('PUT', 'application/json', { red: 1, blue: 2 });
  assert.deepEqual([put.status, put.json], [200, { red: 1, blue: 2 }]);
  const merged = await send('PATCH', 'application/merge-patch+json', { blue: null, green: 3 });
  assert.deepEqual([merged.status, merged.json], [200, { red: 1, green: 3 }]);
  const patched = await send('PATCH', 'application/json-patch+json', [{ op: 'replace', path: '/red', value: 7 }]);
  assert.deepEqual([patched.status, patched.json], [200, { red: 7, green: 3 }]);

  const type = await send('PATCH', 'text/plain', {});
  assert.deepEqual([type.status, type.json.reason], [415, 'media_type']);
  const broken = await send('PATCH', 'application/merge-patch+json', { red: -1 });
  assert.deepEqual([broken.status, broken.json.reason], [400, 'points_negative']);
  const stale = await send('PUT', 'application/json', {}, '--header', `If-Match: "${put.cursor}"`);
  assert.deepEqual([stale.status, stale.json.reason, stale.json.cursor], [412, 'stale', patched.cursor]);
  const after = await curl(server.url('/scores'));
  assert.deepEqual([after.json, after.cursor], [{ red: 7, green: 3 }, patched.cursor]);
});

test('If-Match and Idempotency-Key', async (t) => {
  const server = await startServer(t);
  const { cursor: start } = await curl(server.url('/counter'));
  const keyed = ['--header', 'Idempotency-Key: key-1', ...json({ value: 2 }), server.url('/counter:increment')];
  const first = await curl('--header', `If-Match: "${start}"`, ...keyed.slice(2));
  assert.equal(first.status, 200);
  const stale = await curl('--header', `If-Match: "${start}"`, ...keyed.slice(2));
  assert.equal(stale.status, 412);
  assert.equal(stale.json.reason, 'stale');
  assert.equal(stale.json.cursor, first.cursor);

  const once = await curl(...keyed);
  const again = await curl(...keyed);
  assert.equal(again.status, 200);
  assert.equal(again.headers.get('idempotency-replayed'), 'true');
  assert.deepEqual([again.text, again.cursor], [once.text, once.cursor]);
  assert.deepEqual((await curl(server.url('/counter'))).json, { count: 4 });

  const reused = await curl('--header', 'Idempotency-Key: key-1', ...json({ value: 3 }), server.url('/counter:increment'));
  assert.equal(reused.status, 422);
  assert.equal(reused.json.reason, 'key_reused');
});

test("the server's own routes and CORS", async (t) => {
  const server = await startServer(t);
  assert.equal((await curl(server.url('/_/health'))).status, 200);
  assert.equal((await curl(server.url('/_/ready'))).status, 200);
  const page = await curl(server.url('/'));
  assert.equal(page.status, 200);
  assert.match(page.headers.get('content-type'), /^text\/html/);

  const origin = ['--header', 'Origin: https://app.example'];
  const preflight = await curl(...origin, '--request', 'OPTIONS', '--header', 'Access-Control-Request-Method: POST', '--header',
    'Access-Control-Request-Headers: idempotency-key', server.url('/counter:increment'));
  assert.ok(preflight.status === 200 || preflight.status === 204, `${preflight.status}`);
  assert.equal(preflight.headers.get('access-control-allow-origin'), '*');
  assert.match(preflight.headers.get('access-control-allow-methods'), /POST|\*/);
  assert.match(preflight.headers.get('access-control-allow-headers'), /idempotency-key|\*/i);
  const exposed = (await curl(...origin, server.url('/counter'))).headers.get('access-control-expose-headers').toLowerCase();
  for (const name of ['plainwire-cursor', 'etag', 'retry-after', 'location']) assert.ok(exposed.includes(name), exposed);
});

// What is sent; its answer: the status and the reason.
const REFUSED = [
  ['a channel that no pattern matches', ['/nosuch'], 404, 'no_such_channel'],
  ['a command that is not there', ['--data', '{}', '/counter:nosuch'], 404, 'no_such_command'],
  ['a server route that is not there', ['/_/nosuch'], 404, 'no_such_route'],
  ['a body that is not JSON', ['--data', '{"value":', '/counter:increment'], 400, 'body_json'],
  ['an argument that is missing', ['--data', '{}', '/counter:increment'], 400, 'arguments'],
  ['an argument of another type', ['--data', '{"value":"5"}', '/counter:increment'], 400, 'arguments'],
  ['an argument below its minimum', ['--data', '{"value":0}', '/counter:increment'], 400, 'arguments'],
  ['a sum that overflows', ['--data', '{"value":9223372036854775807}', '/counter:increment'], 400, 'overflow'],
  ['a bare POST to a state', ['--data', '1', '/counter'], 405, 'method'],
  ['PUT where it is not allowed', ['--request', 'PUT', '--data', '{}', '/counter'], 405, 'method'],
  ['an empty segment', ['/chat//a'], 400, 'channel_name'],
  ['a dot segment', ['--path-as-is', '/chat/../a'], 400, 'channel_name'],
  ['an escaped slash', ['/chat/a%2Fb'], 400, 'channel_name'],
  ['a control character', ['/chat/a%00b'], 400, 'channel_name'],
  ['bad percent-encoding', ['/chat/%zz'], 400, 'channel_name'],
  ['bytes that are not UTF-8', ['/chat/%ff'], 400, 'channel_name'],
  ['a reserved segment', ['/chat/@typing'], 400, 'channel_name'],
  ['the presence of a channel that there is not', ['/chat/@presence'], 404, 'no_such_channel'],
  ['a name that is too long', [`/chat/${'a'.repeat(256)}`], 400, 'channel_name'],
  ['a cursor that is none', ['/chat/a?since=junk'], 400, 'cursor'],
  ['a newline in an event name', ['--data', '1', '/chat/a?event=a%0Adata:b'], 400, 'event_name'],
  ['an event name that is reserved', ['--data', '1', '/chat/a?event=@live'], 400, 'event_name'],
  ['a key that is not visible ASCII', ['--header', 'Idempotency-Key: a b', '--data', '1', '/chat/a'], 400, 'idempotency_key'],
];

test('what is refused, and how', async (t) => {
  const server = await startServer(t);
  await curl(...json({ value: 1 }), server.url('/counter:increment'));
  for (const [name, args, status, reason] of REFUSED) {
    await t.test(name, async () => {
      const answer = await curl(...args.slice(0, -1), server.url(args.at(-1)));
      assert.equal(answer.status, status, answer.text);
      assert.match(answer.headers.get('content-type'), /^application\/problem\+json/);
      assert.equal(answer.json.reason, reason, answer.text);
      assert.equal(answer.json.status, status);
      assert.ok(answer.json.title && answer.json.detail, answer.text);
      if (status === 405) assert.ok(answer.headers.get('allow'));
    });
  }
  assert.deepEqual((await curl(server.url('/counter'))).json, { count: 1 });
});

test('a body above 1 MiB is 413, and nothing is kept of it', async (t) => {
  const server = await startServer(t);
  const file = path.join(temporaryFolder(t), 'body.json');
  writeFileSync(file, JSON.stringify('x'.repeat(2 ** 20)));
  const answer = await curl('--header', 'Expect:', '--data-binary', `@${file}`, server.url('/chat/a'));
  assert.equal(answer.status, 413);
  assert.equal(answer.json.reason, 'too_large');
  assert.deepEqual((await curl(server.url('/chat/a?since=0'))).json.messages, []);

  writeFileSync(file, JSON.stringify('x'.repeat(2 ** 20 - 2)));
  assert.equal((await curl('--data-binary', `@${file}`, server.url('/chat/a'))).status, 201, 'exactly 1 MiB');
});

test('a cursor of another channel is told apart from one that is ahead', async (t) => {
  const server = await startServer(t);
  const a = await curl(...json(1), server.url('/chat/a'));
  const other = await curl(server.url(`/chat/b?since=${a.cursor}`));
  assert.equal(other.status, 400);
  assert.equal(other.json.reason, 'cursor_channel');
  const { epoch } = position(a.cursor);
  const ahead = await curl(server.url(`/chat/a?since=${epoch}.99`));
  assert.equal(ahead.status, 410);
  assert.equal(ahead.json.reason, 'cursor_ahead');
  assert.equal(ahead.json.cursor, a.cursor);
});

test('the JavaScript client is served, with its types, for other origins too', async (t) => {
  const server = await startServer(t);
  for (const name of ['plainwire.js', 'plainwire-sse.js']) {
    const script = await curl('--header', 'Origin: https://app.example', server.url(`/_/client/${name}`));
    assert.equal(script.status, 200);
    assert.match(script.headers.get('content-type'), /^text\/javascript/);
    assert.equal(script.headers.get('cache-control'), 'no-cache');
    assert.equal(script.headers.get('access-control-allow-origin'), '*');
    const same = await curl('--header', `If-None-Match: ${script.headers.get('etag')}`, server.url(`/_/client/${name}`));
    assert.deepEqual([same.status, same.text], [304, '']);
    const other = await curl('--header', 'If-None-Match: "0123"', server.url(`/_/client/${name}`));
    assert.deepEqual([other.status, other.text], [200, script.text]);

    const { connect } = await import(`data:text/javascript,${encodeURIComponent(script.text)}`);
    const pw = connect(server.origin);
    t.after(() => pw.close());
    assert.equal((await pw.post('/chat/served', name)).status, 201);
    const types = await curl(server.url(`/_/client/${name.replace(/js$/, 'd.ts')}`));
    assert.deepEqual([types.status, types.headers.get('content-type')], [200, 'application/typescript; charset=utf-8']);
  }
  assert.equal((await curl(server.url('/_/client/nosuch.js'))).status, 404);
});
