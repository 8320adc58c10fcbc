// An inbox for each user, and beside it a read mark that all of the user's devices share. The mark only moves forward: the server sees to it.

import { connect } from '/_/client/plainwire.js';
import { seats } from '../shared/seats.js';

/** With tokens this is who is logged in, and `/inbox/ann` is for nobody else. */
const USER = 'ann';
const INBOX = `/inbox/${USER}`;
const NEWEST = 50;

for (const seat of seats('Laptop', 'Phone')) inbox(seat.root, seat.follow(connect('/', seat.options)));
backend(document.querySelector('.send'), connect('/'));

function inbox(root, pw) {
  const notices = [];
  let upto = 0;

  pw.watch(INBOX, { last: NEWEST }).on('message', (notice) => {
    notices.unshift(notice);
    notices.splice(NEWEST);
    show();
  });
  const mark = pw.watch(`${INBOX}/read`);
  const moved = ({ data }) => {
    upto = data.upto;
    show();
  };
  mark.on('@state', moved);
  mark.on('message', moved);

  root.querySelector('.read').addEventListener('click', async () => {
    // Without a connection it waits. If the other device has read further meanwhile, it is refused, and nothing is lost by that.
    if (notices.length) await pw.post(`${INBOX}/read:mark`, { upto: notices[0].data.id }).catch(() => {});
  });

  function show() {
    const unread = notices.filter(({ data }) => data.id > upto).length;
    const badge = root.querySelector('.unread');
    badge.textContent = badge.dataset.count = unread;
    root.querySelector('.inbox').replaceChildren(...notices.map((notice) => line(notice, notice.data.id > upto)));
  }
}

function line({ data, at }, isNew) {
  const item = document.createElement('li');
  item.className = isNew ? 'new' : '';
  item.innerHTML = '<h3></h3><time></time><p></p>';
  item.querySelector('h3').textContent = data.title;
  item.querySelector('time').textContent = new Date(at).toTimeString().slice(0, 5);
  item.querySelector('p').textContent = data.text;
  return item;
}

/** Stands for your backend, which has something to tell. */
function backend(form, pw) {
  const says = form.querySelector('[role=status]');
  form.addEventListener('submit', async (submit) => {
    submit.preventDefault();
    const { title, text } = submit.submitter.dataset;
    const { ok } = await pw.post(INBOX, { id: Date.now(), title, text }).catch(() => ({}));
    says.textContent = ok ? 'Sent.' : 'Not sent.';
  });
}
