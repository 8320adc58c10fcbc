// An answer, token by token: a stream that ends. Who comes late, reloads, or was away reads all of it, and then stops by itself.

import { connect } from '/_/client/plainwire.js';
import { begin, onRun, shown } from '../shared/run.js';
import { seats } from '../shared/seats.js';
import { generate } from './model.js';

const producer = connect('/');
document.querySelector('.ask').addEventListener('submit', (submit) => {
  submit.preventDefault();
  void generate(producer, `/ai/${begin()}`, submit.target.elements.question.value);
});
for (const seat of seats('Laptop', 'Phone')) reader(seat.root, seat.follow(connect('/', seat.options)));
// After a reload the model of this page goes on with what it was at.
if (shown()) void generate(producer, `/ai/${shown()}`);

function reader(root, pw) {
  let watch;
  onRun((run) => {
    watch?.close();
    watch = read(root, pw, `/ai/${run}`);
  });
  root.querySelector('.stop').addEventListener('click', () => {
    // A wish: whoever produces the answer sees it, and ends the stream.
    void pw.post(`/ai/${shown()}:cancel`, {}).catch(() => {});
  });
}

function read(root, pw, channel) {
  const [question, text, state] = ['.question', '.text', '.state'].map((name) => root.querySelector(name));
  const stop = root.querySelector('.stop');
  const talk = root.querySelector('.talk');
  let tokens = 0;
  question.textContent = text.textContent = state.textContent = '';
  talk.classList.add('running');
  stop.disabled = false;

  const watch = pw.watch(channel, { since: '0' });
  watch.on('message', ({ data }) => {
    question.textContent ||= data.question ?? '';
    text.append(data.token ?? '');
    if (data.token) state.textContent = `${++tokens} tokens`;
    talk.scrollTop = talk.scrollHeight;
  });
  watch.on('@cancel', () => (state.textContent += ' · asked to stop'));
  watch.on('@end', ({ data }) => {
    talk.classList.remove('running');
    stop.disabled = true;
    const how = data.reason === 'failed' ? `failed: ${data.problem.title}` : data.result?.stopped ? 'stopped' : 'complete';
    state.textContent = `${tokens} tokens · ${how}`;
  });
  return watch;
}
