// One peer of a call: an RTCPeerConnection, negotiated as the WebRTC specification says (W3C, section 10.7, "Perfect negotiation").

import { Emitter } from './emitter.js';

export class Peer extends Emitter {
  #send;
  #isOffering = false;
  #isIgnoring = false;
  /** Signals are worked on one after the other, in the order in which they came. */
  #working = Promise.resolve();

  /**
   * @param {object} who `member` and `session`: this is one life of a member, which ends with its page.
   * @param {(signal: object) => void} send sends a signal to it
   */
  constructor({ member, session }, { isPolite, send, configuration, RTCPeerConnection }) {
    super();
    this.member = member;
    this.session = session;
    /** Data channels by their labels. */
    this.channels = {};
    this.isGone = false;
    /** Whether it is the other side that insists, where both want something at once. */
    this.isPolite = isPolite;
    this.#send = send;
    const connection = (this.connection = new RTCPeerConnection(configuration));
    connection.onnegotiationneeded = () => this.#offer();
    connection.onicecandidate = ({ candidate }) => send({ candidate: candidate?.toJSON() ?? null });
    connection.onconnectionstatechange = () => {
      if (this.state === 'failed') connection.restartIce();
      this.emit('state', this.state);
    };
    connection.ontrack = ({ track, streams, transceiver }) => this.emit('track', { peer: this, track, streams, transceiver });
    connection.ondatachannel = ({ channel }) => this.emit('channel', { peer: this, channel });
  }

  /** `new`, `connecting`, `connected`, `disconnected`, `failed` or `closed`: the connection's. */
  get state() {
    return this.isGone ? 'closed' : this.connection.connectionState;
  }

  /** Opens data channels that both sides know of by their order, and sends tracks. Of what an offer has already, nothing has to be offered. */
  open(channels, tracks) {
    Object.entries(channels).forEach(([label, options], id) => {
      const channel = this.connection.createDataChannel(label, { ...options, negotiated: true, id });
      channel.binaryType = 'arraybuffer';
      this.channels[label] = channel;
      channel.onopen = () => this.emit('open', { peer: this, channel });
      channel.onmessage = ({ data }) => this.emit('message', { peer: this, channel, data });
      // The page at the other end is gone, or has closed its end: that is told at once, where a connection that is merely cut is not.
      channel.onclose = () => this.isGone || this.emit('left');
    });
    for (const [track, streams] of tracks) this.connection.addTrack(track, ...streams);
  }

  /** Sends through a data channel, if it is open. Says whether it was. */
  send(data, label = Object.keys(this.channels)[0]) {
    const channel = this.channels[label];
    if (channel?.readyState !== 'open') return false;
    channel.send(data);
    return true;
  }

  /** Takes a signal from the other side. `first` is done once it is taken, if it is an offer. */
  take(signal, first) {
    this.#working = this.#working.then(() => this.#take(signal, first)).catch((error) => this.isGone || this.emit('error', error));
  }

  /** Tries again to connect: with candidates of whatever networks there are now. */
  retry() {
    if (this.isGone || this.state === 'connected') return;
    // What was offered may not have arrived.
    if (this.connection.signalingState === 'have-local-offer') this.#send({ description: this.connection.localDescription });
    else this.connection.restartIce();
  }

  close() {
    this.isGone = true;
    this.connection.close();
  }

  async #offer() {
    try {
      this.#isOffering = true;
      await this.connection.setLocalDescription();
      this.#send({ description: this.connection.localDescription });
    } catch (error) {
      if (!this.isGone) this.emit('error', error);
    } finally {
      this.#isOffering = false;
    }
  }

  async #take({ description, candidate }, first) {
    const { connection } = this;
    if (this.isGone) return;
    if (description) {
      const isOffer = description.type === 'offer';
      const isCollision = isOffer && (this.#isOffering || connection.signalingState !== 'stable');
      this.#isIgnoring = isCollision && !this.isPolite;
      // An answer to an offer that was sent twice comes twice.
      const isLate = description.type === 'answer' && connection.signalingState !== 'have-local-offer';
      if (this.#isIgnoring || isLate) return;
      // One's own offer is taken back, if there is one.
      await connection.setRemoteDescription(description);
      if (!isOffer) return;
      first?.();
      await connection.setLocalDescription();
      this.#send({ description: connection.localDescription });
    } else {
      try {
        await connection.addIceCandidate(candidate ?? undefined);
      } catch (error) {
        // That of an offer that was ignored belongs to nothing.
        if (!this.#isIgnoring) throw error;
      }
    }
  }
}
