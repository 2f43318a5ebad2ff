#include "glib_channel.h"

#include <errno.h>

struct Channel {
    struct tls_cork_gnutls tls;
    struct wire wire;
    GSource *pump;   /* sends what the calls below have left: see pump_dispatch() */
    gpointer room;   /* the pump's watch on the socket, while the socket is full */
    int error;       /* of the socket: a negative errno code */
    void (*done)(Channel *, GError *, gpointer);
    gpointer done_user;
};

/* Sources of GLib, each with the channel that it serves. */
typedef struct {
    GSource source;
    Channel *channel;
    GIOCondition condition;
    gpointer socket;
} Source;

static int64_t now(void)
{
    return g_get_monotonic_time() * 1000; /* it has microseconds */
}

/* Sends what may leave, unless the socket is known to be full. Asks the main loop to go on when it
 * has room again, or when the deadline of held bytes comes. To be called after each call that
 * changes the policy. */
static void pump(Channel *channel)
{
    tls_cork_policy *policy = channel->tls.policy;
    if (channel->room == NULL && tls_cork_wants_transmit(policy) == 1) {
        int rc = tls_cork_transmit(policy, TLS_CORK_NO_LIMIT, wire_send, &channel->wire);
        if (rc == -EAGAIN)
            channel->room = g_source_add_unix_fd(channel->pump, channel->wire.fd, G_IO_OUT);
        else if (rc < 0 && channel->error == 0)
            channel->error = rc;
    }
    int64_t due = tls_cork_timeout(policy);
    g_source_set_ready_time(channel->pump, due == TLS_CORK_NEVER ? -1 : (due + 999) / 1000);
}

static gboolean pump_dispatch(GSource *source, GSourceFunc unused, gpointer user)
{
    Channel *channel = ((Source *)source)->channel;
    (void)unused, (void)user;
    if (channel->room != NULL && g_source_query_unix_fd(source, channel->room) != 0) {
        g_source_remove_unix_fd(source, channel->room);
        channel->room = NULL;
    }
    tls_cork_handle_timeout(channel->tls.policy, now());
    pump(channel);
    return G_SOURCE_CONTINUE;
}

/* Which of the watched conditions hold. Plaintext that GnuTLS has decrypted is not in the socket
 * any more, and room in the policy is not room in the socket. */
static GIOCondition ready(Source *watch)
{
    Channel *channel = watch->channel;
    tls_cork_policy *policy = channel->tls.policy;
    GIOCondition found = 0;
    if (gnutls_record_check_pending(channel->tls.session) > 0)
        found |= G_IO_IN;
    if (tls_cork_send_capacity(policy) > 0 || tls_cork_is_finished(policy) == 1 || channel->error != 0)
        found |= G_IO_OUT;
    return found & watch->condition;
}

static gboolean watch_prepare(GSource *source, gint *timeout)
{
    Source *watch = (Source *)source;
    *timeout = -1;
    /* The main loop is about to sleep until the peer sends something, and the peer may be waiting
     * for what is held. */
    if (watch->condition & G_IO_IN && tls_cork_handle_read_wait(watch->channel->tls.policy, now()) == 1)
        pump(watch->channel);
    return ready(watch) != 0;
}

static gboolean watch_check(GSource *source)
{
    Source *watch = (Source *)source;
    return ready(watch) != 0 || (watch->socket != NULL && g_source_query_unix_fd(source, watch->socket) != 0);
}

static gboolean watch_dispatch(GSource *source, GSourceFunc function, gpointer user)
{
    Source *watch = (Source *)source;
    GIOCondition found = ready(watch);
    if (watch->socket != NULL && g_source_query_unix_fd(source, watch->socket) != 0)
        found |= G_IO_IN;
    return ((ChannelFunc)(void (*)(void))function)(watch->channel, found, user);
}

static GSourceFuncs pump_functions = {.dispatch = pump_dispatch};
static GSourceFuncs watch_functions = {watch_prepare, watch_check, watch_dispatch, NULL, NULL, NULL};

static Source *source_new(GSourceFuncs *functions, Channel *channel, GIOCondition condition)
{
    Source *source = (Source *)g_source_new(functions, sizeof *source);
    source->channel = channel;
    source->condition = condition;
    source->socket = NULL;
    return source;
}

Channel *channel_new(int fd, gnutls_session_t session)
{
    Channel *channel = g_new0(Channel, 1);
    channel->wire.fd = fd;
    if (tls_cork_gnutls_init(&channel->tls, session, false, NULL) < 0)
        g_error("create policy: %s", tls_cork_last_error());
    channel->pump = &source_new(&pump_functions, channel, 0)->source;
    g_source_attach(channel->pump, NULL);
    return channel;
}

static void set_error(GError **error, int code, const char *text)
{
    g_set_error_literal(error, G_FILE_ERROR, (gint)g_file_error_from_errno(-code), text);
}

/* A step of the handshake, whenever there is something to read. */
static gboolean handshake_step(Channel *channel, GIOCondition condition, gpointer user)
{
    (void)condition, (void)user;
    int code = tls_cork_gnutls_handshake(&channel->tls, now());
    pump(channel); /* a message, an alert, or what was written until now */
    if (code < 0 && !gnutls_error_is_fatal(code))
        return G_SOURCE_CONTINUE;
    g_autoptr(GError) error = NULL;
    if (code < 0)
        set_error(&error, -EPROTO, gnutls_strerror(code));
    channel->done(channel, error, channel->done_user);
    return G_SOURCE_REMOVE;
}

void channel_handshake(Channel *channel, void (*done)(Channel *, GError *, gpointer), gpointer user)
{
    channel->done = done;
    channel->done_user = user;
    if (handshake_step(channel, 0, NULL) == G_SOURCE_REMOVE)
        return;
    g_autoptr(GSource) watch = channel_create_watch(channel, G_IO_IN);
    g_source_set_callback(watch, G_SOURCE_FUNC(handshake_step), NULL, NULL);
    g_source_attach(watch, NULL);
}

gssize channel_writev(Channel *channel, const struct iovec *iov, size_t niov, int flags, GError **error)
{
    unsigned more = flags & CHANNEL_WRITE_FLAG_MORE ? TLS_CORK_MORE : 0;
    ssize_t taken;
    do {
        taken = tls_cork_writev(channel->tls.policy, now(), iov, niov, more);
        pump(channel); /* if there was no room, it may make some */
    } while (taken == -EAGAIN && channel->error == 0 && tls_cork_send_capacity(channel->tls.policy) > 0);
    if (taken == -EAGAIN && channel->error == 0)
        return CHANNEL_ERR_BLOCK;
    if (channel->error != 0)
        taken = channel->error;
    if (taken < 0)
        set_error(error, (int)taken, g_strerror((int)-taken));
    return taken < 0 ? -1 : taken;
}

gssize channel_read(Channel *channel, void *to, size_t len, GError **error)
{
    ssize_t got = gnutls_record_recv(channel->tls.session, to, len);
    if (got < 0 && gnutls_error_is_fatal((int)got)) {
        tls_cork_gnutls_failed(&channel->tls, (int)got);
        pump(channel); /* the alert */
        set_error(error, -EPROTO, gnutls_strerror((int)got));
        return -1;
    }
    return got < 0 ? CHANNEL_ERR_BLOCK : got;
}

void channel_set_cork(Channel *channel, gboolean enabled)
{
    if (enabled)
        tls_cork_cork(channel->tls.policy, now());
    else
        tls_cork_uncork(channel->tls.policy, now());
    pump(channel);
}

int channel_shutdown(Channel *channel, GError **error)
{
    tls_cork_close(channel->tls.policy, now()); /* a second call changes nothing */
    pump(channel);
    int code = channel->error != 0 ? channel->error : tls_cork_failure(channel->tls.policy);
    if (code < 0)
        set_error(error, code, g_strerror(-code));
    if (code < 0)
        return -1;
    return tls_cork_is_finished(channel->tls.policy) == 1 ? 0 : CHANNEL_ERR_BLOCK;
}

GSource *channel_create_watch(Channel *channel, GIOCondition condition)
{
    Source *watch = source_new(&watch_functions, channel, condition);
    if (condition & G_IO_IN)
        watch->socket = g_source_add_unix_fd(&watch->source, channel->wire.fd, G_IO_IN);
    return &watch->source;
}

const struct wire *channel_wire(const Channel *channel)
{
    return &channel->wire;
}

void channel_free(Channel *channel)
{
    g_source_destroy(channel->pump);
    g_source_unref(channel->pump);
    tls_cork_gnutls_free(&channel->tls);
    g_free(channel);
}
