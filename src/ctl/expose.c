/*-------------------------------------------------------------------------
 *
 * expose.c
 *	  vectronctl expose: an embedded cluster grows out of its machine.
 *
 * The way is docs/cluster.md's, "Growing out of one machine".  Its steps are done by
 * PostgreSQL's configuration file, by starting daemons elsewhere and by other
 * commands.  This one changes nothing: each time it is asked it looks at the cluster,
 * says which steps are done, and what exactly the next one is.  Nothing is kept, so
 * it may be asked from anywhere at any time.
 *
 * What is embedded is known by where it is, or shall be, found by others.  Before the
 * first step the endpoints and certificates are tried: with bad ones the embedded
 * daemons would not come up again.
 *
 * Exit status: 0 the next step was told, 3 something is under way that has to be waited
 * for, 4 all is done.
 *
 *-------------------------------------------------------------------------
 */
#include <glob.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/endpoint.h"
#include "ctl.h"
#include "wire/wire.h"

#define COMMAND "expose"
#define COPIES 3				/* that indexes of a cluster have by default */
#define PATH_SIZE 4096

enum
{
	TOLD = 0,
	FAILED = 1,
	WAIT = 3,
	DONE = 4
};

typedef struct Expose
{
	Ctl		   *ctl;
	const char *folder;			/* of certificates */
	const char *pd;				/* endpoints of the embedded ones */
	const char *worker;

	/* What is */
	json_t	   *status;
	json_t	   *drivers;
	json_t	   *stores;
	json_t	   *collections;
	const char *cluster;
	json_t	   *our_driver;		/* of drivers; NULL: there is none (any more) */
	json_t	   *our_store;
	size_t		drivers_up;		/* other voters */
	size_t		stores_up;		/* others that hold copies */
} Expose;

static const char *
text(json_t *row, const char *member)
{
	const char *found = json_string_value(json_object_get(row, member));

	return found ? found : "";
}

static bool
is_tcp(const char *endpoint)
{
	return strncmp(endpoint, "tcp://", strlen("tcp://")) == 0;
}

/* -- Telling ------------------------------------------------------------------- */

static void
tell_done(const char *what)
{
	printf("  done   %s\n", what);
}

__attribute__((format(printf, 1, 2))) static void
tell_next(const char *format, ...)
{
	va_list		args;

	va_start(args, format);
	printf("  next   ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

/* A line to be typed or written down, as it is. */
__attribute__((format(printf, 1, 2))) static void
tell_line(const char *format, ...)
{
	va_list		args;

	va_start(args, format);
	printf("             ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

__attribute__((format(printf, 1, 2))) static int
refuse(const char *format, ...)
{
	va_list		args;

	va_start(args, format);
	fprintf(stderr, "vectronctl: " COMMAND ": ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	return FAILED;
}

/* -- What is --------------------------------------------------------------------- */

/* The list in an answer, held; NULL: it could not be had, and why was said. */
static json_t *
ask_list(Expose *e, const char *op)
{
	VtError		err = {0};
	json_t	   *answer = ctl_ask(e->ctl, json_pack("{s:s}", "op", op), &err);
	json_t	   *list = json_incref(json_object_get(answer, op));

	json_decref(answer);
	if (!list)
		ctl_failed(COMMAND, &err);
	return list;
}

static bool
look(Expose *e)
{
	VtError		err = {0};
	json_t	   *row;
	size_t		i;

	e->status = ctl_ask(e->ctl, json_pack("{s:s}", "op", "status"), &err);
	if (!e->status)
		return ctl_failed(COMMAND, &err) == 0;
	e->cluster = text(e->status, "cluster");
	e->drivers = ask_list(e, "pds");
	e->stores = e->drivers ? ask_list(e, "workers") : NULL;
	e->collections = e->stores ? ask_list(e, "collections") : NULL;
	if (!e->collections)
		return false;
	json_array_foreach(e->drivers, i, row)
	{
		const char *role = text(row, "role");

		/* One that was removed is seen for a while as one who waits to be added. */
		if (strcmp(role, "waiting") == 0)
			continue;
		if (strcmp(text(row, "endpoint"), e->pd) == 0)
			e->our_driver = row;
		else
			e->drivers_up += strcmp(text(row, "state"), "up") == 0 && (strcmp(role, "leader") == 0 || strcmp(role, "follower") == 0);
	}
	json_array_foreach(e->stores, i, row)
	{
		if (strcmp(text(row, "endpoint"), e->worker) == 0)
			e->our_store = row;
		else
			e->stores_up += strcmp(text(row, "state"), "up") == 0 && strcmp(text(row, "role"), "data") == 0;
	}
	return true;
}

static void
forget(Expose *e)
{
	json_decref(e->status);
	json_decref(e->drivers);
	json_decref(e->stores);
	json_decref(e->collections);
}

/* Is everything on one machine, on its sockets? */
static bool
is_private(const Expose *e)
{
	return json_array_size(e->drivers) == 1 && !is_tcp(text(json_array_get(e->drivers, 0), "endpoint")) &&
		json_array_size(e->stores) <= 1 && (json_array_size(e->stores) == 0 || !is_tcp(text(json_array_get(e->stores, 0), "endpoint")));
}

/* The other drivers, as --pd and vectron.pd_endpoints want them. */
static void
others_of(const Expose *e, Buf *out)
{
	json_t	   *row;
	size_t		i;

	json_array_foreach(e->drivers, i, row)
	{
		const char *role = text(row, "role");
		const char *endpoint = text(row, "endpoint");

		if (row == e->our_driver || (strcmp(role, "leader") != 0 && strcmp(role, "follower") != 0))
			continue;
		buf_put(out, ",", out->len > 0);
		buf_put(out, endpoint, strlen(endpoint));
	}
	buf_put_u8(out, 0);
}

/* -- Before the first step --------------------------------------------------------- */

static bool
is_loopback(const Endpoint *endpoint)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *) &endpoint->addr;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) &endpoint->addr;

	return endpoint->addr.ss_family == AF_INET ? ntohl(in->sin_addr.s_addr) >> 24 == 127 : IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

/* Can a daemon of this machine listen there, and others come to it? */
static VtStatus
try_endpoint(const char *name, bool *loopback, VtError *err)
{
	Endpoint	endpoint;
	VtStatus	status = endpoint_parse(name, &endpoint, err);
	int			one = 1;
	int			fd;

	if (status != VT_OK)
		return status;
	if (!endpoint.tcp || endpoint.any)
		return vt_fail(err, VT_INVALID, "\"%s\" is no place that other machines could come to: tcp://ADDRESS:PORT, an address of this machine", name);
	*loopback |= is_loopback(&endpoint);
	fd = socket(endpoint.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* As the daemons do: what a connection has left behind is in nobody's way. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
		bind(fd, (struct sockaddr *) &endpoint.addr, endpoint.len) != 0 || listen(fd, 1) != 0)
		status = vt_fail_errno(err, VT_INVALID, "nobody could listen at %s here, on the machine of the server", name);
	if (fd >= 0)
		close(fd);
	return status;
}

/* Files of one of the cluster's certificates, in force and for this role; cluster: as text. */
static VtStatus
try_certificate(const Expose *e, WireRole role, const char *name, VtError *err)
{
	char		ca[PATH_SIZE];
	char		cert[PATH_SIZE];
	char		key[PATH_SIZE];
	char		cluster[VT_ID_TEXT];
	WireTlsFiles files = {ca, cert, key};
	WireTlsContext *context = NULL;
	VtStatus	status;

	snprintf(ca, sizeof(ca), "%s/ca.crt", e->folder);
	snprintf(cert, sizeof(cert), "%s/%s-%s.crt", e->folder, wire_role_word(role), name);
	snprintf(key, sizeof(key), "%s/%s-%s.key", e->folder, wire_role_word(role), name);
	status = wire_tls_context_load(&files, role, &context, err);
	if (status != VT_OK)
		return status;
	vt_id_format(&wire_tls_context_identity(context)->cluster, cluster);
	if (strcmp(cluster, e->cluster) != 0)
		status = vt_fail(err, VT_DENIED, "%s is for cluster %s, and this one is %s", cert, cluster, e->cluster);
	wire_tls_context_release(context);
	return status;
}

/* The system identifier that the folder's only gateway certificate names. */
static VtStatus
find_gateway(const Expose *e, char name[WIRE_NAME_MAX + 1], VtError *err)
{
	char		pattern[PATH_SIZE];
	const char *system = text(json_object_get(json_array_get(e->collections, 0), "owner"), "system");
	const char *begin;
	glob_t		found;
	VtStatus	status = VT_OK;

	/* Who has indexes is known; else there is to be but one. */
	name[0] = '\0';
	if (system[0])
	{
		snprintf(name, WIRE_NAME_MAX + 1, "%s", system);
		return try_certificate(e, WIRE_ROLE_GATEWAY, name, err);
	}
	snprintf(pattern, sizeof(pattern), "%s/gateway-*.crt", e->folder);
	if (glob(pattern, 0, NULL, &found) != 0)
		return vt_fail(err, VT_NOT_FOUND, "there is no certificate for PostgreSQL in \"%s\"", e->folder);
	begin = strrchr(found.gl_pathv[0], '-') + 1;
	if (found.gl_pathc > 1 || strlen(begin) - strlen(".crt") > WIRE_NAME_MAX)
		status = vt_fail(err, VT_INVALID, "there are certificates of several servers in \"%s\"", e->folder);
	else
		snprintf(name, WIRE_NAME_MAX + 1, "%.*s", (int) (strlen(begin) - strlen(".crt")), begin);
	globfree(&found);
	return status == VT_OK ? try_certificate(e, WIRE_ROLE_GATEWAY, name, err) : status;
}

static int
tell_certificates(const Expose *e, const char *gateway, const VtError *err)
{
	refuse("%s", vt_error_words(err));
	fprintf(stderr, "Certificates are made with these, where the CA's key is to stay; then copy all but ca.key to %s:\n"
			"  vectronctl certs init --cluster %s ca\n"
			"  vectronctl certs issue ca pd embedded\n"
			"  vectronctl certs issue ca worker embedded\n"
			"  vectronctl certs issue ca gateway %s\n",
			e->folder, e->cluster, gateway[0] ? gateway : "ID     (SELECT system_identifier FROM pg_control_system())");
	return FAILED;
}

static int
begin(const Expose *e)
{
	char		gateway[WIRE_NAME_MAX + 1] = "";
	bool		loopback = false;
	VtError		err = {0};
	VtError		why = {0};
	VtStatus	status;

	if (strcmp(e->pd, e->worker) == 0)
		return refuse("the placement driver and the worker listen at different ports");
	if (e->folder[0] != '/')
		return refuse("the folder of the certificates must be an absolute path: \"%s\" is none", e->folder);
	if (try_endpoint(e->pd, &loopback, &err) != VT_OK || try_endpoint(e->worker, &loopback, &err) != VT_OK)
		return refuse("%s", vt_error_words(&err));
	status = find_gateway(e, gateway, &why);
	if (try_certificate(e, WIRE_ROLE_PD, "embedded", &err) != VT_OK ||
		try_certificate(e, WIRE_ROLE_WORKER, "embedded", &err) != VT_OK)
		return tell_certificates(e, gateway, &err);
	if (status != VT_OK)
		return tell_certificates(e, gateway, &why);
	if (loopback)
		fprintf(stderr, "vectronctl: " COMMAND ": 127.0.0.1 and ::1 are reached from this machine only: nothing but an exercise\n");
	tell_next("listen for other machines: these lines in postgresql.conf, and SELECT pg_reload_conf()");
	tell_line("vectron.expose_pd = '%s'", e->pd);
	tell_line("vectron.expose_worker = '%s'", e->worker);
	tell_line("vectron.expose_certificates = '%s'", e->folder);
	tell_line("vectron.tls_ca_file = '%s/ca.crt'", e->folder);
	tell_line("vectron.tls_cert_file = '%s/gateway-%s.crt'", e->folder, gateway);
	tell_line("vectron.tls_key_file = '%s/gateway-%s.key'", e->folder, gateway);
	printf("         The embedded daemons are started anew with them, which takes some seconds; queries wait.\n"
		   "         To go back, take the first three out again, as long as nobody has joined.\n");
	return TOLD;
}

/* -- Step by step -------------------------------------------------------------------- */

/* Workers have joined, and indexes have as many copies as they want. */
static int
copies(const Expose *e)
{
	bool		any = false;
	json_t	   *row;
	size_t		i;

	if (e->stores_up == 0)
	{
		tell_next("start workers on other machines, each with its certificate:");
		tell_line("vectron-worker --data /var/lib/vectron/w1 --listen tcp://ADDRESS:7401 --pd %s --tls-ca-file ... --tls-cert-file ... --tls-key-file ...", e->pd);
		return TOLD;
	}
	printf("  done   workers of other machines: %zu up\n", e->stores_up);
	json_array_foreach(e->collections, i, row)
	{
		json_int_t	wanted = json_integer_value(json_object_get(row, "replicas_wanted"));
		json_int_t	may = e->stores_up < COPIES ? (json_int_t) e->stores_up : COPIES;

		if (strcmp(text(row, "state"), "live") != 0 || wanted >= may)
			continue;
		if (!any)
			tell_next("each index is to have more than the copy that it was made with; or REINDEX it WITH (replicas = ...):");
		any = true;
		tell_line("vectronctl set-replicas %s %" JSON_INTEGER_FORMAT "        # %s", text(row, "generation"), may, text(row, "label"));
	}
	if (any)
		return TOLD;
	json_array_foreach(e->collections, i, row)
		if (json_is_true(json_object_get(row, "under_replicated")) && strcmp(text(row, "state"), "live") == 0)
		{
			tell_next("wait: copies of %s are being made (vectronctl operators)", text(row, "label"));
			return WAIT;
		}
	tell_done("every index has its copies");
	return DONE;
}

/* "suspect" or "down" */
static bool
is_silent(json_t *store)
{
	return strcmp(text(store, "state"), "up") != 0 && strcmp(text(store, "state"), "draining") != 0;
}

/* The embedded worker holds nothing any more. */
static int
drain(const Expose *e)
{
	const char *store = text(e->our_store, "store");

	if (!e->our_store || (is_silent(e->our_store) && !e->our_driver))
	{
		tell_done(e->our_store ? "the embedded worker is not heard any more" : "the embedded worker has been forgotten");
		return DONE;
	}
	if (is_silent(e->our_store))
	{
		tell_next("wait: the embedded worker is not heard; if that lasts, the server's log says why");
		return WAIT;
	}
	if (strcmp(text(e->our_store, "state"), "up") == 0)
	{
		tell_next("empty the embedded worker; everything goes on meanwhile:");
		tell_line("vectronctl drain %s", store);
		return TOLD;
	}
	if (strcmp(text(e->our_store, "shards"), "0") != 0)
	{
		tell_next("wait: the embedded worker has %s replicas yet (vectronctl operators)", text(e->our_store, "shards"));
		return WAIT;
	}
	tell_done("the embedded worker holds nothing");
	return DONE;
}

/* Others decide. */
static int
drivers(const Expose *e)
{
	Buf			others = {0};

	if (!e->our_driver)
	{
		tell_done("the embedded placement driver has left");
		return DONE;
	}
	if (e->drivers_up == 0)
	{
		tell_next("start another placement driver, or better three, on other machines, then add each:");
		tell_line("vectron-pd --data /var/lib/vectron/pd --listen tcp://ADDRESS:7400 --peers %s --tls-ca-file ... --tls-cert-file ... --tls-key-file ...", e->pd);
		tell_line("vectronctl add-pd tcp://ADDRESS:7400");
		return TOLD;
	}
	others_of(e, &others);
	printf("  done   other placement drivers: %zu up\n", e->drivers_up);
	tell_next("everybody goes to them: this line in postgresql.conf, and SELECT pg_reload_conf();");
	tell_line("vectron.pd_endpoints = '%s'", (char *) others.data);
	printf("         start the other workers anew, one after the other, with the same behind --pd; then\n");
	tell_line("vectronctl --pd %s remove-pd %s", (char *) others.data, text(e->our_driver, "id"));
	buf_free(&others);
	return TOLD;
}

/* The end: nothing asks the embedded daemons any more. */
static int
retire(const Expose *e)
{
	Buf			others = {0};
	int			result = TOLD;

	others_of(e, &others);
	if (e->our_store && !is_silent(e->our_store))
	{
		tell_next("stop the embedded daemons: take vectron.expose_pd, vectron.expose_worker and vectron.expose_certificates");
		printf("         out of postgresql.conf, see to it that this line is there, and SELECT pg_reload_conf():\n");
		tell_line("vectron.pd_endpoints = '%s'", (char *) others.data);
	}
	else if (e->our_store)
	{
		tell_next("the embedded worker is not to come back:");
		tell_line("vectronctl --pd %s forget-store %s", (char *) others.data, text(e->our_store, "store"));
	}
	else
	{
		printf("  done   nothing is embedded any more; the folders pd and worker in the data directory's vectron may be deleted\n");
		result = DONE;
	}
	buf_free(&others);
	return result;
}

/* Where others find the driver that was asked on its socket, if it is one; NULL = it was asked elsewhere. */
static const char *
asked_driver(const Expose *e)
{
	json_t	   *row;
	size_t		i;

	if (is_tcp(e->ctl->options.pd_endpoints))
		return NULL;
	json_array_foreach(e->drivers, i, row)
		if (strcmp(text(row, "id"), text(e->status, "id")) == 0)
			return text(row, "endpoint");
	return NULL;
}

static int
go_on(const Expose *e)
{
	const char *asked = asked_driver(e);
	int			result;

	if (asked && strcmp(asked, e->pd) != 0)
		return refuse("this cluster is exposed already: its placement driver is found at %s, not at %s", asked, e->pd);
	if (e->our_driver && !e->our_store && e->stores_up == 0)
	{
		tell_next("wait: the embedded worker does not listen at %s yet; if that lasts, the server's log says why", e->worker);
		return WAIT;
	}
	tell_done("the embedded daemons listen for other machines");
	result = copies(e);
	if (result == DONE)
		result = drain(e);
	if (result == DONE)
		result = drivers(e);
	return result == DONE ? retire(e) : result;
}

int
expose_main(Ctl *ctl)
{
	Expose		e = {.ctl = ctl, .folder = ctl->words[0], .pd = ctl->words[1], .worker = ctl->words[2]};
	int			result = FAILED;

	if (look(&e))
	{
		printf("cluster %s\n", e.cluster);
		result = is_private(&e) ? begin(&e) : go_on(&e);
	}
	forget(&e);
	return result;
}
