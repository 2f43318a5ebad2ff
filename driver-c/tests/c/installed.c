/* A program that uses the installed library: a message of two pieces is one record, and the end follows it.
 * The records are plain: a length in two bytes, then the plaintext. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <tls_cork.h>

static char wire[256];
static size_t sent;

static ssize_t seal(void *user, tls_cork_output *output, const struct iovec *iov, size_t iovcnt, size_t record_size)
{
    unsigned char head[2];
    size_t len = 0;

    (void)user;
    for (size_t i = 0; i < iovcnt; i++)
        len += iov[i].iov_len;
    if (len > record_size)
        return -EPROTO; /* not here */
    head[0] = len >> 8;
    head[1] = len & 0xff;
    tls_cork_output_append(output, head, sizeof head);
    for (size_t i = 0; i < iovcnt; i++)
        tls_cork_output_append(output, iov[i].iov_base, iov[i].iov_len);
    return 1;
}

static int close_notify(void *user, tls_cork_output *output)
{
    (void)user;
    return tls_cork_output_append(output, "END", 3);
}

static ssize_t send_output(void *user, const struct iovec *iov, size_t iovcnt, bool more)
{
    (void)user;
    (void)iovcnt;
    (void)more;
    memcpy(wire + sent, iov[0].iov_base, iov[0].iov_len);
    sent += iov[0].iov_len;
    return iov[0].iov_len;
}

int main(void)
{
    static const char expected[] = "\0\013header bodyEND";
    tls_cork_sealer sealer = { .size = sizeof sealer, .seal = seal, .close_notify = close_notify };
    tls_cork_policy *policy;
    struct iovec body = { (void *)"body", 4 };

    if (tls_cork_abi_version() != TLS_CORK_ABI_VERSION || tls_cork_policy_new(&sealer, NULL, &policy) != 0) {
        fprintf(stderr, "no policy: %s\n", tls_cork_last_error());
        return 1;
    }
    if (tls_cork_write(policy, 0, "header ", 7, TLS_CORK_MORE) != 7 || tls_cork_timeout_ms(policy, 0) != 10 ||
        tls_cork_writev(policy, 1, &body, 1, 0) != 4 || tls_cork_close(policy, 1) != 1 ||
        tls_cork_transmit(policy, TLS_CORK_NO_LIMIT, send_output, NULL) != 0 || tls_cork_is_finished(policy) != 1 ||
        tls_cork_write(policy, 1, "late", 4, 0) != -EPIPE) {
        fprintf(stderr, "a call failed: %s\n", tls_cork_last_error());
        return 1;
    }
    tls_cork_policy_free(policy);
    if (sent != sizeof expected - 1 || memcmp(wire, expected, sent) != 0) {
        fprintf(stderr, "%zu bytes arrived, other than expected\n", sent);
        return 1;
    }
    puts("one record, one end");
    return 0;
}
