// The JavaScript client as the server serves it, in Chromium: one connection for many tabs, and reconnects by the hundred.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeFileSync } from 'node:fs';
import path from 'node:path';

import { connect } from '../../clients/js/src/index.js';
import { startBrowser } from '../harness/browser.mjs';
import { assertDense, post } from '../harness/http.mjs';
import { DEADLINE_MS } from '../harness/inbox.mjs';
import { random, SEED } from '../harness/random.mjs';
import { startServer, temporaryFolder } from '../harness/server.mjs';

const RECONNECTS = 200;
const BACKOFF = { base: 20, cap: 200 };

async function start(t) {
  const config = path.join(temporaryFolder(t), 'plainwire.toml');
  writeFileSync(config, '[server]\npublic_metrics = true\n[allow]\nall = true\n[channel."chat/*"]\n[channel."ai/*"]\nfinite = true\n[channel."ticker/*"]\nconflate = true\n[channel.board]\nstate = {}\nreplace = true\n');
  return startServer(t, { args: ['serve', '--config', config] });
}

/** Streams that the server has open. */
async function streams(server) {
  const text = await (await fetch(server.url('/_/metrics'))).text();
  const open = [...text.matchAll(/^plainwire_streams\{.*transport="(sse|ndjson|websocket)".*\} (\d+)/gm)];
  assert.ok(open.length, text);
  return open.reduce((sum, [, , count]) => sum + Number(count), 0);
}

/** Waits until something is so. */
async function until(isSo, what) {
  const end = performance.now() + DEADLINE_MS;
  while (!(await isSo())) {
    assert.ok(performance.now() < end, `waited in vain for ${what}`);
    await sleep(20);
  }
}

/** A tab that watches a channel from its beginning: `got` has what it received, `states` what it said of itself. */
async function tab(context, server, options, channel = '/chat/a') {
  const page = await context.newPage();
  await page.goto(server.url('/_/health'));
  await page.evaluate(async ([given, name]) => {
    const { connect } = await import('/_/client/plainwire.js');
    window.got = [];
    window.states = [];
    window.pw = connect(location.origin, given);
    pw.onState(({ state, error }) => states.push(error ? `${state} (${error.reason})` : state));
    window.watched = pw.watch(name, { since: '0' });
    for (const type of ['message', '@state']) watched.on(type, ({ cursor, data }) => got.push([cursor, data]));
    watched.on('@reset', ({ data }) => got.push(['@reset', data]));
  }, [{ backoff: BACKOFF, ...options }, channel]);
  return page;
}

const received = (page) => page.evaluate(() => window.got);
const count = (page) => page.evaluate(() => window.got.length);

/** Asserts that a tab has 1 to `most`, once and in order. */
async function assertAll(page, most) {
  const got = await received(page);
  assert.deepEqual(got.map(([, data]) => data), Array.from({ length: most }, (_, index) => index + 1));
  assertDense(got.map(([cursor]) => cursor));
}

/** Whether a tab has the lock of whoever leads. */
const isLeading = (page) =>
  page.evaluate(() =>
    navigator.locks.request('who am I', async () => {
      const { held } = await navigator.locks.query();
      const { clientId } = held.find(({ name }) => name === 'who am I');
      return held.some((lock) => lock.clientId === clientId && /^plainwire[^/]*$/.test(lock.name));
    }),
  );

async function leader(pages) {
  const leading = [];
  for (const page of pages) if (await isLeading(page)) leading.push(page);
  assert.equal(leading.length, 1, 'one of the tabs leads');
  return leading[0];
}

test('eight tabs have one connection, and nothing is lost or repeated when the one that leads is closed or crashes', async (t) => {
  const server = await start(t);
  const context = await (await startBrowser(t)).newContext();
  let pages = await Promise.all(Array.from({ length: 8 }, () => tab(context, server, { transports: ['sse'], share: true })));
  await post(server.url('/chat/a'), 1);
  await until(async () => (await Promise.all(pages.map(count))).every((one) => one === 1), 'the first message everywhere');
  assert.equal(await streams(server), 1);
  let posted = 1;
  let isOn = true;
  const burst = (async () => {
    while (isOn) await post(server.url('/chat/a'), ++posted);
  })();
  for (const how of ['close', 'crash', 'close']) {
    await sleep(150);
    const first = await leader(pages);
    pages = pages.filter((page) => page !== first);
    if (how === 'close') await first.close();
    else first.goto('chrome://crash').catch(() => {});
    const before = posted;
    await until(async () => (await Promise.all(pages.map(count))).every((one) => one > before), `what follows after a ${how}`);
  }
  isOn = false;
  await burst;
  await until(async () => (await Promise.all(pages.map(count))).every((one) => one >= posted), 'the last message everywhere');
  for (const page of pages) await assertAll(page, posted);
  assert.equal(await streams(server), 1);

  const late = await tab(context, server, { transports: ['sse'], share: true });
  await until(async () => (await count(late)) === posted, 'the history in another tab');
  assert.equal(await streams(server), 1);
});

test('tabs that share say so when the server is gone, and go on when it is back', async (t) => {
  const server = await start(t);
  const context = await (await startBrowser(t)).newContext();
  const pages = await Promise.all(Array.from({ length: 3 }, () => tab(context, server, { share: true })));
  await post(server.url('/chat/a'), 1);
  await until(async () => (await Promise.all(pages.map(count))).every((one) => one === 1), 'the first message');
  for (let n = 2; n <= 4; n++) {
    await server.kill();
    for (const page of pages) await until(() => page.evaluate(() => pw.state === 'waiting'), 'a state that says so');
    await server.start();
    await post(server.url('/chat/a'), n);
    await until(async () => (await Promise.all(pages.map(count))).every((one) => one === n), 'what came after a restart');
    for (const page of pages) assert.equal(await page.evaluate(() => pw.state), 'live');
  }
  for (const page of pages) await assertAll(page, 4);
  assert.equal(await streams(server), 1);
});

test('tabs of another name, of another server or without sharing have connections of their own; one that is refused ends alone', async (t) => {
  const server = await start(t);
  const context = await (await startBrowser(t)).newContext();
  const tabs = [{ share: 'alice' }, { share: 'alice' }, { share: 'bob' }, {}, { share: true, token: 'not a token' }];
  const pages = await Promise.all(tabs.map((options) => tab(context, server, { transports: ['sse'], ...options })));
  await post(server.url('/chat/a'), 1);
  await until(async () => (await Promise.all(pages.slice(0, 4).map(count))).every((one) => one === 1), 'the message');
  assert.equal(await streams(server), 3);
  const ends = await pages[0].evaluate(async () => {
    const error = await new Promise((resolve) => pw.watch('/no/such/channel').on('end', resolve));
    return [error.status, error.reason];
  });
  assert.deepEqual(ends, [404, 'no_such_channel']);
  await post(server.url('/chat/a'), 2);
  await until(async () => (await Promise.all(pages.slice(0, 4).map(count))).every((one) => one === 2), 'another message');
  assert.equal(await streams(server), 3, 'what is refused to one does not end what is shared');
});

test('tabs that share read a stream that ends to its end, also when they come late, and skip what newer messages replaced', async (t) => {
  const server = await start(t);
  const context = await (await startBrowser(t)).newContext();
  const pages = await Promise.all([0, 1].map(() => tab(context, server, { share: true }, '/ai/1')));
  const ended = (page) => page.evaluate(() => watched.isOver);
  for (let n = 1; n <= 3; n++) await post(server.url('/ai/1'), n);
  await post(server.url('/ai/1:complete'), { tokens: 3 });
  for (const page of pages) await until(() => ended(page), 'the end');
  pages.push(await tab(context, server, { share: true }, '/ai/1'));
  await until(() => ended(pages[2]), 'the end, for one that comes late');
  for (const page of pages) await assertAll(page, 3);

  const readers = await Promise.all([0, 1].map(() => tab(context, server, { share: true }, '/ticker/1')));
  for (const page of readers) await until(() => page.evaluate(() => pw.state === 'live'), 'a connection');
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (let n = 0; n < 25; n++) await post(server.url('/ticker/1'), n);
  }));
  const { cursor } = await post(server.url('/ticker/1'), 'last');
  for (const page of readers) {
    await until(async () => (await received(page)).some((one) => one[0] === cursor), 'the newest');
    const offsets = (await received(page)).map(([one]) => Number(one.split('.')[1]));
    assert.deepEqual(offsets, [...new Set(offsets)].sort((a, b) => a - b), 'in order, and none twice');
    assert.deepEqual(await page.evaluate(() => window.states.filter((state) => state.includes('gap'))), []);
  }
});

test('tabs that share a state by its changes are given what no patch says, too', async (t) => {
  const server = await start(t);
  const context = await (await startBrowser(t)).newContext();
  const put = async (state) => (await fetch(server.url('/board'), { method: 'PUT', body: JSON.stringify(state) })).headers.get('plainwire-cursor');
  await put({ n: 0 });
  const pages = await Promise.all([0, 1].map(() => tab(context, server, { share: true, delta: true, transports: ['ndjson'] }, '/board')));
  for (const page of pages) await until(() => page.evaluate(() => pw.state === 'live' && got.length > 0), 'the state');
  // A merge patch would take away what is `null`.
  for (const state of [{ n: 1 }, { n: 2, none: null }, { n: 3, none: null }, { n: 4 }]) {
    const cursor = await put(state);
    for (const page of pages) {
      await until(async () => (await received(page)).some((one) => one[0] === cursor), 'what was put');
      assert.deepEqual((await received(page)).at(-1), [cursor, state]);
    }
  }
  for (const page of pages) {
    const offsets = (await received(page)).map(([cursor]) => Number(cursor.split('.')[1]));
    assert.deepEqual(offsets, [1, 2, 3, 4, 5]);
    assert.deepEqual(await page.evaluate(() => window.states.filter((state) => state.includes('gap'))), []);
  }
});

test('a page that stops answering while it leads is led without', async (t) => {
  const server = await start(t);
  const context = await (await startBrowser(t)).newContext();
  const stuck = await tab(context, server, { share: true });
  await until(() => isLeading(stuck), 'the first tab to lead');
  const other = await tab(context, server, { share: true, patience: 500, heartbeat: 500 });
  await post(server.url('/chat/a'), 1);
  await until(async () => (await count(other)) === 1, 'the first message');
  // As a page that a phone has put to sleep: it has the lock, and does nothing.
  stuck.evaluate(() => {
    const end = Date.now() + 4_000;
    while (Date.now() < end);
  });
  await post(server.url('/chat/a'), 2);
  await until(async () => (await count(other)) === 2, 'the second message, without the one that leads');
  await until(async () => (await count(stuck)) === 2, 'the first tab to awake');
  await post(server.url('/chat/a'), 3);
  for (const page of [stuck, other]) await until(async () => (await count(page)) === 3, 'the third');
  for (const page of [stuck, other]) await assertAll(page, 3);
  await until(async () => (await streams(server)) === 1, 'one connection');
  await leader([stuck, other]);
});

test('two hundred reconnects at random moments over all transports: nothing is lost or repeated', async (t) => {
  t.diagnostic(`PLAINWIRE_SEED=${SEED}`);
  const next = random();
  const server = await start(t);
  const context = await (await startBrowser(t)).newContext();
  const page = await tab(context, server, {});
  const publisher = connect(server.origin, { transports: ['poll'], backoff: BACKOFF });
  t.after(() => publisher.close());
  let posted = 0;
  let isOn = true;
  const publishing = (async () => {
    while (isOn) {
      const { ok } = await publisher.post('/chat/a', ++posted);
      assert.ok(ok);
      await sleep(next(8));
    }
  })();
  const transports = ['websocket', 'sse', 'ndjson', 'poll'];
  const connections = () => page.evaluate(() => window.states.filter((state) => state === 'connecting').length);
  // A change that comes while there is no connection yet makes no further one.
  for (let n = 0; (await connections()) <= RECONNECTS; n++) {
    assert.ok(n < 2 * RECONNECTS, `${await connections()} connections`);
    // One in twenty is a server that is killed and started again; the others go on over any transport.
    if (n % 20 === 19) await server.crash();
    else await page.evaluate((name) => (pw.transport = name), transports[next(4)]);
    await sleep(next(100));
  }
  isOn = false;
  await publishing;
  await until(async () => (await count(page)) >= posted, `message ${posted}`);
  await assertAll(page, posted);
  t.diagnostic(`${posted} messages, ${await connections()} connections`);
});

test('a machine without a network says so, and is back at once', async (t) => {
  const server = await start(t);
  const context = await (await startBrowser(t)).newContext();
  const page = await tab(context, server, { transports: ['sse'], backoff: { base: 60_000, cap: 60_000 } });
  await until(() => page.evaluate(() => pw.state === 'live'), 'a connection');
  await context.setOffline(true);
  await server.crash();
  await until(() => page.evaluate(() => pw.state === 'offline'), 'a state that says so');
  const back = performance.now();
  await context.setOffline(false);
  await post(server.url('/chat/a'), 1);
  await until(async () => (await count(page)) === 1, 'what was missed');
  assert.ok(performance.now() - back < 5_000);
});

test('a page of another origin, without storage, imports the client and uses it', async (t) => {
  const server = await start(t);
  const context = await (await startBrowser(t)).newContext();
  const page = await context.newPage();
  const heard = new Promise((resolve) => page.exposeFunction('said', resolve));
  await page.goto(server.url('/_/health'));
  await page.evaluate((origin) => {
    window.addEventListener('message', ({ data }) => said(data));
    const frame = document.createElement('iframe');
    frame.sandbox = 'allow-scripts';
    frame.srcdoc = `<script type="module">
      import { connect } from '${origin}/_/client/plainwire.js';
      let isBlocked = false;
      try { localStorage } catch { isBlocked = true }
      const pw = connect('${origin}', { share: true });
      pw.watch('/chat/a', { since: '0' }).on('message', ({ data }) => parent.postMessage([isBlocked, location.origin, data], '*'));
      pw.post('/chat/a', 'hello');
    </script>`;
    document.body.append(frame);
  }, server.origin);
  assert.deepEqual(await heard, [true, 'null', 'hello']);
});
