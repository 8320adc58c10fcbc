// A slow reader costs its cursor, and catches up.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { test } from 'node:test';

import { isControl } from '../harness/http.mjs';
import { Inbox, lines } from '../harness/inbox.mjs';
import { publish } from '../harness/publish.mjs';
import { startServer } from '../harness/server.mjs';

/** For one reader to catch up, in milliseconds. */
const CAUGHT_UP_MS = 60_000;
/** Readers that stop reading, and what is published meanwhile: far more than sockets take. */
const STALLED = 8;
const BEHIND = { messages: 100_000, bytes: 512 };
/** What one stalled reader may cost the server, in bytes: a small part of what it is behind, and room for noise. */
const STALLED_BYTES = (BEHIND.messages * BEHIND.bytes) / 25;

test('a reader that stops costs little, and gets everything when it goes on', async (t) => {
  const filler = 'x'.repeat(BEHIND.bytes);
  const message = (number) => ({ number, filler });
  const growth = async (readers) => {
    // As fast as it goes.
    const server = await startServer(t, { env: { PLAINWIRE_LIMITS_PUBLISH_RATE: '0' } });
    const streams = await Promise.all(Array.from({ length: readers }, () => openStalled(t, server.url('/log/stall?live=ndjson'))));
    const before = residentBytes(server.pid);
    await publish(t, server, 'log/stall', BEHIND.messages, message);
    return { server, streams, bytes: residentBytes(server.pid) - before };
  };
  const without = await growth(0);
  await without.server.stop();
  const { streams, bytes } = await growth(STALLED);
  const each = (bytes - without.bytes) / STALLED;
  t.diagnostic(`${each} bytes for each stalled reader; ${without.bytes} for what was published`);
  assert.ok(each < STALLED_BYTES, `a stalled reader costs ${each} bytes (${bytes} with ${STALLED}, ${without.bytes} with none)`);

  for (const stream of streams) {
    const inbox = lines(stream, new Inbox('a reader that goes on', CAUGHT_UP_MS));
    stream.resume();
    await inbox.find((line) => line.includes(`"number":${BEHIND.messages},`), 'the last message');
    const numbers = inbox.all.map((line) => JSON.parse(line)).filter((envelope) => !isControl(envelope)).map(({ data }) => data.number);
    assert.equal(numbers.length, BEHIND.messages);
    assert.ok(numbers.every((number, index) => number === index + 1));
  }
});

/** Opens a stream and reads nothing of it but the headers. */
async function openStalled(t, url) {
  const [response] = await once(http.get(url, { agent: false }), 'response');
  response.pause();
  t.after(() => response.destroy());
  return response;
}

function residentBytes(pid) {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
}
