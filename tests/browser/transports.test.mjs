// Chromium's own EventSource, fetch and WebSocket, with no script but the test's.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ARTICLE_CLIENT, followArticle } from '../harness/article.mjs';
import { blankPage, startBrowser } from '../harness/browser.mjs';
import { assertDense, isControl, post } from '../harness/http.mjs';
import { Inbox } from '../harness/inbox.mjs';
import { startServer } from '../harness/server.mjs';

test('EventSource: the server is killed, and it resumes by itself', async (t) => {
  const server = await startServer(t);
  const { page, inbox } = await blankPage(await startBrowser(t), server);
  await page.evaluate(() => {
    const source = new EventSource('/chat/a');
    const take = ({ type, lastEventId, data }) => push({ type, cursor: lastEventId, data: JSON.parse(data) });
    for (const type of ['message', '@live', '@reset']) source.addEventListener(type, take);
    source.addEventListener('error', () => push({ type: 'error', state: source.readyState, data: {} }));
  });
  await inbox.find(({ type }) => type === '@live', '@live');
  for (let n = 1; n <= 5; n++) await post(server.url('/chat/a'), n);
  await inbox.find(({ data }) => data === 5, 'the fifth');

  await server.kill();
  const error = await inbox.find(({ type }) => type === 'error', 'the loss of the connection');
  assert.equal(error.state, 0, 'it must go on trying');
  await server.start();
  for (let n = 6; n <= 10; n++) await post(server.url('/chat/a'), n);
  await inbox.find(({ data }) => data === 10, 'the tenth, after the restart');
  await post(server.url('/chat/a'), 11);
  await inbox.find(({ data }) => data === 11, 'the eleventh');

  const messages = inbox.all.filter(({ type }) => type === 'message');
  assert.deepEqual(messages.map(({ data }) => data), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  assertDense(messages.map(({ cursor }) => cursor));
  assert.ok(!inbox.all.some(({ type }) => type === '@reset'), 'nothing was lost, so there is no @reset');
});

test('EventSource: after the end of a finite stream it stays away by itself, and the server is killed before that', async (t) => {
  const server = await startServer(t);
  const { page, inbox } = await blankPage(await startBrowser(t), server);
  const requests = [];
  page.on('response', (response) => response.url().includes('/ai/') && requests.push(response.status()));
  await page.evaluate(() => {
    const source = new EventSource('/ai/1?last_event_id=0');
    source.onmessage = ({ data }) => push(JSON.parse(data));
    source.addEventListener('@end', ({ data }) => push(JSON.parse(data).reason));
    source.addEventListener('error', () => source.readyState === source.CLOSED && push('closed'));
  });
  for (const token of ['Once', ' upon']) await post(server.url('/ai/1'), token);
  assert.deepEqual(await inbox.take(2), ['Once', ' upon']);
  await server.crash();
  await post(server.url('/ai/1'), ' a time');
  assert.equal(await inbox.next(), ' a time');
  await post(server.url('/ai/1:complete'), { tokens: 3 });
  assert.deepEqual(await inbox.take(2), ['complete', 'closed']);
  assert.deepEqual(requests.filter((status) => status === 204), [204]);
});

test('EventSource: onmessage alone is enough for a state', async (t) => {
  const server = await startServer(t);
  const { page, inbox } = await blankPage(await startBrowser(t), server);
  await page.evaluate(() => {
    const source = new EventSource('/counter');
    source.addEventListener('@live', () => push('live'));
    source.onmessage = (event) => push(JSON.parse(event.data));
  });
  await inbox.find((item) => item === 'live', '@live');
  await post(server.url('/counter:increment'), { value: 5 });
  assert.deepEqual(await inbox.next(), { count: 5 });
});

test('fetch and getReader: bytes as they come', async (t) => {
  const server = await startServer(t);
  const { page, inbox } = await blankPage(await startBrowser(t), server);
  await page.evaluate(() => {
    (async () => {
      const response = await fetch('/chat/a', { headers: { Accept: 'application/x-ndjson' } });
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        push([value instanceof Uint8Array, ...value]);
      }
    })();
  });
  const lines = new Inbox('the bytes, decoded');
  const decoder = new TextDecoder();
  let rest = '';
  const decode = async (isEnough, what) => {
    while (!lines.pending.some(isEnough)) {
      const [isBytes, ...bytes] = await inbox.next(what);
      assert.ok(isBytes);
      const parts = (rest + decoder.decode(Uint8Array.from(bytes), { stream: true })).split('\n');
      rest = parts.pop();
      parts.forEach((line) => lines.push(JSON.parse(line)));
    }
    return lines.find(isEnough);
  };
  await decode(({ event }) => event === '@live', '@live');
  for (let n = 1; n <= 20; n++) await post(server.url('/chat/a'), { n, text: '€ä🦀' });
  await decode(({ data }) => data.n === 20, 'the twentieth');
  const messages = lines.all.filter((envelope) => !isControl(envelope));
  assertDense(messages.map(({ cursor }) => cursor));
  assert.ok(messages.every(({ data }) => data.text === '€ä🦀'));
});

test('WebSocket: deflate is negotiated, and a large history arrives whole', async (t) => {
  const server = await startServer(t);
  for (let n = 1; n <= 30; n++) await post(server.url('/chat/a'), { n, filler: `${n} and more of it; `.repeat(2000) });
  const { page, inbox } = await blankPage(await startBrowser(t), server);
  const network = await page.context().newCDPSession(page);
  await network.send('Network.enable');
  const handshakes = new Inbox('handshakes');
  network.on('Network.webSocketHandshakeResponseReceived', ({ response }) => handshakes.push(response));
  await page.evaluate(() => {
    const socket = new WebSocket(`ws://${location.host}/chat/a?since=0`);
    socket.onmessage = ({ data }) => push(JSON.parse(data));
    socket.onclose = ({ code }) => push({ closed: code, data: {} });
    window.ask = (request) => socket.send(JSON.stringify(request));
    window.leave = () => socket.close(1000);
  });
  const { headers } = await handshakes.next('a handshake');
  const [, extensions] = Object.entries(headers).find(([name]) => name.toLowerCase() === 'sec-websocket-extensions') ?? [];
  assert.match(extensions ?? '', /permessage-deflate/);
  await inbox.find(({ data }) => data?.n === 30, 'the thirtieth');
  const messages = inbox.all.filter((envelope) => !isControl(envelope));
  assertDense(messages.map(({ cursor }) => cursor));
  assert.ok(messages.every(({ data }) => data.filler === `${data.n} and more of it; `.repeat(2000)));

  await page.evaluate(() => window.ask({ id: 1, post: '/counter:increment', body: { value: 5 } }));
  assert.deepEqual((await inbox.find(({ id }) => id === 1, 'the reply')).body, { count: 5 });
  await page.evaluate(() => window.leave());
  assert.equal((await inbox.find(({ closed }) => closed, 'the close')).closed, 1000);
});

test("the article's client in a browser", async (t) => {
  const server = await startServer(t);
  const { page, inbox } = await blankPage(await startBrowser(t), server);
  // Its own words, as a module of the page would have them; nobody waits for its end.
  await page.evaluate((source) => {
    const AsyncFunction = (async () => {}).constructor;
    new AsyncFunction('updateUI', source)(window.push);
  }, ARTICLE_CLIENT);
  await followArticle(server, inbox);
});
