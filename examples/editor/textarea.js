// Binds a <textarea> to a Y.Text, and shows the carets of others in a copy of the text that lies behind it.

import * as Y from './yjs.js';

export function bind(paper, text, awareness) {
  const area = paper.querySelector('textarea');
  const shadow = paper.querySelector('.shadow');

  area.addEventListener('input', () => {
    const [before, after] = [text.toString(), area.value];
    const { at, removed, added } = difference(before, after, area.selectionEnd);
    text.doc.transact(() => {
      if (removed) text.delete(at, removed);
      if (added) text.insert(at, added);
    }, area);
  });
  text.observe((event, transaction) => {
    if (transaction.origin !== area) {
      const [start, end] = [area.selectionStart, area.selectionEnd].map((index) => moved(index, event.delta));
      area.value = text.toString();
      area.setSelectionRange(start, end);
    }
    draw();
  });

  // Where the caret is, said so that it means the same whatever others write before it.
  document.addEventListener('selectionchange', () => {
    if (document.activeElement !== area) return;
    const caret = Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(text, area.selectionEnd));
    awareness.setLocalStateField('caret', caret);
  });
  awareness.on('change', draw);
  area.addEventListener('scroll', () => (shadow.scrollTop = area.scrollTop));
  draw();

  function draw() {
    const carets = [];
    for (const [client, { name, caret }] of awareness.getStates()) {
      const place = client !== text.doc.clientID && caret && Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(caret), text.doc);
      if (place) carets.push({ name, index: place.index });
    }
    const whole = text.toString();
    let end = 0;
    shadow.replaceChildren();
    for (const { name, index } of carets.sort((one, other) => one.index - other.index)) {
      const mark = Object.assign(document.createElement('span'), { className: 'caret' });
      mark.dataset.name = name;
      shadow.append(whole.slice(end, index), mark);
      end = index;
    }
    shadow.append(`${whole.slice(end)}\n`);
    shadow.scrollTop = area.scrollTop;
  }
}

/** What one edit changed: up to the caret it may differ, behind it all is as it was. */
function difference(before, after, caret) {
  const behind = after.length - caret;
  let end = 0;
  while (end < behind && end < before.length && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  let at = 0;
  const most = Math.min(before.length, after.length) - end;
  while (at < most && before[at] === after[at]) at += 1;
  return { at, removed: before.length - end - at, added: after.slice(at, after.length - end) };
}

/** Where a place is after a change. */
function moved(index, delta) {
  let at = 0;
  for (const { retain = 0, insert = '', delete: removed = 0 } of delta) {
    if (at + retain > index) break;
    at += retain;
    if (insert && at <= index) index += insert.length;
    if (removed) index -= Math.min(removed, Math.max(index - at, 0));
    at += insert.length;
  }
  return index;
}
