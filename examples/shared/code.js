// Shows the code of an example in its page: `app.js` as it runs, and the lines of configuration from its README.

// Comments, strings and keywords are enough colour. What holds `//` in a string must be tried first.
const SCRIPT = /('[^'\n]*'|`[^`]*`)|(\/\/[^\n]*|\/\*[^]*?\*\/)|\b(async|await|break|class|const|continue|else|export|for|from|function|if|import|let|new|of|return|while)\b/g;
const TOML = /("[^"\n]*"|'[^'\n]*')|(#[^\n]*)|(^\[[^\n]*\])/gm;

const details = document.querySelector('details.code');
details.addEventListener('toggle', () => details.querySelector('pre') || fill());

// What follows the # in the URL is the example's own: links within the page leave it alone.
for (const link of document.querySelectorAll('a[href^="#"]')) {
  link.addEventListener('click', (click) => {
    click.preventDefault();
    const target = document.querySelector(link.getAttribute('href'));
    if (target === details) details.open = true;
    target.tabIndex = -1;
    target.focus();
    target.scrollIntoView();
  });
}

async function fill() {
  const [script, readme] = await Promise.all(['app.js', 'README.md'].map(async (file) => (await fetch(file)).text()));
  const config = [...readme.matchAll(/```toml\n([^]*?)```/g)].map(([, lines]) => lines).join('\n');
  details.append(...panel('Configuration', config, TOML, 'README.md'), ...panel('app.js', script, SCRIPT, 'app.js'));
}

function panel(title, text, tokens, file) {
  const head = Object.assign(document.createElement('h3'), { textContent: title });
  head.append(Object.assign(document.createElement('a'), { href: file, textContent: file === title ? 'alone' : file }));
  const pre = document.createElement('pre');
  pre.tabIndex = 0;
  pre.append(...highlight(text, tokens));
  return [head, pre];
}

function highlight(text, tokens) {
  const parts = [];
  let end = 0;
  for (const { 0: found, 1: string, 2: comment, index } of text.matchAll(tokens)) {
    const className = string ? 'string' : comment ? 'comment' : 'keyword';
    parts.push(text.slice(end, index), Object.assign(document.createElement('span'), { className, textContent: found }));
    end = index + found.length;
  }
  return [...parts, text.slice(end)];
}
