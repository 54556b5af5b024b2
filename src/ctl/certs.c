/*-------------------------------------------------------------------------
 *
 * certs.c
 *	  vectronctl certs: the cluster's CA and what it certifies, in files.
 *
 * A folder holds ca.crt and ca.key, and for each member ROLE-NAME.crt and
 * ROLE-NAME.key.  Keys are written with mode 0600 from the beginning, and nothing
 * that is there is ever overwritten; a renewed certificate takes the place of the
 * old one in one step, and is for the same key, so that whoever reads them at any
 * moment finds two that fit together.
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* strptime, timegm */
#endif
#include "certs.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/directory.h"
#include "table.h"
#include "wire/wire.h"

#define CA_DAYS 3650
#define DAYS 365
#define DAY INT64_C(86400)
#define EARLY_S INT64_C(300)	/* clocks that are this far behind do not mind */
#define FILE_MAX (1u << 20)

typedef struct Asked
{
	const char *verb;
	char	  **words;			/* after the verb */
	int			nwords;
	const char *cluster;
	const char *from;
	long		days;			/* 0 = not said */
	bool		as_json;
} Asked;

static void
help(FILE *out)
{
	fprintf(out, "vectronctl certs makes the certificates that the members of a cluster show over tcp.\n\n"
			"  certs init FOLDER [--cluster ID] [--days N]       a CA; ID: of a cluster that is there already\n"
			"  certs issue FOLDER ROLE NAME [--days N] [--from DATE]\n"
			"                                                    a certificate and its key\n"
			"  certs renew FOLDER ROLE NAME [--days N]           a new certificate for the same key\n"
			"  certs show [--json] FILE...                       whom they are for, and until when\n\n"
			"ROLE is pd, worker, gateway or admin.  The NAME of a gateway is the system identifier of its\n"
			"PostgreSQL server: SELECT system_identifier FROM pg_control_system().\n"
			"FOLDER/ca.key can certify anybody: keep it away from the cluster's machines.\n");
}

static int
misused(const char *words, const char *what)
{
	fprintf(stderr, "vectronctl: certs: %s%s; see vectronctl certs --help\n", words, what);
	return 2;
}

static int
failed(const Asked *asked, const VtError *err)
{
	fprintf(stderr, "vectronctl: certs %s: %s\n", asked->verb, vt_error_words(err));
	return 1;
}

/* -- Files ------------------------------------------------------------------- */

static void
path_in(char out[4096], const char *folder, const char *name, const char *ending)
{
	snprintf(out, 4096, "%s/%s%s", folder, name, ending);
}

/* A file that was not there. */
static VtStatus
write_new(const char *path, const Buf *bytes, mode_t mode, VtError *err)
{
	int			fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	size_t		done = 0;
	VtStatus	status = VT_OK;

	if (fd < 0 && errno == EEXIST)
		return vt_fail(err, VT_EXISTS, "\"%.150s\" is there already and stays as it is", path);
	if (fd < 0)
		return vt_fail_errno(err, VT_IO, "could not create \"%.150s\"", path);
	while (status == VT_OK && done < bytes->len)
	{
		ssize_t		n = write(fd, bytes->data + done, bytes->len - done);

		if (n < 0 && errno != EINTR)
			status = vt_fail_errno(err, VT_IO, "could not write \"%.150s\"", path);
		done += n > 0 ? (size_t) n : 0;
	}
	if (status == VT_OK && fsync(fd) != 0)
		status = vt_fail_errno(err, VT_IO, "could not sync \"%.150s\"", path);
	close(fd);
	if (status != VT_OK)
		unlink(path);
	return status;
}

/* Both or none, but for a crash. */
static VtStatus
write_pair(const char *cert_path, const Buf *cert, const char *key_path, const Buf *key, VtError *err)
{
	VtStatus	status = write_new(key_path, key, 0600, err);

	if (status != VT_OK)
		return status;
	status = write_new(cert_path, cert, 0644, err);
	if (status != VT_OK)
		unlink(key_path);
	return status;
}

static VtStatus
read_whole(const char *path, Buf *out, VtError *err)
{
	FILE	   *file = fopen(path, "re");
	size_t		n;

	if (!file)
		return vt_fail_errno(err, VT_NOT_FOUND, "could not open \"%.150s\"", path);
	do
	{
		buf_reserve(out, 4096);
		n = fread(out->data + out->len, 1, 4096, file);
		out->len += n;
	} while (n > 0 && out->len <= FILE_MAX);
	n = (size_t) ferror(file);
	fclose(file);
	if (n || out->len > FILE_MAX)
		return vt_fail(err, VT_IO, "could not read \"%.150s\"", path);
	return VT_OK;
}

/* -- Making ------------------------------------------------------------------ */

static VtStatus
init(const Asked *asked, VtError *err)
{
	const char *folder = asked->words[0];
	int64_t		now = (int64_t) time(NULL);
	char		path[4096];
	char		key_path[4096];
	Buf			cert = {0};
	Buf			key = {0};
	VtId		cluster;
	VtStatus	status;

	vt_id_random(&cluster);
	if (asked->cluster && (!vt_id_parse(asked->cluster, &cluster) || vt_id_is_zero(&cluster)))
		return vt_fail(err, VT_INVALID, "\"%.80s\" is no cluster: 32 hex digits, as vectronctl status shows", asked->cluster);
	if (mkdir(folder, 0700) != 0 && errno != EEXIST)
		return vt_fail_errno(err, VT_IO, "could not create \"%.150s\"", folder);
	status = wire_ca_make(&cluster, now - EARLY_S, now + (asked->days ? asked->days : CA_DAYS) * DAY, &cert, &key, err);
	path_in(path, folder, "ca", ".crt");
	path_in(key_path, folder, "ca", ".key");
	if (status == VT_OK)
		status = write_pair(path, &cert, key_path, &key, err);
	if (status == VT_OK)
		status = directory_sync(folder, err);
	buf_free(&cert);
	buf_free(&key);
	return status;
}

/* The beginning that was asked for, at midnight UTC; false = it is no date. */
static bool
from_of(const Asked *asked, int64_t *out)
{
	struct tm	tm;
	const char *end;

	*out = (int64_t) time(NULL) - EARLY_S;
	if (!asked->from)
		return true;
	memset(&tm, 0, sizeof(tm));
	end = strptime(asked->from, "%Y-%m-%d", &tm);
	*out = (int64_t) timegm(&tm);
	return end && *end == '\0';
}

static VtStatus
make(const Asked *asked, WireRole role, int64_t from, Buf *cert, Buf *key, VtError *err)
{
	char		path[4096];
	Buf			ca = {0};
	Buf			ca_key = {0};
	int64_t		begin = asked->from ? from : (int64_t) time(NULL);
	VtStatus	status;

	path_in(path, asked->words[0], "ca", ".crt");
	status = read_whole(path, &ca, err);
	path_in(path, asked->words[0], "ca", ".key");
	if (status == VT_OK)
		status = read_whole(path, &ca_key, err);
	if (status == VT_OK)
		status = wire_cert_make(buf_bytes(&ca), buf_bytes(&ca_key), role, asked->words[2], from,
								begin + (asked->days ? asked->days : DAYS) * DAY, cert, key, err);
	buf_free(&ca);
	buf_free(&ca_key);
	return status;
}

/* issue, renew */
static VtStatus
issue(const Asked *asked, bool again, VtError *err)
{
	const char *folder = asked->words[0];
	WireRole	role = wire_role_of_word(asked->words[1]);
	char		name[128];
	char		cert_path[4096];
	char		key_path[4096];
	char		fresh_path[4096];
	Buf			cert = {0};
	Buf			key = {0};
	int64_t		from;
	VtStatus	status = VT_OK;

	if (role == 0)
		return vt_fail(err, VT_INVALID, "\"%.80s\" is no role: pd, worker, gateway or admin", asked->words[1]);
	if (!from_of(asked, &from))
		return vt_fail(err, VT_INVALID, "\"%.80s\" is no date like 2030-01-31", asked->from);
	snprintf(name, sizeof(name), "%s-%.100s", asked->words[1], asked->words[2]);
	path_in(cert_path, folder, name, ".crt");
	path_in(key_path, folder, name, ".key");
	path_in(fresh_path, folder, name, ".crt.new");
	if (again)
		status = read_whole(key_path, &key, err);
	if (status == VT_OK)
		status = make(asked, role, from, &cert, &key, err);
	if (status == VT_OK && again)
	{
		unlink(fresh_path);		/* of a renewal that was cut off */
		status = write_new(fresh_path, &cert, 0644, err);
		if (status == VT_OK && rename(fresh_path, cert_path) != 0)
			status = vt_fail_errno(err, VT_IO, "could not rename \"%.150s\"", fresh_path);
	}
	else if (status == VT_OK)
		status = write_pair(cert_path, &cert, key_path, &key, err);
	if (status == VT_OK)
		status = directory_sync(folder, err);
	buf_free(&cert);
	buf_free(&key);
	return status;
}

/* -- Showing ----------------------------------------------------------------- */

static const Column columns[] = {
	{"file", COLUMN_TEXT}, {"role", COLUMN_TEXT}, {"name", COLUMN_TEXT}, {"cluster", COLUMN_TEXT},
	{"from", COLUMN_TEXT}, {"until", COLUMN_TEXT}, {"state", COLUMN_TEXT}, {"sha256", COLUMN_TEXT}, {NULL, COLUMN_TEXT}
};

static json_t *
json_time(int64_t seconds)
{
	time_t		t = (time_t) seconds;
	struct tm	tm;
	char		text[32];

	if (!gmtime_r(&t, &tm) || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		text[0] = '\0';
	return json_string(text);
}

static json_t *
facts_of(const char *path, bool *in_force, VtError *err)
{
	WireCertFacts facts;
	int64_t		now = (int64_t) time(NULL);
	char		cluster[VT_ID_TEXT];
	char		state[64];
	Buf			pem = {0};
	json_t	   *row = NULL;
	VtStatus	status = read_whole(path, &pem, err);

	if (status == VT_OK && (status = wire_cert_read(buf_bytes(&pem), &facts, err)) == VT_OK)
	{
		*in_force = now >= facts.from && now < facts.until;
		if (*in_force)
			snprintf(state, sizeof(state), "%lld days left", (long long) ((facts.until - now) / DAY));
		else
			snprintf(state, sizeof(state), now < facts.from ? "not in force yet" : "expired");
		vt_id_format(&facts.identity.cluster, cluster);
		row = json_object();
		json_object_set_new(row, "file", json_string(path));
		json_object_set_new(row, "role", json_string(facts.is_ca ? "CA" : wire_role_word(facts.identity.role)));
		json_object_set_new(row, "name", json_string(facts.identity.name));
		json_object_set_new(row, "cluster", json_string(cluster));
		json_object_set_new(row, "from", json_time(facts.from));
		json_object_set_new(row, "until", json_time(facts.until));
		json_object_set_new(row, "state", json_string(state));
		json_object_set_new(row, "sha256", json_string(facts.fingerprint));
	}
	buf_free(&pem);
	return row;
}

static int
show(const Asked *asked)
{
	json_t	   *rows = json_array();
	bool		all_in_force = true;

	for (int i = 0; i < asked->nwords; i++)
	{
		VtError		err = {0};
		bool		in_force = false;
		json_t	   *row = facts_of(asked->words[i], &in_force, &err);

		if (!row)
			fprintf(stderr, "vectronctl: certs show: %s: %s\n", asked->words[i], vt_error_words(&err));
		else
			json_array_append_new(rows, row);
		all_in_force &= in_force;
	}
	if (asked->as_json)
	{
		json_dumpf(rows, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	else
		table_print(stdout, columns, rows);
	json_decref(rows);
	return all_in_force ? 0 : 1;
}

int
certs_main(int argc, char **argv)
{
	static const struct option flags[] = {
		{"cluster", required_argument, NULL, 'c'},
		{"days", required_argument, NULL, 'd'},
		{"from", required_argument, NULL, 'f'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}
	};
	Asked		asked = {0};
	VtError		err = {0};
	char	   *end;
	int			flag;

	while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1)
		switch (flag)
		{
			case 'c':
				asked.cluster = optarg;
				break;
			case 'd':
				asked.days = strtol(optarg, &end, 10);
				if (*end || asked.days < 1 || asked.days > 36500)
					return misused("no number of days from 1 to 36500: ", optarg);
				break;
			case 'f':
				asked.from = optarg;
				break;
			case 'j':
				asked.as_json = true;
				break;
			case 'h':
				help(stdout);
				return 0;
			default:
				return misused("unrecognized or incomplete option ", argv[optind - 1]);
		}
	if (optind == argc)
		return misused("init, issue, renew or show", "");
	asked.verb = argv[optind];
	asked.words = argv + optind + 1;
	asked.nwords = argc - optind - 1;
	if (strcmp(asked.verb, "init") == 0 && asked.nwords == 1)
		return init(&asked, &err) == VT_OK ? 0 : failed(&asked, &err);
	if ((strcmp(asked.verb, "issue") == 0 || strcmp(asked.verb, "renew") == 0) && asked.nwords == 3)
		return issue(&asked, asked.verb[0] == 'r', &err) == VT_OK ? 0 : failed(&asked, &err);
	if (strcmp(asked.verb, "show") == 0 && asked.nwords > 0)
		return show(&asked);
	return misused("no command, or not with these arguments: ", asked.verb);
}
