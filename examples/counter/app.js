// A counter that everybody sees: a state, two commands, and a rule that only the server enforces.

import { connect } from '/_/client/plainwire.js';
import { seats } from '../shared/seats.js';

const TAPE_LINES = 6;

for (const seat of seats('Ann', 'Bob')) counter(seat.root, seat.follow(connect('/', seat.options)));

function counter(root, pw) {
  const watch = pw.watch('/counter');
  watch.on('@state', show); // the count as it is now …
  watch.on('message', show); // … and each change from there on

  function show({ data, cursor }) {
    root.querySelector('output').textContent = data.count.toLocaleString('en');
    const tape = root.querySelector('.tape');
    tape.prepend(line(cursor, data.count));
    if (tape.children.length > TAPE_LINES) tape.lastChild.remove();
  }

  root.querySelector('form').addEventListener('submit', async (submit) => {
    submit.preventDefault();
    const command = submit.submitter.value;
    const value = submit.target.elements.value.valueAsNumber;
    const said = root.querySelector('.answer');
    said.textContent = `${command} by ${value}: on its way`;
    said.dataset.ok = '';
    try {
      // Without a connection it waits here, and however often it is tried, it is applied once.
      const answer = await pw.post(`/counter:${command}`, { value });
      said.dataset.ok = answer.ok;
      said.textContent = answer.ok ? `${answer.status}: the count is ${answer.body.count}` : `${answer.status}: ${answer.problem.detail}`;
    } catch (error) {
      said.dataset.ok = false;
      said.textContent = `No answer: ${error.message}`;
    }
  });
}

function line(...texts) {
  const item = document.createElement('li');
  item.append(...texts.map((textContent) => Object.assign(document.createElement('span'), { textContent })));
  return item;
}
