//! The WebSocket protocol (RFC 6455) with permessage-deflate (RFC 7692), without I/O.
