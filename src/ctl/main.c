/*-------------------------------------------------------------------------
 *
 * main.c
 *	  vectronctl.
 *
 * A command is a row of a table: the question it asks, what its arguments are
 * called, and how the answer is shown.
 *
 *-------------------------------------------------------------------------
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs.h"
#include "ctl.h"
#include "table.h"

#define TIMEOUT_MS 5000

static const Column status_columns[] = {
	{"cluster", COLUMN_TEXT}, {"id", COLUMN_TEXT}, {"role", COLUMN_TEXT}, {"leader", COLUMN_TEXT},
	{"term", COLUMN_TEXT}, {"applied", COLUMN_TEXT}, {"level", COLUMN_TEXT}, {"level_high", COLUMN_TEXT},
	{"version", COLUMN_TEXT}, {"uptime_ms", COLUMN_MS}, {NULL, COLUMN_TEXT}
};

static const Column pd_columns[] = {
	{"id", COLUMN_TEXT}, {"role", COLUMN_TEXT}, {"state", COLUMN_TEXT}, {"match", COLUMN_TEXT},
	{"endpoint", COLUMN_TEXT}, {NULL, COLUMN_TEXT}
};

static const Column worker_columns[] = {
	{"store", COLUMN_TEXT}, {"state", COLUMN_TEXT}, {"last_heartbeat_ms", COLUMN_MS},
	{"shards", COLUMN_TEXT}, {"leaders", COLUMN_TEXT}, {"records", COLUMN_TEXT}, {"memory", COLUMN_BYTES},
	{"disk_free", COLUMN_BYTES}, {"role", COLUMN_TEXT}, {"labels", COLUMN_TEXT}, {"level_high", COLUMN_TEXT}, {"version", COLUMN_TEXT},
	{"endpoint", COLUMN_TEXT}, {NULL, COLUMN_TEXT}
};

static const Column shard_columns[] = {
	{"shard", COLUMN_TEXT}, {"label", COLUMN_TEXT}, {"store", COLUMN_TEXT}, {"replica", COLUMN_TEXT},
	{"role", COLUMN_TEXT}, {"state", COLUMN_TEXT}, {"term", COLUMN_TEXT}, {"applied", COLUMN_TEXT},
	{"records", COLUMN_TEXT}, {"unindexed", COLUMN_TEXT}, {"bytes", COLUMN_BYTES}, {"verdict", COLUMN_TEXT}, {NULL, COLUMN_TEXT}
};

static const Column collection_columns[] = {
	{"generation", COLUMN_TEXT}, {"label", COLUMN_TEXT}, {"state", COLUMN_TEXT}, {"dim", COLUMN_TEXT},
	{"metric", COLUMN_TEXT}, {"quantization", COLUMN_TEXT}, {"nshards", COLUMN_TEXT},
	{"under_replicated", COLUMN_TEXT}, {"records", COLUMN_TEXT}, {"unindexed", COLUMN_TEXT},
	{"bytes", COLUMN_BYTES}, {NULL, COLUMN_TEXT}
};

static const Column verify_columns[] = {
	{"shards", COLUMN_TEXT}, {NULL, COLUMN_TEXT}
};

static const Column operator_columns[] = {
	{"shard", COLUMN_TEXT}, {"label", COLUMN_TEXT}, {"kind", COLUMN_TEXT}, {"from_store", COLUMN_TEXT},
	{"to_store", COLUMN_TEXT}, {"since_ms", COLUMN_MS}, {"step", COLUMN_TEXT}, {"step_since_ms", COLUMN_MS},
	{"behind", COLUMN_TEXT}, {"why", COLUMN_TEXT}, {NULL, COLUMN_TEXT}
};

#define ARGUMENTS_MAX 3

typedef struct Argument
{
	const char *name;			/* of the member it becomes; NULL ends them */
	bool		is_number;		/* small; ids are text */
	bool		optional;
} Argument;

typedef struct Command
{
	const char *name;
	Argument	arguments[ARGUMENTS_MAX + 1];
	const char *rows;			/* member of the answer with the rows; NULL: see columns */
	const Column *columns;		/* of the rows, or of the answer itself; NULL: nothing is shown */
	const Column *head;			/* of the answer itself, before its rows; NULL: none */
	const char *help;
	int			(*run) (Ctl *ctl);	/* in place of all that */
} Command;

static const Command commands[] = {
	{"status", {{.name = NULL}}, "pds", pd_columns, status_columns, "the placement driver that answers first, and what it knows of the others", NULL},
	{"check", {{.name = NULL}}, NULL, NULL, NULL, "what is wrong and what to do about it; exit status 0 nothing, 1 warnings, 2 critical", check_main},
	{"pds", {{.name = NULL}}, "pds", pd_columns, NULL, "the placement drivers as their leader sees them", NULL},
	{"add-pd", {{.name = "endpoint"}}, NULL, NULL, NULL, "make a placement driver that waits there one of them", NULL},
	{"remove-pd", {{.name = "id"}}, NULL, NULL, NULL, "a placement driver is no longer one of them, for good", NULL},
	{"workers", {{.name = NULL}}, "workers", worker_columns, NULL, "workers, what they hold and how they are", NULL},
	{"shards", {{.name = "generation", .optional = true}}, "shards", shard_columns, NULL, "replicas of shards, of one collection or all", NULL},
	{"collections", {{.name = NULL}}, "collections", collection_columns, NULL, "collections: the indexes of all servers", NULL},
	{"set-replicas", {{.name = "collection"}, {.name = "replicas", .is_number = true}}, NULL, NULL, NULL, "how many copies each shard of a collection is to have", NULL},
	{"operators", {{.name = NULL}}, "operators", operator_columns, NULL, "what is under way with replicas, why, and how far it is", NULL},
	{"move", {{.name = "shard"}, {.name = "from_store"}, {.name = "to_store"}}, NULL, NULL, NULL, "move a shard's replica from one worker to another", NULL},
	{"transfer-leader", {{.name = "shard"}, {.name = "store"}}, NULL, NULL, NULL, "have the replica on a worker lead its shard", NULL},
	{"cancel", {{.name = "shard"}}, NULL, NULL, NULL, "end the operator of a shard; what is needed is begun anew", NULL},
	{"verify", {{.name = "what", .optional = true}}, NULL, verify_columns, NULL, "compare the replicas of a shard, a collection or all; shards shows what came of it", NULL},
	{"drain", {{.name = "store"}}, NULL, NULL, NULL, "move everything away from a worker, to take it out of service", NULL},
	{"split", {{.name = "shard"}}, NULL, NULL, NULL, "make two shards of one, each with half of its hashes", NULL},
	{"undrain", {{.name = "store"}}, NULL, NULL, NULL, "let replicas come to a worker again", NULL},
	{"forget-store", {{.name = "store"}}, NULL, NULL, NULL, "a worker that is gone and holds nothing is removed, and can never come back", NULL},
	{"expose", {{.name = "folder"}, {.name = "pd"}, {.name = "worker"}}, NULL, NULL, NULL, "how an embedded cluster grows out of its machine: what is done, and what is next", expose_main},
	{"unsafe-recover", {{.name = "stores"}}, NULL, NULL, NULL, "stores (3,7) are lost for good, and with them majorities of shards: what would be done; --apply PLAN does it", recover_main},
	{"dump", {{.name = NULL}}, NULL, NULL, NULL, "all that the placement driver knows, as JSON, for a support case; no secrets", dump_main},
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
			"  --apply PLAN          of unsafe-recover: do what this plan says; without it nothing is changed (--dry-run)\n"
			"  --timeout MS          how long to wait for it (%d)\n\n"
			"The first four may also stand in the environment, as VECTRON_CTL_PD, VECTRON_CTL_TLS_CA_FILE\n"
			"and so on.\n\n", TIMEOUT_MS);
	for (size_t i = 0; i < NCOMMANDS; i++)
	{
		char		usage[64];
		int			len = snprintf(usage, sizeof(usage), "%s", commands[i].name);

		for (const Argument *a = commands[i].arguments; a->name; a++)
			len += snprintf(usage + len, sizeof(usage) - (size_t) len, a->optional ? " [%s]" : " %s", a->name);
		fprintf(out, "  %-32s %s\n", usage, commands[i].help);
	}
	fprintf(out, "  %-32s %s\n", "certs ...", "make certificates for tcp; see vectronctl certs --help");
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

/* The question; NULL: an argument is no number. */
static json_t *
question_of(const Command *command, char **arguments, int n)
{
	json_t	   *question = json_object();
	char		op[32];

	snprintf(op, sizeof(op), "%s", command->name);
	for (char *p = op; (p = strchr(p, '-')) != NULL;)
		*p = '_';
	json_object_set_new(question, "op", json_string(op));
	for (int i = 0; i < n; i++)
	{
		char	   *end;
		long		number = strtol(arguments[i], &end, 10);

		if (command->arguments[i].is_number && (*end || end == arguments[i]))
		{
			json_decref(question);
			return NULL;
		}
		json_object_set_new(question, command->arguments[i].name,
							command->arguments[i].is_number ? json_integer(number) : json_string(arguments[i]));
	}
	return question;
}

static void
show(const Command *command, json_t *answer, bool as_json)
{
	if (as_json)
		ctl_print(answer);
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
run(Ctl *ctl, const Command *command, json_t *question)
{
	VtError		err = {0};
	json_t	   *answer = ctl_ask(ctl, question, &err);

	if (!answer)
		return ctl_failed(command->name, &err);
	show(command, answer, ctl->as_json);
	json_decref(answer);
	return 0;
}

/* How many arguments a command takes, at least and at most. */
static void
arguments_of(const Command *command, int *least, int *most)
{
	*least = *most = 0;
	for (const Argument *a = command->arguments; a->name; a++)
	{
		++*most;
		*least += !a->optional;
	}
}

int
main(int argc, char **argv)
{
	static const struct option flags[] = {
		{"pd", required_argument, NULL, 'p'},
		{"json", no_argument, NULL, 'j'},
		{"apply", required_argument, NULL, 'y'},
		{"dry-run", no_argument, NULL, 'n'},
		{"timeout", required_argument, NULL, 't'},
		{"tls-ca-file", required_argument, NULL, 'a'},
		{"tls-cert-file", required_argument, NULL, 'c'},
		{"tls-key-file", required_argument, NULL, 'k'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}
	};
	Ctl			ctl = {
		.options = {
			.pd_endpoints = getenv("VECTRON_CTL_PD"),
			.role = WIRE_ROLE_CTL,
			.ops = client_poll_ops,
			.tls = {getenv("VECTRON_CTL_TLS_CA_FILE"), getenv("VECTRON_CTL_TLS_CERT_FILE"), getenv("VECTRON_CTL_TLS_KEY_FILE")}
		},
		.timeout_ms = TIMEOUT_MS
	};
	const Command *command = NULL;
	json_t	   *question;
	VtError		err = {0};
	long		timeout_ms;
	bool		dry_run = false;
	char	   *end;
	int			flag;
	int			status;
	int			least;
	int			most;

	opterr = 0;
	if (argc > 1 && strcmp(argv[1], "certs") == 0)
		return certs_main(argc - 1, argv + 1);
	while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1)
		switch (flag)
		{
			case 'p':
				ctl.options.pd_endpoints = optarg;
				break;
			case 'a':
				ctl.options.tls.ca_file = optarg;
				break;
			case 'c':
				ctl.options.tls.cert_file = optarg;
				break;
			case 'k':
				ctl.options.tls.key_file = optarg;
				break;
			case 'j':
				ctl.as_json = true;
				break;
			case 'y':
				ctl.apply = optarg;
				break;
			case 'n':
				dry_run = true;
				break;
			case 't':
				timeout_ms = strtol(optarg, &end, 10);
				if (*end || timeout_ms < 1 || timeout_ms > 3600000)
					return misused("\"%s\" is no timeout in ms", optarg);
				ctl.timeout_ms = (int) timeout_ms;
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
	if ((ctl.apply || dry_run) && command->run != recover_main)
		return misused("--apply and --dry-run are for unsafe-recover, not for %s", command->name);
	if (ctl.apply && dry_run)
		return misused("a plan is either shown or applied");
	arguments_of(command, &least, &most);
	optind++;
	if (argc - optind > most)
		return misused("%s has too many arguments", command->name);
	if (argc - optind < least)
		return misused("%s needs %s", command->name, least == 1 ? "an argument" : "more arguments");
	ctl.words = argv + optind;
	question = question_of(command, argv + optind, argc - optind);
	if (!question)
		return misused("an argument of %s is no number", command->name);
	if (!ctl.options.pd_endpoints || !*ctl.options.pd_endpoints)
		return misused("nobody said where the placement driver is (--pd)");
	if (client_open(&ctl.options, &ctl.client, &err) != VT_OK)
		return ctl_failed(command->name, &err);
	status = command->run ? command->run(&ctl) : run(&ctl, command, json_incref(question));
	json_decref(question);
	client_close(ctl.client);
	return status;
}
