/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * tls_cork_gnutls.h: a tls_cork_policy over a session of GnuTLS (3.6 or later), TLS 1.2 and 1.3.
 *
 * Copy this file and tls_cork_gnutls.c into a program. Its sends then go through the policy; its
 * reads stay with GnuTLS:
 *
 *     struct tls_cork_gnutls tls;
 *     int rc = tls_cork_gnutls_init(&tls, session, true, NULL); // after the handshake
 *     ...
 *     tls_cork_writev(tls.policy, now, iov, iovcnt, TLS_CORK_MORE);  // not gnutls_record_send()
 *     tls_cork_transmit(tls.policy, TLS_CORK_NO_LIMIT, send_output, &fd);
 *     gnutls_record_recv(session, buffer, size);           // as before
 *     ...
 *     tls_cork_gnutls_free(&tls);
 *     gnutls_deinit(session);
 *
 * All that GnuTLS sends goes to the output of the policy: records, handshake messages, alerts. So
 * transmit after every call of GnuTLS, if tls_cork_wants_transmit(). GnuTLS answers a KeyUpdate
 * with its next record.
 *
 * Threads: one at a time, for the session and the policy together.
 */
#ifndef TLS_CORK_GNUTLS_H
#define TLS_CORK_GNUTLS_H

#include <stdbool.h>
#include <stdint.h>

#include <gnutls/gnutls.h>
#include <tls_cork.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A session and its policy. Must not move between init and free: the session points to it. */
struct tls_cork_gnutls {
    tls_cork_policy *policy; /* all writes go here */
    gnutls_session_t session;
    int error; /* the GnuTLS code that ended the policy, for gnutls_strerror(); 0 without one */

    /* Used by tls_cork_gnutls.c. */
    bool ready;
    tls_cork_output *output;
    unsigned char *record;
};

/* Creates a policy over `session`, whose push function becomes that of `tls`. Its pull function and
 * the pointer for it stay as they are; set them before, by gnutls_transport_set_int() for instance.
 * `config` may be NULL, for the defaults with batches of 32 to 48 KiB, which took less CPU than the
 * larger ones at writes of 64 KiB (docs/measured.md).
 *
 * `established` states whether the handshake has ended. If not, take its steps by
 * tls_cork_gnutls_handshake().
 *
 * Returns 0, or the negative errno code of tls_cork_policy_new(); `tls` has no policy then. */
int tls_cork_gnutls_init(struct tls_cork_gnutls *tls, gnutls_session_t session, bool established,
                         const tls_cork_config *config);

/* Takes a step of the handshake by gnutls_handshake(), and returns its result. What was written to
 * the policy meanwhile is released at the end of the handshake. Transmit afterwards, whatever the
 * result: there may be a message or an alert to send. */
int tls_cork_gnutls_handshake(struct tls_cork_gnutls *tls, int64_t now);

/* Ends the policy because gnutls_record_recv() has returned the fatal error `code`, and queues the
 * alert that fits it. Returns the number of accepted bytes discarded. Transmit afterwards. */
ssize_t tls_cork_gnutls_failed(struct tls_cork_gnutls *tls, int code);

/* Frees the policy and its output, but not the session, which must not send any more. */
void tls_cork_gnutls_free(struct tls_cork_gnutls *tls);

#ifdef __cplusplus
}
#endif

#endif
