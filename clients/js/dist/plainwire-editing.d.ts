/** A shared document: Yjs over a channel of binary messages. */

import type { Awareness } from 'y-protocols/awareness';
import type { Doc } from 'yjs';

import type { Client } from './plainwire.js';

export interface ProviderOptions {
  /** Cursors and names of the editors: told to each other on a channel beside. */
  awareness?: Awareness;
  /** That channel. By default `CHANNEL/awareness`. */
  awarenessChannel?: string;
  /** After how many updates the whole document is posted, so that whoever comes later reads no more than about so many. Default 200. */
  compactAfter?: number;
}

/**
 * Keeps a document the same for all who have it. What is changed without a connection is kept, and sent when there is one: of a document that
 * was stored, also what was changed before this was made.
 */
export interface Provider {
  readonly channel: string;
  readonly doc: Doc;
  readonly awareness?: Awareness;
  /** Whether everything that there was has been applied. */
  readonly isSynced: boolean;
  /** Whether everything that was changed here is on the server. */
  readonly isSaved: boolean;
  /** How many messages were read to begin with, once it is synced. */
  readonly read: number | undefined;
  /** Synced, or all changes are on the server. */
  on(type: 'sync' | 'saved', listener: () => void): () => void;
  /** Messages were lost: it is made whole again from what this document has and the server keeps. */
  on(type: 'reset', listener: (why: { reason: string }) => void): () => void;
  /** The server refuses it for good. */
  on(type: 'error', listener: (error: Error) => void): () => void;
  /** Ends it. The document stays as it is. */
  destroy(): void;
}

export interface ProviderClass {
  new (client: Client, channel: string, doc: Doc, options?: ProviderOptions): Provider;
}

/** The provider for these modules, the application's own: for pages without a bundler. */
export function providers(Y: typeof import('yjs'), protocol?: typeof import('y-protocols/awareness')): ProviderClass;
