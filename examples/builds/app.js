// The log of a build: lines that come in batches, and an end. Who comes late reads all of it; when it is over, readers stop by themselves.

import { connect } from '/_/client/plainwire.js';
import { begin, onRun } from '../shared/run.js';
import { seats } from '../shared/seats.js';
import { build } from './build.js';
import { coloured } from './ansi.js';

const runner = connect('/');
document.querySelector('.run').addEventListener('submit', (submit) => {
  submit.preventDefault();
  void build(runner, `/builds/${begin()}`, submit.submitter.value);
});
for (const seat of seats('Desk', 'Phone')) reader(seat.root, seat.follow(connect('/', seat.options)));

function reader(root, pw) {
  const log = root.querySelector('.log');
  const follow = root.querySelector('.follow');
  const isFollowing = () => follow.getAttribute('aria-pressed') === 'true';
  const setFollow = (on) => {
    follow.setAttribute('aria-pressed', on);
    if (on) log.scrollTop = log.scrollHeight;
  };
  follow.addEventListener('click', () => setFollow(!isFollowing()));
  // Who scrolls up wants to read; at the bottom it goes on.
  log.addEventListener('scroll', () => follow.setAttribute('aria-pressed', log.scrollTop + log.clientHeight > log.scrollHeight - 24));

  let watch;
  onRun((run) => {
    watch?.close();
    log.replaceChildren();
    setFollow(true);
    watch = read(root.querySelector('.status'), log, pw.watch(`/builds/${run}`, { since: '0' }), () => setFollow(isFollowing()));
  });
}

function read(status, log, watch, shown) {
  say('running', 'Running');
  watch.on('message', ({ data: { lines } }) => {
    for (const line of lines) log.append(coloured(line, document.createElement('li')));
    say('running', `Running · ${log.children.length} lines`);
    shown();
  });
  watch.on('@end', ({ data }) => {
    if (data.reason === 'complete') say('passed', `Passed · ${log.children.length} lines`);
    else say('failed', `Failed · ${data.problem.title}`);
  });
  return watch;

  function say(how, text) {
    status.dataset.how = how;
    status.textContent = text;
  }
}
