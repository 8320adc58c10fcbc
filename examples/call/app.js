// A call and a file drop: the pages find each other in a room of the server, and then talk to each other without it.

import { connect } from '/_/client/plainwire.js';
import { join } from '/_/client/plainwire-call.js';
import { seats } from '../shared/seats.js';
import { receiver, send } from './files.js';
import { testPicture } from './picture.js';

/** Which room: `/_/examples/call/#ours` is another one. */
const ROOM = `/call/${location.hash.slice(1) || 'first'}`;

for (const seat of seats('Ann', 'Bob')) enter(seat.root, seat.name, seat.follow(connect('/', seat.options)));

function enter(root, name, pw) {
  const call = join(pw, ROOM, { member: name, channels: { files: { ordered: true } } });
  const find = (selector) => root.querySelector(selector);

  const show = () => {
    find('.peers').replaceChildren(...call.peers.map((peer) => peerLine(peer)));
    if (!call.peers.length) find('.peers').textContent = 'Nobody else is here. Open a second window.';
  };
  for (const event of ['live', 'peer', 'connected', 'gone', 'open']) call.on(event, show);
  call.on('end', (error) => (find('.peers').textContent = error ? `Refused: ${error.message}` : 'Left'));
  addEventListener('pagehide', () => call.leave());

  // Files
  const receivers = new Map();
  call.on('message', ({ peer, data }) => {
    if (!receivers.has(peer)) receivers.set(peer, receiver((file) => find('.files').prepend(fileLine(file, `from ${peer.member}`))));
    receivers.get(peer)(data);
  });
  call.on('gone', (peer) => receivers.delete(peer));
  const sendAll = (files) => {
    for (const file of files) {
      for (const peer of call.peers) find('.files').prepend(fileLine(send(peer.channels.files, file), `to ${peer.member}`));
    }
  };
  find('.drop input').addEventListener('change', ({ target }) => {
    sendAll(target.files);
    target.value = '';
  });
  const drop = find('.drop');
  for (const type of ['dragenter', 'dragover', 'dragleave', 'drop']) {
    drop.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.toggle('over', type === 'dragenter' || type === 'dragover');
      if (type === 'drop') sendAll(event.dataTransfer.files);
    });
  }

  // Pictures
  call.on('track', ({ peer, streams: [stream] }) => {
    if (pictureOf(root, stream)) return;
    const picture = showPicture(root, stream, peer.member);
    const isGone = () => stream.getTracks().length || picture.remove();
    stream.addEventListener('removetrack', isGone);
    call.on('gone', (one) => one === peer && picture.remove());
  });
  let mine;
  const share = async (source) => {
    find('.note').textContent = '';
    try {
      mine = await source();
    } catch (error) {
      find('.note').textContent = `No camera: ${error.message}`;
      return;
    }
    showPicture(root, mine, `${name}, you`, true);
    for (const track of mine.getTracks()) call.addTrack(track, mine);
    root.classList.add('sharing');
  };
  find('[value=camera]').addEventListener('click', () => share(async () => navigator.mediaDevices.getUserMedia({ video: true, audio: true })));
  find('[value=test]').addEventListener('click', () => share(() => testPicture(name)));
  find('[value=stop]').addEventListener('click', () => {
    for (const track of mine.getTracks()) {
      call.removeTrack(track);
      track.stop();
    }
    pictureOf(root, mine).remove();
    root.classList.remove('sharing');
  });
}

function peerLine({ member, state }) {
  const item = Object.assign(document.createElement('li'), { textContent: state === 'connected' ? member : `${member}, ${state}` });
  item.dataset.state = state;
  return item;
}

/** A file under way: `{name, size, done, blob, on}`. */
function fileLine(file, whose) {
  const item = document.createElement('li');
  item.innerHTML = '<span></span><span class="soft"></span><progress max="1" value="0"></progress>';
  const [title, about, progress] = item.children;
  title.textContent = file.name;
  file.on(() => {
    progress.value = file.size ? file.done / file.size : 1;
    about.textContent = `${whose}, ${Math.ceil(file.size / 1024).toLocaleString('en')} KiB`;
    item.dataset.done = file.done === file.size;
    if (file.done !== file.size) return;
    progress.remove();
    if (file.blob) title.replaceWith(Object.assign(document.createElement('a'), { href: URL.createObjectURL(file.blob), download: file.name, textContent: file.name }));
  });
  return item;
}

const pictureOf = (root, stream) => [...root.querySelectorAll('figure')].find((figure) => figure.firstChild.srcObject === stream);

function showPicture(root, stream, title, isMine = false) {
  const figure = document.createElement('figure');
  figure.innerHTML = '<video autoplay playsinline></video><figcaption></figcaption>';
  const video = figure.firstChild;
  video.muted = isMine;
  video.srcObject = stream;
  // Before anything was clicked a page may not make a sound.
  video.play().catch(() => {
    video.muted = true;
    return video.play().catch(() => {});
  });
  figure.querySelector('figcaption').textContent = title;
  root.querySelector('.pictures').append(figure);
  return figure;
}
