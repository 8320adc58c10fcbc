/** The client of Plainwire: live URLs, watched and changed. */

/** What is watched: a message, or what the server has to say of the channel (`@state`, `@reset`). */
export interface Envelope<T = unknown> {
  /** The channel's name, without a slash before it. */
  readonly channel: string;
  /** Where the channel stands with this. To begin after it, give it as `since`. */
  readonly cursor: string;
  /** What kind of message it is, if it says so. Those that begin with `@` are the server's. */
  readonly event?: string;
  readonly data: T;
  /** Of a binary message, whose `data` is a string: see `bytes`. */
  readonly encoding?: 'base64';
  /** When the server accepted it, in milliseconds since 1970. */
  readonly at?: number;
  /** The subject of the credential that it was posted with. */
  readonly from?: string;
  /** How many messages were lost before this one, by a reader that does not block. */
  readonly dropped?: number;
}

/** RFC 9457. */
export interface Problem {
  readonly status: number;
  readonly title?: string;
  readonly detail?: string;
  /** What a program goes by. */
  readonly reason?: string;
  readonly [member: string]: unknown;
}

/** What went wrong, and what helps. */
export class PlainwireError extends Error {
  /** The HTTP status, or 0 if there was no answer. */
  readonly status: number;
  /** The problem's `reason`; or `network`, `foreign` (the answer was no Plainwire server's), `deadline`, `full`, `closed`, `protocol`, … */
  readonly reason: string;
  readonly problem?: Problem;
  /** How long the server asks to be left alone, in milliseconds. */
  readonly retryAfter: number;
  /** The same again later (`retry`), with another token (`renew`), or nothing (`stop`). */
  readonly remedy: 'retry' | 'renew' | 'stop';
  /** Of a write: whether it may have been applied. Sent again with the same key, it is applied once. */
  readonly wasSent?: boolean;
}

/** `shared` is another tab's connection (`Options.share`). */
export type TransportName = 'websocket' | 'sse' | 'ndjson' | 'poll' | 'shared';

export interface BackoffOptions {
  /** Milliseconds: the first wait is any up to this, and each after it up to twice as much. By default what the server says (`retry:`), or 500. */
  base?: number;
  /** Milliseconds that no wait is longer than, unless the server asks. Default 30,000. */
  cap?: number;
}

/** How much of what was received waits for a `for await` that is slow. */
export interface BufferOptions<T = unknown> {
  /** Most messages. Default 1,024. */
  limit?: number;
  /**
   * `block` (default): no more is received until they were read, and then from where it stopped: nothing is lost.
   * `drop-oldest`: the oldest makes room. `latest`: of each `key` only the newest waits.
   * What is lost is counted in the next message's `dropped`, and told to `on('dropped', …)`.
   */
  overflow?: 'block' | 'drop-oldest' | 'latest';
  /** Of `latest`: what a message is about. One for all by default. */
  key?: (message: Envelope<T>) => unknown;
}

export interface Options {
  /** A token, or what gives one: asked when there is none yet, when the server says that it will end soon, and after a 401. */
  token?: string | (() => string | Promise<string>);
  /** Which transports, in which order. By default all; the last that worked comes first. */
  transports?: readonly Exclude<TransportName, 'shared'>[];
  /**
   * Whether all tabs of this browser with the same server and principal have one connection. `true`: the principal is what the token says, if it is a
   * JWT. A name of your own, as of the user, where there are cookies or no tokens. Default `false`. Without effect in the client for Server-Sent Events alone.
   */
  share?: boolean | string;
  /**
   * Whether changes of states are sent in place of whole ones (merge patches, RFC 7396). Watches are given whole states all the same; after
   * a reconnect, or when one that blocks fell behind, perhaps only the newest. Default false. Not over Server-Sent Events alone.
   */
  delta?: boolean;
  /** How often the server is heard of at least, in milliseconds, as it is configured. After twice that without a word there is another connection. Default 25,000. */
  heartbeat?: number;
  /** How long a connection may take to say the first word, in milliseconds. Default 10,000. */
  patience?: number;
  backoff?: BackoffOptions;
  buffer?: BufferOptions;
  /** `limit`: most writes that wait for an answer (default 256). `deadline`: how long each is tried, in milliseconds (default 60,000). */
  outbox?: { limit?: number; deadline?: number };
  /** Whether cookies go along to another origin. */
  credentials?: 'omit' | 'same-origin' | 'include';
  fetch?: typeof globalThis.fetch;
  WebSocket?: new (url: string, protocols?: string | string[]) => WebSocket;
  /** Where the transport that worked is remembered. By default the page's `localStorage`, if it may be used. */
  storage?: Pick<Storage, 'getItem' | 'setItem'>;
}

export interface WatchOptions<T = unknown> extends BufferOptions<T> {
  /** A cursor to begin after; `'0'` for the oldest message kept. By default: from now on, of a state channel with its state. */
  since?: string;
  /** Begin with so many of the newest messages. */
  last?: number;
  signal?: AbortSignal;
}

/** A channel, watched until it is closed; a finite stream, until it has ended. A `for await` then ends too, with an error of the reason `failed` if the stream did. */
export interface Watch<T = unknown> extends AsyncIterable<Envelope<T>> {
  readonly channel: string;
  /** Where it stands. */
  readonly cursor: string | undefined;
  readonly isOver: boolean;
  /** It is over: with an error if the server refuses it. */
  on(type: 'end', listener: (error: PlainwireError | undefined) => void): () => void;
  /** `message`, an event's name, `@state`, `@reset` (continuity was lost), `@skipped` (newer messages replaced some, where the channel conflates), `@live` (all there was has been received), `dropped`; of a finite stream `@cancel`, and `@end` with what its producer says. Gives what ends this. */
  on(type: string, listener: (envelope: Envelope<T>) => void): () => void;
  close(): void;
}

export interface PostOptions {
  /** The idempotency key, 1 to 255 visible ASCII characters. A random one by default. */
  key?: string;
  /** What kind of message it is. */
  event?: string;
  /** Only if the channel stands at this cursor: else 412. */
  ifMatch?: string;
  /** Of a producer that counts its writes to a finite stream from 1: which one this is. */
  sequence?: number;
  /** How long it is tried, in milliseconds. */
  deadline?: number;
  method?: 'POST' | 'PUT' | 'PATCH';
  /** The media type: of a `PATCH` it says which kind. */
  type?: string;
  signal?: AbortSignal;
}

export type Result<T = unknown> =
  | {
      readonly ok: true;
      readonly status: number;
      readonly cursor: string;
      readonly body: T;
      /** Whether it was answered before, under the same key. */
      readonly replayed: boolean;
      readonly key: string;
    }
  /** Nothing happened. */
  | { readonly ok: false; readonly status: number; readonly problem: Problem; readonly key: string };

export interface State {
  /** `waiting` is between two attempts, `offline` the same while the machine says that it has no network. */
  readonly state: 'idle' | 'connecting' | 'live' | 'waiting' | 'offline' | 'closed';
  readonly transport?: TransportName;
  readonly error?: PlainwireError;
  /** Milliseconds until the next attempt. */
  readonly retryIn?: number;
}

export interface Client {
  readonly state: State['state'];
  /** The one in use, or to be used next. Setting it moves what is watched there, from where it stands. */
  transport: TransportName;
  /** Writes that wait for their answers. */
  readonly pending: number;
  /** Calls back at each change of the state. Gives what ends that. */
  onState(listener: (state: State) => void): () => void;
  watch<T = unknown>(channel: string, options?: WatchOptions<T>): Watch<T>;
  /**
   * Publishes to `/channel` (a `Uint8Array` as a binary message, where the channel takes some), or runs a command, `/channel:command`. Sent until it is answered, in effect once; writes of a channel in the order of the calls.
   *
   * Rejects with a `PlainwireError` only if there is no answer: `deadline`, `full`; or with the signal's reason.
   */
  post<T = unknown>(target: string, body?: unknown, options?: PostOptions): Promise<Result<T>>;
  /** Reads a channel once: its state, or a page of its messages. */
  get<T = unknown>(channel: string, options?: { since?: string; limit?: number; signal?: AbortSignal }): Promise<Result<T>>;
  /** Ends all watches. Posts that wait are still sent, until they are answered or their deadline is over. */
  close(): void;
}

/** The bytes of a binary message. */
export function bytes(message: Envelope): Uint8Array;

/** A client of the server at a URL, which may have a path. Nothing is sent before something is watched or posted. */
export function connect(url: string | URL, options?: Options): Client;
