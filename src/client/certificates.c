/*-------------------------------------------------------------------------
 *
 * certificates.c
 *	  The certificates of a client, from files that may be exchanged under it.
 *
 * They are read when somebody is dialled and a file is another one than it was.
 * The three are not exchanged in one step: while they do not fit together, what
 * was read before is still used.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "private.h"

#define FILES 3

typedef struct Seen
{
	dev_t		dev;
	ino_t		ino;
	off_t		size;
	struct timespec changed;
} Seen;

struct Certificates
{
	char	   *names[FILES];	/* CA, certificate, key */
	Seen		seen[FILES];	/* when context was read */
	WireTlsContext *context;	/* NULL = never read */
};

Certificates *
certificates_new(const WireTlsFiles *files)
{
	Certificates *c = vt_alloc0(sizeof(Certificates));

	c->names[0] = vt_strdup(files->ca_file);
	c->names[1] = vt_strdup(files->cert_file ? files->cert_file : "");
	c->names[2] = vt_strdup(files->key_file ? files->key_file : "");
	return c;
}

void
certificates_free(Certificates *c)
{
	if (!c)
		return;
	wire_tls_context_release(c->context);
	for (int i = 0; i < FILES; i++)
		free(c->names[i]);
	free(c);
}

/* As the files are; what is not there is like nothing else. */
static void
look(const Certificates *c, Seen seen[FILES])
{
	memset(seen, 0, sizeof(Seen) * FILES);
	for (int i = 0; i < FILES; i++)
	{
		struct stat st;

		if (stat(c->names[i], &st) != 0)
			continue;
		seen[i].dev = st.st_dev;
		seen[i].ino = st.st_ino;
		seen[i].size = st.st_size;
		seen[i].changed = st.st_ctim;
	}
}

VtStatus
certificates_now(Certificates *c, WireRole role, WireTlsContext **out, VtError *err)
{
	WireTlsFiles files = {c->names[0], c->names[1], c->names[2]};
	WireTlsContext *fresh;
	Seen		seen[FILES];
	VtStatus	status;

	/* Before they are read: one that changes meanwhile is another one next time. */
	look(c, seen);
	if (!c->context || memcmp(seen, c->seen, sizeof(seen)) != 0)
	{
		status = wire_tls_context_load(&files, role, &fresh, err);
		if (status == VT_OK)
		{
			wire_tls_context_release(c->context);
			c->context = fresh;
			memcpy(c->seen, seen, sizeof(seen));
		}
		else if (!c->context)
			return status;
	}
	*out = wire_tls_context_ref(c->context);
	return VT_OK;
}
