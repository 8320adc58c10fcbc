// A pane: one reader of the channel, and what it shows. It reconnects by itself, from its cursor, over any transport.

import { backoff, Continuity, isControl, parseCursor, pause } from './feed.js';
import { ORDER, TRANSPORTS } from './transports.js';

/** Rows of cursors a pane keeps: what fits beside its number without scrolling. */
const TAPE_ROWS = 8;
/** How long a pane stays amber after the server said `@reset`, in milliseconds: long enough to be read. */
const RESET_SHOWN_MS = 6000;
/** A cut by hand waits like a third failed attempt (2 to 4 s): long enough to see the others go on. */
const CUT_COUNTS_AS = 3;

/** What a badge says. */
const BADGES = {
  live: 'Live', connecting: 'Connecting', cut: 'Cut', paused: 'Paused', reset: 'Reset', gap: 'Gap', repeat: 'Repeat',
};

export class Pane {
  /** The pane's key, which names it for good; its transport may change. */
  key;
  transport;
  /** The newest state received: `{count}`. */
  state = null;
  received = 0;
  faults = 0;

  #continuity = new Continuity();
  #url;
  #moved;
  #attempt = new AbortController();
  #link = 'connecting';
  #resetUntil = 0;
  #fault = null;
  #tries = 0;
  #drainMs = null;
  #catchingUp = null;
  #isPaused = () => false;
  #unpause = () => {};
  #hushed = false;
  #view;
  #fresh = [];
  #frame = 0;

  /** `moved(pane)` is called after each change of state. */
  constructor(key, url, moved) {
    this.key = key;
    this.transport = key;
    this.#url = url;
    this.#moved = moved;
    this.#view = document.getElementById('pane').content.firstElementChild.cloneNode(true);
    this.#view.dataset.pane = key;
    const actions = { cut: () => this.cut(), switch: () => this.use(this.#following()), clear: () => this.startOver() };
    for (const [action, act] of Object.entries(actions)) {
      this.#view.querySelector(`[data-action=${action}]`).addEventListener('click', act);
    }
    this.#showTransport();
    this.#render();
  }

  get element() {
    return this.#view;
  }

  get cursor() {
    return this.#continuity.cursor;
  }

  /** Reads for as long as the page lives. */
  async run() {
    for (;;) {
      while (this.#isPaused()) await this.#paused();
      const over = await this.#read();
      if (over === 'ended' || over === 'cut') await this.#waitBeforeReconnecting(over);
    }
  }

  /** Breaks the connection, as a bad network would. The pane comes back by itself. */
  cut() {
    if (this.#link === 'live' || this.#link === 'connecting') this.#attempt.abort('cut');
  }

  /** Goes on over another transport, from the same cursor. */
  use(transport) {
    if (transport === this.transport) return;
    this.transport = transport;
    this.#row('mark', `switched to ${TRANSPORTS[transport].short}`);
    this.#showTransport();
    this.#attempt.abort('switch');
  }

  /** Forgets what went wrong and where it stood, and reads anew from the present state. */
  startOver() {
    this.faults = 0;
    this.#fault = null;
    this.#continuity.forget();
    this.#row('mark', 'started over');
    this.#attempt.abort('restart');
  }

  /** `isPaused(pane)` says whether the pane must do without a connection for now. */
  pauseWhile(isPaused) {
    this.#isPaused = () => isPaused(this);
    if (this.#isPaused()) this.#attempt.abort('pause');
    else this.#unpause();
  }

  /** Takes one event, `{event, cursor, data}`, as if it had come from the transport. */
  receive(event) {
    const before = this.cursor;
    const { snapshots } = TRANSPORTS[this.transport];
    const verdict = this.#continuity.check(event, { snapshots });
    if (event.event === '@drain') this.#drainMs = event.data.reconnect_in_ms;
    if (verdict === 'quiet') return this.#render();

    const isState = !isControl(event.event) || event.event === '@state';
    if (isState) this.state = event.data;
    if (!isControl(event.event) || (snapshots && verdict !== 'baseline')) this.received += 1;
    if (verdict === 'reset') this.#reset(event);
    else this.#row(verdict, isState ? String(event.data?.count ?? '') : '', event.cursor);
    if (verdict === 'gap' || verdict === 'repeat') return this.#turnRed(verdict, before, event.cursor);
    if (this.#hushed) this.#become(this.#link);
    this.#moved(this);
  }

  /** Shows that the pane was watched and stayed where it was. */
  hush() {
    if (this.#link === 'live') this.say(`Silent: still at ${short(this.cursor)}`);
    this.#hushed = true;
    this.#view.classList.remove('hush');
    requestAnimationFrame(() => this.#view.classList.add('hush'));
  }

  /** Says something in the pane's line, until there is something newer to say. What broke a pane stays. */
  say(text) {
    this.#hushed = false;
    this.#view.querySelector('.line').textContent = this.#fault?.text ?? text;
  }

  async #read() {
    const { signal } = (this.#attempt = new AbortController());
    const before = this.received;
    let from = this.cursor;
    this.#become('connecting');
    this.#drainMs = null;
    const on = {
      open: () => {
        if (signal.aborted || this.#link === 'live') return;
        this.#tries = 0;
        this.#become('live');
        if (from) this.#catchUp(from, before);
      },
      event: (event) => signal.aborted || this.receive(event),
      retry: () => {
        if (signal.aborted) return;
        from = this.cursor;
        this.#become('connecting', 'The browser is reconnecting by itself');
      },
    };
    const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve));
    try {
      await Promise.race([TRANSPORTS[this.transport].watch(this.#url, this.cursor, on, signal), aborted]);
    } catch {
      // A connection that failed is over, like one that ended: the wait and the next attempt are the same.
    }
    const over = signal.aborted ? signal.reason : 'ended';
    this.#attempt.abort(over);
    return over;
  }

  async #waitBeforeReconnecting(over) {
    const { signal } = (this.#attempt = new AbortController());
    this.#tries = over === 'cut' ? CUT_COUNTS_AS : this.#tries + 1;
    const ms = this.#drainMs ?? backoff(this.#tries);
    const seconds = (ms / 1000).toFixed(1);
    if (over === 'cut') this.#become('cut', `Resumes from ${short(this.cursor)} in ${seconds} s`);
    else this.#become('connecting', `Connection lost. Next attempt in ${seconds} s`);
    await pause(ms, signal);
  }

  #paused() {
    this.#become('paused', `Gave its connection to another tab. Resumes from ${short(this.cursor)}`);
    return new Promise((resume) => (this.#unpause = resume));
  }

  // Shortly after a reconnect the pane says what it has missed meanwhile, and got.
  #catchUp(from, before) {
    clearTimeout(this.#catchingUp);
    this.#row('mark', `resumed from ${short(from)}`);
    this.say(`Resumed from ${short(from)}`);
    this.#catchingUp = setTimeout(() => {
      const missed = this.received - before;
      if (this.#link === 'live' && missed) this.say(`Resumed from ${short(from)}, caught up on ${missed}`);
    }, 500);
  }

  #turnRed(kind, before, cursor) {
    const { offset } = parseCursor(before);
    const name = kind === 'gap' ? 'Gap' : 'Repeat';
    this.faults += 1;
    this.#fault ??= { kind, text: `${name}: .${offset + 1} was due, ${short(cursor)} came` };
    this.say('');
    this.#render();
  }

  #reset({ data, cursor }) {
    this.#resetUntil = Date.now() + RESET_SHOWN_MS;
    if (data?.count !== undefined) this.state = data;
    const reason = data?.reason ?? 'epoch_changed';
    this.#row('reset', `@reset ${reason}`);
    this.say(`The server says continuity was lost (${reason}). Goes on from ${short(cursor)}`);
    setTimeout(() => this.#render(), RESET_SHOWN_MS + 50);
  }

  #following() {
    return ORDER[(ORDER.indexOf(this.transport) + 1) % ORDER.length];
  }

  #become(link, line = TRANSPORTS[this.transport].line) {
    this.#link = link;
    this.say(line);
    this.#render();
  }

  #showTransport() {
    const { name, how } = TRANSPORTS[this.transport];
    const view = this.#view;
    view.dataset.transport = this.transport;
    view.setAttribute('aria-label', `${name} pane`);
    view.querySelector('h3').textContent = name;
    view.querySelector('.how').textContent = how;
    const next = view.querySelector('[data-action=switch]');
    next.textContent = `To ${TRANSPORTS[this.#following()].short}`;
    next.setAttribute('aria-label', `Switch to ${TRANSPORTS[this.#following()].name}, from the same cursor`);
  }

  #row(kind, text, cursor) {
    this.#fresh.push({ kind, text, cursor });
    if (this.#fresh.length > TAPE_ROWS) this.#fresh.shift();
    this.#render();
  }

  // However many messages arrived since, the page is written once a frame.
  #render() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#write();
    });
  }

  #write() {
    const view = this.#view;
    const shown = this.#fault?.kind ?? (Date.now() < this.#resetUntil ? 'reset' : this.#link);
    view.dataset.state = this.#fault ? 'error' : shown === 'paused' ? 'cut' : shown;
    view.dataset.cursor = this.cursor ?? '';
    view.dataset.count = this.state?.count ?? '';
    view.dataset.received = this.received;
    const { epoch = '', offset } = parseCursor(this.cursor) ?? {};
    const texts = {
      '.state': BADGES[shown],
      '.number': format(this.state?.count),
      '.at .epoch': epoch,
      '.at .offset': offset === undefined ? '' : `.${offset}`,
      '.received': format(this.received),
      '.faults': this.faults,
    };
    for (const [selector, text] of Object.entries(texts)) view.querySelector(selector).textContent = text;
    const tape = view.querySelector('.tape');
    tape.prepend(...this.#fresh.splice(0).reverse().map(row));
    while (tape.children.length > TAPE_ROWS) tape.lastChild.remove();
  }
}

/** A number as people write it; a dash for none. */
export const format = (number) => (number === undefined || number === null ? '–' : number.toLocaleString('en-US'));

/** `.42`: within one channel the offset says it all. */
export const short = (cursor) => (cursor ? `.${parseCursor(cursor).offset}` : 'the present state');

function row({ kind, text, cursor }) {
  const li = document.createElement('li');
  li.className = kind;
  if (cursor) {
    const { epoch, offset } = parseCursor(cursor);
    li.append(span('epoch', epoch), span('offset', `.${offset}`));
  }
  li.append(span('text', text));
  return li;
}

function span(className, text) {
  const element = document.createElement('span');
  element.className = className;
  element.textContent = text;
  return element;
}
