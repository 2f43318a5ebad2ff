#include "pair.h"

#include <errno.h>
#include <string.h>

static unsigned char content(size_t offset)
{
    return (unsigned char)(((uint64_t)offset * 0x9E3779B97F4A7C15u) >> 40);
}

static void pipe_put(struct pipe *pipe, const void *data, size_t len)
{
    if (len == 0)
        return;
    if (pipe->len + len > pipe->space) {
        pipe->space = 2 * (pipe->len + len);
        pipe->data = realloc(pipe->data, pipe->space);
        CHECK(pipe->data != NULL);
    }
    memcpy(pipe->data + pipe->len, data, len);
    pipe->len += len;
}

static ssize_t pipe_take(gnutls_transport_ptr_t user, void *to, size_t len)
{
    struct pipe *pipe = user;
    size_t rest = pipe->len - pipe->taken;
    if (rest == 0) {
        pipe->len = pipe->taken = 0;
        errno = EAGAIN;
        return -1;
    }
    len = len < rest ? len : rest;
    memcpy(to, pipe->data + pipe->taken, len);
    pipe->taken += len;
    return (ssize_t)len;
}

static ssize_t server_push(gnutls_transport_ptr_t user, const void *data, size_t len)
{
    pipe_put(user, data, len);
    return (ssize_t)len;
}

static ssize_t send_output(void *user, const struct iovec *iov, size_t iovcnt, bool more)
{
    struct pair *pair = user;
    size_t took = 0;
    (void)more;
    if (pair->sends++ % 7 == 6)
        return -EINTR;
    for (size_t n = 0; n < iovcnt; n++) {
        size_t len = iov[n].iov_len, room = pair->step - took;
        len = len < room ? len : room;
        len = len < pair->capacity ? len : pair->capacity;
        pipe_put(&pair->to_server, iov[n].iov_base, len);
        pair->capacity -= len;
        took += len;
    }
    return took == 0 ? -EAGAIN : (ssize_t)took;
}

static int find_key(gnutls_session_t session, const char *name, gnutls_datum_t *key)
{
    (void)session, (void)name;
    key->data = gnutls_malloc(16);
    key->size = 16;
    CHECK(key->data != NULL);
    memset(key->data, 'k', 16);
    return 0;
}

static gnutls_session_t session(unsigned flags, const char *version)
{
    gnutls_session_t session;
    char priority[128];
    snprintf(priority, sizeof priority, "NORMAL:-VERS-ALL:+VERS-TLS%s:-KX-ALL:+ECDHE-PSK:+DHE-PSK", version);
    CHECK(gnutls_init(&session, flags | GNUTLS_NONBLOCK) == 0);
    CHECK(gnutls_priority_set_direct(session, priority, NULL) == 0);
    return session;
}

void pair_new(struct pair *pair, const char *version, int established, size_t record_limit,
              const tls_cork_config *config)
{
    const gnutls_datum_t key = {(unsigned char *)"kkkkkkkkkkkkkkkk", 16};
    memset(pair, 0, sizeof *pair);
    pair->now = 1000000000;
    pair->client = session(GNUTLS_CLIENT, version);
    pair->server = session(GNUTLS_SERVER, version);
    CHECK(gnutls_psk_allocate_client_credentials(&pair->client_key) == 0);
    CHECK(gnutls_psk_set_client_credentials(pair->client_key, "name", &key, GNUTLS_PSK_KEY_RAW) == 0);
    CHECK(gnutls_credentials_set(pair->client, GNUTLS_CRD_PSK, pair->client_key) == 0);
    CHECK(gnutls_psk_allocate_server_credentials(&pair->server_key) == 0);
    gnutls_psk_set_server_credentials_function(pair->server_key, find_key);
    CHECK(gnutls_credentials_set(pair->server, GNUTLS_CRD_PSK, pair->server_key) == 0);
    gnutls_transport_set_ptr2(pair->server, &pair->to_server, &pair->to_client);
    gnutls_transport_set_push_function(pair->server, server_push);
    gnutls_transport_set_pull_function(pair->server, pipe_take);
    if (record_limit != 0)
        CHECK(gnutls_record_set_max_recv_size(pair->server, record_limit) == 0);
    gnutls_transport_set_ptr2(pair->client, &pair->to_client, &pair->to_server);
    gnutls_transport_set_push_function(pair->client, server_push);
    gnutls_transport_set_pull_function(pair->client, pipe_take);
    for (int rc = -1; established && (rc != 0 || !pair->server_done);) {
        if (rc != 0)
            rc = gnutls_handshake(pair->client);
        CHECK(rc == 0 || !gnutls_error_is_fatal(rc));
        if (!pair->server_done) {
            int code = gnutls_handshake(pair->server);
            CHECK(code == 0 || !gnutls_error_is_fatal(code));
            pair->server_done = code == 0;
        }
    }
    CHECK(tls_cork_gnutls_init(&pair->tls, pair->client, established, config) == 0);
}

int pair_handshake(struct pair *pair)
{
    for (int round = 0; round < 10 && !(pair->tls.ready && pair->server_done); round++) {
        if (!pair->tls.ready) {
            int code = tls_cork_gnutls_handshake(&pair->tls, pair->now);
            CHECK(code == 0 || !gnutls_error_is_fatal(code));
        }
        CHECK(pair_transmit(pair, SIZE_MAX, SIZE_MAX) == 0);
        if (!pair->server_done) {
            int code = gnutls_handshake(pair->server);
            CHECK(code == 0 || !gnutls_error_is_fatal(code));
            pair->server_done = code == 0;
        }
    }
    return pair->tls.ready && pair->server_done;
}

ssize_t pair_write(struct pair *pair, const size_t *lens, size_t count, unsigned flags)
{
    struct iovec iov[8];
    size_t len = 0;
    CHECK(count <= 8);
    for (size_t n = 0; n < count; n++) {
        iov[n] = (struct iovec){pair->space + len, lens[n]};
        len += lens[n];
    }
    CHECK(len <= sizeof pair->space);
    for (size_t n = 0; n < len; n++)
        pair->space[n] = content(pair->written + n);
    ssize_t taken = tls_cork_writev(pair->tls.policy, pair->now, iov, count, flags);
    if (taken > 0)
        pair->written += (size_t)taken;
    memset(pair->space, 0, len); /* what was accepted is not needed any more */
    return taken;
}

int pair_transmit(struct pair *pair, size_t capacity, size_t step)
{
    pair->capacity = capacity;
    pair->step = step;
    return tls_cork_transmit(pair->tls.policy, TLS_CORK_NO_LIMIT, send_output, pair);
}

/* Checks that `data` is the content at `*offset`. */
static void arrived(const unsigned char *data, size_t len, size_t *offset)
{
    for (size_t n = 0; n < len; n++)
        CHECK(data[n] == content(*offset + n));
    *offset += len;
}

/* As gnutls_record_recv(), but goes on behind a KeyUpdate, for which that returns GNUTLS_E_AGAIN
 * even if more has arrived. */
static ssize_t receive(gnutls_session_t session, const struct pipe *pipe, unsigned char *to, size_t len)
{
    ssize_t got;
    do
        got = gnutls_record_recv(session, to, len);
    while (got == GNUTLS_E_AGAIN && pipe->len > pipe->taken);
    return got;
}

void pair_read(struct pair *pair)
{
    unsigned char data[TLS_CORK_MAX_RECORD_SIZE];
    ssize_t got;
    while (pair->server_done && !pair->ended &&
           (got = receive(pair->server, &pair->to_server, data, sizeof data)) >= 0) {
        pair->ended = got == 0;
        pair->records += got > 0;
        arrived(data, (size_t)got, &pair->got);
    }
    while (pair->tls.ready && (got = receive(pair->client, &pair->to_client, data, sizeof data)) > 0)
        arrived(data, (size_t)got, &pair->heard);
    CHECK(pair->got <= pair->written && pair->heard <= pair->said);
}

void pair_drain(struct pair *pair)
{
    CHECK(pair_transmit(pair, SIZE_MAX, SIZE_MAX) == 0);
    CHECK(tls_cork_wants_transmit(pair->tls.policy) == 0);
    pair_read(pair);
}

void pair_advance(struct pair *pair, int64_t ns)
{
    int64_t end = pair->now + ns;
    for (int64_t due; (due = tls_cork_timeout(pair->tls.policy)) <= end;) {
        pair->now = due > pair->now ? due : pair->now;
        CHECK(tls_cork_handle_timeout(pair->tls.policy, pair->now) >= 0);
        CHECK(tls_cork_timeout(pair->tls.policy) > pair->now); /* no busy loop */
    }
    pair->now = end;
}

void pair_say(struct pair *pair, size_t len)
{
    unsigned char data[TLS_CORK_MAX_RECORD_SIZE];
    CHECK(len <= sizeof data);
    for (size_t n = 0; n < len; n++)
        data[n] = content(pair->said + n);
    CHECK(gnutls_record_send(pair->server, data, len) == (ssize_t)len);
    pair->said += len;
}

void pair_corrupt(struct pair *pair)
{
    static const char record[] = "\x17\x03\x03\x00\x20" "ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ";
    pipe_put(&pair->to_client, record, sizeof record - 1);
}

void pair_free(struct pair *pair)
{
    tls_cork_gnutls_free(&pair->tls);
    gnutls_deinit(pair->client);
    gnutls_deinit(pair->server);
    gnutls_psk_free_client_credentials(pair->client_key);
    gnutls_psk_free_server_credentials(pair->server_key);
    free(pair->to_client.data);
    free(pair->to_server.data);
}
