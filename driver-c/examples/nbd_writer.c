/* Writes to an NBD server over GnuTLS, on poll(2), in one of four ways:
 *
 *   immediate    each piece (header, payload) is a record of its own and leaves at once
 *   tcp-cork     the same under TCP_CORK, as QEMU does: the pieces leave together
 *   record-cork  gnutls_record_cork(): the pieces share records, which are made at the uncork
 *   policy       tls-cork: the pieces share records, and full records leave at once
 *
 * The unit of the cork is a request, a turn of the loop or the whole run. Prints a line of JSON for
 * a run; with --slices, for each line "go MILLISECONDS BLOCK" on its input.
 *
 *   nbd_writer --port=10809 --tls-psk=keys.psk --mode=policy --block=512 --count=100000 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "nbd_session.h"
#include "tls_cork_gnutls.h"
#include "wire.h"

enum mode { IMMEDIATE, SOCKET_CORK, RECORD_CORK, POLICY };
enum unit { REQUEST, TURN, RUN };
static const char *const MODES[] = {"immediate", "tcp-cork", "record-cork", "policy", NULL};
static const char *const UNITS[] = {"request", "turn", "run", NULL};

struct writer {
    struct nbd_session nbd;
    struct tls_cork_gnutls tls;
    struct wire wire;
    enum mode mode;
    enum unit unit;
    uint64_t size, depth, begun, answered;
    uint32_t block;
    unsigned char header[NBD_REQUEST_SIZE], *payload;
    size_t given;   /* bytes of the current request that TLS has taken */
    bool corked;    /* a unit has begun */
    bool uncorking; /* it has ended, and GnuTLS has not yet sent all of it */
    bool blocked;   /* the socket takes no more for now */
    int64_t now;    /* read once in a turn */
    unsigned char answers[16 * 1024];
    size_t answers_have;
};

static void transmit(struct writer *w)
{
    int rc = tls_cork_transmit(w->tls.policy, TLS_CORK_NO_LIMIT, wire_send, &w->wire);
    if (rc < 0 && rc != -EAGAIN)
        die("transmit", tls_cork_last_error());
    w->blocked = rc == -EAGAIN;
}

/* Whether the call of GnuTLS that returned `code` has to be repeated when the socket has room. */
static bool would_block(ssize_t code, const char *call)
{
    if (code < 0 && gnutls_error_is_fatal((int)code))
        die(call, gnutls_strerror((int)code));
    return code < 0;
}

/* Gives the first bytes of `iov` to TLS; returns how many it took. */
static size_t give(struct writer *w, const struct iovec *iov, size_t iovcnt, bool more)
{
    if (w->mode != POLICY) {
        ssize_t taken = gnutls_record_send(w->nbd.tls, iov->iov_base, iov->iov_len);
        w->blocked = would_block(taken, "gnutls_record_send");
        return w->blocked ? 0 : (size_t)taken;
    }
    size_t offered = iov[0].iov_len + (iovcnt > 1 ? iov[1].iov_len : 0);
    ssize_t taken = tls_cork_writev(w->tls.policy, w->now, iov, iovcnt, more ? TLS_CORK_MORE : 0);
    if (taken < 0 && taken != -EAGAIN)
        die("write", tls_cork_last_error());
    if (taken < (ssize_t)offered)
        transmit(w); /* which makes room for the rest */
    return taken < 0 ? 0 : (size_t)taken;
}

static void begin_unit(struct writer *w)
{
    int on = 1;
    if (!w->corked && w->mode == SOCKET_CORK)
        setsockopt(w->nbd.fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
    if (!w->corked && w->mode == RECORD_CORK)
        gnutls_record_cork(w->nbd.tls);
    w->corked = true;
}

/* Lets everything leave that has been written. */
static void end_unit(struct writer *w)
{
    int off = 0;
    if (w->mode == SOCKET_CORK)
        setsockopt(w->nbd.fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off);
    if (w->mode == RECORD_CORK)
        w->uncorking = w->blocked = would_block(gnutls_record_uncork(w->nbd.tls, 0), "uncork");
    if (w->mode == POLICY)
        transmit(w); /* the last write, without TLS_CORK_MORE, has released it */
    w->corked = false;
}

/* One turn: begins requests until the depth is reached or the socket is full. */
static void submit(struct writer *w, uint64_t most)
{
    w->now = (int64_t)monotonic_ns();
    if (w->uncorking && !w->blocked)
        end_unit(w);
    if (w->mode == POLICY && !w->blocked)
        transmit(w);
    while (!w->blocked && w->begun < most && w->begun - w->answered < w->depth) {
        if (w->given == 0) {
            uint64_t at = w->begun % (w->size / w->block) * w->block;
            nbd_put_request(w->header, NBD_WRITE, w->begun, at, w->block);
            memcpy(w->payload, &at, sizeof at); /* no two blocks are alike */
        }
        bool last = w->begun + 1 == most || w->unit == REQUEST ||
                    (w->unit == TURN && w->begun + 1 - w->answered == w->depth);
        begin_unit(w);
        size_t head = w->given < sizeof w->header ? sizeof w->header - w->given : 0; /* is left */
        size_t done = head > 0 ? 0 : w->given - sizeof w->header;
        struct iovec iov[2] = {{w->header + sizeof w->header - head, head},
                               {w->payload + done, w->block - done}};
        w->given += head > 0 ? give(w, iov, 2, !last) : give(w, iov + 1, 1, !last);
        if (w->given == sizeof w->header + w->block) {
            w->begun++;
            w->given = 0;
            if (last)
                end_unit(w);
            else if (w->mode == POLICY && w->block >= TLS_CORK_MAX_RECORD_SIZE)
                transmit(w); /* a large write is not copied unless records wait */
        }
    }
}

static void take_answers(struct writer *w)
{
    ssize_t got;
    while (!would_block(got = gnutls_record_recv(w->nbd.tls, w->answers + w->answers_have,
                                                 sizeof w->answers - w->answers_have), "read")) {
        if (got == 0)
            die("read", "the server closed the stream");
        w->answers_have += (size_t)got;
        size_t used = 0;
        for (; w->answers_have - used >= NBD_ANSWER_SIZE; used += NBD_ANSWER_SIZE, w->answered++)
            nbd_check_answer(w->answers + used);
        w->answers_have -= used;
        memmove(w->answers, w->answers + used, w->answers_have);
    }
}

/* Sleeps until there are answers, or room in the socket, or a deadline. */
static void sleep_until_event(struct writer *w)
{
    int timeout = -1;
    if (w->mode == POLICY) {
        /* The server may be waiting for what is held. */
        if (!w->blocked && tls_cork_handle_read_wait(w->tls.policy, w->now) == 1)
            transmit(w);
        timeout = tls_cork_timeout_ms(w->tls.policy, (int64_t)monotonic_ns());
    }
    struct pollfd fd = {.fd = w->nbd.fd, .events = (short)(POLLIN | (w->blocked ? POLLOUT : 0))};
    if (poll(&fd, 1, timeout) < 0 && errno != EINTR)
        die("poll", strerror(errno));
    if (w->mode == POLICY)
        tls_cork_handle_timeout(w->tls.policy, (int64_t)monotonic_ns());
    if (fd.revents & ~POLLIN)
        w->blocked = false; /* there is room, or the next call returns an error */
    if (fd.revents & ~POLLOUT)
        take_answers(w);
}

static void set_block(struct writer *w, uint64_t block)
{
    if (block < sizeof(uint64_t) || block > 32 << 20 || block > w->size)
        die("block", "must be 8 bytes to 32 MiB, and no more than the export");
    free(w->payload);
    w->block = (uint32_t)block;
    w->payload = malloc(w->block);
    for (uint32_t n = 0; n < w->block; n++)
        w->payload[n] = (unsigned char)(n * 7 + n / 256);
}

static double seconds(struct timeval then, struct timeval now)
{
    return (double)(now.tv_sec - then.tv_sec) + (double)(now.tv_usec - then.tv_usec) / 1e6;
}

/* Writes `most` requests, or fewer if `ns` is over before; prints what they cost. */
static void run(struct writer *w, uint64_t block, uint64_t most, uint64_t ns)
{
    set_block(w, block);
    struct rusage before, after;
    struct wire wire = w->wire;
    const uint64_t begin = monotonic_ns();
    w->begun = w->answered = 0;
    getrusage(RUSAGE_SELF, &before);
    for (bool over = false; w->answered < most;) {
        if (!over && monotonic_ns() - begin > ns) {
            over = true; /* what has begun is written to its end, and uncorked */
            most = w->begun + (w->corked || w->begun == 0);
        }
        submit(w, most);
        if (w->answered < most)
            sleep_until_event(w);
    }
    getrusage(RUSAGE_SELF, &after);
    double time = (double)(monotonic_ns() - begin) / 1e9;
    tls_cork_stats stats = {0};
    if (w->mode == POLICY)
        tls_cork_get_stats(w->tls.policy, &stats, sizeof stats);
    printf("{\"strategy\": \"%s\", \"unit\": \"%s\", \"tls\": true, \"block_size\": %" PRIu32
           ", \"queue_depth\": %" PRIu64 ", \"requests\": %" PRIu64 ", \"seconds\": %.6f"
           ", \"requests_per_s\": %.1f, \"bytes_per_s\": %.0f, \"records\": %" PRIu64
           ", \"sends\": %" PRIu64 ", \"wire_bytes\": %" PRIu64 ", \"cpu_user_s\": %.6f"
           ", \"cpu_sys_s\": %.6f, \"verified\": false, \"longest_hold_ns\": %" PRIu64
           ", \"peak_kib\": %ld}\n",
           MODES[w->mode], UNITS[w->unit], w->block, w->depth, w->answered, time,
           (double)w->answered / time, (double)w->answered * w->block / time,
           w->wire.records - wire.records, w->wire.sends - wire.sends, w->wire.bytes - wire.bytes,
           seconds(before.ru_utime, after.ru_utime), seconds(before.ru_stime, after.ru_stime),
           stats.longest_hold, after.ru_maxrss);
    fflush(stdout);
}

/* Asks the server to end, then ends the stream of TLS. */
static void finish(struct writer *w)
{
    struct pollfd fd = {.fd = w->nbd.fd, .events = POLLOUT};
    nbd_put_request(w->header, NBD_DISCONNECT, 0, 0, 0);
    give(w, &(struct iovec){w->header, sizeof w->header}, 1, false); /* nothing waits before it */
    if (w->mode == POLICY) {
        tls_cork_close(w->tls.policy, (int64_t)monotonic_ns());
        for (transmit(w); tls_cork_is_finished(w->tls.policy) == 0; transmit(w))
            poll(&fd, 1, -1);
        tls_cork_gnutls_free(&w->tls);
    } else {
        while (would_block(gnutls_bye(w->nbd.tls, GNUTLS_SHUT_WR), "gnutls_bye"))
            poll(&fd, 1, -1);
    }
    nbd_free(&w->nbd);
    free(w->payload);
    free(w);
}

static int choice(const char *const *names, const char *name)
{
    for (int n = 0; names[n] != NULL; n++)
        if (strcmp(names[n], name) == 0)
            return n;
    die(name, "no such choice");
}

int main(int argc, char **argv)
{
    enum { PORT, CERTIFICATES, PSK, PRIORITY, MODE, UNIT, BLOCK, DEPTH, COUNT, SLICES, OPTIONS };
    const char *value[OPTIONS] = {
        "10809", [MODE] = "policy", [UNIT] = "turn", [BLOCK] = "512", [DEPTH] = "16", [COUNT] = "1000"};
    const struct option options[] = {
        {"port", 1, NULL, PORT},   {"tls-certificates", 1, NULL, CERTIFICATES},
        {"tls-psk", 1, NULL, PSK}, {"priority", 1, NULL, PRIORITY},
        {"mode", 1, NULL, MODE},   {"unit", 1, NULL, UNIT},
        {"block", 1, NULL, BLOCK}, {"depth", 1, NULL, DEPTH},
        {"count", 1, NULL, COUNT}, {"slices", 0, NULL, SLICES}, {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == '?')
            return 2; /* getopt_long() has printed why */
        value[option] = option == SLICES ? "" : optarg;
    }
    const struct nbd_target target = {value[PORT], value[CERTIFICATES], value[PSK], value[PRIORITY]};
    struct writer *w = calloc(1, sizeof *w);
    w->mode = (enum mode)choice(MODES, value[MODE]);
    w->unit = (enum unit)choice(UNITS, value[UNIT]);
    if ((w->depth = strtoull(value[DEPTH], NULL, 10)) == 0)
        die(value[DEPTH], "not a depth");
    nbd_connect(&w->nbd, &target);
    w->size = nbd_negotiate(&w->nbd);
    nbd_set_nonblocking(&w->nbd);
    w->wire.fd = w->nbd.fd;
    if (w->mode == POLICY) {
        if (tls_cork_gnutls_init(&w->tls, w->nbd.tls, true, NULL) < 0)
            die("create policy", tls_cork_last_error());
    } else {
        gnutls_transport_set_ptr2(w->nbd.tls, (gnutls_transport_ptr_t)(intptr_t)w->nbd.fd, &w->wire);
        gnutls_transport_set_push_function(w->nbd.tls, wire_push);
    }
    uint64_t count = strtoull(value[COUNT], NULL, 10), milliseconds, block;
    if (value[SLICES] == NULL)
        run(w, strtoull(value[BLOCK], NULL, 10), count, UINT64_MAX);
    else if (puts("connected") >= 0 && fflush(stdout) == 0)
        while (scanf(" go %" SCNu64 " %" SCNu64, &milliseconds, &block) == 2)
            run(w, block, count, milliseconds * 1000000);
    finish(w);
    return 0;
}
