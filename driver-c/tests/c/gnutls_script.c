/* Random calls of a policy over GnuTLS, as core/tests/policy_properties.rs makes them, and beside
 * them a peer that writes, updates its keys and asks for ours. Checked after each call: content and
 * order of what has arrived, and the bounds; at the end: nothing was held longer than max_hold, and
 * the peer has all bytes and then close_notify.
 *
 *   gnutls_script 1.3 FIRST_SEED RUNS */
#include <errno.h>
#include <string.h>

#include "pair.h"

static uint64_t state;
static const int64_t MS = 1000000;

/* A number below `limit` (splitmix64). */
static size_t any(size_t limit)
{
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (size_t)((z ^ z >> 31) % limit);
}

static size_t length(void)
{
    switch (any(12)) {
    case 0:
        return 0;
    case 1 ... 6:
        return 1 + any(299);
    case 7 ... 8:
        return 300 + any(4700);
    case 9 ... 10:
        return 5000 + any(35000);
    default:
        return 100000 + any(300000);
    }
}

static void write_some(struct pair *pair, size_t count)
{
    size_t lens[4], sum = 0;
    for (size_t n = 0; n < count; n++) {
        lens[n] = length();
        lens[n] = sum + lens[n] > sizeof pair->space ? 100 : lens[n];
        sum += lens[n];
    }
    int closed = tls_cork_is_write_closed(pair->tls.policy);
    ssize_t capacity = tls_cork_send_capacity(pair->tls.policy);
    ssize_t taken = pair_write(pair, lens, count, any(2) ? TLS_CORK_MORE : 0);
    if (closed)
        CHECK(taken == -EPIPE);
    else if (taken < 0)
        CHECK(taken == -EAGAIN && capacity == 0);
    else
        CHECK(taken > 0 || sum == 0);
}

static void transmit_some(struct pair *pair)
{
    int rc = pair_transmit(pair, any(100000), any(2) ? SIZE_MAX : 500 + any(8500));
    CHECK(rc == 0 || (rc == -EAGAIN && tls_cork_wants_transmit(pair->tls.policy) == 1));
}

/* A configuration out of those of the property tests. Stores its bounds. */
static tls_cork_config *configure(size_t *limit, size_t *record)
{
    tls_cork_config *config = tls_cork_config_new();
    *record = any(3) ? TLS_CORK_MAX_RECORD_SIZE : 16 + any(1984);
    *limit = any(3) ? 256 * 1024 : TLS_CORK_MAX_RECORD_SIZE + any(50000);
    CHECK(tls_cork_config_set_record_size(config, *record) == 0);
    CHECK(tls_cork_config_set_send_buffer_limit(config, *limit) == 0);
    if (any(3) == 0) {
        size_t hold = 1 + any(3000);
        CHECK(tls_cork_config_set_hold_limit(config, hold < *record ? hold : *record) == 0);
    }
    if (any(3) == 0)
        CHECK(tls_cork_config_set_batch_size(config, 16 * 1024, 32 * 1024) == 0);
    if (any(5) == 0)
        CHECK(tls_cork_config_set_dynamic_records(config, 16, 5000, 20 * MS) == 0);
    return config;
}

static void run(const char *version)
{
    struct pair *pair = malloc(sizeof *pair);
    size_t limit, record, ops = 1 + any(60), updates = 0;
    tls_cork_config *config = configure(&limit, &record);
    int keys = strcmp(version, "1.3") == 0; /* TLS 1.2 has no KeyUpdate */
    pair_new(pair, version, (int)any(2), 0, config);
    tls_cork_config_free(config);
    tls_cork_policy *policy = pair->tls.policy;
    while (ops-- > 0) {
        int both = pair->tls.ready && pair->server_done;
        switch (any(54)) {
        case 0 ... 17:
            write_some(pair, 1);
            break;
        case 18 ... 23:
            write_some(pair, any(5));
            break;
        case 24 ... 25:
            CHECK(tls_cork_cork(policy, pair->now) == 0);
            break;
        case 26 ... 27:
            CHECK(tls_cork_uncork(policy, pair->now) >= 0);
            break;
        case 28 ... 29:
            CHECK(tls_cork_flush(policy, pair->now) >= 0);
            break;
        case 30 ... 33:
            pair_advance(pair, (int64_t)any(15) * MS);
            break;
        case 34 ... 35:
            pair_advance(pair, 10 * MS); /* max_hold */
            if (pair->tls.ready) {
                pair_drain(pair);
                CHECK(tls_cork_waiting(policy) == 0);
            }
            break;
        case 36 ... 37:
            CHECK(tls_cork_handle_read_wait(policy, pair->now) >= 0);
            break;
        case 38 ... 43:
            transmit_some(pair);
            break;
        case 44 ... 46:
            if (pair->tls.ready)
                pair_drain(pair);
            break;
        case 47 ... 49:
            CHECK(pair_handshake(pair));
            break;
        case 50 ... 51: /* GnuTLS takes eight in a second */
            if (both && keys && updates++ < 3)
                CHECK(gnutls_session_key_update(pair->server, any(2) ? GNUTLS_KU_PEER : 0) == 0);
            break;
        case 52:
            if (both)
                pair_say(pair, 1 + any(16000));
            break;
        default:
            if (any(4) == 0)
                CHECK(tls_cork_close(policy, pair->now) >= 0);
        }
        pair_read(pair);
        CHECK(tls_cork_waiting(policy) <= (ssize_t)limit);
    }
    CHECK(pair_handshake(pair));
    CHECK(tls_cork_close(policy, pair->now) >= 0);
    pair_drain(pair);
    tls_cork_stats stats;
    CHECK(tls_cork_get_stats(policy, &stats, sizeof stats) == 0);
    CHECK(tls_cork_is_finished(policy) == 1 && pair->ended);
    CHECK(pair->got == pair->written && pair->heard == pair->said);
    CHECK(pair->records == stats.records && stats.plaintext_bytes == pair->written);
    CHECK(stats.longest_hold <= (uint64_t)(10 * MS));
    CHECK(pair_write(pair, (size_t[]){1}, 1, 0) == -EPIPE);
    pair_free(pair);
    free(pair);
}

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    uint64_t first = strtoull(argv[2], NULL, 10), runs = strtoull(argv[3], NULL, 10);
    for (uint64_t seed = first; seed < first + runs; seed++) {
        state = seed;
        fprintf(stderr, "seed %llu\n", (unsigned long long)seed); /* shown if the test fails */
        run(argv[1]);
    }
    gnutls_global_deinit();
    return 0;
}
