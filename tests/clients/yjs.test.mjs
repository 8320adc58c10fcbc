// Shared documents: the Yjs provider of the JavaScript client, in Node.js.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { WebSocket } from 'ws';
import * as awarenessProtocol from 'y-protocols/awareness';
import * as Y from 'yjs';

import { providers } from '../../clients/js/src/editing.js';
import { connect } from '../../clients/js/src/index.js';
import { deadline } from '../harness/inbox.mjs';
import { seeded } from '../harness/random.mjs';
import { startServer } from '../harness/server.mjs';

const Provider = providers(Y, awarenessProtocol);
const TRANSPORTS = ['websocket', 'sse', 'ndjson', 'poll'];
const BACKOFF = { base: 20, cap: 200 };

/** Somebody with the document open. */
function editor(t, server, { transports, doc = new Y.Doc(), ...options } = {}) {
  const pw = connect(server.origin, { WebSocket, backoff: BACKOFF, transports });
  const provider = new Provider(pw, 'docs/1', doc, options);
  const text = doc.getText('text');
  const close = () => {
    provider.destroy();
    pw.close();
  };
  t.after(close);
  return { pw, provider, doc, text, close };
}

/** Waits until something is so, looking whenever one of the documents or its provider changes. */
function until(all, what, isSo) {
  const waited = new Promise((resolve) => {
    const off = [];
    const look = () => {
      if (!isSo()) return;
      off.splice(0).forEach((end) => end());
      resolve();
    };
    for (const { doc, provider } of all) {
      doc.on('update', look);
      off.push(() => doc.off('update', look));
      for (const event of ['sync', 'saved']) off.push(provider.on(event, look));
    }
    queueMicrotask(look);
  });
  const shown = () => all.map(({ text, provider }) => [text.toString(), provider.isSaved]);
  return deadline(waited, () => `waited in vain for ${what}: ${JSON.stringify(shown())}`, 30_000);
}

const saved = (...all) => until(all, 'all changes to be on the server', () => all.every(({ provider }) => provider.isSaved));
const same = async (...all) => {
  const isSame = (one) => one.provider.isSaved && Y.equalSnapshots(Y.snapshot(one.doc), Y.snapshot(all[0].doc));
  await until(all, 'the same for all', () => all.every(isSame));
  for (const one of all) assert.equal(one.text.toString(), all[0].text.toString());
};

for (const transport of TRANSPORTS) {
  test(`${transport}: two editors diverge while the server is gone, and converge`, async (t) => {
    const server = await startServer(t);
    const [ann, ben] = [editor(t, server, { transports: [transport] }), editor(t, server, { transports: [transport] })];
    ann.text.insert(0, 'shared');
    await same(ann, ben);
    await server.kill();
    ann.text.insert(0, 'ann ');
    ann.text.insert(0, 'by ');
    ben.text.insert(6, ' ben');
    ben.text.delete(0, 1);
    assert.notEqual(ann.text.toString(), ben.text.toString());
    await server.start();
    await same(ann, ben);
    assert.equal(ann.text.toString(), 'by ann hared ben');
    // Who comes now has the same.
    const late = editor(t, server, { transports: [transport] });
    await same(ann, late);
  });
}

test('a document that was changed before it was connected brings its changes along, once', async (t) => {
  const server = await startServer(t);
  const stored = new Y.Doc();
  stored.getText('text').insert(0, 'written on a train');
  const one = editor(t, server, { doc: stored });
  await saved(one);
  const { body } = await one.pw.get('docs/1');
  assert.equal(body.messages.length, 1);
  one.close();
  // It is opened again with nothing new: nothing is sent.
  const again = editor(t, server, { doc: stored });
  await saved(again);
  assert.equal((await again.pw.get('docs/1')).body.cursor, body.cursor);
  again.close();
  // With something new, and others that went on meanwhile.
  const other = editor(t, server);
  await saved(other);
  other.text.insert(0, 'other: ');
  stored.getText('text').delete(0, 8);
  await same(other, editor(t, server, { doc: stored }));
  assert.equal(other.text.toString(), 'other: on a train');
});

test('whoever comes late reads from the newest snapshot on, and misses nothing', async (t) => {
  const server = await startServer(t);
  const compactAfter = 20;
  const all = [editor(t, server, { compactAfter }), editor(t, server, { compactAfter })];
  const snapshots = async () => {
    const { body } = await all[0].pw.get('docs/1', { since: '0', limit: 1000 });
    return body.messages.filter(({ event }) => event === 'snapshot').length;
  };
  await saved(...all);
  let count = 0;
  for (let round = 0; round < 8 || (await snapshots()) < 2; round++) {
    assert.ok(round < 60, 'nobody made a snapshot');
    for (let n = 0; n < 10; n++) {
      const one = all[n % 2];
      one.text.insert(one.text.length, `${count++} `);
      await saved(one);
    }
    await same(...all);
    // Nobody writes now and then: else no snapshot would fit.
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const { body } = await all[0].pw.get('docs/1', { since: '0', limit: 1000 });
  await server.crash();
  const late = editor(t, server, { compactAfter });
  await same(all[0], late);
  assert.ok(late.provider.read < body.messages.length / 2, `${late.provider.read} of ${body.messages.length} were read`);
  // And one that looks at fewer messages than lie behind the snapshot reads everything.
  const short = editor(t, server, { compactAfter: 1 - 50 + 1 });
  await same(all[0], short);
});

test('what the store lost is brought back by those who have it', async (t) => {
  const server = await startServer(t, { env: { PLAINWIRE_ENGINE: 'memory' } });
  const [ann, ben] = [editor(t, server), editor(t, server)];
  ann.text.insert(0, 'only in memory');
  await same(ann, ben);
  const resets = [];
  ann.provider.on('reset', ({ reason }) => resets.push(reason));
  await server.crash();
  ben.text.insert(0, 'not ');
  await same(ann, ben);
  await same(ann, editor(t, server));
  assert.equal(ann.text.toString(), 'not only in memory');
  assert.ok(resets.length, 'it was said that something was lost');
});

test('three editors, at random, through crashes', async (t) => {
  await seeded(async (random) => {
    const server = await startServer(t);
    const compactAfter = 15;
    const all = TRANSPORTS.slice(0, 3).map((transport) => editor(t, server, { transports: [transport], compactAfter }));
    for (let round = 0; round < 6; round++) {
      const isDown = round % 2 === 1;
      if (isDown) await server.kill();
      for (let n = 0; n < 25; n++) {
        const { text } = all[random(3)];
        if (text.length && random(3) === 0) text.delete(random(text.length), 1);
        else text.insert(random(text.length + 1), String.fromCharCode(97 + random(26)));
        if (random(4) === 0) await new Promise((resolve) => setTimeout(resolve, random(10)));
      }
      if (isDown) await server.start();
    }
    await same(...all);
    const late = editor(t, server, { compactAfter });
    await same(all[0], late);
  });
});

test('editors see each other, and who leaves is gone', async (t) => {
  const server = await startServer(t);
  const open = (name) => {
    const doc = new Y.Doc();
    const awareness = new awarenessProtocol.Awareness(doc);
    t.after(() => awareness.destroy());
    awareness.setLocalState({ name });
    return { awareness, ...editor(t, server, { doc, awareness }) };
  };
  const names = ({ awareness }) => [...awareness.getStates().values()].map(({ name }) => name).sort();
  const see = (one, expected) =>
    deadline(
      new Promise((resolve) => {
        const look = () => names(one).join() === expected && (one.awareness.off('change', look), resolve());
        one.awareness.on('change', look);
        look();
      }),
      () => `sees ${names(one)} and not ${expected}`,
    );
  const ann = open('ann');
  await saved(ann);
  const ben = open('ben');
  await Promise.all([see(ann, 'ann,ben'), see(ben, 'ann,ben')]);
  ann.awareness.setLocalState({ name: 'anna' });
  await see(ben, 'anna,ben');
  ann.provider.destroy();
  await see(ben, 'ben');
});

test('what the server refuses is said, and the document stays', async (t) => {
  const server = await startServer(t);
  const pw = connect(server.origin, { WebSocket, backoff: BACKOFF });
  t.after(() => pw.close());
  const doc = new Y.Doc();
  doc.getText('text').insert(0, 'mine');
  // It takes JSON alone.
  const provider = new Provider(pw, 'chat/general', doc);
  t.after(() => provider.destroy());
  const error = await deadline(new Promise((resolve) => provider.on('error', resolve)), 'nothing was said');
  assert.equal(error.problem.reason, 'body_json');
  assert.equal(doc.getText('text').toString(), 'mine');
});
