// Which transport to use: the last that worked, and another one if it does not.

import { drop } from './errors.js';

/** How long a server may take to say that it is there, in milliseconds. */
const PROBE = 5_000;
/** How often one that worked before may fail before another one is tried: the server may have come back just after it did. */
const DOUBTS = 3;
const STORED = 'plainwire.transport';

export class Transports {
  #all;
  #index = 0;
  /** One that has worked, and how often it has failed since. */
  #trusted;
  #doubts = 0;

  constructor(all, { transports: names = all.map(({ name }) => name), storage = stored() } = {}) {
    this.#all = names.map((name) => all.find((transport) => transport.name === name) ?? missing(name));
    this.storage = storage;
    this.#index = Math.max(names.indexOf(this.#read()), 0);
  }

  next() {
    return this.#all[this.#index % this.#all.length];
  }

  /** Something was heard over it. */
  worked(transport) {
    this.#trusted = transport;
    this.#doubts = 0;
    const { name } = transport;
    if (this.#read() === name) return;
    try {
      this.storage?.setItem(STORED, name);
    } catch {
      // Blocked or full: then it is not remembered.
    }
  }

  /** Nothing was heard over it: another one is next, if there is a server to talk to at all. */
  async failed(transport, http) {
    if (this.#all.length < 2) return;
    const signal = AbortSignal.timeout(PROBE);
    const error = await http.open('/_/ready', 'application/json', { signal }).then(drop, (cause) => cause);
    // Of a server that is not there, or not itself, no other transport would hear more.
    const isThere = !error || (error.problem && error.status < 500);
    if (!isThere || transport !== this.next()) return;
    if (transport !== this.#trusted || ++this.#doubts === DOUBTS) this.#index += 1;
  }

  /** Goes on over another one. */
  use(name) {
    const index = this.#all.findIndex((transport) => transport.name === name);
    this.#index = index < 0 ? missing(name) : index;
  }

  #read() {
    try {
      return this.storage?.getItem(STORED);
    } catch {
      return undefined;
    }
  }
}

function missing(name) {
  throw new RangeError(`no such transport: ${name}`);
}

function stored() {
  try {
    return globalThis.localStorage;
  } catch {
    return undefined;
  }
}
