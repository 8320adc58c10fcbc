// The colours of a terminal (ECMA-48, SGR) as classes: enough of them for compilers and test runners.

const NAMES = { 1: 'bold', 2: 'dim', 31: 'red', 32: 'green', 33: 'yellow', 36: 'cyan' };
const ESCAPE = '\u001b';

/** Appends a line's text to `to`, in spans of its colours. */
export function coloured(line, to) {
  let classes = new Set();
  const [first, ...rest] = line.split(`${ESCAPE}[`);
  to.append(first);
  for (const part of rest) {
    const [, codes, text] = /^([\d;]*)[A-Za-z]([^]*)$/.exec(part) ?? [, '', part];
    for (const code of codes.split(';')) {
      if (!Number(code)) classes = new Set();
      else if (NAMES[code]) classes.add(NAMES[code]);
    }
    to.append(Object.assign(document.createElement('span'), { className: [...classes].join(' '), textContent: text }));
  }
  return to;
}
