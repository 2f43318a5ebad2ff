/* What a policy over GnuTLS has to do, case by case, in virtual time: gnutls_cases VERSION. */
#include <errno.h>
#include <string.h>

#include "pair.h"

static const int64_t MS = 1000000;

static ssize_t put(struct pair *pair, size_t len, unsigned flags)
{
    return pair_write(pair, &len, 1, flags);
}

/* A header and a payload share a record and a send. */
static void pieces_share_a_record(struct pair *pair)
{
    CHECK(put(pair, 28, TLS_CORK_MORE) == 28);
    CHECK(tls_cork_wants_transmit(pair->tls.policy) == 0);
    CHECK(put(pair, 512, 0) == 512);
    pair_drain(pair);
    CHECK(pair->got == 540 && pair->records == 1 && pair->sends == 1);
}

/* A large write is sealed from the caller's memory, but for its tail. */
static void large_writes_are_not_copied(struct pair *pair)
{
    size_t total = 28 + 400000;
    while (pair->written < total) {
        size_t rest[2] = {pair->written < 28 ? 28 - pair->written : 0, 0};
        rest[1] = total - pair->written - rest[0];
        CHECK(pair_write(pair, rest, 2, 0) > 0);
        pair_drain(pair);
    }
    tls_cork_stats stats;
    CHECK(tls_cork_get_stats(pair->tls.policy, &stats, sizeof stats) == 0);
    CHECK(pair->got == total && pair->records == (total + 16383) / 16384);
    CHECK(stats.copied_bytes <= TLS_CORK_MAX_RECORD_SIZE);
}

/* The last piece never comes: what is held leaves after max_hold, and not before. */
static void the_deadline_releases(struct pair *pair)
{
    CHECK(put(pair, 100, TLS_CORK_MORE) == 100);
    CHECK(tls_cork_timeout(pair->tls.policy) == pair->now + 10 * MS);
    CHECK(tls_cork_timeout_ms(pair->tls.policy, pair->now) == 10);
    pair->now += 10 * MS - 1;
    CHECK(tls_cork_handle_timeout(pair->tls.policy, pair->now) == 0);
    pair_drain(pair);
    CHECK(pair->got == 0);
    pair->now += 1;
    CHECK(tls_cork_handle_timeout(pair->tls.policy, pair->now) == 1);
    pair_drain(pair);
    tls_cork_stats stats;
    CHECK(tls_cork_get_stats(pair->tls.policy, &stats, sizeof stats) == 0);
    CHECK(pair->got == 100 && stats.longest_hold == (uint64_t)(10 * MS));
    CHECK(tls_cork_releases(pair->tls.policy, TLS_CORK_REASON_DEADLINE) == 1);
}

/* The peer updates its keys and asks for ours while data is held: nothing leaves for that alone. */
static void a_key_update_leaves_held_data_alone(struct pair *pair)
{
    CHECK(put(pair, 100, TLS_CORK_MORE) == 100);
    CHECK(gnutls_session_key_update(pair->server, GNUTLS_KU_PEER) == 0);
    pair_say(pair, 50);
    pair_drain(pair);
    CHECK(pair->heard == 50 && pair->got == 0 && pair->to_server.len == 0);
    CHECK(put(pair, 100, 0) == 100);
    pair_drain(pair);
    CHECK(pair->got == 200 && pair->records == 1);
    CHECK(gnutls_session_key_update(pair->client, 0) == 0); /* ours goes to the output as well */
    CHECK(tls_cork_wants_transmit(pair->tls.policy) == 1);
    CHECK(put(pair, 100, 0) == 100);
    pair_drain(pair);
    CHECK(pair->got == 300);
}

/* Close while data is held: first the data, then close_notify. Reading goes on. */
static void close_sends_held_data_first(struct pair *pair)
{
    CHECK(put(pair, 100, TLS_CORK_MORE) == 100);
    CHECK(tls_cork_close(pair->tls.policy, pair->now) == 1);
    CHECK(put(pair, 1, 0) == -EPIPE);
    pair_drain(pair);
    CHECK(pair->got == 100 && pair->ended && tls_cork_is_finished(pair->tls.policy) == 1);
    pair_say(pair, 50);
    pair_read(pair);
    CHECK(pair->heard == 50);
}

/* The uncork of a full socket: it does not wait, and what is left leaves bit by bit. */
static void an_uncork_never_blocks(struct pair *pair)
{
    CHECK(tls_cork_cork(pair->tls.policy, pair->now) == 0);
    while (put(pair, 50000, 0) > 0)
        CHECK(pair_transmit(pair, 10000, 1000) == -EAGAIN);
    CHECK(tls_cork_waiting(pair->tls.policy) <= 256 * 1024); /* the bound, whatever is written */
    CHECK(tls_cork_uncork(pair->tls.policy, pair->now) >= 0);
    for (size_t steps = 0; pair_transmit(pair, 5000, 999) == -EAGAIN; steps++)
        CHECK(pair->capacity == 0 && steps < 100); /* all that there was room for has left */
    pair_drain(pair);
    CHECK(pair->got == pair->written && tls_cork_waiting(pair->tls.policy) == 0);
}

/* The session fails: held data is lost and counted, the alert leaves. */
static void garbage_ends_the_policy(struct pair *pair)
{
    unsigned char data[100];
    CHECK(put(pair, 100, TLS_CORK_MORE) == 100);
    pair_corrupt(pair);
    ssize_t got = gnutls_record_recv(pair->client, data, sizeof data);
    CHECK(got < 0 && gnutls_error_is_fatal((int)got));
    CHECK(tls_cork_gnutls_failed(&pair->tls, (int)got) == 100);
    CHECK(put(pair, 1, 0) == -ECONNABORTED);
    CHECK(pair_transmit(pair, SIZE_MAX, SIZE_MAX) == 0);
    got = gnutls_record_recv(pair->server, data, sizeof data);
    CHECK(got == GNUTLS_E_FATAL_ALERT_RECEIVED);
    CHECK(tls_cork_lost_bytes(pair->tls.policy) == 100);
}

/* GnuTLS refuses to encrypt: the transmit returns an errno code, and the code of GnuTLS is kept. */
static void an_error_of_gnutls_ends_the_policy(struct pair *pair)
{
    unsigned char byte;
    CHECK(gnutls_alert_send(pair->server, GNUTLS_AL_FATAL, GNUTLS_A_INTERNAL_ERROR) == 0);
    CHECK(gnutls_record_recv(pair->client, &byte, 1) == GNUTLS_E_FATAL_ALERT_RECEIVED);
    CHECK(put(pair, 100, 0) == 100); /* a program that has not looked at that */
    CHECK(pair_transmit(pair, SIZE_MAX, SIZE_MAX) == -ECONNABORTED);
    CHECK(pair->tls.error == GNUTLS_E_INVALID_SESSION);
    CHECK(strstr(tls_cork_last_error(), gnutls_strerror(GNUTLS_E_INVALID_SESSION)) != NULL);
    CHECK(tls_cork_failure(pair->tls.policy) == -ECONNABORTED);
    CHECK(tls_cork_lost_bytes(pair->tls.policy) == 100);
    CHECK(put(pair, 1, 0) == -ECONNABORTED);
}

/* Written before the handshake, sent together at its end; close waits for it too. */
static void the_handshake_releases(struct pair *pair)
{
    CHECK(put(pair, 28, 0) == 28 && put(pair, 100, TLS_CORK_MORE) == 100);
    CHECK(tls_cork_timeout(pair->tls.policy) == TLS_CORK_NEVER);
    CHECK(tls_cork_close(pair->tls.policy, pair->now) == 0);
    CHECK(pair_handshake(pair));
    pair_drain(pair);
    CHECK(pair->got == 128 && pair->records == 1 && pair->ended);
    CHECK(tls_cork_releases(pair->tls.policy, TLS_CORK_REASON_HANDSHAKE_DONE) == 1);
}

/* The peer takes short records only (RFC 8449). */
static void short_records_are_kept_to(struct pair *pair)
{
    size_t len = 100000;
    while (pair->written < len) {
        CHECK(put(pair, len - pair->written, 0) > 0);
        pair_drain(pair);
    }
    CHECK(pair->got == len && pair->records >= len / 1024);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(struct pair *);
        int established, keys; /* whether it needs KeyUpdate, which TLS 1.2 has not */
        size_t record_limit;
    } cases[] = {
        {"pieces_share_a_record", pieces_share_a_record, 1, 0, 0},
        {"large_writes_are_not_copied", large_writes_are_not_copied, 1, 0, 0},
        {"the_deadline_releases", the_deadline_releases, 1, 0, 0},
        {"a_key_update_leaves_held_data_alone", a_key_update_leaves_held_data_alone, 1, 1, 0},
        {"close_sends_held_data_first", close_sends_held_data_first, 1, 0, 0},
        {"an_uncork_never_blocks", an_uncork_never_blocks, 1, 0, 0},
        {"garbage_ends_the_policy", garbage_ends_the_policy, 1, 0, 0},
        {"an_error_of_gnutls_ends_the_policy", an_error_of_gnutls_ends_the_policy, 1, 0, 0},
        {"the_handshake_releases", the_handshake_releases, 0, 0, 0},
        {"short_records_are_kept_to", short_records_are_kept_to, 1, 0, 1024},
    };
    CHECK(argc == 2);
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        if (cases[n].keys && strcmp(argv[1], "1.3") != 0)
            continue;
        fprintf(stderr, "%s\n", cases[n].name); /* shown if the test fails */
        struct pair *pair = malloc(sizeof *pair);
        CHECK(pair != NULL);
        pair_new(pair, argv[1], cases[n].established, cases[n].record_limit, NULL);
        cases[n].run(pair);
        pair_free(pair);
        free(pair);
    }
    gnutls_global_deinit();
    return 0;
}
