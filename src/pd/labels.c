/*-------------------------------------------------------------------------
 *
 * labels.c
 *	  Where stores stand, as their labels tell.
 *
 *-------------------------------------------------------------------------
 */
#include "labels.h"

#include <ctype.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"

/* The word at text, which ends before a comma, an equals sign or the end; 0: there is none. */
static size_t
word_at(const char *text)
{
	size_t		n = 0;

	while (isalnum((unsigned char) text[n]) || (text[n] && strchr("-_.", text[n])))
		n++;
	return n;
}

/* The value of a key in well-formed labels; empty when it is not there. */
static Bytes
value_of(const char *labels, const char *key, size_t key_len)
{
	while (*labels)
	{
		size_t		n = word_at(labels);
		const char *value = labels + n + 1;
		size_t		len = word_at(value);

		if (n == key_len && memcmp(labels, key, n) == 0)
			return bytes_of(value, len);
		labels = value + len + (value[len] == ',');
	}
	return bytes_of("", 0);
}

VtStatus
labels_check(const char *labels, VtError *err)
{
	const char *p = labels;

	if (strlen(labels) >= LABELS_MAX)
		return vt_fail(err, VT_INVALID, "labels are longer than %d bytes", LABELS_MAX - 1);
	while (*p)
	{
		size_t		n = word_at(p);
		size_t		len = n > 0 && p[n] == '=' ? word_at(p + n + 1) : 0;
		const char *end = p + n + 1 + len;

		if (len == 0 || (*end != '\0' && (*end != ',' || end[1] == '\0')))
			return vt_fail(err, VT_INVALID, "labels \"%s\" are not of the form key=value,key=value", labels);
		/* What stands before was looked at: is the key there? */
		for (const char *q = labels; q < p; q = strchr(q, ',') + 1)
			if (word_at(q) == n && memcmp(q, p, n) == 0)
				return vt_fail(err, VT_INVALID, "labels \"%s\" have a key twice", labels);
		p = end + (*end == ',');
	}
	return VT_OK;
}

VtStatus
spread_parse(const char *keys, Spread *out, VtError *err)
{
	memset(out, 0, sizeof(*out));
	while (*keys)
	{
		size_t		n = word_at(keys);

		if (n == 0 || n >= sizeof(out->keys[0]) || (keys[n] != '\0' && (keys[n] != ',' || keys[n + 1] == '\0')))
			return vt_fail(err, VT_INVALID, "\"%s\" is no list of labels' keys", keys);
		if (out->n == SPREAD_LEVELS)
			return vt_fail(err, VT_INVALID, "replicas are spread over %d keys at most", SPREAD_LEVELS);
		memcpy(out->keys[out->n++], keys, n);
		keys += n + (keys[n] == ',');
	}
	return VT_OK;
}

Site
spread_site(const Spread *spread, const char *labels)
{
	Site		site;
	uint64_t	above = 1;

	memset(&site, 0, sizeof(site));
	for (uint32_t i = 0; i < spread->n; i++)
		site.at[i] = above = hash_place(value_of(labels, spread->keys[i], strlen(spread->keys[i])), above);
	return site;
}

uint32_t
site_crowding(const Site *site, const Site *others, size_t n)
{
	uint32_t	crowding = 0;

	for (int level = 0; level < SPREAD_LEVELS; level++)
	{
		uint32_t	same = 0;

		for (size_t i = 0; i < n; i++)
			same += others[i].at[level] == site->at[level];
		crowding = crowding << 8 | same;
	}
	return crowding;
}
