/*-------------------------------------------------------------------------
 *
 * endpoint.c
 *	  Texts of endpoints into addresses, and back.
 *
 *-------------------------------------------------------------------------
 */
#include "base/endpoint.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define HOST_MAX 64
#define PROBE_AFTER_S 15		/* of silence */
#define PROBE_EVERY_S 5
#define PROBES 3
#define UNCONFIRMED_MS 30000	/* what was sent and not confirmed */

static VtStatus
parse_unix(const char *text, Endpoint *out, VtError *err)
{
	struct sockaddr_un *un = (struct sockaddr_un *) &out->addr;
	const char *path = text + strlen("unix:");

	if (path[0] == '\0' || strlen(path) >= sizeof(un->sun_path))
		return vt_fail(err, VT_INVALID, "endpoint \"%.100s\": the path of a socket has 1 to %zu bytes",
					   text, sizeof(un->sun_path) - 1);
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path));
	out->len = sizeof(*un);
	return VT_OK;
}

static VtStatus
parse_tcp(const char *text, Endpoint *out, VtError *err)
{
	const char *address = text + strlen("tcp://");
	const char *port = strrchr(address, ':');
	size_t		len = port ? (size_t) (port - address) : 0;
	struct addrinfo hints;
	struct addrinfo *found = NULL;
	char		host[HOST_MAX];

	if (!port || len == 0 || len >= sizeof(host))
		return vt_fail(err, VT_INVALID, "endpoint \"%.100s\" is not tcp://ADDRESS:PORT", text);
	port++;
	if (address[0] == '[' && address[len - 1] == ']' && len > 2)
	{
		address++;
		len -= 2;
	}
	memcpy(host, address, len);
	host[len] = '\0';
	if (strcmp(host, "localhost") == 0)
		strcpy(host, "127.0.0.1");
	memset(&hints, 0, sizeof(hints));
	hints.ai_socktype = SOCK_STREAM;
	hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
	/* What is more than a port, getaddrinfo() would cut to sixteen bits. */
	if (strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 || atoi(port) < 1 ||
		atoi(port) > 65535 || getaddrinfo(host, port, &hints, &found) != 0)
		return vt_fail(err, VT_INVALID, "endpoint \"%.100s\": address and port must be numbers", text);
	out->tcp = true;
	out->len = found->ai_addrlen;
	memcpy(&out->addr, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	out->any = out->addr.ss_family == AF_INET ?
		((struct sockaddr_in *) &out->addr)->sin_addr.s_addr == htonl(INADDR_ANY) :
		IN6_IS_ADDR_UNSPECIFIED(&((struct sockaddr_in6 *) &out->addr)->sin6_addr);
	return VT_OK;
}

VtStatus
endpoint_parse(const char *text, Endpoint *out, VtError *err)
{
	memset(out, 0, sizeof(*out));
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text, out, err);
	if (strncmp(text, "tcp://", 6) == 0)
		return parse_tcp(text, out, err);
	return vt_fail(err, VT_INVALID, "endpoint \"%.100s\" is neither unix:PATH nor tcp://ADDRESS:PORT", text);
}

void
endpoint_format(const struct sockaddr_storage *addr, socklen_t len, char out[ENDPOINT_ADDRESS_TEXT])
{
	char		host[NI_MAXHOST];
	char		port[NI_MAXSERV];

	if (getnameinfo((const struct sockaddr *) addr, len, host, sizeof(host), port, sizeof(port),
						NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(out, ENDPOINT_ADDRESS_TEXT, "an unknown address");
	else
		snprintf(out, ENDPOINT_ADDRESS_TEXT, addr->ss_family == AF_INET6 ? "[%.46s]:%.6s" : "%.46s:%.6s", host, port);
}

const char *
endpoint_path(const Endpoint *endpoint)
{
	Assert(!endpoint->tcp);
	return ((const struct sockaddr_un *) &endpoint->addr)->sun_path;
}

void
endpoint_set_up_tcp(int fd)
{
	static const struct
	{
		int			level;
		int			name;
		int			value;
	}			options[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, PROBE_AFTER_S},
		{IPPROTO_TCP, TCP_KEEPINTVL, PROBE_EVERY_S},
		{IPPROTO_TCP, TCP_KEEPCNT, PROBES},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, UNCONFIRMED_MS},
	};

	/* None fails on a socket of tcp, and without them it would still serve. */
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		(void) setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}
