// The examples at /_/examples/: each with two pages of two clients, while the server is killed and started again under them.
// Every client has a frame, [data-seat=NAME], whose data-state is the client's, and data-pending how many writes wait.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { openPage, screenshot, startBrowser } from '../harness/browser.mjs';
import { post, request } from '../harness/http.mjs';
import { startServer } from '../harness/server.mjs';

const ROOT = new URL('../../', import.meta.url);
const EXAMPLES = readdirSync(new URL('examples/', ROOT), { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== 'shared')
  .map(({ name }) => name);
const DESKTOP = { width: 1280, height: 860 };
const PHONE = { width: 390, height: 844 };
/** What a browser says of itself when a server is away, or refuses. */
const NETWORK = /Failed to load resource|WebSocket connection to .* failed/;
/** Peers of one machine connect without a network: over loopback, by addresses that are not hidden behind mDNS. */
const PEERS = ['--allow-loopback-in-peer-connection', '--disable-features=WebRtcHideLocalIpsWithMdns'];

let browser;
let close;
before(async () => (browser = await startBrowser({ after: (end) => (close = end) }, { args: PEERS })));
after(() => close());

/** A server, and pages of one of its examples whose clients are all live. */
async function open(t, name, { pages = 2, seats = true } = {}) {
  const server = await startServer(t);
  const opened = [];
  for (let n = 0; n < pages; n++) opened.push(await openExample(t, server, name));
  if (seats) await live(opened);
  return { server, pages: opened };
}

async function openExample(t, server, name) {
  const page = await openPage(browser, server.url(`/_/examples/${name}${name && '/'}`), { viewport: DESKTOP });
  page.on('console', (message) => {
    if (message.type() === 'error' && !NETWORK.test(message.text())) page.faults.push(message.text());
  });
  t.after(() => page.close());
  return page;
}

const live = (pages) => allSeats(pages, (states) => states.length && states.every((state) => state === 'live'), 'live');

async function allSeats(pages, isSo, what) {
  const states = (page) => page.$$eval('[data-seat]', (seats) => seats.map((seat) => seat.dataset.state));
  for (const page of pages) await eventually(() => states(page), isSo, `every seat is ${what}`);
}

/** Asks again until the answer is as wanted. Gives it. */
async function eventually(ask, isSo, what, ms = 15_000) {
  const end = Date.now() + ms;
  for (;;) {
    const answer = await ask();
    if (isSo(answer)) return answer;
    if (Date.now() > end) assert.fail(`waited in vain: ${what}; it is ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** kill -9 under the pages, `meanwhile` without a server, and on with it. */
async function crash({ server, pages }, meanwhile = async () => {}) {
  await server.kill();
  await allSeats(pages, (states) => states.every((state) => state !== 'live'), 'without a connection');
  await meanwhile();
  await server.start();
  await live(pages);
}

/** It looks right on a desktop and on a phone, and nothing went wrong in it. */
async function inspect(pages, name) {
  const [page] = pages;
  await screenshot(page, `example-${name}`);
  await page.setViewportSize(PHONE);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(overflow, 0, 'nothing sticks out to the right on a phone');
  await screenshot(page, `example-${name}-phone`);
  for (const { faults } of pages) assert.deepEqual(faults, []);
}

const seat = (page, name) => page.locator(`[data-seat="${name}"]`);
/** What all seats of all pages show at a selector. */
const texts = async (pages, selector) =>
  (await Promise.all(pages.map((page) => page.$$eval(`[data-seat] ${selector}`, (found) => found.map(({ textContent }) => textContent.trim()))))).flat();
const everywhere = (pages, selector, wanted) =>
  eventually(() => texts(pages, selector), (all) => all.length && all.every((text) => text === wanted), `'${wanted}' at ${selector} everywhere`);

test('the index shows every example, and the page at / leads to it', async (t) => {
  const { server, pages } = await open(t, '', { pages: 1, seats: false });
  const links = await pages[0].$$eval('.card', (cards) => cards.map((card) => card.getAttribute('href')));
  assert.deepEqual(links.map((link) => link.slice(2, -1)).sort(), [...EXAMPLES].sort());
  assert.equal((await fetch(server.url('/_/examples'), { redirect: 'manual' })).headers.get('location'), 'examples/');
  assert.equal((await fetch(server.url('/_/examples/chat'))).url, server.url('/_/examples/chat/'));
  await inspect(pages, 'index');
  await pages[0].goto(server.url('/'));
  await pages[0].click('nav a[href$="_/examples/"]');
  await pages[0].waitForURL(server.url('/_/examples/'));
});

for (const name of EXAMPLES) {
  test(`${name}: what it says to copy is what runs`, async (t) => {
    const readme = readFileSync(new URL(`examples/${name}/README.md`, ROOT), 'utf8');
    const config = readFileSync(new URL('crates/server/src/config/dev.toml', ROOT), 'utf8');
    const blocks = [...readme.matchAll(/```toml\n([^]*?)```/g)].map(([, lines]) => lines);
    assert.ok(blocks.length, 'there is configuration in the README');
    for (const lines of blocks) assert.ok(config.includes(lines), `dev.toml has, word for word:\n${lines}`);

    const { pages: [page] } = await open(t, name, { pages: 1, seats: false });
    await page.getByRole('link', { name: 'View the code' }).click();
    assert.equal(new URL(page.url()).hash, '', 'what follows the # is left alone');
    await page.waitForSelector('details.code pre:nth-of-type(2)');
    const shown = await page.$$eval('details.code pre', (all) => all.map(({ textContent }) => textContent));
    assert.equal(shown[0], blocks.join('\n'));
    assert.equal(shown[1], readFileSync(new URL(`examples/${name}/app.js`, ROOT), 'utf8'));
    const elsewhere = await page.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => new URL(name)).filter(({ protocol, host }) => protocol !== 'data:' && host !== location.host));
    assert.deepEqual(elsewhere, []);
  });
}

test('counter: a command without a server is applied once, and a refusal moves nobody', async (t) => {
  const scene = await open(t, 'counter');
  const { server, pages } = scene;
  const [first, second] = pages;
  await seat(first, 'Ann').getByText('Increment').click();
  await everywhere(pages, 'output', '5');
  await seat(second, 'Bob').getByRole('spinbutton').fill('6');
  await seat(second, 'Bob').getByText('Decrement').click();
  await seat(second, 'Bob').getByText('400: count cannot be negative').waitFor();
  await crash(scene, async () => {
    await seat(first, 'Bob').getByText('Increment').click();
    await seat(first, 'Bob').getByText('1 to send').waitFor();
  });
  await everywhere(pages, 'output', '10');
  const { cursor } = await post(server.url('/counter:increment'), { value: 1 });
  await everywhere(pages, 'output', '11');
  // Every client was given each change once: the state at first, and the three that were accepted.
  const offset = Number(cursor.split('.')[1]);
  assert.equal(offset, 3);
  for (const page of pages) {
    for (const name of ['Ann', 'Bob']) assert.deepEqual(await seat(page, name).locator('.tape li span:last-child').allTextContents(), ['11', '10', '5', '0']);
  }
  await inspect(pages, 'counter');
});

test('chat: history, older pages, edits, presence, and what was said without a server', async (t) => {
  const server = await startServer(t);
  for (let n = 1; n <= 45; n++) await post(server.url('/room/general'), { name: n % 2 ? 'Ann' : 'Eve', text: `message ${n}` });
  const pages = [await openExample(t, server, 'chat'), await openExample(t, server, 'chat')];
  await live(pages);
  const scene = { server, pages };
  await everywhere(pages, '.here', '4 here');
  const [first, second] = pages;
  const bob = seat(second, 'Bob');
  const said = (where) => where.locator('.messages .text').allTextContents();
  const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => `message ${from + index}`);
  await eventually(() => said(bob), (all) => all.length === 20, 'the newest twenty are there');

  await crash(scene, async () => {
    await seat(first, 'Ann').getByRole('textbox').fill('said without a server');
    await seat(first, 'Ann').getByText('Send', { exact: true }).click();
    await seat(first, 'Ann').getByText('Ann, not sent yet').waitFor();
  });
  const expected = [...numbers(26, 45), 'said without a server'];
  for (const page of pages) await eventually(() => said(seat(page, 'Bob')), (all) => all.at(-1) === expected.at(-1), 'it is said');
  assert.deepEqual(await said(bob), expected);

  // That somebody types is kept nowhere, so whoever has just come back may have missed it.
  const types = async () => {
    await bob.getByRole('textbox').press('x');
    return seat(first, 'Ann').locator('.typing').textContent();
  };
  await eventually(types, (text) => text === 'Bob typing …', 'Ann sees that Bob types');

  first.on('dialog', (dialog) => dialog.accept('said before'));
  await seat(first, 'Ann').locator('.edit').last().click();
  await eventually(() => said(bob), (all) => all.at(-1) === 'said before', 'the edit is seen by all');

  for (const from of [6, 1]) {
    await bob.getByText('Older messages').click();
    await eventually(() => said(bob), (all) => all[0] === `message ${from}`, 'an older page');
  }
  assert.deepEqual(await said(bob), [...numbers(1, 45), 'said before']);
  assert.ok(await bob.getByText('Older messages').isHidden());
  // Each client is here once, also after the restart.
  await everywhere(pages, '.here', '4 here');
  await inspect(pages, 'chat');
});

test('board: moves against the rules are refused in the server’s words', async (t) => {
  const scene = await open(t, 'board');
  const { server, pages } = scene;
  const [first, second] = pages;
  const square = (page, side, row, column) => seat(page, side).getByRole('button', { name: `Row ${row}, column ${column}:` });
  const marks = () => Promise.all(pages.flatMap((page) => ['Crosses', 'Noughts'].map((side) => seat(page, side).locator('.grid button').evaluateAll((all) => all.map(({ dataset }) => dataset.mark || '-').join('')))));
  const shows = (wanted) => eventually(marks, (all) => all.every((one) => one === wanted), `${wanted} everywhere`);
  const refused = (page, side, words) => seat(page, side).getByText(`Refused: ${words}`).waitFor();

  await square(first, 'Noughts', 1, 1).click();
  await refused(first, 'Noughts', 'it is not your turn');
  await square(first, 'Crosses', 1, 1).click();
  await shows('X--------');
  await square(second, 'Noughts', 1, 1).click();
  await refused(second, 'Noughts', 'that square is taken');
  await crash(scene, async () => {
    await square(second, 'Noughts', 2, 2).click();
    await seat(second, 'Noughts').getByText('1 to send').waitFor();
  });
  await shows('X---O----');
  for (const [side, row, column] of [['Crosses', 1, 2], ['Noughts', 3, 3], ['Crosses', 1, 3]]) {
    await seat(first, side).getByText('Your turn', { exact: true }).waitFor();
    await square(first, side, row, column).click();
  }
  await shows('XXX-O---O');
  await seat(second, 'Noughts').getByText('You lost').waitFor();
  await square(second, 'Noughts', 3, 1).click();
  await refused(second, 'Noughts', 'the game is over');
  const { cursor } = await request(server.url('/game/first'));
  assert.equal(cursor.split('.')[1], '5', 'five moves were made, and no other');
  await inspect(pages, 'board');
});

test('dashboard: all charts go on after the server was away', async (t) => {
  const scene = await open(t, 'dashboard');
  const { pages } = scene;
  const shown = () => texts(pages, '.tile output');
  await eventually(shown, (all) => all.length === 24 && !all.includes('–'), 'every chart has a value');
  await crash(scene);
  for (const page of pages) await page.uncheck('[name=on]');
  await eventually(() => texts(pages, '.producer'), (all) => all.every((text) => text === 'Nothing is produced here.'), 'nobody produces');
  await post(scene.server.url('/metrics/cpu'), { value: 98.7 });
  await everywhere(pages, '[data-metric=cpu] output', '98.7');
  const charts = await Promise.all(pages.map((page) => page.$$eval('.tile .line', (lines) => lines.map((line) => line.getAttribute('d').split('L').length))));
  assert.ok(charts.flat().every((points) => points > 1), `every chart has a line: ${charts}`);
  await inspect(pages, 'dashboard');
});

test('ticker: the slow reader skips to the newest prices, the fast one reads on beside it', async (t) => {
  const scene = await open(t, 'ticker');
  const { server, pages } = scene;
  for (const page of pages) await page.uncheck('[name=on]');
  await eventually(() => Promise.all(pages.map((page) => page.textContent('.producer'))), (all) => all.every((text) => text === 'Nothing is produced here.'), 'nobody produces');
  await crash(scene);
  for (const page of pages) await seat(page, 'Slow reader').getByRole('slider').fill('50');
  const newest = new Map();
  for (let number = 1000; number < 1200; number++) {
    const symbol = ['ACME', 'BOLT', 'CRUX', 'DYNE', 'ECHO', 'FLUX', 'GRIT', 'HALO'][number % 8];
    await post(server.url('/ticker/main'), { symbol, price: number / 10, number });
    newest.set(symbol, String(number));
  }
  const numbers = (reader) => Promise.all(pages.map((page) => seat(page, reader).locator('tbody tr').evaluateAll((rows) => rows.map((row) => [row.dataset.symbol, row.cells[2].textContent]))));
  const isNewest = (all) => all.flat().every(([symbol, number]) => newest.get(symbol) === number);
  await eventually(() => numbers('Fast reader'), isNewest, 'the fast readers have the newest of each');
  await eventually(() => numbers('Slow reader'), isNewest, 'the slow readers have the newest of each');
  for (const page of pages) {
    const read = async (reader) => Number(await seat(page, reader).locator('[data-fact=received]').textContent());
    const [slow, fast] = [await read('Slow reader'), await read('Fast reader')];
    assert.ok(fast >= 200 && slow < fast / 2, `of 200 and what was before, the fast reader read ${fast}, the slow one ${slow}`);
  }
  await live(pages);
  await inspect(pages, 'ticker');
});

test('notifications: what is read on one device is read on all, and a mark never moves back', async (t) => {
  const scene = await open(t, 'notifications');
  const { server, pages } = scene;
  const [first, second] = pages;
  await first.getByText('A mention').click();
  await everywhere(pages, '.unread', '1');
  await first.getByText('A payment').click();
  await everywhere(pages, '.unread', '2');
  await crash(scene, async () => {
    await seat(second, 'Phone').getByText('Mark all as read').click();
    await seat(second, 'Phone').getByText('1 to send').waitFor();
  });
  await everywhere(pages, '.unread', '0');
  const back = await request(server.url('/inbox/ann/read:mark'), { body: { upto: 1 } });
  assert.equal(back.json.reason, 'mark_back');
  await second.getByText('A failed build').click();
  await everywhere(pages, '.unread', '1');
  for (const page of pages) {
    for (const device of ['Laptop', 'Phone']) {
      assert.deepEqual(await seat(page, device).locator('.inbox h3').allTextContents(), ['Build 481 failed', 'Invoice paid', 'Ben mentioned you']);
      assert.deepEqual(await seat(page, device).locator('.inbox .new h3').allTextContents(), ['Build 481 failed']);
    }
  }
  await inspect(pages, 'notifications');
});

test('call: a file goes from page to page while the server is down; one is loaded again, and they find each other', async (t) => {
  const { server, pages } = await open(t, 'call');
  const [first, second] = pages;
  const connected = () => eventually(() => Promise.all(pages.flatMap((page) => ['Ann', 'Bob'].map((name) => seat(page, name).locator('.peers [data-state=connected]').count()))), (all) => all.every((count) => count === 3), 'each is connected with the three others');
  await connected();
  await server.kill();
  await allSeats(pages, (states) => states.every((state) => state !== 'live'), 'without a connection');
  const buffer = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 31) % 251));
  await seat(first, 'Ann').locator('input[type=file]').setInputFiles({ name: 'plan.bin', mimeType: 'application/octet-stream', buffer });
  const link = seat(second, 'Bob').getByRole('link', { name: 'plan.bin' });
  await link.waitFor();
  const [download] = await Promise.all([second.waitForEvent('download'), link.click()]);
  assert.ok(readFileSync(await download.path()).equals(buffer), 'it is the file that was sent');
  await server.start();
  await live(pages);
  await second.reload();
  await live(pages);
  await connected();
  await seat(first, 'Bob').getByText('Share a test picture').click();
  const playing = (page, name) => seat(page, name).locator('video').evaluateAll((videos) => videos.some((video) => video.videoWidth > 0 && video.currentTime > 0));
  for (const [page, name] of [[first, 'Ann'], [second, 'Ann'], [second, 'Bob']]) await eventually(() => playing(page, name), Boolean, `${name} sees the picture`);
  await inspect(pages, 'call');
});

test('cursors: pointers show in all other frames, and again after the server was away', async (t) => {
  const scene = await open(t, 'cursors');
  const { pages } = scene;
  const [first, second] = pages;
  const stage = seat(first, 'Ann').locator('.stage');
  const box = await stage.boundingBox();
  /** Where a frame shows Ann, in hundredths of its size. */
  const place = (page, name) =>
    seat(page, name).locator('.stage').evaluate((stage) => {
      const [, x, y] = /translate\(([\d.]+)px, ([\d.]+)px\)/.exec(stage.querySelector('.pointer[data-name=Ann]')?.style.transform) ?? [];
      return [Math.round((x / stage.clientWidth) * 100), Math.round((y / stage.clientHeight) * 100)];
    });
  const shows = (at) =>
    eventually(
      async () => [...(await Promise.all([place(first, 'Bob'), place(second, 'Bob'), place(second, 'Ann')]))],
      (all) => all.every(([x, y]) => Math.abs(x - at[0]) <= 1 && Math.abs(y - at[1]) <= 1),
      `Ann is at ${at} everywhere else`,
    );
  const move = (x, y) => first.mouse.move(box.x + (box.width * x) / 100, box.y + (box.height * y) / 100, { steps: 12 });
  await move(25, 40);
  await shows([25, 40]);
  await crash(scene);
  await move(70, 60);
  await shows([70, 60]);
  await stage.focus();
  await first.keyboard.press('ArrowLeft');
  await shows([66, 60]);
  assert.equal(await seat(first, 'Ann').locator('.pointer').count(), 0, 'nobody sees a second pointer of their own');
  await inspect(pages, 'cursors');
});

test('editor: what was written without a server by several is merged, and every letter is there', async (t) => {
  const scene = await open(t, 'editor');
  const { pages } = scene;
  const [first, second] = pages;
  const text = (page, name) => seat(page, name).getByRole('textbox');
  const values = () => Promise.all(pages.flatMap((page) => ['Ann', 'Bob'].map((name) => text(page, name).inputValue())));
  const converge = (isSo, what) => eventually(values, (all) => new Set(all).size === 1 && isSo(all[0]), what);
  await text(first, 'Ann').pressSequentially('The first line.\n');
  await converge((value) => value === 'The first line.\n', 'everybody has the first line');
  await text(second, 'Bob').focus();
  await text(second, 'Bob').press('Control+End');
  await seat(first, 'Ann').locator('.caret[data-name=Bob]').waitFor({ state: 'attached' });
  await crash(scene, async () => {
    await text(first, 'Ann').pressSequentially('Ann was offline. ');
    await text(second, 'Bob').pressSequentially('Bob was, too. ');
    await text(second, 'Ann').press('Control+Home');
    await text(second, 'Ann').pressSequentially('Title. ');
    await seat(first, 'Ann').getByText('Not saved yet').waitFor();
  });
  await converge((value) => ['Title. The first line.', 'Ann was offline. ', 'Bob was, too. '].every((part) => value.includes(part)), 'all of it is everywhere');
  assert.equal((await values())[0].length, 'Title. The first line.\nAnn was offline. Bob was, too. '.length, 'nothing is there twice');
  await everywhere(pages, '.saved', 'Saved');
  await inspect(pages, 'editor');
});

test('tokens: an answer survives a reload and a crash, on all devices the same, and can be stopped', async (t) => {
  const { server, pages } = await open(t, 'tokens', { seats: false });
  const [first, second] = pages;
  await first.getByText('Ask').click();
  await second.goto(first.url());
  await live(pages);
  await eventually(() => texts(pages, '.text'), (all) => all.every((text) => text.length > 20), 'tokens arrive everywhere');
  await server.kill();
  await allSeats(pages, (states) => states.every((state) => state !== 'live'), 'without a connection');
  await server.start();
  await first.reload();
  await eventually(() => texts(pages, '.state'), (all) => all.length === 4 && all.every((text) => /complete$/.test(text)), 'the answer is complete everywhere');
  const answers = new Set(await texts(pages, '.text'));
  assert.equal(answers.size, 1);
  assert.match([...answers][0], /^A live answer is a log that ends\. .* over the same channel\.$/s);
  assert.deepEqual(new Set(await texts(pages, '.question')), new Set(['What survives a reload?']));

  await first.getByText('Ask').click();
  await eventually(() => texts([first], '.text'), (all) => all.every((text) => text.length > 5 && text.length < 200), 'another answer begins');
  await seat(first, 'Phone').getByText('Stop').click();
  await eventually(() => texts([first], '.state'), (all) => all.every((text) => /stopped$/.test(text)), 'it is stopped');
  await inspect(pages, 'tokens');
});

test('builds: early and late readers have every line once, in order, and the end', async (t) => {
  const { server, pages } = await open(t, 'builds', { seats: false });
  const [first, second] = pages;
  await first.getByText('Run one that fails').click();
  await live([first]);
  await eventually(() => texts([first], '.log li:last-child'), (all) => all.length === 2, 'lines arrive');
  await server.kill();
  await allSeats([first], (states) => states.every((state) => state !== 'live'), 'without a connection');
  await server.start();
  await live([first]);
  await second.goto(first.url());
  await everywhere(pages, '.status', 'Failed · exit status 101');
  const logs = await Promise.all(pages.flatMap((page) => ['Desk', 'Phone'].map((reader) => seat(page, reader).locator('.log li').allTextContents())));
  assert.equal(logs[0].length, 50);
  assert.equal(logs[0].filter((line) => /^test \w+ \.\.\. (ok|FAILED)$/.test(line)).length, 24);
  assert.equal(new Set(logs[0].filter(Boolean)).size, logs[0].filter(Boolean).length, 'no line twice');
  for (const log of logs) assert.deepEqual(log, logs[0]);
  assert.equal(await first.locator('.log .red').first().textContent(), 'FAILED');
  await inspect(pages, 'builds');
});
