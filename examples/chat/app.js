// Chat: a room is a channel. Messages and edits are entries of its log, so history, live and what was missed are one thing.

import { connect } from '/_/client/plainwire.js';
import { seats } from '../shared/seats.js';

/** How many messages a room begins with, and how many an older page has. */
const PAGE = 20;
/** How often others are told that somebody is typing, and how long they believe it, in milliseconds. */
const TYPING_EVERY = 1_500;
const TYPING_FOR = 3_000;

function chat(root, me, pw) {
  const say = root.querySelector('.say');
  let room;
  for (const button of root.querySelectorAll('.rooms button')) button.addEventListener('click', () => enter(button.value));
  say.addEventListener('submit', (submit) => {
    submit.preventDefault();
    void room.say(say.elements.text.value);
    say.reset();
  });
  say.elements.text.addEventListener('input', () => room.typing());
  root.querySelector('.older').addEventListener('click', () => room.showOlder());
  enter('general');

  function enter(name) {
    for (const button of root.querySelectorAll('.rooms button')) button.setAttribute('aria-pressed', button.value === name);
    room?.leave();
    room = new Room(root, me, pw, name);
  }
}

class Room {
  #shown = new Map(); // by cursor
  #edits = new Map(); // by the cursor of what they are about, which may not be shown yet
  #away = new AbortController();
  #typists = new Map();
  #told = 0;

  constructor(root, me, pw, name) {
    Object.assign(this, { root, me, pw, channel: `/room/${name}`, beside: `/typing/${name}` });
    this.list = root.querySelector('.messages');
    this.list.replaceChildren();
    root.querySelector('.older').hidden = true;
    const { signal } = this.#away;

    const messages = pw.watch(this.channel, { last: PAGE, signal });
    messages.on('message', (message) => this.#take(message));
    messages.on('@reset', () => this.list.append(element('li', 'break', 'Something may be missing here')));

    const presence = pw.watch(`${this.channel}/@presence`, { signal });
    const here = ({ data }) => (root.querySelector('.here').textContent = `${data.count} here`);
    presence.on('@state', here);
    presence.on('message', here);

    pw.watch(this.beside, { signal }).on('message', ({ data }) => data.name !== me && this.#types(data.name));
    this.#showTyping();
  }

  leave() {
    this.#away.abort();
    for (const timer of this.#typists.values()) clearTimeout(timer);
  }

  async say(text) {
    const waiting = this.list.appendChild(bubble({ name: `${this.me}, not sent yet`, text }, true));
    waiting.classList.add('waiting');
    this.#scroll();
    await this.#send({ name: this.me, text });
    waiting.remove();
  }

  /** Tells the others, now and then. Later it is not worth knowing. */
  typing() {
    if (Date.now() - this.#told < TYPING_EVERY) return;
    this.#told = Date.now();
    this.pw.post(this.beside, { name: this.me }, { deadline: TYPING_FOR }).catch(() => {});
  }

  #types(name) {
    clearTimeout(this.#typists.get(name));
    this.#typists.set(name, setTimeout(() => this.#typesNoMore(name), TYPING_FOR));
    this.#showTyping();
  }

  #typesNoMore(name) {
    clearTimeout(this.#typists.get(name));
    this.#typists.delete(name);
    this.#showTyping();
  }

  #showTyping() {
    const names = [...this.#typists.keys()];
    this.root.querySelector('.typing').textContent = names.length ? `${names.join(' and ')} typing …` : '';
  }

  async showOlder() {
    const [first] = this.#shown.keys();
    const page = await this.pw.get(this.channel, { since: before(first, PAGE), limit: PAGE });
    const known = this.#shown;
    this.#shown = new Map();
    // What was trimmed meanwhile is gone for everybody.
    const older = page.ok ? page.body.messages.filter(({ cursor }) => !known.has(cursor)) : [];
    const top = this.list.firstChild;
    for (const message of older) this.#take(message, top);
    for (const [cursor, item] of known) this.#shown.set(cursor, item);
    this.root.querySelector('.older').hidden = !older.length || isFirst([...this.#shown.keys()][0]);
  }

  #take({ event, data, cursor }, place = null) {
    if (event === 'edit') {
      // Of an older page there may be a newer edit already.
      if (!place || !this.#edits.has(data.of)) this.#edits.set(data.of, data.text);
      const edited = this.#shown.get(data.of);
      if (edited) show(edited, this.#edits.get(data.of), true);
    }
    const isMine = data.name === this.me;
    this.#typesNoMore(data.name);
    const item = event === 'edit' ? element('li', '', '') : bubble(data, isMine);
    item.hidden = event === 'edit';
    if (isMine && !event) item.querySelector('.who').append(this.#editButton(cursor, item));
    if (this.#edits.has(cursor)) show(item, this.#edits.get(cursor), true);
    if (!this.#shown.size && !place) this.root.querySelector('.older').hidden = isFirst(cursor);
    this.#shown.set(cursor, item);
    // What was not sent yet stays last.
    this.list.insertBefore(item, place ?? this.list.querySelector('.waiting'));
    if (!place) this.#scroll();
  }

  #editButton(cursor, item) {
    const button = Object.assign(element('button', 'edit', 'edit'), { type: 'button' });
    button.addEventListener('click', () => {
      const text = prompt('Say it differently', item.querySelector('.text').textContent);
      if (text) void this.#send({ name: this.me, of: cursor, text }, { event: 'edit' });
    });
    return button;
  }

  async #send(body, options) {
    const note = this.root.querySelector('.note');
    try {
      const answer = await this.pw.post(this.channel, body, options);
      note.hidden = answer.ok;
      note.textContent = answer.ok ? '' : `Refused: ${answer.problem.detail}`;
    } catch (error) {
      note.hidden = false;
      note.textContent = `“${body.text}” was not sent: ${error.message}`;
    }
  }

  #scroll() {
    const history = this.root.querySelector('.history');
    history.scrollTop = history.scrollHeight;
  }
}

/** The cursor from which a page of `count` messages ends right before `cursor`: offsets have no gaps. */
function before(cursor, count) {
  const [epoch, offset] = cursor.split('.');
  return `${epoch}.${Math.max(offset - 1 - count, 0)}`;
}

const isFirst = (cursor) => cursor.endsWith('.1');

function bubble({ name, text }, isMine) {
  const item = element('li', isMine ? 'mine' : '', '');
  item.append(element('p', 'who', name), element('span', 'text', text));
  return item;
}

function show(item, text, isEdited) {
  if (item.hidden) return;
  item.querySelector('.text').textContent = text;
  if (isEdited && !item.querySelector('.edited')) item.querySelector('.who').prepend(element('span', 'edited', 'edited'));
}

const element = (tag, className, textContent) => Object.assign(document.createElement(tag), { className, textContent });

for (const seat of seats('Ann', 'Bob')) chat(seat.root, seat.name, seat.follow(connect('/', seat.options)));
