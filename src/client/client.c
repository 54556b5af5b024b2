/*-------------------------------------------------------------------------
 *
 * client.c
 *	  A client's beginning and end, and waiting for programs.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "private.h"

int
wait_ms(int64_t until_us)
{
	int64_t		left = until_us - clock_now_us();

	return left <= 0 ? 0 : left > INT64_C(3600000000) ? 3600000 : (int) ((left + 999) / 1000);
}

static VtStatus
poll_wait(void *arg, int fd, bool want_read, bool want_write, int64_t until_us)
{
	struct pollfd p = {.fd = fd};
	int			n;

	(void) arg;
	p.events = (short) ((want_read ? POLLIN : 0) | (want_write ? POLLOUT : 0));
	n = poll(&p, fd >= 0 ? 1 : 0, wait_ms(until_us));
	if (n < 0 && errno != EINTR)
		return VT_IO;
	return n == 0 ? VT_TIMEOUT : VT_OK;
}

const ClientOps client_poll_ops = {.wait = poll_wait};

/* Split the comma-separated endpoints. */
static VtStatus
read_endpoints(Client *client, const char *text, VtError *err)
{
	const char *p = text ? text : "";

	for (;;)
	{
		size_t		len;

		p += strspn(p, ", ");
		if (*p == '\0')
			break;
		len = strcspn(p, ", ");
		if (len >= ENDPOINT_SIZE)
			return vt_fail(err, VT_INVALID, "endpoint \"%.100s...\" is longer than %d bytes", p,
						   ENDPOINT_SIZE - 1);
		client->pd = vt_realloc(client->pd, sizeof(char *) * (client->npd + 1));
		client->pd[client->npd] = vt_alloc0(len + 1);
		memcpy(client->pd[client->npd++], p, len);
		p += len;
	}
	return VT_OK;
}

VtStatus
client_open(const ClientOptions *options, Client **out, VtError *err)
{
	Client	   *client = vt_alloc0(sizeof(Client));
	VtId		seed;
	VtStatus	status;

	*out = NULL;
	client->ops = options->ops;
	client->role = options->role;
	client->cluster = options->cluster;
	client->epoll = -1;
	client->pace = options->pace;
	if (!client->pace)
		client->pace = client->own_pace = client_pace_init(vt_alloc(client_pace_size()));
	vt_id_random(&seed);
	client->prng.state = get_le64(seed.b);
	if (options->tls.ca_file && options->tls.ca_file[0])
		client->certificates = certificates_new(&options->tls);
	status = read_endpoints(client, options->pd_endpoints, err);
	if (status == VT_OK && client->ops.acquire_fd && !client->ops.acquire_fd(client->ops.arg))
		status = vt_fail(err, VT_FULL, "no file descriptor is left for a connection to the cluster");
	else if (status == VT_OK)
	{
		client->epoll = epoll_create1(EPOLL_CLOEXEC);
		if (client->epoll < 0)
		{
			status = vt_fail_errno(err, VT_IO, "could not create an epoll descriptor");
			if (client->ops.release_fd)
				client->ops.release_fd(client->ops.arg);
		}
	}
	if (status != VT_OK)
	{
		client_close(client);
		return status;
	}
	*out = client;
	return VT_OK;
}

void
client_close(Client *client)
{
	if (!client)
		return;
	list_free_all(client);
	scan_free_all(client);
	conn_close_all(client);
	if (client->epoll >= 0)
	{
		close(client->epoll);
		if (client->ops.release_fd)
			client->ops.release_fd(client->ops.arg);
	}
	once_free_all(client);
	route_free_all(client);
	buf_free(&client->control_reply);
	for (size_t i = 0; i < client->npd; i++)
		free(client->pd[i]);
	free(client->pd);
	free(client->own_pace);
	certificates_free(client->certificates);
	free(client);
}

void
client_abandon(Client *client)
{
	if (!client)
		return;
	conn_abandon_all(client);
	if (client->epoll >= 0)
	{
		close(client->epoll);
		if (client->ops.release_fd)
			client->ops.release_fd(client->ops.arg);
	}
	client->epoll = -1;
}

int
client_connections(const Client *client)
{
	return client->nconns;
}
