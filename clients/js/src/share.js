// One connection per browser: tabs elect one of them (Web Locks), which receives for all and tells the others (BroadcastChannel).
//
// Each tab keeps its own cursors. Once the leader watches its channels, it reads for itself, with its own credential, from where it stands
// to where they stand, and goes on with what was told meanwhile. Its session drops what it knows and notices a gap, whoever leads.

import { PlainwireError } from './errors.js';
import { step } from './place.js';
import { poll } from './poll.js';

/** How long a channel is kept after its last watch, in milliseconds: whoever reconnects does without for a moment. */
const LINGER = 1_000;

const again = (reason = 'changed') => new PlainwireError(reason, { reason });

/**
 * The transport that is shared with other tabs, or `direct`, the tab's own ones, where there is no way to share.
 *
 * @param {() => import('./client.js').Client} lead makes a client for all tabs
 */
export function sharing(direct, lead, { share, credentials }) {
  const { locks } = globalThis.navigator ?? {};
  if (!locks || !globalThis.BroadcastChannel) return direct;
  const id = crypto.randomUUID();
  /** What each connection of this tab wants. */
  const wants = new Set();
  let name, bus, life, over;
  /** Whether this tab has connections of its own; whether nobody has answered it; whether it has given up waiting for that. */
  let isAlone, isUnanswered, isDeaf;

  const stop = () => {
    life?.abort();
    bus?.dispatchEvent(new MessageEvent('message', { data: { hidden: true } }));
    bus?.close();
    bus = name = undefined;
  };
  const start = async (group) => {
    stop();
    name = group;
    bus = new BroadcastChannel(group);
    const { signal } = (life = new AbortController());
    const end = (over = new Promise((resolve) => signal.addEventListener('abort', resolve)));
    // Whoever leads waits for this lock, to know when this tab is gone.
    await new Promise((resolve, reject) => locks.request(`${group}/${id}`, () => (resolve(), end)).catch(reject));
    void campaign({ signal });
  };
  /** Leads as soon as nobody else does, or instead of whoever does (`steal`). */
  const campaign = async (how) => {
    const [group, { signal }] = [name, life];
    let end;
    try {
      await locks.request(group, how, () => {
        end = leads(group, lead(), locks);
        return over;
      });
    } catch (error) {
      // Another tab has taken it, as this one did not answer. Whoever cannot lead does without.
      if (error.name !== 'AbortError') isAlone = true;
    }
    end?.();
    if (!signal.aborted && !isAlone && !how.steal) void campaign(how);
  };

  const transport = {
    name: 'shared',
    async *open(wire) {
      const group = await groupOf(wire.http, share, credentials);
      try {
        if (group !== name) await start(group);
      } catch {
        // A page without an origin, as in a sandboxed frame, has nothing to share.
        isAlone = true;
        throw again();
      }
      if (isDeaf) void campaign({ steal: true });
      isDeaf = false;
      const channels = [...wire.places()].map(([channel]) => channel);
      const missing = new Set(channels);
      const [said, early] = [[], []];
      const mine = bus;
      let wake, isLive, isRefused;
      const give = (data) => {
        said.push(data);
        wake?.();
      };
      const listen = ({ data }) => {
        if (data.from || (data.to && data.to !== id)) return;
        isUnanswered = false;
        wire.heard();
        give(data);
      };
      const next = async () => {
        while (!said.length) await new Promise((resolve) => (wake = resolve));
        const data = said.shift();
        if (data.hello || data.again) throw again();
        if (data.hidden) throw again('hidden');
        return data;
      };
      const ask = () => mine === bus && mine?.postMessage({ from: id, want: [...new Set([...wants].flat())] });
      mine?.addEventListener('message', listen);
      wire.signal.addEventListener('abort', () => give({ hidden: true }));
      wants.add(channels);
      isUnanswered = true;
      ask();
      wire.beat = ask;
      try {
        while (missing.size || !isLive) {
          const data = await next();
          if (data.frame) early.push(data);
          for (const one of [...(data.ready ?? []), ...(data.refused ?? [])]) missing.delete(one);
          isRefused ||= data.refused?.some((one) => channels.includes(one));
          if (!data.state) continue;
          isLive = isRefused || !isDown(data.state);
          if (!isLive) yield waiting(data.state);
        }
        let behind = channels.length;
        for await (const frame of poll.open(wire)) {
          yield frame;
          if (frame.event === '@live' && !--behind) break;
        }
        if (isRefused) {
          // This tab may read what the leader may not.
          isAlone = true;
          throw again();
        }
        for (;;) {
          const data = early.shift() ?? (await next());
          if (data.refused?.some((one) => channels.includes(one))) throw again();
          const { frame, skipped } = data;
          const [, reached] = (frame && wire.places().find(([one]) => one === frame.channel)) ?? [];
          if (skipped && reached && step(reached, skipped.cursor ?? frame.cursor) > 0) yield skipped;
          // A state says nothing to who has come further.
          if (frame && !(frame.event === '@state' && reached && step(reached, frame.cursor) <= 0)) yield frame;
          if (data.state && isDown(data.state)) yield waiting(data.state);
          if (data.state?.state === 'live') yield { event: '@up' };
        }
      } finally {
        mine?.removeEventListener('message', listen);
        wants.delete(channels);
        setTimeout(ask, LINGER);
      }
    },
  };

  globalThis.addEventListener?.('pagehide', stop);
  return {
    next: () => (isAlone ? direct.next() : transport),
    worked: (one) => isAlone && direct.worked(one),
    failed(one, http) {
      isDeaf = isUnanswered;
      return isAlone && direct.failed(one, http);
    },
    use(one) {
      isAlone = one !== transport.name;
      if (isAlone) direct.use(one);
    },
    close() {
      stop();
      globalThis.removeEventListener?.('pagehide', stop);
    },
  };
}

const isDown = ({ state }) => state === 'waiting' || state === 'offline';

/** What the session tells of a leader that has no connection just now. */
function waiting({ error, ...state }) {
  return { event: '@waiting', down: { ...state, error: error && new PlainwireError(error.message, error) } };
}

/** Receives for all tabs. Gives what ends that. */
function leads(name, client, locks) {
  const bus = new BroadcastChannel(name);
  const over = new AbortController();
  const known = new Set();
  /** What each tab wants. */
  const wanted = new Map();
  const watches = new Map();
  const ready = new Set();
  let state = { state: 'connecting' };
  const say = (message) => over.signal.aborted || bus.postMessage(message);
  const update = () => {
    const all = new Set([...wanted.values()].flat());
    for (const [channel, watch] of watches) if (!all.has(channel)) watch.close();
    for (const channel of all) {
      if (watches.has(channel)) continue;
      const watch = client.watch(channel);
      watches.set(channel, watch);
      let skipped;
      watch.on('@skipped', (frame) => (skipped = frame));
      for (const type of ['message', '@state', '@cancel', '@end']) {
        watch.on(type, (frame) => {
          say({ frame, skipped });
          skipped = undefined;
        });
      }
      watch.on('@reset', () => say({ again: true }));
      watch.on('@live', () => {
        ready.add(channel);
        say({ ready: [channel] });
      });
      watch.on('end', (error) => {
        watches.delete(channel);
        ready.delete(channel);
        // One that has ended is read to its end by each tab.
        say({ [error && error.reason !== 'failed' ? 'refused' : 'ready']: [channel], state });
      });
    }
  };
  client.onState(({ error, ...more }) => {
    const { message, status, reason, problem, remedy, retryAfter } = error ?? {};
    state = { ...more, ...(error && { error: { message, status, reason, problem, remedy, retryAfter } }) };
    say({ state });
  });
  bus.onmessage = ({ data: { from, want } }) => {
    if (!from) return;
    wanted.set(from, want);
    if (!known.has(from)) {
      known.add(from);
      const gone = () => {
        known.delete(from);
        wanted.delete(from);
        update();
      };
      locks.request(`${name}/${from}`, { signal: over.signal }, gone).catch(() => {});
    }
    update();
    say({ to: from, state, ready: want.filter((channel) => ready.has(channel)) });
  };
  say({ hello: true });
  return () => {
    over.abort();
    bus.close();
    client.close();
  };
}

/** Tabs share that have the same server and principal: what a JWT says but for what changes when it is renewed, or the name that is given. */
async function groupOf(http, share, credentials) {
  let who = await http.token.get();
  try {
    const { exp, iat, nbf, jti, ...claims } = JSON.parse(atob(who.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')));
    who = claims;
  } catch {
    // It is no JWT, or there is none.
  }
  const text = JSON.stringify([http.base, credentials, share === true ? { who } : share]);
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return `plainwire.${Array.from(new Uint32Array(digest), (part) => part.toString(36)).join('.')}`;
}
