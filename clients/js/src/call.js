// Calls: peers find each other in a room, and signal through an inbox for each of its members. Media and data go from peer to peer.

import { Emitter } from './emitter.js';
import { Peer } from './peer.js';

/** How long a peer may take to be connected, or connected again, in milliseconds, while signals can be sent. */
const PATIENCE = 60_000;
/** Into how many parts that is divided: after each it is tried again. */
const ATTEMPTS = 4;
/** How long to wait before those are looked for again to whom no connection came about: twice as long each time, up to this, in milliseconds. */
const LONGEST = 300_000;
/** Which part of its life a credential for relays has behind it when there is another one. */
const RENEWED = 0.8;
/** When to ask again for servers that could not be had, in milliseconds. */
const ASK_AGAIN = 30_000;
/** What messages are called, in the room and in inboxes. */
const [HELLO, BYE, SIGNAL] = ['call.hello', 'call.bye', 'call.signal'];

const key = (member, session) => `${session} ${member}`;
const life = () => [...crypto.getRandomValues(new Uint8Array(9))].map((byte) => byte.toString(16).padStart(2, '0')).join('');

/** Enters a room, a channel with `inboxes`, as one of its members. */
export const join = (client, room, options) => new Call(client, room, options);

class Call extends Emitter {
  #client;
  #options;
  #watches = [];
  #peers = new Map();
  #tracks = new Map();
  #configuration = {};
  #timers = new Map();
  #failures = 0;
  #isOver = false;
  #present = new Set();
  #off = [];

  constructor(client, room, options) {
    super();
    const { member, signal } = options;
    if (!member) throw new TypeError('a call needs the name of its member: the subject of its token');
    this.room = room.replace(/^\/?/, '/');
    this.member = member;
    /** Which life of this member it is: another page, or the same one loaded again, is another. */
    this.session = life();
    /** Who the room's presence lists. */
    this.members = new Map();
    this.#client = client;
    this.#options = { patience: PATIENCE, channels: { data: {} }, RTCPeerConnection: globalThis.RTCPeerConnection, ...options };
    for (const track of options.stream?.getTracks() ?? []) this.#tracks.set(track, [options.stream]);
    if (signal) {
      const leave = () => this.leave();
      signal.addEventListener('abort', leave, { once: true });
      this.#off.push(() => signal.removeEventListener('abort', leave));
    }
    if (signal?.aborted) this.leave();
    else void this.#begin().catch((error) => this.#end(error));
  }

  /** Those that are connected, or about to be. */
  get peers() {
    return [...this.#peers.values()];
  }

  get isOver() {
    return this.#isOver;
  }

  /** Sends to everybody whose data channel is open. Says to how many that was. */
  send(data, label) {
    return this.peers.filter((peer) => peer.send(data, label)).length;
  }

  /** Sends a track to everybody, now and to who comes later. */
  addTrack(track, ...streams) {
    this.#tracks.set(track, streams);
    for (const { connection } of this.peers) connection.addTrack(track, ...streams);
  }

  removeTrack(track) {
    this.#tracks.delete(track);
    for (const { connection } of this.peers) {
      const sender = connection.getSenders().find((one) => one.track === track);
      if (sender) connection.removeTrack(sender);
    }
  }

  /** Leaves the room: everybody is told. */
  leave() {
    if (this.#isOver) return;
    this.#post(this.room, BYE, {}).catch(() => {});
    this.#end();
  }

  async #begin() {
    await this.#renewServers();
    if (this.#isOver) return;
    // Whoever is told of us may answer at once: so we listen first.
    const room = this.#watch(this.room, { [HELLO]: (who, data) => this.#hello(who, data), [BYE]: (who) => this.#bye(who) });
    const inbox = this.#watch(`${this.room}/@to/${this.member}`, { [SIGNAL]: (who, data) => this.#signals(who, data) });
    // A channel need not tell who is there.
    this.#roll();
    for (const watch of [room, inbox]) {
      watch.on('end', (error) => this.#end(error));
      // What was missed may have been a greeting, or a signal.
      watch.on('@reset', () => (this.#greet({ again: true }), this.#retry()));
    }
    await Promise.all([room, inbox].map((watch) => new Promise((resolve) => watch.on('@live', resolve))));
    let wasLive = true;
    this.#off.push(
      this.#client.onState(({ state }) => {
        if (state === 'live' && !wasLive) this.#retry();
        wasLive = state === 'live';
      }),
    );
    this.#greet();
    this.emit('live', this);
  }

  #greet(more = {}) {
    if (!this.#isOver) this.#post(this.room, HELLO, more).catch((error) => this.emit('error', error));
  }

  #retry() {
    for (const peer of this.peers) peer.retry();
  }

  /** Listens to what others say: whom it is from is what the server says, and only where there are no tokens what they say themselves. */
  #watch(channel, listeners) {
    const watch = this.#client.watch(channel);
    this.#watches.push(watch);
    for (const [event, listener] of Object.entries(listeners)) {
      watch.on(event, ({ from, data }) => {
        const who = { member: from ?? data?.member, session: data?.session };
        const isWhole = [who.member, who.session].every((part) => typeof part === 'string' && part);
        if (isWhole && who.session !== this.session && !this.#isOver) listener(who, data);
      });
    }
    return watch;
  }

  /** Whoever is not there any more, and not connected, is gone. */
  #roll() {
    const watch = this.#client.watch(`${this.room}/@presence`);
    this.#watches.push(watch);
    const changed = () => {
      const present = new Set([...this.members].map(([id, { sub }]) => sub ?? id));
      const gone = (peer) => this.#present.has(peer.member) && !present.has(peer.member) && peer.state !== 'connected';
      for (const peer of this.peers.filter(gone)) this.#drop(peer);
      this.#present = present;
      this.emit('members', this.members);
    };
    const set = ({ data: { id, member } }) => (this.members.set(id, member), changed());
    watch.on('@state', ({ data }) => ((this.members = new Map(Object.entries(data.members))), changed()));
    watch.on('join', set);
    watch.on('update', set);
    watch.on('leave', ({ data: { id } }) => (this.members.delete(id), changed()));
  }

  /** Somebody has come. It listens already, so it can be offered a connection. */
  #hello(who, { again }) {
    const known = this.#peers.get(key(who.member, who.session));
    if (known) return void (again && known.retry());
    // The same side begins with whomever comes later. Whoever would begin at the other side as well would have to take its first offer back, after which
    // Chromium (156) at times gathers no candidates.
    if (this.#isPolite(who)) this.#sender(who.member, who.session)({ welcome: true });
    else this.#meet(who).open(this.#options.channels, this.#tracks);
  }

  #isPolite({ member, session }) {
    return key(this.member, this.session) < key(member, session);
  }

  #bye({ member, session }) {
    const peer = this.#peers.get(key(member, session));
    if (peer) this.#drop(peer);
  }

  #signals(who, { to, signals }) {
    // Of a former life of this member, or for another page of it.
    if (to !== this.session || !Array.isArray(signals)) return;
    for (const signal of signals) {
      let peer = this.#peers.get(key(who.member, who.session));
      if (signal.bye) {
        if (peer) this.#lose(peer);
      } else if (signal.welcome) {
        if (!peer && !this.#isPolite(who)) this.#meet(who).open(this.#options.channels, this.#tracks);
      } else if (peer) peer.take(signal);
      else if (signal.description?.type === 'offer') {
        peer = this.#meet(who);
        peer.take(signal, () => peer.open(this.#options.channels, this.#tracks));
      }
    }
  }

  #meet({ member, session }) {
    const peer = new Peer({ member, session }, {
      isPolite: this.#isPolite({ member, session }),
      send: this.#sender(member, session),
      configuration: this.#configuration,
      RTCPeerConnection: this.#options.RTCPeerConnection,
    });
    this.#peers.set(key(member, session), peer);
    for (const type of ['open', 'message', 'track', 'channel']) peer.on(type, (event) => this.emit(type, event));
    peer.on('error', (error) => this.emit('error', error));
    peer.on('left', () => this.#drop(peer));
    peer.on('state', (state) => this.#changed(peer, state));
    this.#await(peer);
    this.emit('peer', peer);
    return peer;
  }

  #changed(peer, state) {
    if (state === 'connected') {
      this.#failures = 0;
      clearTimeout(this.#timers.get(peer));
      this.#timers.delete(peer);
      this.emit('connected', peer);
    } else this.#await(peer);
  }

  /** Gives a peer so long to be connected. The time in which nothing could be signalled does not count. */
  #await(peer, attempt = 1) {
    if (this.#timers.has(peer) || peer.isGone) return;
    const timer = setTimeout(() => {
      this.#timers.delete(peer);
      if (this.#client.state !== 'live') return this.#await(peer, attempt);
      if (attempt < ATTEMPTS) {
        if (!peer.isPolite) peer.retry();
        return this.#await(peer, attempt + 1);
      }
      this.#sender(peer.member, peer.session)({ bye: true });
      this.#lose(peer);
    }, this.#options.patience / ATTEMPTS);
    this.#timers.set(peer, timer);
  }

  #drop(peer) {
    if (!this.#peers.delete(key(peer.member, peer.session))) return;
    clearTimeout(this.#timers.get(peer));
    this.#timers.delete(peer);
    peer.close();
    this.emit('gone', peer);
  }

  /** No connection came about. Who is left with nobody begins anew, in another life: nothing of the former one can be taken for its own. */
  #lose(peer) {
    this.#drop(peer);
    if (this.#isOver || this.peers.some(({ state }) => state === 'connected')) return;
    const wait = Math.min(this.#options.patience * 2 ** this.#failures++, LONGEST) * Math.random();
    clearTimeout(this.#timers.get(this));
    this.#timers.set(this, setTimeout(() => {
      if (this.peers.some(({ state }) => state === 'connected')) return;
      this.#post(this.room, BYE, {}).catch(() => {});
      this.peers.forEach((one) => this.#drop(one));
      this.session = life();
      this.#greet();
    }, wait));
  }

  /** Sends signals to a peer, in their order: what comes while some are under way goes with the next ones. */
  #sender(member, to) {
    const waiting = [];
    let isUnderWay = false;
    return async (signal) => {
      waiting.push(signal);
      if (isUnderWay) return;
      isUnderWay = true;
      try {
        // What one event has brought about goes together.
        await undefined;
        while (waiting.length) await this.#post(`${this.room}/@to/${member}`, SIGNAL, { to, signals: waiting.splice(0) });
      } catch (error) {
        waiting.length = 0;
        this.emit('error', error);
      }
      isUnderWay = false;
    };
  }

  async #post(channel, event, data) {
    const answer = await this.#client.post(channel, { member: this.member, session: this.session, ...data }, { event });
    if (!answer.ok) throw Object.assign(new Error(answer.problem.detail ?? `${channel} takes no messages`), answer);
  }

  /** Asks the server for STUN and TURN servers, and again before their credential ends. */
  async #renewServers() {
    const { configuration } = this.#options;
    let again = ASK_AGAIN;
    try {
      const { ttl, ...told } = configuration ? { ...configuration } : await this.#servers();
      this.#configuration = told;
      for (const { connection } of this.peers) connection.setConfiguration({ ...connection.getConfiguration(), ...told });
      again = ttl * 1000 * RENEWED;
    } catch (error) {
      // Within one network peers connect without any.
      this.emit('error', error);
    }
    if (!configuration && !this.#isOver) this.#timers.set('servers', setTimeout(() => this.#renewServers(), again));
  }

  async #servers() {
    const response = await this.#client.http.send('/_/ice', { cache: 'no-store' });
    const told = await response.json();
    if (!response.ok) throw Object.assign(new Error(told.detail), { status: response.status });
    return told;
  }

  #end(error) {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#off.forEach((off) => off());
    for (const watch of this.#watches) watch.close();
    for (const peer of this.peers) this.#drop(peer);
    this.emit('end', error);
  }
}
