// One text, edited by many at once, offline too: a Yjs document over a channel.

import { connect } from '/_/client/plainwire.js';
import { providers } from '/_/client/plainwire-editing.js';
import { seats } from '../shared/seats.js';
import { bind } from './textarea.js';
import * as Y from './yjs.js';

const Provider = providers(Y, Y.awareness);
/** Which text: `/_/examples/editor/#ours` is another one. */
const DOCUMENT = `/docs/${location.hash.slice(1) || 'first'}`;

for (const seat of seats('Ann', 'Bob')) edit(seat.root, seat.name, seat.follow(connect('/', seat.options)));

function edit(root, name, pw) {
  const doc = new Y.Doc();
  const awareness = new Y.awareness.Awareness(doc);
  awareness.setLocalStateField('name', name);
  const provider = new Provider(pw, DOCUMENT, doc, { awareness });
  bind(root.querySelector('.paper'), doc.getText('text'), awareness);

  const saved = root.querySelector('.saved');
  const show = () => (saved.textContent = provider.isSaved ? 'Saved' : provider.isSynced ? 'Not saved yet' : 'Reading');
  doc.on('update', show);
  provider.on('sync', show);
  provider.on('saved', show);
  show();

  const here = () => {
    const others = [...awareness.getStates().values()].map((state) => state.name).filter((one) => one && one !== name);
    root.querySelector('.others').textContent = others.length ? `With ${[...new Set(others)].join(', ')}` : 'Alone';
  };
  awareness.on('change', here);
  here();
}
