/*-------------------------------------------------------------------------
 *
 * identity.c
 *	  Who somebody is, as certificates say it.
 *
 *-------------------------------------------------------------------------
 */
#include "wire/wire.h"

#include <errno.h>
#include <stdlib.h>

#define SCHEME "vectron://"

static const struct
{
	const char *word;
	WireRole	role;
}			roles[] = {
	{"gateway", WIRE_ROLE_GATEWAY},
	{"worker", WIRE_ROLE_WORKER},
	{"pd", WIRE_ROLE_PD},
	{"admin", WIRE_ROLE_CTL},
};

#define NROLES (sizeof(roles) / sizeof(roles[0]))

const char *
wire_role_word(WireRole role)
{
	for (size_t i = 0; i < NROLES; i++)
		if (roles[i].role == role)
			return roles[i].word;
	return "nobody";
}

WireRole
wire_role_of_word(const char *word)
{
	for (size_t i = 0; i < NROLES; i++)
		if (strcmp(roles[i].word, word) == 0)
			return roles[i].role;
	return 0;
}

VtStatus
wire_identity_make(const VtId *cluster, WireRole role, const char *name, WireIdentity *out,
				   VtError *err)
{
	size_t		len = strlen(name);
	char	   *end = NULL;

	memset(out, 0, sizeof(*out));
	if (len == 0 || len > WIRE_NAME_MAX)
		return vt_fail(err, VT_INVALID, "a name has 1 to %d bytes", WIRE_NAME_MAX);
	if (strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != len)
		return vt_fail(err, VT_INVALID, "\"%s\" is no name: letters, digits, \".\", \"_\" and \"-\"", name);
	if (role == WIRE_ROLE_GATEWAY)
	{
		errno = 0;
		out->system = strtoull(name, &end, 10);
		if (name[0] < '1' || name[0] > '9' || *end != '\0' || errno != 0)
			return vt_fail(err, VT_INVALID, "\"%s\" is no system identifier, which is what a gateway is named by", name);
	}
	out->role = role;
	out->cluster = *cluster;
	memcpy(out->name, name, len + 1);
	return VT_OK;
}

VtStatus
wire_identity_parse(Bytes uri, WireIdentity *out, VtError *err)
{
	char		text[sizeof(SCHEME) + 32 + 16 + WIRE_NAME_MAX + 1];
	char	   *cluster = text + strlen(SCHEME);
	char	   *role;
	char	   *name;
	VtId		id;

	memset(out, 0, sizeof(*out));
	if (uri.len >= sizeof(text) || memchr(uri.data, '\0', uri.len))
		return vt_fail(err, VT_INVALID, "it is no identity");
	memcpy(text, uri.data, uri.len);
	text[uri.len] = '\0';
	role = strncmp(text, SCHEME, strlen(SCHEME)) == 0 ? strchr(cluster, '/') : NULL;
	name = role ? strchr(role + 1, '/') : NULL;
	if (!name)
		return vt_fail(err, VT_INVALID, "it is no identity");
	*role++ = '\0';
	*name++ = '\0';
	if (!vt_id_parse(cluster, &id) || vt_id_is_zero(&id) || wire_role_of_word(role) == 0)
		return vt_fail(err, VT_INVALID, "it names no cluster or no role");
	return wire_identity_make(&id, wire_role_of_word(role), name, out, err);
}

void
wire_identity_format(const WireIdentity *identity, Buf *uri)
{
	char		cluster[VT_ID_TEXT];
	const char *word = wire_role_word(identity->role);

	vt_id_format(&identity->cluster, cluster);
	buf_put(uri, SCHEME, strlen(SCHEME));
	buf_put(uri, cluster, strlen(cluster));
	buf_put(uri, "/", 1);
	buf_put(uri, word, strlen(word));
	buf_put(uri, "/", 1);
	buf_put(uri, identity->name, strlen(identity->name));
}
