// Binary messages.

/** The bytes of a message that is none of JSON. */
export const bytes = ({ data }) => Uint8Array.from(atob(data), (char) => char.charCodeAt(0));

/** How bytes are posted: as they are. */
export const raw = (body, options) => (body instanceof Uint8Array ? { type: 'application/octet-stream', raw: body, ...options } : options);
