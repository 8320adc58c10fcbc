// Publishing much, quickly: pipelined over one WebSocket.

import assert from 'node:assert/strict';
import { once } from 'node:events';

import { WebSocket } from 'ws';

import { deadline, Inbox } from './inbox.mjs';

/** Requests in flight: below the server's limit of 1,024. */
const WINDOW = 1000;

/** Posts `count` messages to `channel`, `message(1)`, `message(2)` …, and returns when each was acknowledged. */
export async function publish(t, server, channel, count, message = (number) => number) {
  const socket = new WebSocket(`${server.wsOrigin}/counter`, { perMessageDeflate: false });
  t.after(() => socket.terminate());
  const replies = new Inbox(`replies to what is published to ${channel}`);
  socket.on('message', (data) => {
    const frame = JSON.parse(data);
    if ('id' in frame) replies.push(frame);
  });
  socket.on('close', (code) => replies.close(`closed with ${code}`));
  socket.on('error', replies.close);
  await deadline(once(socket, 'open'), 'the WebSocket did not open');
  for (let first = 1; first <= count; first += WINDOW) {
    const last = Math.min(first + WINDOW - 1, count);
    for (let id = first; id <= last; id++) socket.send(JSON.stringify({ id, post: `/${channel}`, body: message(id) }));
    for (const { status } of await replies.take(last - first + 1)) assert.equal(status, 201);
  }
  socket.terminate();
}
