// A shared document: Yjs over a channel of binary messages, kept short by snapshots.
//
// Each message `update` is what an editor changed. Now and then an editor posts the whole document, `snapshot`, on condition that the channel
// stands where the editor has read it: so a snapshot has in it all that comes before it, and whoever comes later begins there.

import { bytes } from './bytes.js';

/** How many updates there may be since the newest snapshot before somebody makes another. */
const COMPACT_AFTER = 200;
/** Who makes it is a matter of chance: every editor waits for up to so many milliseconds. */
const COMPACT_WITHIN = 2_000;
/** Messages that are read beyond that: some come while a snapshot is on its way. */
const MARGIN = 50;
/** How long to wait before another attempt, in milliseconds, after the client has given up one. */
const PAUSE = 1_000;

const offset = (cursor) => Number(cursor.slice(cursor.lastIndexOf('.') + 1));

/**
 * The provider for these modules: the application's own, as there may be but one of each.
 *
 * @param {typeof import('yjs')} Y
 * @param {typeof import('y-protocols/awareness')} [protocol]
 */
export const providers = (Y, protocol) =>
  class Provider {
    #pw;
    #options;
    #listeners = new Map();
    #watch;
    #beside;
    /** What was changed here and is not known to be on the server. */
    #pending = [];
    #isSending = false;
    #since = 0;
    #compacting;
    #isOver = false;
    /** Whether everything that there was has been applied, and what the server lacks is on its way. */
    isSynced = false;

    constructor(pw, channel, doc, options = {}) {
      this.#pw = pw;
      this.channel = channel;
      this.doc = doc;
      this.awareness = options.awareness;
      this.#options = { compactAfter: COMPACT_AFTER, awarenessChannel: `${channel}/awareness`, ...options };
      doc.on('update', this.#changed);
      this.#join(this.#options.compactAfter + MARGIN);
      if (this.awareness) this.#attend();
    }

    /** How many messages were read to begin with, if it has. */
    read;

    /** Whether everything that was changed here is on the server. */
    get isSaved() {
      return this.isSynced && !this.#pending.length && !this.#isSending;
    }

    /** Calls back when it is synced (`sync`), when all changes are on the server (`saved`), when messages were lost (`reset`), and when the server refuses (`error`). */
    on(type, listener) {
      const set = this.#listeners.get(type) ?? new Set();
      this.#listeners.set(type, set.add(listener));
      return () => set.delete(listener);
    }

    destroy() {
      if (this.#isOver) return;
      this.#isOver = true;
      this.doc.off('update', this.#changed);
      clearTimeout(this.#compacting);
      this.#watch.close();
      if (this.#beside) {
        protocol.removeAwarenessStates(this.awareness, [this.doc.clientID], 'gone');
        this.awareness.off('update', this.#moved);
        this.#beside.close();
      }
    }

    #emit(type, value) {
      for (const listener of this.#listeners.get(type) ?? []) listener(value);
    }

    #fail(error) {
      this.#emit('error', error);
      this.destroy();
    }

    /** Reads from the newest snapshot on: it is among so many of the newest messages, or everything is read. */
    #join(last) {
      const begin = last ? { last } : { since: '0' };
      const watch = (this.#watch = this.#pw.watch(this.channel, begin));
      let before = [];
      const isMine = () => this.#watch === watch && !this.#isOver;
      watch.on('message', (message) => {
        if (!isMine()) return;
        if (before) before.push(message);
        else this.#take(message);
      });
      watch.on('@live', () => {
        if (!before || !isMine()) return;
        const snapshot = before.findLastIndex(({ event }) => event === 'snapshot');
        const isWhole = snapshot >= 0 || !before.length || offset(before[0].cursor) === 1;
        if (!isWhole && last) {
          watch.close();
          return this.#join(0);
        }
        const messages = before.slice(Math.max(snapshot, 0));
        [this.read, before] = [messages.length, undefined];
        this.#begin(messages);
        // What came before the oldest message that is kept is in no snapshot.
        if (!isWhole) this.#emit('reset', { reason: 'trimmed' });
      });
      watch.on('@reset', ({ data }) => {
        if (!isMine() || data.reason === 'trimmed' && before) return;
        // Something was lost, by the server or because this was away for too long. What all editors have makes it whole again.
        this.#emit('reset', data);
        watch.close();
        this.isSynced = false;
        this.#join(this.#options.compactAfter + MARGIN);
      });
      watch.on('end', (error) => isMine() && error && this.#fail(error));
    }

    /** Takes what there was, and sends what the server lacks: changes that were made before this came, or while it was away. */
    #begin(messages) {
      this.#since = 0;
      const server = new Y.Doc();
      for (const message of messages) {
        Y.applyUpdate(server, bytes(message));
        this.#take(message);
      }
      if (!Y.equalSnapshots(Y.snapshot(server), Y.snapshot(this.doc))) {
        this.#pending = [Y.encodeStateAsUpdate(this.doc, Y.encodeStateVector(server))];
      }
      server.destroy();
      this.isSynced = true;
      this.#emit('sync');
      this.#send();
    }

    #take(message) {
      if (message.event !== 'update' && message.event !== 'snapshot') return;
      Y.applyUpdate(this.doc, bytes(message), this);
      this.#since = message.event === 'snapshot' ? 0 : this.#since + 1;
      if (this.#since >= this.#options.compactAfter) {
        this.#compacting ??= setTimeout(() => this.#compact(), Math.random() * COMPACT_WITHIN);
      }
    }

    #changed = (update, origin) => {
      if (origin === this) return;
      this.#pending.push(update);
      this.#send();
    };

    /** Sends what is pending, one message at a time: what is changed meanwhile goes into the next. */
    async #send() {
      if (this.#isSending || !this.isSynced) return;
      this.#isSending = true;
      while (this.#pending.length && this.isSynced && !this.#isOver) {
        const sent = this.#pending.splice(0);
        const update = sent.length > 1 ? Y.mergeUpdates(sent) : sent[0];
        if (!(await this.#post(update))) break;
      }
      this.#isSending = false;
      if (this.isSaved) this.#emit('saved');
    }

    /** Sends an update until it is taken, under one key: what was applied though its answer was lost is not applied again. */
    async #post(update) {
      const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
      while (!this.#isOver) {
        try {
          const result = await this.#pw.post(this.channel, update, { event: 'update', key });
          if (!result.ok) this.#fail(Object.assign(new Error(result.problem.detail), result));
          return result.ok;
        } catch (error) {
          if (error.remedy === 'stop') this.#fail(error);
          else await new Promise((resolve) => setTimeout(resolve, PAUSE));
        }
      }
      return false;
    }

    /** Posts the whole document, if nobody has meanwhile, and nobody writes at the moment. */
    async #compact() {
      this.#compacting = undefined;
      const { cursor } = this.#watch;
      if (this.#isOver || !this.isSynced || this.#since < this.#options.compactAfter) return;
      try {
        // Refused if somebody else was faster: then the next update is the occasion.
        await this.#pw.post(this.channel, Y.encodeStateAsUpdate(this.doc), { event: 'snapshot', ifMatch: cursor });
      } catch {
        // The same: it is not needed but to be fast.
      }
    }

    /** Tells the others of this editor's cursor and name, and takes theirs. Nothing of it is kept for long. */
    #attend() {
      const { awareness } = this;
      const beside = (this.#beside = this.#pw.watch(this.#options.awarenessChannel, { overflow: 'drop-oldest' }));
      beside.on('state', (message) => protocol.applyAwarenessUpdate(awareness, bytes(message), this));
      // Whoever comes is told who is there.
      beside.on('hello', ({ data }) => data !== this.doc.clientID && this.#tell([this.doc.clientID]));
      let isThere = false;
      beside.on('@live', () => {
        if (!isThere) this.#say('hello', this.doc.clientID);
        isThere = true;
        this.#tell([this.doc.clientID]);
      });
      awareness.on('update', this.#moved);
    }

    #moved = ({ added, updated, removed }, origin) => {
      if (origin === this) return;
      const mine = [...added, ...updated, ...removed].filter((id) => id === this.doc.clientID);
      if (mine.length) this.#tell(mine);
    };

    #tell(clients) {
      if (this.awareness.meta.has(clients[0])) this.#say('state', protocol.encodeAwarenessUpdate(this.awareness, clients));
    }

    /** What comes too late is of no use. */
    #say(event, body) {
      this.#pw.post(this.#options.awarenessChannel, body, { event, deadline: 5_000 }).catch(() => {});
    }
  };
