// kill -9 while clients write: an acknowledgement is a promise.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { assertDense, position, request } from '../harness/http.mjs';
import { seeded } from '../harness/random.mjs';
import { startServer } from '../harness/server.mjs';

/** How often the server is killed. */
const ROUNDS = 5;
/** Clients that write at the same time. */
const WRITERS = 8;

// One channel is synced before it answers, the other handed to the operating system: neither loses with the process.
for (const channel of ['chat/crash', 'log/crash']) {
  test(`kill -9 during publishes to ${channel}: what was acknowledged is there, where it was said to be`, async (t) => {
    const server = await startServer(t);
    await seeded(async (random) => {
      const acknowledged = new Map();
      for (let round = 0; round < ROUNDS; round++) {
        await publishUntilKilled(server, channel, `round ${round}`, 20 + random(200), acknowledged);
        await server.start();
        const kept = await readPages(server.url(`/${channel}`));
        assertDense(kept.map(({ cursor }) => cursor));
        const byCursor = new Map(kept.map(({ cursor, data }) => [cursor, data]));
        for (const [cursor, data] of acknowledged) assert.equal(byCursor.get(cursor), data, `round ${round}: ${cursor}`);
        assert.equal(new Set(kept.map(({ data }) => data)).size, kept.length, 'nothing is there twice');

        const cursors = [...acknowledged.keys()];
        const before = cursors[random(cursors.length)];
        const after = await readPages(server.url(`/${channel}`), before);
        assert.deepEqual(after, kept.slice(position(before).offset), `a cursor from before the crash: ${before}`);
      }
    });
  });
}

/** Clients publish until the server is killed, which happens after `enough` were acknowledged. */
async function publishUntilKilled(server, channel, label, enough, acknowledged) {
  let killed = null;
  let count = 0;
  const client = async (name) => {
    for (let n = 0; !killed; n++) {
      const data = `${label}, client ${name}, ${n}`;
      const answer = await request(server.url(`/${channel}`), { body: data }).catch(() => null);
      if (!answer) return;
      assert.equal(answer.status, 201, answer.text);
      acknowledged.set(answer.cursor, data);
      if (++count === enough) killed = server.kill();
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, (_, name) => client(name)));
  assert.ok(killed, 'the clients ended before the server did');
  await killed;
}

/** Every message after `since`, page by page. */
async function readPages(url, since = '0') {
  const kept = [];
  for (;;) {
    const { json } = await request(`${url}?since=${since}&limit=100`);
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
