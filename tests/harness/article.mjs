// The article's client, and what it must see: the same in Node.js and in a browser.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { request } from './http.mjs';

/** Its source: the body of an async function of `fetch` and `updateUI`. */
export const ARTICLE_CLIENT = readFileSync(new URL('./article-client.js', import.meta.url), 'utf8');

/** Goes through the article's example against `server`; `chunks` is what its client was given. */
export async function followArticle(server, chunks) {
  const state = JSON.parse(await chunks.next('the state, as the first chunk').then((chunk) => chunk.split('\n')[0]));
  assert.deepEqual(state.data, { count: 0 });

  const up = await request(server.url('/increment'), { body: { value: 5 } });
  assert.equal(up.status, 200);
  assert.deepEqual((await update(chunks)).data, { count: 5 });

  const down = await request(server.url('/decrement'), { body: { value: 6 } });
  assert.equal(down.status, 400);
  assert.match(down.text, /count cannot be negative/);

  await request(server.url('/decrement'), { body: { value: 2 } });
  const next = await update(chunks);
  assert.deepEqual(next.data, { count: 3 }, 'the refused command sent nothing');
}

/** The next chunk that is not the server's own word. A chunk is one whole line, as nothing else was sent at that moment. */
async function update(chunks) {
  const chunk = await chunks.find((text) => !text.includes('"event":"@'), 'an update');
  assert.match(chunk, /^[^\n]+\n$/, 'one update, one chunk');
  return JSON.parse(chunk);
}
