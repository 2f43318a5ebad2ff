#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <sys/socket.h>

static void count(struct wire *wire, const unsigned char *data, size_t len)
{
    wire->bytes += len;
    while (len > 0) {
        if (wire->body_missing > 0) {
            size_t skip = wire->body_missing < len ? wire->body_missing : len;
            wire->body_missing -= skip;
            data += skip;
            len -= skip;
            continue;
        }
        wire->head[wire->head_have++] = *data++;
        len--;
        if (wire->head_have == sizeof wire->head) {
            wire->body_missing = (size_t)wire->head[3] << 8 | wire->head[4];
            wire->head_have = 0;
            wire->records++;
        }
    }
}

ssize_t wire_send(void *user, const struct iovec *iov, size_t iovcnt, bool more)
{
    struct wire *wire = user;
    struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = iovcnt};
    ssize_t sent = sendmsg(wire->fd, &message, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    if (sent < 0)
        return -errno;
    wire->sends++;
    for (size_t left = (size_t)sent; left > 0; iov++) {
        size_t len = iov->iov_len < left ? iov->iov_len : left;
        count(wire, iov->iov_base, len);
        left -= len;
    }
    return sent;
}

ssize_t wire_push(void *user, const void *data, size_t len)
{
    struct iovec iov = {(void *)data, len};
    ssize_t sent = wire_send(user, &iov, 1, false);
    if (sent >= 0)
        return sent;
    errno = (int)-sent;
    return -1;
}
