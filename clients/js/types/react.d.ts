import type { Client, Envelope, PlainwireError } from './index.js';

export interface UseWatchOptions {
  /** A cursor to begin after; `'0'` for the oldest message kept. By default: from now on, of a state channel with its state. */
  since?: string;
  /** Begin with so many of the newest messages. */
  last?: number;
  /** How many messages to keep, the newest. Default 100. */
  keep?: number;
}

/** What a component sees of a channel. */
export interface Watched<T = unknown> {
  /** The newest data: of a state channel its state. */
  readonly data?: T;
  /** The newest messages, the oldest of them first. */
  readonly messages: readonly Envelope<T>[];
  /** Why it is over, if the server refused it. */
  readonly error?: PlainwireError;
  /** Why continuity was lost, if it was: what was there before is gone. */
  readonly reset?: string;
}

/** Watches a channel while the component is there. Without a channel (`undefined`, `null`) it watches nothing. */
export function useWatch<T = unknown>(client: Client, channel: string | null | undefined, options?: UseWatchOptions): Watched<T>;
