// Files over a data channel: a line of JSON that says what comes, then its bytes.

const CHUNK = 16 * 1024;
/** How many bytes may wait in the browser before more are read, so that a large file does not fill the memory. */
const MOST = 1024 * 1024;

/** Sends a file, one after the other over each channel. Tells how far it is. */
export function send(channel, file) {
  const sent = tracked({ name: file.name, size: file.size, done: 0 });
  queues.set(channel, (queues.get(channel) ?? Promise.resolve()).then(() => transfer(channel, file, sent)).catch(() => {}));
  return sent;
}

const queues = new WeakMap();

async function transfer(channel, file, sent) {
  channel.send(JSON.stringify({ name: file.name, size: file.size, type: file.type }));
  for (let at = 0; at < file.size; at += CHUNK) {
    if (channel.bufferedAmount > MOST) await drained(channel);
    const chunk = await file.slice(at, at + CHUNK).arrayBuffer();
    channel.send(chunk);
    sent.move(sent.done + chunk.byteLength);
  }
  sent.move(file.size);
}

function drained(channel) {
  channel.bufferedAmountLowThreshold = MOST / 2;
  return new Promise((resolve, reject) => {
    channel.addEventListener('bufferedamountlow', resolve, { once: true });
    channel.addEventListener('close', reject, { once: true });
  });
}

/** Gives what takes a peer's messages. Calls back with each file that begins. */
export function receiver(begins) {
  let file, parts;
  return (data) => {
    if (typeof data === 'string') {
      const { name, size, type } = JSON.parse(data);
      parts = [];
      file = tracked({ name, size, type, done: 0 });
      begins(file);
    } else {
      parts.push(data);
      file.move(file.done + data.byteLength, parts);
    }
    if (file.done === file.size) file.move(file.size, parts);
  };
}

function tracked(file) {
  const listeners = [];
  file.on = (listener) => {
    listeners.push(listener);
    listener();
  };
  file.move = (done, parts) => {
    file.done = done;
    if (parts && done === file.size) file.blob ??= new Blob(parts, { type: file.type });
    for (const listener of listeners) listener();
  };
  return file;
}
