#define _GNU_SOURCE
#include "nbd_session.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const uint64_t GREETING_MAGIC = 0x4e42444d41474943; /* NBDMAGIC */
static const uint64_t OPTION_MAGIC = 0x49484156454f5054;   /* IHAVEOPT */
static const uint64_t REPLY_MAGIC = 0x0003e889045565a9;
static const uint32_t REQUEST_MAGIC = 0x25609513;
static const uint32_t ANSWER_MAGIC = 0x67446698;
enum { CLIENT_FLAGS = 3 }; /* fixed newstyle, no padding */
enum { OPTION_STARTTLS = 5, OPTION_GO = 7, REPLY_ACK = 1, REPLY_INFO = 3, INFO_EXPORT = 0 };

_Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void put32(unsigned char *to, uint32_t value)
{
    value = htobe32(value);
    memcpy(to, &value, sizeof value);
}

static void put64(unsigned char *to, uint64_t value)
{
    value = htobe64(value);
    memcpy(to, &value, sizeof value);
}

static uint32_t get32(const unsigned char *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return be32toh(value);
}

static uint64_t get64(const unsigned char *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return be64toh(value);
}

static void read_plain(int fd, unsigned char *to, size_t len)
{
    while (len > 0) {
        ssize_t got = read(fd, to, len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            die("read from the server", got == 0 ? "it closed the connection" : strerror(errno));
        to += got;
        len -= (size_t)got;
    }
}

static void write_plain(int fd, const unsigned char *from, size_t len)
{
    if (write(fd, from, len) != (ssize_t)len) /* a few bytes into an empty buffer */
        die("write to the server", strerror(errno));
}

static void read_tls(gnutls_session_t tls, unsigned char *to, size_t len)
{
    while (len > 0) {
        ssize_t got = gnutls_record_recv(tls, to, len);
        if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED)
            continue;
        if (got <= 0)
            die("read over TLS", got == 0 ? "the server closed the stream" : gnutls_strerror((int)got));
        to += got;
        len -= (size_t)got;
    }
}

static int connect_tcp(const char *port)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *address;
    int error = getaddrinfo("localhost", port, &hints, &address), yes = 1;
    if (error != 0)
        die(port, gai_strerror(error));
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, address->ai_addr, address->ai_addrlen) != 0)
        die(port, strerror(errno));
    freeaddrinfo(address);
    /* Nagle's algorithm would be another delay, beside that of the cork. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return fd;
}

static void set_psk(struct nbd_session *nbd, const char *file)
{
    char line[1024], *key;
    FILE *lines = fopen(file, "re");
    if (lines == NULL || fgets(line, sizeof line, lines) == NULL || (key = strchr(line, ':')) == NULL)
        die(file, "no line with a name, a colon and a key");
    fclose(lines);
    *key++ = '\0';
    key[strcspn(key, "\r\n")] = '\0';
    gnutls_datum_t hex = {(unsigned char *)key, (unsigned)strlen(key)};
    int error = gnutls_psk_allocate_client_credentials(&nbd->psk);
    if (error == 0)
        error = gnutls_psk_set_client_credentials(nbd->psk, line, &hex, GNUTLS_PSK_KEY_HEX);
    if (error != 0)
        die(file, gnutls_strerror(error));
    gnutls_credentials_set(nbd->tls, GNUTLS_CRD_PSK, nbd->psk);
}

static void set_certificates(struct nbd_session *nbd, const char *directory)
{
    char file[4096];
    snprintf(file, sizeof file, "%s/ca-cert.pem", directory);
    gnutls_certificate_allocate_credentials(&nbd->certificates);
    int found = gnutls_certificate_set_x509_trust_file(nbd->certificates, file, GNUTLS_X509_FMT_PEM);
    if (found <= 0)
        die(file, found == 0 ? "no certificate in this file" : gnutls_strerror(found));
    gnutls_credentials_set(nbd->tls, GNUTLS_CRD_CERTIFICATE, nbd->certificates);
    gnutls_session_set_verify_cert(nbd->tls, "localhost", 0);
}

void nbd_connect(struct nbd_session *nbd, const struct nbd_target *target)
{
    *nbd = (struct nbd_session){.fd = connect_tcp(target->port)};
    unsigned char greeting[18], flags[4], option[16], reply[NBD_REPLY_SIZE];
    read_plain(nbd->fd, greeting, sizeof greeting);
    if (get64(greeting) != GREETING_MAGIC || get64(greeting + 8) != OPTION_MAGIC)
        die("connect", "this is no NBD server");
    put32(flags, CLIENT_FLAGS);
    write_plain(nbd->fd, flags, sizeof flags);
    put64(option, OPTION_MAGIC);
    put32(option + 8, OPTION_STARTTLS);
    put32(option + 12, 0);
    write_plain(nbd->fd, option, sizeof option);
    read_plain(nbd->fd, reply, sizeof reply);
    if (get64(reply) != REPLY_MAGIC || get32(reply + 12) != REPLY_ACK)
        die("switch to TLS", "the server refuses");

    const char *usual = target->tls_psk != NULL ? "NORMAL:+ECDHE-PSK:+DHE-PSK:+PSK" : "NORMAL";
    const char *priority = target->priority != NULL ? target->priority : usual;
    int error = gnutls_init(&nbd->tls, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    if (error == 0)
        error = gnutls_priority_set_direct(nbd->tls, priority, NULL);
    if (error != 0)
        die(priority, gnutls_strerror(error));
    gnutls_server_name_set(nbd->tls, GNUTLS_NAME_DNS, "localhost", strlen("localhost"));
    if (target->tls_psk != NULL)
        set_psk(nbd, target->tls_psk);
    if (target->tls_certificates != NULL)
        set_certificates(nbd, target->tls_certificates);
    gnutls_transport_set_int(nbd->tls, nbd->fd);
}

void nbd_put_go(unsigned char *to)
{
    put64(to, OPTION_MAGIC);
    put32(to + 8, OPTION_GO);
    put32(to + 12, 6);
    memset(to + 16, 0, 6); /* a name of no bytes, and no wish for information */
}

size_t nbd_get_reply(const unsigned char *head, int *last)
{
    uint32_t type = get32(head + 12), len = get32(head + 16);
    if (get64(head) != REPLY_MAGIC || (type != REPLY_ACK && type != REPLY_INFO) || len > 1024)
        die("choose the export", "the server refuses");
    *last = type == REPLY_ACK;
    return len;
}

uint64_t nbd_negotiate(struct nbd_session *nbd)
{
    int error, last;
    do
        error = gnutls_handshake(nbd->tls);
    while (error < 0 && !gnutls_error_is_fatal(error));
    if (error < 0)
        die("TLS handshake", gnutls_strerror(error));
    unsigned char go[NBD_GO_SIZE], head[NBD_REPLY_SIZE], data[1024];
    nbd_put_go(go);
    if (gnutls_record_send(nbd->tls, go, sizeof go) != NBD_GO_SIZE)
        die("choose the export", "the option was not sent");
    uint64_t size = 0;
    do {
        read_tls(nbd->tls, head, sizeof head);
        size_t len = nbd_get_reply(head, &last);
        read_tls(nbd->tls, data, len);
        if (len >= 12 && data[0] == 0 && data[1] == INFO_EXPORT)
            size = get64(data + 2);
    } while (!last);
    return size;
}

void nbd_put_request(unsigned char *to, int command, uint64_t handle, uint64_t offset, uint32_t len)
{
    put32(to, REQUEST_MAGIC);
    put32(to + 4, (uint32_t)command); /* no flags, and the command */
    put64(to + 8, handle);
    put64(to + 16, offset);
    put32(to + 24, len);
}

void nbd_check_answer(const unsigned char *answer)
{
    if (get32(answer) != ANSWER_MAGIC || get32(answer + 4) != 0)
        die("write", "the server reports an error");
}

void nbd_set_nonblocking(const struct nbd_session *nbd)
{
    if (fcntl(nbd->fd, F_SETFL, fcntl(nbd->fd, F_GETFL) | O_NONBLOCK) != 0)
        die("fcntl", strerror(errno));
}

void nbd_free(struct nbd_session *nbd)
{
    gnutls_deinit(nbd->tls);
    if (nbd->psk != NULL)
        gnutls_psk_free_client_credentials(nbd->psk);
    if (nbd->certificates != NULL)
        gnutls_certificate_free_credentials(nbd->certificates);
    close(nbd->fd);
}
