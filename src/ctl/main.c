/*-------------------------------------------------------------------------
 *
 * main.c
 *	  vectronctl.
 *
 * A command is a row of a table: the question it asks, what its argument is
 * called, and how the answer is shown.
 *
 *-------------------------------------------------------------------------
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "certs.h"
#include "table.h"

#define TIMEOUT_MS 5000

static const Column status_columns[] = {
	{"cluster", COLUMN_TEXT}, {"id", COLUMN_TEXT}, {"role", COLUMN_TEXT}, {"leader", COLUMN_TEXT},
	{"term", COLUMN_TEXT}, {"applied", COLUMN_TEXT}, {"uptime_ms", COLUMN_MS}, {NULL, COLUMN_TEXT}
};

static const Column pd_columns[] = {
	{"id", COLUMN_TEXT}, {"role", COLUMN_TEXT}, {"state", COLUMN_TEXT}, {"match", COLUMN_TEXT},
	{"endpoint", COLUMN_TEXT}, {NULL, COLUMN_TEXT}
};

static const Column worker_columns[] = {
	{"store", COLUMN_TEXT}, {"state", COLUMN_TEXT}, {"last_heartbeat_ms", COLUMN_MS},
	{"shards", COLUMN_TEXT}, {"leaders", COLUMN_TEXT}, {"records", COLUMN_TEXT}, {"memory", COLUMN_BYTES},
	{"disk_free", COLUMN_BYTES}, {"role", COLUMN_TEXT}, {"labels", COLUMN_TEXT}, {"version", COLUMN_TEXT},
	{"endpoint", COLUMN_TEXT}, {NULL, COLUMN_TEXT}
};

static const Column shard_columns[] = {
	{"shard", COLUMN_TEXT}, {"label", COLUMN_TEXT}, {"store", COLUMN_TEXT}, {"replica", COLUMN_TEXT},
	{"role", COLUMN_TEXT}, {"state", COLUMN_TEXT}, {"term", COLUMN_TEXT}, {"applied", COLUMN_TEXT},
	{"records", COLUMN_TEXT}, {"unindexed", COLUMN_TEXT}, {"bytes", COLUMN_BYTES}, {NULL, COLUMN_TEXT}
};

static const Column collection_columns[] = {
	{"generation", COLUMN_TEXT}, {"label", COLUMN_TEXT}, {"state", COLUMN_TEXT}, {"dim", COLUMN_TEXT},
	{"metric", COLUMN_TEXT}, {"quantization", COLUMN_TEXT}, {"nshards", COLUMN_TEXT},
	{"under_replicated", COLUMN_TEXT}, {"records", COLUMN_TEXT}, {"unindexed", COLUMN_TEXT},
	{"bytes", COLUMN_BYTES}, {NULL, COLUMN_TEXT}
};

typedef struct Command
{
	const char *name;
	const char *argument;		/* member it becomes; NULL: takes none */
	bool		optional;
	const char *rows;			/* member of the answer with the rows; NULL: see columns */
	const Column *columns;		/* of the rows, or of the answer itself; NULL: nothing is shown */
	const Column *head;			/* of the answer itself, before its rows; NULL: none */
	const char *help;
} Command;

static const Command commands[] = {
	{"status", NULL, false, "pds", pd_columns, status_columns, "the placement driver that answers first, and what it knows of the others"},
	{"pds", NULL, false, "pds", pd_columns, NULL, "the placement drivers as their leader sees them"},
	{"add-pd", "endpoint", false, NULL, NULL, NULL, "make a placement driver that waits there one of them"},
	{"remove-pd", "id", false, NULL, NULL, NULL, "a placement driver is no longer one of them, for good"},
	{"workers", NULL, false, "workers", worker_columns, NULL, "workers, what they hold and how they are"},
	{"shards", "generation", true, "shards", shard_columns, NULL, "replicas of shards, of one collection or all"},
	{"collections", NULL, false, "collections", collection_columns, NULL, "collections: the indexes of all servers"},
	{"drain", "store", false, NULL, NULL, NULL, "move everything away from a worker, to take it out of service"},
	{"undrain", "store", false, NULL, NULL, NULL, "let replicas come to a worker again"},
};

#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static void
help(FILE *out)
{
	fprintf(out, "vectronctl asks the cluster's placement driver.\n\n"
			"  vectronctl [--pd ENDPOINTS] [--json] [--timeout MS] COMMAND [ARGUMENT]\n\n"
			"  --pd ENDPOINTS        unix:/path or tcp://address:port, comma-separated\n"
			"  --tls-ca-file FILE    whom to believe over tcp\n"
			"  --tls-cert-file FILE  an admin's certificate, and\n"
			"  --tls-key-file FILE   its key\n"
			"  --json                the answer as it came\n"
			"  --timeout MS          how long to wait for it (%d)\n\n"
			"The first four may also stand in the environment, as VECTRON_CTL_PD, VECTRON_CTL_TLS_CA_FILE\n"
			"and so on.\n\n", TIMEOUT_MS);
	for (size_t i = 0; i < NCOMMANDS; i++)
	{
		char		usage[64];

		snprintf(usage, sizeof(usage), commands[i].argument ? (commands[i].optional ? "%s [%s]" : "%s %s") : "%s",
				 commands[i].name, commands[i].argument ? commands[i].argument : "");
		fprintf(out, "  %-26s %s\n", usage, commands[i].help);
	}
	fprintf(out, "  %-26s %s\n", "certs ...", "make certificates for tcp; see vectronctl certs --help");
}

__attribute__((format(printf, 1, 2))) static int
misused(const char *format, ...)
{
	va_list		args;

	va_start(args, format);
	fprintf(stderr, "vectronctl: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "; see vectronctl --help\n");
	va_end(args);
	return 2;
}

/* The question as text; free() it. */
static char *
question_of(const Command *command, const char *argument)
{
	json_t	   *question = json_object();
	char		op[32];
	char	   *text;

	snprintf(op, sizeof(op), "%s", command->name);
	for (char *p = op; (p = strchr(p, '-')) != NULL;)
		*p = '_';
	json_object_set_new(question, "op", json_string(op));
	if (argument)
		json_object_set_new(question, command->argument, json_string(argument));
	text = json_dumps(question, JSON_COMPACT);
	json_decref(question);
	return text;
}

static void
show(const Command *command, json_t *answer, bool as_json)
{
	if (as_json)
	{
		json_dumpf(answer, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	else if (command->rows)
	{
		if (command->head)
		{
			table_print_one(stdout, command->head, answer);
			putchar('\n');
		}
		table_print(stdout, command->columns, json_object_get(answer, command->rows));
	}
	else if (command->columns)
		table_print_one(stdout, command->columns, answer);
}

static int
run(const Command *command, const char *argument, const ClientOptions *options, int timeout_ms, bool as_json)
{
	Client	   *client = NULL;
	VtError		err = {0};
	VtStatus	status = client_open(options, &client, &err);
	char	   *text = question_of(command, argument);
	const char *reply = NULL;
	json_t	   *answer = NULL;

	if (status == VT_OK && text)
		status = client_control(client, text, clock_now_us() + (int64_t) timeout_ms * 1000, &reply, &err);
	if (status == VT_OK)
	{
		answer = json_loads(reply ? reply : "", 0, NULL);
		if (!json_is_object(answer))
			status = vt_fail(&err, VT_PROTOCOL, "the answer is no JSON object");
	}
	if (status == VT_OK)
		show(command, answer, as_json);
	else
		fprintf(stderr, "vectronctl: %s: %s\n", command->name, vt_error_words(&err));
	json_decref(answer);
	free(text);
	client_close(client);
	return status == VT_OK ? 0 : 1;
}

int
main(int argc, char **argv)
{
	static const struct option flags[] = {
		{"pd", required_argument, NULL, 'p'},
		{"json", no_argument, NULL, 'j'},
		{"timeout", required_argument, NULL, 't'},
		{"tls-ca-file", required_argument, NULL, 'a'},
		{"tls-cert-file", required_argument, NULL, 'c'},
		{"tls-key-file", required_argument, NULL, 'k'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}
	};
	ClientOptions options = {
		.pd_endpoints = getenv("VECTRON_CTL_PD"),
		.role = WIRE_ROLE_CTL,
		.ops = client_poll_ops,
		.tls = {getenv("VECTRON_CTL_TLS_CA_FILE"), getenv("VECTRON_CTL_TLS_CERT_FILE"), getenv("VECTRON_CTL_TLS_KEY_FILE")}
	};
	const char *argument;
	const Command *command = NULL;
	bool		as_json = false;
	long		timeout_ms = TIMEOUT_MS;
	char	   *end;
	int			flag;

	opterr = 0;
	if (argc > 1 && strcmp(argv[1], "certs") == 0)
		return certs_main(argc - 1, argv + 1);
	while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1)
		switch (flag)
		{
			case 'p':
				options.pd_endpoints = optarg;
				break;
			case 'a':
				options.tls.ca_file = optarg;
				break;
			case 'c':
				options.tls.cert_file = optarg;
				break;
			case 'k':
				options.tls.key_file = optarg;
				break;
			case 'j':
				as_json = true;
				break;
			case 't':
				timeout_ms = strtol(optarg, &end, 10);
				if (*end || timeout_ms < 1 || timeout_ms > 3600000)
					return misused("\"%s\" is no timeout in ms", optarg);
				break;
			case 'h':
				help(stdout);
				return 0;
			default:
				return misused("unrecognized or incomplete option %s", argv[optind - 1]);
		}
	if (optind == argc)
		return misused("no command was given");
	for (size_t i = 0; i < NCOMMANDS && !command; i++)
		if (strcmp(argv[optind], commands[i].name) == 0)
			command = &commands[i];
	if (!command)
		return misused("unrecognized command \"%s\"", argv[optind]);
	argument = optind + 1 < argc ? argv[optind + 1] : NULL;
	if (optind + 2 < argc || (argument && !command->argument))
		return misused("%s has too many arguments", command->name);
	if (!argument && command->argument && !command->optional)
		return misused("%s needs an argument", command->name);
	if (!options.pd_endpoints || !*options.pd_endpoints)
		return misused("nobody said where the placement driver is (--pd)");
	return run(command, argument, &options, (int) timeout_ms, as_json);
}
