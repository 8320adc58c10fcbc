// What a pane looks like. It is told what to show, and writes the page at most once a frame, however much arrives.

import { parseCursor } from './feed.js';
import { TRANSPORTS } from './transports.js';

/** Rows of cursors a pane keeps: what fits beside its number without scrolling. */
const TAPE_ROWS = 8;
/** A number of more characters is set smaller, so that nothing beside it moves. */
const LONG_NUMBER_CHARS = 10;

/** What a badge says. */
const BADGES = {
  live: 'Live',
  connecting: 'Connecting',
  cut: 'Cut',
  paused: 'Paused',
  reset: 'Reset',
  gap: 'Gap',
  repeat: 'Repeat',
};
/** The `data-state` of a badge that has not its own. */
const STATES = { paused: 'cut', gap: 'error', repeat: 'error' };

export class View {
  element = document.getElementById('pane').content.firstElementChild.cloneNode(true);

  #rows = [];
  #frame = 0;
  #read;

  /** `actions`: what each button does, by its `data-action`; `read()`: the pane as it is, whenever it is written. */
  constructor(key, actions, read) {
    this.element.dataset.pane = key;
    this.#read = read;
    for (const [action, act] of Object.entries(actions)) {
      this.#find(`[data-action=${action}]`).addEventListener('click', act);
    }
  }

  /** Names the transport, and the one that a switch goes to. */
  transport(key, following) {
    const { name, how } = TRANSPORTS[key];
    this.element.dataset.transport = key;
    this.element.setAttribute('aria-label', `${name} pane`);
    this.#find('h3').textContent = name;
    this.#find('.how').textContent = how;
    const button = this.#find('[data-action=switch]');
    button.textContent = `To ${TRANSPORTS[following].short}`;
    button.setAttribute('aria-label', `Switch to ${TRANSPORTS[following].name}, from the same cursor`);
  }

  /** Adds a row to the tape. `kind` is a verdict, or `mark` for what the pane itself did. */
  row(kind, text, cursor) {
    this.#rows.push({ kind, text, cursor });
    if (this.#rows.length > TAPE_ROWS) this.#rows.shift();
    this.refresh();
  }

  /** Says something below the tape. */
  say(text) {
    this.#find('.line').textContent = text;
  }

  /** Shows that the pane was watched and stayed where it was. */
  hush() {
    this.element.classList.remove('hush');
    requestAnimationFrame(() => this.element.classList.add('hush'));
  }

  /** Writes the pane in the next frame. */
  refresh() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#write(this.#read());
    });
  }

  #write({ badge, cursor, count, received, faults }) {
    Object.assign(this.element.dataset, {
      state: STATES[badge] ?? badge,
      cursor: cursor ?? '',
      count: count ?? '',
      received,
    });
    const { epoch = '', offset } = parseCursor(cursor) ?? {};
    const texts = {
      '.state': BADGES[badge],
      '.number': format(count),
      '.at .epoch': epoch,
      '.at .offset': offset === undefined ? '' : `.${offset}`,
      '.received': format(received),
      '.faults': format(faults),
    };
    for (const [selector, text] of Object.entries(texts)) this.#find(selector).textContent = text;
    this.#find('.value').classList.toggle('long', texts['.number'].length > LONG_NUMBER_CHARS);
    const tape = this.#find('.tape');
    tape.prepend(...this.#rows.splice(0).reverse().map(tapeRow));
    while (tape.children.length > TAPE_ROWS) tape.lastChild.remove();
  }

  #find(selector) {
    return this.element.querySelector(selector);
  }
}

/** A number as people write it; a dash for none. */
export const format = (number) => (number === undefined || number === null ? '–' : number.toLocaleString('en-US'));

/** `.42`: within one channel the offset says it all. */
export const short = (cursor) => (cursor ? `.${parseCursor(cursor).offset}` : 'the present state');

function tapeRow({ kind, text, cursor }) {
  const row = document.createElement('li');
  row.className = kind;
  if (cursor) {
    const { epoch, offset } = parseCursor(cursor);
    row.append(span('epoch', epoch), span('offset', `.${offset}`));
  }
  row.append(span('text', text));
  return row;
}

function span(className, text) {
  return Object.assign(document.createElement('span'), { className, textContent: text });
}
