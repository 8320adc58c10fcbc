// The client of "You might not need WebSockets", unchanged, in Node.js.

import { test } from 'node:test';

import { ARTICLE_CLIENT, followArticle } from '../harness/article.mjs';
import { Inbox } from '../harness/inbox.mjs';
import { startServer } from '../harness/server.mjs';

const AsyncFunction = (async () => {}).constructor;

test("the article's client reads the stream chunk by chunk", async (t) => {
  const server = await startServer(t);
  const chunks = new Inbox("the article's client");
  const cut = new AbortController();
  const fetchThere = (path) => fetch(server.url(path), { signal: cut.signal });
  const client = new AsyncFunction('fetch', 'updateUI', ARTICLE_CLIENT)(fetchThere, chunks.push);
  client.then(() => chunks.close(), chunks.close);
  await followArticle(server, chunks);
  cut.abort();
  await chunks.closed();
});
