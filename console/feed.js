// What a reader of one channel knows: where it stands, whether anything was missed, and when to come back.

/** Splits a cursor of one channel, `EPOCH.OFFSET`. Only a checker needs to: to everyone else a cursor is opaque. */
export function parseCursor(text) {
  const [, epoch, offset] = /^([0-9a-z]+)\.(\d+)$/.exec(text ?? '') ?? [];
  return epoch ? { epoch, offset: Number(offset) } : null;
}

/** Whether an event is the server's own word and not a message: its name begins with `@`. */
export const isControl = (event) => event?.startsWith('@') ?? false;

/**
 * Checks that what arrives is the channel's log: every offset of an epoch once, in order, and no new epoch unannounced.
 *
 * `check` judges one event and moves on to its cursor. Its verdicts:
 *   next      the message that was due
 *   baseline  a snapshot that starts (or restarts) the reading
 *   quiet     nothing new: a repeat of where the reader already stands
 *   reset     the server said that continuity was lost
 *   gap       something was missed
 *   repeat    something came twice, or the channel went backwards
 */
export class Continuity {
  /** The cursor of the last event, to resume from. */
  cursor = null;
  /** Whether the server just said `@reset`: the snapshot that follows may be anywhere. */
  #isReset = false;

  /** Forgets the position: the next snapshot or message is the baseline. */
  forget() {
    this.cursor = null;
    this.#isReset = false;
  }

  /** `snapshots`: each event is the newest state (short polling), so offsets may be skipped but never go back. */
  check({ event, cursor }, { snapshots = false } = {}) {
    const to = parseCursor(cursor);
    if (!to) return 'quiet';
    const from = parseCursor(this.cursor);
    const wasReset = this.#isReset;
    this.cursor = cursor;
    this.#isReset = event === '@reset';

    if (event === '@reset') return 'reset';
    if (event === '@state' && wasReset) return 'baseline';
    if (!from) return isControl(event) && event !== '@state' ? 'quiet' : 'baseline';
    if (snapshots) return judgeSnapshot(from, to);
    const due = isControl(event) ? from.offset : from.offset + 1;
    if (to.epoch !== from.epoch || to.offset > due) return 'gap';
    if (to.offset < due) return 'repeat';
    return isControl(event) ? 'quiet' : 'next';
  }
}

// A snapshot has no way to announce a new epoch: seeing one is the announcement.
function judgeSnapshot(from, to) {
  if (to.epoch !== from.epoch) return 'reset';
  if (to.offset < from.offset) return 'repeat';
  return to.offset === from.offset ? 'quiet' : 'next';
}

/** The first wait before reconnecting, in milliseconds, and the longest: quick after a blip, gentle in an outage. */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

/**
 * How long to wait before attempt number `attempt` (1, 2, 3 …). Doubles each time; the upper half is random, so that
 * clients cut at the same moment do not all come back at the same moment.
 */
export function backoff(attempt, random = Math.random) {
  const most = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt);
  return most / 2 + (random() * most) / 2;
}

/** Resolves after `ms`, or at once when `signal` aborts. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
