// What must hold whatever the transport, the interleaving or the accident: nothing lost, repeated, reordered or made up.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';

import { WebSocket } from 'ws';

import { assertDense, isControl, post, position, request } from '../harness/http.mjs';
import { deadline, Inbox } from '../harness/inbox.mjs';
import { seeded } from '../harness/random.mjs';
import { startServer } from '../harness/server.mjs';
import { TRANSPORTS } from '../harness/transports.mjs';

/** Readers that change their transport at random. */
const READERS = 12;
/** What they read: enough for some dozen changes each. */
const MESSAGES = 2000;
/** Most messages that a reader takes before it is cut. */
const STRETCH = 150;
/** For a whole test of this file, in milliseconds. */
const WHOLE_MS = 90_000;

test('readers that are cut and go on over another transport', async (t) => {
  const server = await startServer(t);
  const { cursor: start } = await request(server.url('/log/all'));
  await seeded(async (random) => {
    const reading = Array.from({ length: READERS }, () => readAll(server, start, random));
    await Promise.all([publish(server), deadline(Promise.all(reading), 'the readers did not end', WHOLE_MS)]);
    for (const read of await Promise.all(reading)) {
      assertDense(read.map(({ cursor }) => cursor));
      assert.deepEqual(read.map(({ data }) => data), read.map((_, index) => index + 1));
    }
  });
});

/** Publishes the numbers from 1 over a WebSocket, some at a time. */
async function publish(server) {
  const socket = new WebSocket(`${server.wsOrigin}/counter`);
  const replies = new Inbox('replies');
  socket.on('message', (data) => data.includes('"id"') && replies.push(JSON.parse(data)));
  socket.on('close', (code) => replies.close(`closed with ${code}`));
  await deadline(once(socket, 'open'), 'the WebSocket did not open');
  const batch = 100;
  for (let first = 1; first <= MESSAGES; first += batch) {
    for (let id = first; id < first + batch; id++) socket.send(JSON.stringify({ id, post: '/log/all', body: id }));
    for (const { status } of await replies.take(batch)) assert.equal(status, 201);
  }
  socket.terminate();
}

async function readAll(server, since, random) {
  const names = Object.keys(TRANSPORTS);
  const read = [];
  while (read.length < MESSAGES) {
    let stretch = 1 + random(STRETCH);
    for await (const message of TRANSPORTS[names[random(names.length)]](server, 'log/all', since)) {
      assert.notEqual(message.event, '@reset');
      since = message.cursor;
      if (isControl(message)) continue;
      read.push(message);
      if (--stretch === 0 || read.length === MESSAGES) break;
    }
  }
  return read;
}

test('64 clients that decrement at once never cross zero, and every transport tells the same', async (t) => {
  const server = await startServer(t);
  const enough = 20;
  const { cursor: start } = await post(server.url('/counter:increment'), { value: enough });
  const answers = await Promise.all(
    Array.from({ length: 64 }, () => request(server.url('/counter:decrement'), { body: { value: 1 } })),
  );
  const accepted = answers.filter(({ status }) => status === 200);
  assert.equal(accepted.length, enough);
  assert.ok(answers.every(({ status }) => status === 200 || status === 400), answers.map(({ status }) => status).join());
  accepted.sort((a, b) => position(a.cursor).offset - position(b.cursor).offset);
  const expected = accepted.map(({ cursor, json }) => ({ cursor, data: json }));
  assert.deepEqual(expected.map(({ data }) => data.count), expected.map((_, index) => enough - 1 - index));

  const { cursor: end } = await post(server.url('/counter:increment'), { value: 1 });
  for (const [name, read] of Object.entries(TRANSPORTS)) {
    const seen = [];
    for await (const message of read(server, 'counter', start)) {
      if (message.cursor === end && !isControl(message)) break;
      if (!isControl(message)) seen.push({ cursor: message.cursor, data: message.data });
    }
    assert.deepEqual(seen, expected, name);
  }
});

test('kill -9 during publishes: what was acknowledged is there, where it was said to be', async (t) => {
  const server = await startServer(t);
  await seeded(async (random) => {
    const acknowledged = new Map();
    for (let round = 0; round < 5; round++) {
      await publishUntilKilled(server, round, 20 + random(200), acknowledged);
      await server.start();
      const kept = await readPages(server);
      assertDense(kept.map(({ cursor }) => cursor));
      const byCursor = new Map(kept.map(({ cursor, data }) => [cursor, data]));
      for (const [cursor, data] of acknowledged) assert.equal(byCursor.get(cursor), data, `round ${round}: ${cursor}`);
      assert.equal(new Set(kept.map(({ data }) => data)).size, kept.length, 'nothing is there twice');
      // A cursor from before still resumes.
      const [middle] = [...acknowledged.keys()].slice(-10);
      const page = await request(server.url(`/log/crash?since=${middle}&limit=1000`));
      assert.deepEqual(page.json.messages, kept.slice(position(middle).offset));
    }
  });
});

/** Eight clients publish until the server is killed, which happens after `enough` were acknowledged. */
async function publishUntilKilled(server, round, enough, acknowledged) {
  let killed = null;
  let count = 0;
  const client = async (name) => {
    for (let n = 0; !killed; n++) {
      const data = `${round}-${name}-${n}`;
      const answer = await request(server.url('/log/crash'), { body: data }).catch(() => null);
      if (!answer) return;
      assert.equal(answer.status, 201, answer.text);
      acknowledged.set(answer.cursor, data);
      if (++count === enough) killed = server.kill();
    }
  };
  await Promise.all(Array.from({ length: 8 }, (_, name) => client(name)));
  assert.ok(killed, 'the clients ended before the server did');
  await killed;
}

async function readPages(server) {
  const kept = [];
  for (let since = '0'; ; ) {
    const { json } = await request(server.url(`/log/crash?since=${since}&limit=500`));
    if (json.messages.length === 0) return kept;
    kept.push(...json.messages);
    since = json.cursor;
  }
}

test('a key that is retried over a crash is applied once', async (t) => {
  const server = await startServer(t);
  const keyed = { body: { value: 5 }, headers: { 'idempotency-key': 'once' } };
  const first = await request(server.url('/counter:increment'), keyed);
  await server.crash();
  const again = await request(server.url('/counter:increment'), keyed);
  assert.equal(again.headers.get('idempotency-replayed'), 'true');
  assert.deepEqual([again.status, again.text, again.cursor], [first.status, first.text, first.cursor]);
  assert.deepEqual((await request(server.url('/counter'))).json, { count: 5 });
});
