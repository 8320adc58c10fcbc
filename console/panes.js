// A pane: one reader of the channel. It reconnects by itself, from its cursor, over any transport, and judges what arrives.

import { backoff, Continuity, isControl, parseCursor, pause } from './feed.js';
import { ORDER, TRANSPORTS } from './transports.js';
import { format, short, View } from './view.js';

/** How long a pane stays amber after the server said `@reset`, in milliseconds: long enough to be read. */
const RESET_SHOWN_MS = 6000;
/** A cut by hand waits like a third failed attempt (2 to 4 s): long enough to see the others go on. */
const CUT_COUNTS_AS = 3;
/** How long after a reconnect the pane counts what it caught up on, in milliseconds. */
const CATCH_UP_MS = 500;

export class Pane {
  /** What it reads over now; it began with the one it is named after. */
  transport;
  /** The newest state received: `{count}`. */
  state = null;
  /** Messages received (new snapshots, if it polls), and how many events were not the one that was due. */
  received = 0;
  faults = 0;

  #url;
  #moved;
  #view;
  #continuity = new Continuity();
  /** The connection, or the wait before the next: aborted with the reason for going on. */
  #attempt = new AbortController();
  /** `connecting`, `live`, `cut` or `paused`. */
  #link = 'connecting';
  #tries = 0;
  /** When the server asked to come back, in milliseconds from then. */
  #drainMs = null;
  /** The first thing that went wrong: `{kind, text}`. Stays until the pane starts over. */
  #fault = null;
  #resetUntil = 0;
  #isHushed = false;
  #catchingUp = 0;
  #isPaused = () => false;
  #unpause = () => {};

  /** `moved(pane)` is called after each change of state. */
  constructor(key, url, moved) {
    this.transport = key;
    this.#url = url;
    this.#moved = moved;
    const actions = {
      cut: () => this.cut(),
      switch: () => this.use(following(this.transport)),
      clear: () => this.startOver(),
    };
    this.#view = new View(key, actions, () => this.#shown());
    this.#view.transport(key, following(key));
    this.#view.refresh();
  }

  get element() {
    return this.#view.element;
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
    this.#view.transport(transport, following(transport));
    this.#view.row('mark', `switched to ${TRANSPORTS[transport].short}`);
    this.#attempt.abort('switch');
  }

  /** Forgets what went wrong and where it stood, and reads anew from the present state. */
  startOver() {
    this.faults = 0;
    this.#fault = null;
    this.#continuity.forget();
    this.#view.row('mark', 'started over');
    this.#attempt.abort('restart');
  }

  /** `isPaused(pane)` says whether the pane must do without a connection for now. */
  pauseWhile(isPaused) {
    this.#isPaused = () => isPaused(this);
    if (this.#isPaused()) this.#attempt.abort('pause');
    else this.#unpause();
  }

  /** Takes one event, `{event, cursor, data}`, as if it had come from the transport. */
  receive({ event, cursor, data }) {
    const before = this.cursor;
    const { snapshots } = TRANSPORTS[this.transport];
    const verdict = this.#continuity.check({ event, cursor }, { snapshots });
    if (event === '@drain') this.#drainMs = data.reconnect_in_ms;
    if (verdict === 'quiet') return this.#view.refresh();

    const isState = !isControl(event) || event === '@state';
    if (isState) this.state = data;
    if (!isControl(event) || (snapshots && verdict !== 'baseline')) this.received += 1;
    if (verdict === 'reset') this.#turnAmber(data?.reason ?? 'epoch_changed', cursor);
    else this.#view.row(verdict, isState ? format(data?.count) : event, cursor);
    if (verdict === 'gap' || verdict === 'repeat') return this.#turnRed(verdict, before, cursor);
    if (this.#isHushed) this.#say(TRANSPORTS[this.transport].line);
    this.#moved(this);
  }

  /** Shows that the pane was watched and stayed where it was. */
  hush() {
    if (this.#link === 'live') this.#say(`Silent: still at ${short(this.cursor)}`);
    this.#isHushed = true;
    this.#view.hush();
  }

  async #read() {
    const { signal } = (this.#attempt = new AbortController());
    const { watch } = TRANSPORTS[this.transport];
    this.#drainMs = null;
    this.#become('connecting');
    const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve));
    try {
      await Promise.race([watch(this.#url, this.cursor, this.#listener(signal), signal), aborted]);
    } catch {
      // A connection that failed is over, like one that ended: the wait and the next attempt are the same.
    }
    const over = signal.aborted ? signal.reason : 'ended';
    this.#attempt.abort(over);
    return over;
  }

  // What one connection calls back. Whatever it still says after it was aborted is not heard.
  #listener(signal) {
    let [from, before] = [this.cursor, this.received];
    const open = () => {
      if (this.#link === 'live') return;
      this.#tries = 0;
      this.#become('live');
      if (from) this.#catchUp(from, before);
    };
    const retry = () => {
      [from, before] = [this.cursor, this.received];
      this.#become('connecting', 'The browser is reconnecting by itself');
    };
    const unlessAborted = (act) => (event) => signal.aborted || act(event);
    return {
      open: unlessAborted(open),
      retry: unlessAborted(retry),
      event: unlessAborted((event) => this.receive(event)),
    };
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

  #catchUp(from, before) {
    clearTimeout(this.#catchingUp);
    this.#view.row('mark', `resumed from ${short(from)}`);
    this.#say(`Resumed from ${short(from)}`);
    this.#catchingUp = setTimeout(() => {
      const missed = this.received - before;
      if (this.#link === 'live' && missed) this.#say(`Resumed from ${short(from)}, caught up on ${missed}`);
    }, CATCH_UP_MS);
  }

  #turnRed(kind, before, cursor) {
    const { offset } = parseCursor(before);
    const name = kind === 'gap' ? 'Gap' : 'Repeat';
    this.faults += 1;
    this.#fault ??= { kind, text: `${name}: .${offset + 1} was due, ${short(cursor)} came` };
    this.#say('');
  }

  #turnAmber(reason, cursor) {
    this.#resetUntil = Date.now() + RESET_SHOWN_MS;
    this.#view.row('reset', `@reset ${reason}`);
    this.#say(`The server says continuity was lost (${reason}). Goes on from ${short(cursor)}`);
    setTimeout(() => this.#view.refresh(), RESET_SHOWN_MS + 50);
  }

  #become(link, line = TRANSPORTS[this.transport].line) {
    this.#link = link;
    this.#say(line);
    this.#view.refresh();
  }

  // What broke a pane stays said.
  #say(text) {
    this.#isHushed = false;
    this.#view.say(this.#fault?.text ?? text);
  }

  #shown() {
    const { cursor, received, faults } = this;
    const isReset = Date.now() < this.#resetUntil;
    const badge = this.#fault?.kind ?? (isReset ? 'reset' : this.#link);
    return { badge, cursor, received, faults, count: this.state?.count };
  }
}

/** The transport that a pane's switch goes to. */
function following(transport) {
  return ORDER[(ORDER.indexOf(transport) + 1) % ORDER.length];
}
