/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tls_cork_gnutls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The push function: output in memory never blocks, so that GnuTLS has nothing to repeat. */
static ssize_t push(gnutls_transport_ptr_t user, const void *data, size_t len)
{
    struct tls_cork_gnutls *tls = user;
    int rc = tls_cork_output_append(tls->output, data, len);
    if (rc < 0) {
        gnutls_transport_set_errno(tls->session, -rc);
        return -1;
    }
    return (ssize_t)len;
}

/* Keeps the code of GnuTLS for the program, and its text for tls_cork_last_error(). Returns a code
 * of <errno.h> for the policy. */
static int failed(struct tls_cork_gnutls *tls, int code)
{
    tls->error = code;
    tls_cork_output_set_error(tls->output, gnutls_strerror(code));
    switch (code) {
    case GNUTLS_E_MEMORY_ERROR:
    case GNUTLS_E_PUSH_ERROR: /* tls_cork_output_append() had no memory */
        return -ENOMEM;
    case GNUTLS_E_INVALID_SESSION:
    case GNUTLS_E_SESSION_EOF:
        return -ECONNABORTED;
    case GNUTLS_E_UNAVAILABLE_DURING_HANDSHAKE:
        return -ENOTCONN;
    default:
        return -EIO;
    }
}

static int is_ready(void *user)
{
    return ((struct tls_cork_gnutls *)user)->ready;
}

/* Makes a record of `len` bytes; several, if the peer has asked for shorter ones (RFC 8449). */
static int send_record(gnutls_session_t session, const unsigned char *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = gnutls_record_send(session, data, len);
        if (sent < 0)
            return (int)sent;
        data += sent;
        len -= (size_t)sent;
    }
    return 0;
}

/* GnuTLS takes one buffer for each record. A record that lies in one element of `iov` is encrypted
 * from there, any other is put together first. */
static ssize_t seal(void *user, tls_cork_output *output, const struct iovec *iov, size_t iovcnt,
                    size_t record_size)
{
    struct tls_cork_gnutls *tls = user;
    (void)output; /* the same as tls->output, to which the push function appends */
    size_t at = 0; /* in the first element */
    ssize_t records = 0;
    while (iovcnt > 0) {
        const unsigned char *data = (const unsigned char *)iov->iov_base + at;
        size_t len = iov->iov_len - at;
        if (len >= record_size || iovcnt == 1) {
            len = len < record_size ? len : record_size;
            at += len;
        } else {
            if (tls->record == NULL && (tls->record = malloc(TLS_CORK_MAX_RECORD_SIZE)) == NULL)
                return failed(tls, GNUTLS_E_MEMORY_ERROR);
            data = tls->record;
            for (len = 0; iovcnt > 0 && len < record_size;) {
                size_t rest = iov->iov_len - at, room = record_size - len;
                size_t take = rest < room ? rest : room;
                memcpy(tls->record + len, (const unsigned char *)iov->iov_base + at, take);
                len += take;
                at += take;
                if (at == iov->iov_len) {
                    iov++, iovcnt--;
                    at = 0;
                }
            }
        }
        if (iovcnt > 0 && at == iov->iov_len) {
            iov++, iovcnt--;
            at = 0;
        }
        int code = send_record(tls->session, data, len);
        if (code == GNUTLS_E_RECORD_LIMIT_REACHED) {
            tls->error = code;
            break; /* fewer records than asked for: the keys are used up */
        }
        if (code < 0)
            return failed(tls, code);
        records++;
    }
    return records;
}

static int close_notify(void *user, tls_cork_output *output)
{
    struct tls_cork_gnutls *tls = user;
    (void)output;
    int code = gnutls_bye(tls->session, GNUTLS_SHUT_WR);
    return code < 0 ? failed(tls, code) : 0;
}

/* The defaults, with the batches that the header names. NULL without memory. */
static tls_cork_config *usual_config(void)
{
    tls_cork_config *config = tls_cork_config_new();
    if (config != NULL)
        tls_cork_config_set_batch_size(config, 32 * 1024, 48 * 1024);
    return config;
}

int tls_cork_gnutls_init(struct tls_cork_gnutls *tls, gnutls_session_t session, bool established,
                         const tls_cork_config *config)
{
    const tls_cork_sealer sealer = {
        .size = sizeof sealer,
        .user = tls,
        .is_ready = is_ready,
        .seal = seal,
        .close_notify = close_notify,
    };
    memset(tls, 0, sizeof *tls);
    tls->session = session;
    tls->ready = established;
    tls_cork_config *usual = config == NULL ? usual_config() : NULL;
    int rc = tls_cork_policy_new(&sealer, config == NULL ? usual : config, &tls->policy);
    tls_cork_config_free(usual);
    if (rc < 0)
        return rc;
    tls->output = tls_cork_get_output(tls->policy);
    gnutls_transport_ptr_t in, out;
    gnutls_transport_get_ptr2(session, &in, &out);
    gnutls_transport_set_ptr2(session, in, tls);
    gnutls_transport_set_push_function(session, push);
    return 0;
}

int tls_cork_gnutls_handshake(struct tls_cork_gnutls *tls, int64_t now)
{
    int code = gnutls_handshake(tls->session);
    if (code == GNUTLS_E_SUCCESS) {
        tls->ready = true;
        tls_cork_handle_handshake_done(tls->policy, now);
    }
    return code;
}

ssize_t tls_cork_gnutls_failed(struct tls_cork_gnutls *tls, int code)
{
    tls->error = code;
    ssize_t discarded = tls_cork_handle_failure(tls->policy);
    gnutls_alert_send_appropriate(tls->session, code);
    return discarded;
}

void tls_cork_gnutls_free(struct tls_cork_gnutls *tls)
{
    tls_cork_policy_free(tls->policy);
    free(tls->record);
    memset(tls, 0, sizeof *tls);
}
