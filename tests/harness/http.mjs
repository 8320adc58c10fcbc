// Requests as a test states them, with Node's own fetch.

import assert from 'node:assert/strict';

import { Inbox } from './inbox.mjs';

/** One request, with `body` as JSON. Returns `{status, headers, text, json, cursor}`. */
export async function request(url, { method, body, headers = {} } = {}) {
  const response = await fetch(url, { method: method ?? (body === undefined ? 'GET' : 'POST'), body: JSON.stringify(body), headers });
  const answer = await response.text();
  const json = /json/.test(response.headers.get('content-type') ?? '') && answer ? JSON.parse(answer) : undefined;
  return { status: response.status, headers: response.headers, text: answer, json, cursor: response.headers.get('plainwire-cursor') };
}

/** POSTs, and insists on success. */
export async function post(url, body, headers) {
  const answer = await request(url, { method: 'POST', body, headers });
  assert.ok(answer.status === 200 || answer.status === 201, `POST ${url}: ${answer.status} ${answer.text}`);
  return answer;
}

/** Opens an NDJSON stream. Its envelopes go to the inbox; the test's end cuts it. */
export async function ndjson(t, url) {
  const cut = new AbortController();
  t.after(() => cut.abort());
  const response = await fetch(url, { headers: { accept: 'application/x-ndjson' }, signal: cut.signal });
  assert.equal(response.status, 200, url);
  const inbox = new Inbox(`NDJSON ${url}`);
  pump(response.body, inbox).then(() => inbox.close(), inbox.close);
  return { inbox, response, cut: () => cut.abort() };
}

async function pump(body, inbox) {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = parts.pop();
    for (const line of parts) if (line) inbox.push(JSON.parse(line));
  }
}

/** Whether an envelope or event is the server's own word. */
export const isControl = ({ event }) => event?.startsWith('@') ?? false;

/** `EPOCH.OFFSET` in its parts. Clients need not; a test of continuity does. */
export function position(cursor) {
  const [, epoch, offset] = /^([0-9a-z]+)\.(\d+)$/.exec(cursor) ?? [];
  assert.ok(epoch, `not a cursor: ${cursor}`);
  return { epoch, offset: Number(offset) };
}

/** Asserts that cursors follow one another without gap or repeat, in one epoch. */
export function assertDense(cursors, first = 1) {
  const positions = cursors.map(position);
  assert.deepEqual(positions.map(({ offset }) => offset), cursors.map((_, index) => first + index));
  assert.ok(positions.every(({ epoch }) => epoch === positions[0].epoch), `more than one epoch: ${cursors}`);
}
