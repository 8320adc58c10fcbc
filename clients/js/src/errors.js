// What went wrong, and what helps.

/** Whether the same request may succeed later. */
export const isPassing = (status) => [408, 425, 429].includes(status) || (status >= 500 && status !== 501);

/** Longest wait that a server can ask for, in milliseconds: whoever is told more is better off to look sooner. */
const LONGEST = 600_000;

export class PlainwireError extends Error {
  /**
   * @param {string} message
   * @param {{ status?: number, reason?: string, problem?: object, retryAfter?: number, remedy?: string, cause?: unknown }} about
   */
  constructor(message, about = {}) {
    super(message, { cause: about.cause });
    this.name = 'PlainwireError';
    this.status = about.status ?? 0;
    this.problem = about.problem;
    this.reason = about.reason ?? about.problem?.reason ?? 'network';
    /** Milliseconds that the server asks for. */
    this.retryAfter = Math.min(about.retryAfter ?? 0, LONGEST);
    /** `retry`: again, later. `renew`: with another token. `stop`: nothing that a client could do. */
    this.remedy = about.remedy ?? remedyOf(this);
  }
}

function remedyOf({ status, reason }) {
  if (status === 401) return 'renew';
  return status < 400 || isPassing(status) || reason === 'key_in_flight' ? 'retry' : 'stop';
}

/** Reads no further. */
export const drop = (response) => void response.body?.cancel().catch(() => {});

/** An answer of a server that is not Plainwire, such as a proxy's page. */
export function foreign(response) {
  drop(response);
  const { status } = response;
  return new PlainwireError(`no answer of Plainwire (${status})`, { status, reason: 'foreign', remedy: 'retry' });
}

/** The error that a problem document (RFC 9457) tells of. */
export const refused = (status, problem, retryAfter) =>
  new PlainwireError(problem.detail ?? problem.title ?? `status ${status}`, { status, problem, retryAfter });

/** Whether an answer is of a media type. */
export const isOf = ({ headers }, type) => (headers.get('content-type') ?? '').startsWith(type);

export const isProblem = (response) => isOf(response, 'application/problem+json');

/** Reads an answer that is no success. Gives an error, and throws none. Gateways tell of their own failures in words of their own. */
export async function refusal(response) {
  return isProblem(response) ? refused(response.status, await response.json().catch(() => ({})), retryAfter(response)) : foreign(response);
}

/** `Retry-After` in milliseconds: seconds, or a date (RFC 9110, section 10.2.3), which is compared with the server's own clock where it may be seen. */
export function retryAfter({ headers }) {
  const asked = headers.get('retry-after') ?? 0;
  const wait = asked >= 0 ? asked * 1000 : Date.parse(asked) - (Date.parse(headers.get('date')) || Date.now());
  return Math.max(wait, 0) || 0;
}
