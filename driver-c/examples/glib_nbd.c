/* Writes to an NBD server in GLib's main loop, as QEMU's NBD client does: cork, header, payload,
 * uncork for each request. The channel is in glib_channel.c; its calls are those of QIOChannel.
 *
 *   glib_nbd --port=10809 --tls-certificates=/etc/pki/nbd --block=512 --depth=16 --count=1000 */
#include <stdio.h>
#include <string.h>

#include "glib_channel.h"
#include "nbd_session.h"

struct client {
    Channel *channel;
    GMainLoop *loop;
    guint64 count, depth, begun, answered;
    gsize block, given; /* bytes of the current request that the channel has taken */
    guint8 header[NBD_REQUEST_SIZE], *payload;
    gboolean negotiated, waits; /* whether a watch for G_IO_OUT exists */
    guint64 records, sends; /* of the requests */
    guint8 input[64 * 1024];
    gsize input_have;
};

static void add_watch(struct client *client, GIOCondition condition, ChannelFunc function)
{
    g_autoptr(GSource) watch = channel_create_watch(client->channel, condition);
    g_source_set_callback(watch, G_SOURCE_FUNC(function), client, NULL);
    g_source_attach(watch, NULL);
}

/* Writes `len` bytes, of which `client->given` less `before` have been taken already. */
static gboolean put(struct client *client, gsize before, guint8 *data, gsize len, int flags)
{
    g_autoptr(GError) error = NULL;
    while (client->given < before + len) {
        gsize done = client->given - before;
        struct iovec iov = {data + done, len - done};
        gssize taken = channel_writev(client->channel, &iov, 1, flags, &error);
        if (taken == CHANNEL_ERR_BLOCK)
            return FALSE;
        if (taken < 0)
            die("write", error->message);
        client->given += (gsize)taken;
    }
    return TRUE;
}

static gboolean submit_again(Channel *channel, GIOCondition condition, gpointer user);

/* Begins requests until the depth is reached or the channel takes no more. */
static void submit(struct client *client)
{
    if (client->waits)
        return;
    if (client->begun == 0) {
        client->records = channel_wire(client->channel)->records;
        client->sends = channel_wire(client->channel)->sends;
    }
    while (client->begun < client->count && client->begun - client->answered < client->depth) {
        if (client->given == 0) {
            nbd_put_request(client->header, NBD_WRITE, client->begun, client->begun * client->block,
                            (uint32_t)client->block);
            guint64 number = client->begun;
            memcpy(client->payload, &number, sizeof number);
            channel_set_cork(client->channel, TRUE);
        }
        if ((client->given < sizeof client->header &&
             !put(client, 0, client->header, sizeof client->header, CHANNEL_WRITE_FLAG_MORE)) ||
            !put(client, sizeof client->header, client->payload, client->block, 0)) {
            client->waits = TRUE;
            add_watch(client, G_IO_OUT, submit_again);
            return;
        }
        channel_set_cork(client->channel, FALSE); /* never blocks: the main loop sends the rest */
        client->given = 0;
        client->begun++;
    }
}

static gboolean submit_again(Channel *channel, GIOCondition condition, gpointer user)
{
    struct client *client = user;
    (void)channel, (void)condition;
    client->waits = FALSE;
    submit(client);
    return G_SOURCE_REMOVE; /* submit() has added another one if it has to */
}

static gboolean shut_down(Channel *channel, GIOCondition condition, gpointer user)
{
    struct client *client = user;
    g_autoptr(GError) error = NULL;
    (void)condition;
    int rc = channel_shutdown(channel, &error);
    if (rc == CHANNEL_ERR_BLOCK)
        return G_SOURCE_CONTINUE;
    if (rc < 0)
        die("shut down", error->message);
    g_main_loop_quit(client->loop);
    return G_SOURCE_REMOVE;
}

static void finish(struct client *client)
{
    client->records = channel_wire(client->channel)->records - client->records;
    client->sends = channel_wire(client->channel)->sends - client->sends;
    nbd_put_request(client->header, NBD_DISCONNECT, 0, 0, 0);
    client->given = 0;
    put(client, 0, client->header, sizeof client->header, 0); /* nothing waits before it */
    add_watch(client, G_IO_OUT, shut_down);
}

/* Takes whole messages off the front of the input. Returns the number of bytes used. */
static gsize take(struct client *client)
{
    const guint8 *from = client->input;
    if (client->negotiated) {
        if (client->input_have < NBD_ANSWER_SIZE)
            return 0;
        nbd_check_answer(from);
        client->answered++;
        return NBD_ANSWER_SIZE;
    }
    if (client->input_have < NBD_REPLY_SIZE)
        return 0;
    int last;
    gsize len = NBD_REPLY_SIZE + nbd_get_reply(from, &last);
    if (client->input_have < len)
        return 0;
    client->negotiated = last;
    return len;
}

static gboolean readable(Channel *channel, GIOCondition condition, gpointer user)
{
    struct client *client = user;
    g_autoptr(GError) error = NULL;
    gssize got;
    (void)condition;
    while ((got = channel_read(channel, client->input + client->input_have,
                               sizeof client->input - client->input_have, &error)) > 0) {
        client->input_have += (gsize)got;
        gsize used;
        while ((used = take(client)) > 0) {
            client->input_have -= used;
            memmove(client->input, client->input + used, client->input_have);
        }
    }
    if (got == -1 || got == 0)
        die("read", got == 0 ? "the server closed the stream" : error->message);
    if (client->negotiated)
        submit(client);
    if (client->answered < client->count)
        return G_SOURCE_CONTINUE;
    finish(client);
    return G_SOURCE_REMOVE;
}

static void shaken(Channel *channel, GError *error, gpointer user)
{
    (void)channel;
    if (error != NULL)
        die("TLS handshake", error->message);
    add_watch(user, G_IO_IN, readable);
}

int main(int argc, char **argv)
{
    g_autofree gchar *port = NULL, *certificates = NULL, *psk = NULL, *priority = NULL;
    struct client client = {.count = 1000, .depth = 16};
    gint64 block = 512, count = 1000, depth = 16;
    const GOptionEntry options[] = {
        {"port", 0, 0, G_OPTION_ARG_STRING, &port, "of the server on localhost", "PORT"},
        {"tls-certificates", 0, 0, G_OPTION_ARG_STRING, &certificates, "with ca-cert.pem", "DIR"},
        {"tls-psk", 0, 0, G_OPTION_ARG_STRING, &psk, "with a line name:key", "FILE"},
        {"priority", 0, 0, G_OPTION_ARG_STRING, &priority, "GnuTLS's choice of TLS", "TEXT"},
        {"block", 0, 0, G_OPTION_ARG_INT64, &block, "length of a write, at least 8", "BYTES"},
        {"depth", 0, 0, G_OPTION_ARG_INT64, &depth, "writes under way at a time", "N"},
        {"count", 0, 0, G_OPTION_ARG_INT64, &count, "writes in all", "N"},
        G_OPTION_ENTRY_NULL};
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("- write to an NBD server");
    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || port == NULL || block < 8 || depth < 1 || count < 1)
        die("usage", error != NULL ? error->message : "see --help");
    client.block = (gsize)block, client.count = (guint64)count, client.depth = (guint64)depth;
    client.payload = g_malloc0(client.block);

    struct nbd_session nbd;
    const struct nbd_target target = {port, certificates, psk, priority};
    nbd_connect(&nbd, &target);
    nbd_set_nonblocking(&nbd);
    client.loop = g_main_loop_new(NULL, FALSE);
    client.channel = channel_new(nbd.fd, nbd.tls);
    guint8 go[NBD_GO_SIZE];
    nbd_put_go(go);
    put(&client, 0, go, sizeof go, 0); /* leaves when the handshake has ended */
    client.given = 0;
    channel_handshake(client.channel, shaken, &client);
    g_main_loop_run(client.loop);

    printf("requests %" G_GUINT64_FORMAT " records %" G_GUINT64_FORMAT " sends %" G_GUINT64_FORMAT "\n",
           client.answered, client.records, client.sends);
    channel_free(client.channel);
    g_main_loop_unref(client.loop);
    nbd_free(&nbd);
    g_free(client.payload);
    return 0;
}
