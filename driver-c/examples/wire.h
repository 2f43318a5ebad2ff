/* A non-blocking socket that counts what leaves through it: the examples print the counts. */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct wire {
    int fd;
    uint64_t sends;   /* system calls that sent something */
    uint64_t records; /* TLS records, by their headers (RFC 8446, section 5.1) */
    uint64_t bytes;
    unsigned char head[5]; /* of the record that leaves now */
    size_t head_have, body_missing;
};

/* sendmsg(2), for tls_cork_transmit(): `user` is the wire. Returns the number of bytes sent, or a
 * negative errno code. */
ssize_t wire_send(void *user, const struct iovec *iov, size_t iovcnt, bool more);

/* The same, as a push function of GnuTLS. */
ssize_t wire_push(void *user, const void *data, size_t len);

#endif
