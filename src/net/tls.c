/*-------------------------------------------------------------------------
 *
 * tls.c
 *	  The certificates of a daemon, which may be exchanged while it runs.
 *
 *-------------------------------------------------------------------------
 */
#include "net/net.h"

#include <stdlib.h>

#include "private.h"

struct NetTls
{
	char	   *ca_file;
	char	   *cert_file;
	char	   *key_file;
	WireRole	role;

	pthread_mutex_t lock;
	WireTlsContext *context;
};

VtStatus
net_tls_open(const WireTlsFiles *files, WireRole role, NetTls **out, VtError *err)
{
	int			named = (files->ca_file[0] != '\0') + (files->cert_file[0] != '\0') + (files->key_file[0] != '\0');
	WireTlsContext *context;
	NetTls	   *tls;
	VtStatus	status;

	*out = NULL;
	if (named == 0)
		return VT_OK;
	if (named < 3)
		return vt_fail(err, VT_INVALID, "tls_ca_file, tls_cert_file and tls_key_file are set together or not at all");
	status = wire_tls_context_load(files, role, &context, err);
	if (status != VT_OK)
		return status;
	tls = vt_alloc0(sizeof(NetTls));
	tls->ca_file = vt_strdup(files->ca_file);
	tls->cert_file = vt_strdup(files->cert_file);
	tls->key_file = vt_strdup(files->key_file);
	tls->role = role;
	tls->context = context;
	pthread_mutex_init(&tls->lock, NULL);
	*out = tls;
	return VT_OK;
}

WireTlsContext *
net_tls_context(NetTls *tls)
{
	WireTlsContext *context;

	pthread_mutex_lock(&tls->lock);
	context = wire_tls_context_ref(tls->context);
	pthread_mutex_unlock(&tls->lock);
	return context;
}

bool
net_tls_is_current(NetTls *tls, const WireTlsContext *context)
{
	bool		current;

	pthread_mutex_lock(&tls->lock);
	current = tls->context == context;
	pthread_mutex_unlock(&tls->lock);
	return current;
}

WireIdentity
net_tls_identity(NetTls *tls)
{
	WireIdentity identity;

	pthread_mutex_lock(&tls->lock);
	identity = *wire_tls_context_identity(tls->context);
	pthread_mutex_unlock(&tls->lock);
	return identity;
}

int64_t
net_tls_until(NetTls *tls)
{
	int64_t		until;

	pthread_mutex_lock(&tls->lock);
	until = wire_tls_context_until(tls->context);
	pthread_mutex_unlock(&tls->lock);
	return until;
}

VtStatus
net_tls_reload(NetTls *tls, VtError *err)
{
	WireTlsFiles files = {tls->ca_file, tls->cert_file, tls->key_file};
	WireTlsContext *fresh;
	WireTlsContext *old;
	VtStatus	status = wire_tls_context_load(&files, tls->role, &fresh, err);

	if (status != VT_OK)
		return status;
	old = tls->context;
	if (!vt_id_equal(&wire_tls_context_identity(fresh)->cluster, &wire_tls_context_identity(old)->cluster))
	{
		wire_tls_context_release(fresh);
		return vt_fail(err, VT_DENIED, "\"%.120s\" is for another cluster", tls->cert_file);
	}
	pthread_mutex_lock(&tls->lock);
	tls->context = fresh;
	pthread_mutex_unlock(&tls->lock);
	wire_tls_context_release(old);
	return VT_OK;
}

void
net_tls_free(NetTls *tls)
{
	if (!tls)
		return;
	wire_tls_context_release(tls->context);
	pthread_mutex_destroy(&tls->lock);
	free(tls->ca_file);
	free(tls->cert_file);
	free(tls->key_file);
	free(tls);
}
