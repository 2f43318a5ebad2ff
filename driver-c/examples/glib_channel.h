/* A channel over GnuTLS for GLib's main loop, with the calls that QEMU's QIOChannel has. None of
 * them waits. All of them belong to the thread that runs the default main context. */
#ifndef GLIB_CHANNEL_H
#define GLIB_CHANNEL_H

#include <glib.h>

#include "tls_cork_gnutls.h"
#include "wire.h"

enum { CHANNEL_ERR_BLOCK = -2 };     /* wait by a watch, then call again */
enum { CHANNEL_WRITE_FLAG_MORE = 1 }; /* more is coming: this may wait for it */

typedef struct Channel Channel;

/* For watches. Returns whether the watch stays. */
typedef gboolean (*ChannelFunc)(Channel *channel, GIOCondition condition, gpointer user);

/* Creates a channel over a non-blocking socket and a session whose handshake has not begun. Writes
 * are accepted at once, and leave together when the handshake has ended. */
Channel *channel_new(int fd, gnutls_session_t session);

/* Shakes hands in the main loop, then calls `done`, with NULL or the error. */
void channel_handshake(Channel *channel, void (*done)(Channel *, GError *, gpointer), gpointer user);

/* Writes a prefix of `iov`. Returns its length, CHANNEL_ERR_BLOCK (wait for G_IO_OUT), or -1. */
gssize channel_writev(Channel *channel, const struct iovec *iov, size_t niov, int flags, GError **error);

/* Reads up to `len` bytes. Returns their number, 0 at the end of the stream, CHANNEL_ERR_BLOCK (wait
 * for G_IO_IN), or -1. */
gssize channel_read(Channel *channel, void *to, size_t len, GError **error);

/* While enabled, every write counts as one with CHANNEL_WRITE_FLAG_MORE. Disabling lets everything
 * leave: as much as the socket takes in the call, the rest in the main loop. */
void channel_set_cork(Channel *channel, gboolean enabled);

/* Ends the writing direction: what was written leaves, then close_notify. Returns 0 when both have
 * left, CHANNEL_ERR_BLOCK (wait for G_IO_OUT, call again), or -1. Reading goes on. */
int channel_shutdown(Channel *channel, GError **error);

/* A source that is ready when a read (G_IO_IN) or a write (G_IO_OUT) would not return
 * CHANNEL_ERR_BLOCK. Set a ChannelFunc by g_source_set_callback() and attach it. */
GSource *channel_create_watch(Channel *channel, GIOCondition condition);

/* What has left. */
const struct wire *channel_wire(const Channel *channel);

/* Frees the channel. Its watches must have ended; socket and session stay the caller's. */
void channel_free(Channel *channel);

#endif
