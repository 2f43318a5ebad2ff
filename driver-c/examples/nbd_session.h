/* A client's connection to an NBD server: TCP, the switch to TLS, and the choice of the export.
 *
 * The examples share this file. It has nothing of tls-cork in it: it is the part that a program
 * has already. The protocol: doc/proto.md of https://github.com/NetworkBlockDevice/nbd. */
#ifndef NBD_SESSION_H
#define NBD_SESSION_H

#include <stddef.h>
#include <stdint.h>

#include <gnutls/gnutls.h>

/* Where to connect, and as whom. */
struct nbd_target {
    const char *port;             /* on localhost */
    const char *tls_certificates; /* a directory with ca-cert.pem, or NULL */
    const char *tls_psk;          /* a file with a line "name:key in hex", or NULL */
    const char *priority;         /* GnuTLS's priority string, or NULL for the usual one */
};

struct nbd_session {
    int fd;
    gnutls_session_t tls;
    gnutls_certificate_credentials_t certificates;
    gnutls_psk_client_credentials_t psk;
};

enum {
    NBD_GO_SIZE = 22,      /* bytes of the option that nbd_put_go writes */
    NBD_REPLY_SIZE = 20,   /* bytes in front of the data of an option's reply */
    NBD_REQUEST_SIZE = 28, /* bytes in front of the data of a write */
    NBD_ANSWER_SIZE = 16   /* bytes of the answer to a write */
};
enum { NBD_WRITE = 1, NBD_DISCONNECT = 2 };

/* Connects (blocking), and negotiates up to the first byte of TLS. The session is set up over the
 * descriptor; its handshake has not begun. */
void nbd_connect(struct nbd_session *nbd, const struct nbd_target *target);

/* Shakes hands and chooses the default export (blocking). Returns its size in bytes. */
uint64_t nbd_negotiate(struct nbd_session *nbd);

/* Writes the option that chooses the default export to `to`, NBD_GO_SIZE bytes. */
void nbd_put_go(unsigned char *to);

/* Reads the head of an option's reply. Returns the number of bytes that follow as its data; stores
 * whether the reply is the last one, which means that requests may follow. */
size_t nbd_get_reply(const unsigned char *head, int *last);

/* Writes the head of a request to `to`, NBD_REQUEST_SIZE bytes. */
void nbd_put_request(unsigned char *to, int command, uint64_t handle, uint64_t offset, uint32_t len);

/* Checks the answer to a write. */
void nbd_check_answer(const unsigned char *answer);

/* Makes reads and writes of the descriptor return EAGAIN instead of waiting. */
void nbd_set_nonblocking(const struct nbd_session *nbd);

/* Frees everything. */
void nbd_free(struct nbd_session *nbd);

/* Prints "what: why" and ends the program. */
_Noreturn void die(const char *what, const char *why);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t monotonic_ns(void);

#endif
