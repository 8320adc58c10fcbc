// What a reader has not taken yet: bounded, and with nothing lost unseen.

/**
 * Policies for a reader that is slower than its channel:
 * - `block`: no more is received until the reader has caught up; then it goes on where it stopped. Nothing is lost.
 * - `drop-oldest`: the oldest makes room for the newest.
 * - `latest`: of each key the newest stays; if that is not enough, the oldest goes.
 */
export class Queue {
  #items = [];
  #dropped = 0;

  constructor({ limit = 1024, overflow = 'block', key = () => '' } = {}) {
    if (!['block', 'drop-oldest', 'latest'].includes(overflow)) throw new TypeError(`no such overflow: ${overflow}`);
    if (!(limit >= 1)) throw new RangeError(`a limit of ${limit}`);
    this.limit = limit;
    this.overflow = overflow;
    this.key = key;
  }

  get size() {
    return this.#items.length;
  }

  /** Whether it has room. Where it makes room, it always has. */
  get hasRoom() {
    return this.overflow !== 'block' || this.#items.length < this.limit;
  }

  /** Takes an item in. Gives those that it lost. Control events are never lost. */
  push(item) {
    const lost = [];
    const isMessage = ({ event }) => !event?.startsWith('@');
    const lose = (isIt) => {
      const index = this.#items.findIndex((other) => isMessage(other) && isIt(other));
      if (index >= 0) lost.push(...this.#items.splice(index, 1));
    };
    if (this.overflow === 'latest' && isMessage(item)) {
      const key = this.key(item);
      lose((other) => this.key(other) === key);
    }
    if (this.overflow !== 'block' && this.#items.length >= this.limit) lose(() => true);
    this.#dropped += lost.length;
    this.#items.push(item);
    return lost;
  }

  /** The oldest. If some were lost since the one before, it says how many: `dropped`. */
  shift() {
    const item = this.#items.shift();
    if (!item || !this.#dropped) return item;
    const dropped = this.#dropped;
    this.#dropped = 0;
    return { ...item, dropped };
  }

  clear() {
    this.#items = [];
  }
}
