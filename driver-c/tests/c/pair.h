/* Two sessions of GnuTLS in memory: a client behind tls_cork_gnutls, and a server without a policy.
 * Both directions have content of their own, checked byte by byte as it arrives. */
#ifndef PAIR_H
#define PAIR_H

#include <stdio.h>
#include <stdlib.h>

#include "tls_cork_gnutls.h"

/* Ends the test, unless `condition` holds. Also in builds with NDEBUG. */
#define CHECK(condition)                                                          \
    ((condition) ? (void)0                                                        \
                 : (fprintf(stderr, "%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #condition, \
                            tls_cork_last_error()),                               \
                    exit(1)))

struct pipe {
    unsigned char *data;
    size_t len, taken, space;
};

struct pair {
    struct tls_cork_gnutls tls;
    gnutls_session_t client, server;
    gnutls_psk_client_credentials_t client_key;
    gnutls_psk_server_credentials_t server_key;
    struct pipe to_client, to_server;
    int64_t now;         /* virtual time */
    int server_done;     /* the server's handshake has ended */
    size_t written;      /* bytes that the policy has accepted */
    size_t got;          /* bytes that have arrived at the server */
    size_t said;         /* bytes that the server has sent */
    size_t heard;        /* bytes that have arrived at the client */
    size_t records;      /* in which `got` arrived */
    int ended;           /* the server has seen close_notify */
    size_t capacity;     /* bytes that the transport still takes */
    size_t step;         /* the most that it takes at a time */
    unsigned sends;      /* calls of the transport, those that took nothing included */
    unsigned char space[512 * 1024];
};

/* Sets up both sessions. `version` is "1.2" or "1.3". If `established`, the handshake runs before
 * the policy is created. `record_limit` is the longest record that the server takes, or 0. */
void pair_new(struct pair *pair, const char *version, int established, size_t record_limit,
              const tls_cork_config *config);

/* Takes what steps of the handshake there are. Returns whether both sides have ended it. */
int pair_handshake(struct pair *pair);

/* Writes the next bytes of the content: the lengths are those of the elements. Returns what
 * tls_cork_writev() has returned. */
ssize_t pair_write(struct pair *pair, const size_t *lens, size_t count, unsigned flags);

/* Transmits until the transport has taken `capacity` bytes, up to `step` at a time. */
int pair_transmit(struct pair *pair, size_t capacity, size_t step);

/* Lets both sides read all that has arrived. */
void pair_read(struct pair *pair);

/* Transmits and reads until nothing moves. */
void pair_drain(struct pair *pair);

/* Moves time on, and calls at each deadline, as a loop would. */
void pair_advance(struct pair *pair, int64_t ns);

/* The server sends `len` bytes. */
void pair_say(struct pair *pair, size_t len);

/* The client receives a record that no session accepts. */
void pair_corrupt(struct pair *pair);

void pair_free(struct pair *pair);

#endif
