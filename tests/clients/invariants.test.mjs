// What must hold whatever the transport, the interleaving or the accident: nothing lost, repeated, reordered or made up.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { assertDense, isControl, post, position, request } from '../harness/http.mjs';
import { deadline } from '../harness/inbox.mjs';
import { publish } from '../harness/publish.mjs';
import { seeded } from '../harness/random.mjs';
import { startServer } from '../harness/server.mjs';
import { TRANSPORTS } from '../harness/transports.mjs';

/** Readers that change their transport at random. */
const READERS = 50;
/** What they read: enough for some dozen changes each. */
const MESSAGES = 2500;
/** Most messages that a reader takes before it is cut. */
const STRETCH = 150;
/** For a whole test of this file, in milliseconds. */
const WHOLE_MS = 90_000;

test('readers that are cut and go on over another transport', async (t) => {
  const server = await startServer(t);
  const { cursor: start } = await request(server.url('/log/all'));
  await seeded(async (random) => {
    const reading = Array.from({ length: READERS }, () => readAll(server, start, random));
    await Promise.all([publish(t, server, 'log/all', MESSAGES), deadline(Promise.all(reading), 'the readers did not end', WHOLE_MS)]);
    for (const read of await Promise.all(reading)) {
      assertDense(read.map(({ cursor }) => cursor));
      assert.deepEqual(read.map(({ data }) => data), read.map((_, index) => index + 1));
    }
  });
});

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
