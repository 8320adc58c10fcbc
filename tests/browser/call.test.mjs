// WebRTC calls between pages of Chromium, with the server's own client: peers find each other, through reloads, restarts and glare.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { blankPage, startBrowser } from '../harness/browser.mjs';
import { post } from '../harness/http.mjs';
import { startServer, temporaryFolder } from '../harness/server.mjs';

/** Peers of one machine connect without a network: over loopback, by addresses that are not hidden behind mDNS. */
const ARGS = ['--allow-loopback-in-peer-connection', '--disable-features=WebRtcHideLocalIpsWithMdns'];
const SECRET = 'a secret of the tests, 32 bytes or more';

/** A page that tells what becomes of its call. `enter` has it join, again after each time it was loaded. */
async function member(browser, server, name, { token, patience } = {}) {
  const { page, inbox } = await blankPage(browser, server);
  const enter = () =>
    page.evaluate(
      async ({ name, token, patience }) => {
        const [{ connect }, { join }] = await Promise.all([import('/_/client/plainwire.js'), import('/_/client/plainwire-call.js')]);
        window.client = connect(location.origin, { token, backoff: { base: 50, cap: 500 } });
        window.call = join(client, '/call/x', { member: name, ...(patience && { patience }) });
        const told = {
          live: () => ({}),
          peer: (peer) => ({ member: peer.member }),
          connected: (peer) => ({ member: peer.member }),
          gone: (peer) => ({ member: peer.member }),
          open: ({ peer }) => ({ member: peer.member }),
          message: ({ peer, data }) => ({ member: peer.member, data }),
          track: ({ peer, track }) => ({ member: peer.member, kind: track.kind }),
          error: (error) => ({ error: String(error?.stack ?? error) }),
          end: (error) => ({ error: error && String(error) }),
        };
        for (const [type, tell] of Object.entries(told)) call.on(type, (event) => push({ type, ...tell(event) }));
      },
      { name, token, patience },
    );
  const faults = () => inbox.all.filter(({ type }) => type === 'error').map(({ error }) => error);
  const until = (type, other, what = `${type} of ${other}`) => inbox.find((event) => event.type === type && (!other || event.member === other), `${name}: ${what}`);
  return { name, page, inbox, enter, until, faults };
}

/** Says something from one page to another, and waits until it is heard. */
async function say(from, to, data) {
  assert.ok((await from.page.evaluate((data) => call.send(data), data)) >= 1, `${from.name} has somebody to say '${data}' to`);
  await to.inbox.find((event) => event.type === 'message' && event.data === data && event.member === from.name, `'${data}' from ${from.name}`);
}

const peers = ({ page }) => page.evaluate(() => call.peers.map(({ member, state }) => `${member} ${state}`).sort());

async function start(t, options) {
  const server = await startServer(t, options);
  return { server, browser: await startBrowser(t, { args: ARGS }) };
}

/** Two pages with an open data channel between them. */
async function pair(t) {
  const { server, browser } = await start(t);
  const [ann, bob] = [await member(browser, server, 'ann'), await member(browser, server, 'bob')];
  await ann.enter();
  await ann.until('live');
  await bob.enter();
  await Promise.all([ann.until('open', 'bob'), bob.until('open', 'ann')]);
  return { server, browser, ann, bob };
}

test('two pages open a data channel; one is loaded again, and they find each other again', async (t) => {
  const { ann, bob } = await pair(t);
  await say(ann, bob, 'hello');
  await say(bob, ann, 'hello yourself');
  for (let turn = 1; turn <= 3; turn++) {
    await bob.page.reload();
    await bob.enter();
    await Promise.all([ann.until('open', 'bob'), bob.until('open', 'ann')]);
    await say(ann, bob, `are you back? ${turn}`);
    await say(bob, ann, `I am, ${turn}`);
    // The page that was there before is gone: that is told by the connection, not by patience.
    await ann.page.waitForFunction(() => call.peers.length === 1);
  }
  assert.deepEqual(await peers(ann), ['bob connected']);
  await bob.page.evaluate(() => call.leave());
  await ann.page.waitForFunction(() => call.peers.length === 0);
  assert.deepEqual([ann.faults(), bob.faults()], [[], []]);
});

test('the server is killed and restarted: the call goes on, and signals do', async (t) => {
  const { server, browser, ann, bob } = await pair(t);
  await server.kill();
  await say(ann, bob, 'the server is gone');
  // What is to be signalled meanwhile waits.
  await ann.page.evaluate(() => {
    const canvas = document.body.appendChild(document.createElement('canvas'));
    canvas.getContext('2d').fillRect(0, 0, 9, 9);
    const stream = canvas.captureStream();
    call.addTrack(stream.getTracks()[0], stream);
  });
  await server.start();
  await bob.until('track', 'ann');
  await say(bob, ann, 'it is back');
  const carl = await member(browser, server, 'carl');
  await carl.enter();
  await carl.until('track', 'ann', "ann's track, which was there before");
  await Promise.all([ann.until('open', 'carl'), bob.until('open', 'carl')]);
  await carl.page.waitForFunction(() => call.peers.length === 2 && call.peers.every(({ channels }) => channels.data.readyState === 'open'));
  await say(carl, ann, 'new here');
  assert.deepEqual([await peers(ann), await peers(bob)], [['bob connected', 'carl connected'], ['ann connected', 'carl connected']]);
  assert.deepEqual(ann.inbox.all.filter(({ type }) => type === 'gone'), [], 'nobody was lost');
});

test('all come at once, and offer at once', async (t) => {
  const { server, browser } = await start(t);
  const names = ['ann', 'bob', 'carl'];
  const all = await Promise.all(names.map((name) => member(browser, server, name)));
  for (let turn = 1; turn <= 4; turn++) {
    await Promise.all(all.map(({ enter }) => enter()));
    for (const { page } of all) await page.waitForFunction(() => call.peers.length === 2 && call.peers.every(({ channels }) => channels.data?.readyState === 'open'));
    await say(all[0], all[1], `turn ${turn}`);
    await say(all[2], all[0], `turn ${turn}`);
    // Both sides of each pair want something else at the same moment.
    await Promise.all(
      all.map(({ page }) =>
        page.evaluate(() => {
          const stream = document.createElement('canvas').captureStream();
          call.addTrack(stream.getTracks()[0], stream);
        }),
      ),
    );
    const goesBothWays = () =>
      call.peers.every(({ connection }) => {
        const directions = connection.getTransceivers().map(({ currentDirection }) => currentDirection).join();
        return connection.signalingState === 'stable' && /sendrecv|sendonly.*recvonly|recvonly.*sendonly/.test(directions);
      });
    for (const { page } of all) await page.waitForFunction(goesBothWays);
    await Promise.all(all.map(({ page }) => page.reload()));
  }
  assert.deepEqual(all.map(({ faults }) => faults()), [[], [], []]);
});

test('a connection that was lost begins anew, and signals of a former life change nothing', async (t) => {
  const { server, ann, bob } = await pair(t);
  const ufrag = ({ page }) => page.evaluate(() => /ice-ufrag:(\S+)/.exec(call.peers[0].connection.localDescription.sdp)[1]);
  const before = await ufrag(ann);
  await ann.page.evaluate(() => call.peers[0].connection.restartIce());
  const restarted = (before) => call.peers[0].connection.signalingState === 'stable' && /ice-ufrag:(\S+)/.exec(call.peers[0].connection.localDescription.sdp)[1] !== before;
  await ann.page.waitForFunction(restarted, before);
  await say(ann, bob, 'with other candidates');
  const offer = { description: { type: 'offer', sdp: 'v=0\r\n' } };
  const session = await ann.page.evaluate(() => call.session);
  for (const stale of [
    { member: 'bob', session: 'another', to: 'no session of ann', signals: [offer] },
    { member: 'ann', session, to: session, signals: [offer] },
    { member: 'bob', session: 'another', to: session, signals: [{ candidate: null }, { description: { type: 'answer', sdp: '' } }, { bye: true }] },
    { member: 'bob', session: 'another', to: session, signals: 'none' },
    'nonsense',
  ]) {
    await post(server.url('/call/x/@to/ann?event=call.signal'), stale);
  }
  await post(server.url('/call/x?event=call.hello'), null);
  await say(bob, ann, 'still here');
  assert.deepEqual(await peers(ann), ['bob connected']);
  assert.deepEqual(ann.faults(), []);
});

test('who never answers is given up, and who is alone is looked for under a new name', async (t) => {
  const { server, browser } = await start(t);
  const ann = await member(browser, server, 'ann', { patience: 500 });
  await ann.enter();
  await ann.until('live');
  const session = await ann.page.evaluate(() => call.session);
  await post(server.url('/call/x?event=call.hello'), { member: 'ghost', session: '0' });
  await ann.until('peer', 'ghost');
  await ann.until('gone', 'ghost');
  await ann.page.waitForFunction((session) => call.session !== session, session);
  const bob = await member(browser, server, 'bob');
  await bob.enter();
  await Promise.all([ann.until('open', 'bob'), bob.until('open', 'ann')]);
  await say(ann, bob, 'there you are');
  assert.deepEqual(await peers(bob), ['ann connected']);
});

/** A token of a subject that may do everything in the room (RFC 7519, HS256). */
function token(sub, grants = { watch: ['call/x'], post: ['call/x'], presence: ['call/x'] }) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub, exp: Math.floor(Date.now() / 1000) + 600, plainwire: grants })}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

test('members are who their tokens say, and nobody else hears them', async (t) => {
  const config = path.join(temporaryFolder(t), 'plainwire.toml');
  const room = '[channel."call/*"]\npresence = "principal"\npresence_grace = "1s"\ninboxes = true\n';
  writeFileSync(config, `[auth]\nsecret = "${SECRET}"\n[ice]\nurls = ["turn:127.0.0.1:1"]\nsecret = "${SECRET}"\n${room}`);
  const { server, browser } = await start(t, { args: ['serve', '--config', config] });
  const [ann, bob] = await Promise.all(['ann', 'bob'].map((name) => member(browser, server, name, { token: token(name) })));
  await ann.enter();
  await ann.until('live');
  await bob.enter();
  await Promise.all([ann.until('open', 'bob'), bob.until('open', 'ann')]);
  await ann.page.waitForFunction(() => call.members.has('ann') && call.members.has('bob'));
  const servers = await bob.page.evaluate(() => call.peers[0].connection.getConfiguration().iceServers);
  assert.match(servers[0].username, /^\d+:bob$/);

  // One of the room claims to be another one.
  const eve = { authorization: `Bearer ${token('eve')}` };
  const sent = (target, data) => fetch(server.url(target), { method: 'POST', headers: eve, body: JSON.stringify(data) });
  const session = await ann.page.evaluate(() => call.session);
  const bobs = await bob.page.evaluate(() => call.session);
  assert.equal((await sent('/call/x/@to/ann?event=call.signal', { member: 'bob', session: bobs, to: session, signals: [{ bye: true }] })).status, 201);
  assert.equal((await sent('/call/x?event=call.bye', { member: 'bob', session: bobs })).status, 201);
  await say(bob, ann, 'it was not me');
  assert.equal((await fetch(server.url('/call/x/@to/ann'), { headers: eve })).status, 403);

  const mallory = await member(browser, server, 'ann', { token: token('mallory') });
  await mallory.enter();
  const { error } = await mallory.inbox.find(({ type }) => type === 'end', 'a refusal');
  assert.match(error, /may not 'watch' on 'call\/x\/@to\/ann'/);
  assert.deepEqual(ann.faults(), []);
});
