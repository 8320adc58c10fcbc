/** Calls over WebRTC: peers find each other in a room of a Plainwire server, and signal through it. */

import type { Client } from './index.js';

export interface CallOptions {
  /** Who this is in the room: the subject (`sub`) of the client's token. Where there are no tokens, any name that is a segment of a channel's name. */
  member: string;
  /** Data channels by label, with their options; the same for everybody in the room. Default `{ data: {} }`. */
  channels?: Record<string, RTCDataChannelInit>;
  /** What is sent to everybody from the beginning. */
  stream?: MediaStream;
  /** STUN and TURN servers. By default those of the server's `/_/ice`. */
  configuration?: RTCConfiguration;
  /** How long a peer may take to be connected, in milliseconds. Default 60,000. */
  patience?: number;
  RTCPeerConnection?: typeof globalThis.RTCPeerConnection;
  /** Leaves the room. */
  signal?: AbortSignal;
}

/** Another page in the room. One that is loaded again is another peer of the same member. */
export interface Peer {
  readonly member: string;
  readonly session: string;
  readonly state: RTCPeerConnectionState;
  readonly connection: RTCPeerConnection;
  readonly channels: Readonly<Record<string, RTCDataChannel>>;
  readonly isGone: boolean;
  /** Sends through a data channel, by default the first. Gives false if it is not open. */
  send(data: string | ArrayBuffer | ArrayBufferView | Blob, label?: string): boolean;
}

export interface CallEvents {
  /** The room is listened to, and everybody there was told. */
  live: Call;
  /** Somebody has come. */
  peer: Peer;
  connected: Peer;
  /** Somebody has left, or cannot be reached. */
  gone: Peer;
  /** A data channel of `channels` is open. */
  open: { peer: Peer; channel: RTCDataChannel };
  message: { peer: Peer; channel: RTCDataChannel; data: string | ArrayBuffer };
  /** A data channel that the other side opened by itself. */
  channel: { peer: Peer; channel: RTCDataChannel };
  track: { peer: Peer; track: MediaStreamTrack; streams: readonly MediaStream[]; transceiver: RTCRtpTransceiver };
  /** Who the room's presence lists has changed. */
  members: Call['members'];
  /** Something failed. What can be tried again is. */
  error: Error;
  /** The room was left; with an error if the server refused it. */
  end: Error | undefined;
}

export interface Call {
  readonly room: string;
  readonly member: string;
  readonly session: string;
  readonly peers: readonly Peer[];
  /** The room's presence, by the names that it has for them. */
  readonly members: ReadonlyMap<string, { since: number; info?: unknown; sub?: string }>;
  readonly isOver: boolean;
  /** Gives what ends this. */
  on<T extends keyof CallEvents>(type: T, listener: (event: CallEvents[T]) => void): () => void;
  /** Sends to everybody whose data channel is open. Gives to how many. */
  send(data: string | ArrayBuffer | ArrayBufferView | Blob, label?: string): number;
  /** Sends a track to everybody, now and to who comes later. */
  addTrack(track: MediaStreamTrack, ...streams: MediaStream[]): void;
  removeTrack(track: MediaStreamTrack): void;
  leave(): void;
}

/** Enters a room: a channel whose configuration has `inboxes`. */
export function join(client: Client, room: string, options: CallOptions): Call;
