//! Every transport through real sockets: nothing is lost.
