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

#include "base/endpoint.h"
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
	{"level_high", COLUMN_TEXT}, {"endpoint", COLUMN_TEXT}, {NULL, COLUMN_TEXT}
};

static const Column worker_columns[] = {
	{"store", COLUMN_TEXT}, {"state", COLUMN_TEXT}, {"last_heartbeat_ms", COLUMN_MS},
	{"shards", COLUMN_TEXT}, {"leaders", COLUMN_TEXT}, {"records", COLUMN_TEXT}, {"memory", COLUMN_BYTES}, {"memory_limit", COLUMN_BYTES},
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
	{"metric", COLUMN_TEXT}, {"quantization", COLUMN_TEXT}, {"distances", COLUMN_TEXT}, {"nshards", COLUMN_TEXT},
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

typedef enum ArgumentKind
{
	ARGUMENT_TEXT,
	ARGUMENT_ID,				/* of a store, shard or driver: digits, and text in JSON */
	ARGUMENT_COUNT,				/* small */
	ARGUMENT_ENDPOINT
} ArgumentKind;

typedef struct Argument
{
	const char *name;			/* of the member it becomes; NULL ends them */
	ArgumentKind kind;
	bool		optional;
} Argument;

typedef struct Command
{
	const char *name;
	Argument	arguments[ARGUMENTS_MAX + 1];
	const char *rows;			/* member of the answer with the rows; NULL: see columns */
	bool		in_pages;		/* these come so, from drivers that know of it */
	const char *more;			/* with --all: member of the answer with rows after those, and of the question; NULL: there is no --all */
	const Column *columns;		/* of the rows, or of the answer itself; NULL: nothing is shown */
	const Column *head;			/* of the answer itself, before its rows; NULL: none */
	const char *help;
	const char *done;			/* what people are told when it has been asked for; NULL: nothing */
	int			(*run) (Ctl *ctl);	/* in place of all that */
} Command;

#define SHARD {.name = "shard", .kind = ARGUMENT_ID}
#define STORE {.name = "store", .kind = ARGUMENT_ID}
#define UNDER_WAY "It is under way: vectronctl operators shows how far it is."

static const Command commands[] = {
	{.name = "status", .rows = "pds", .columns = pd_columns, .head = status_columns,
		.help = "the placement driver that answers first, and what it knows of the others; with --endpoint one process"},
	{.name = "check", .help = "what is wrong and what to do about it; exit status 0 nothing, 1 warnings, 2 critical", .run = check_main},
	{.name = "pds", .rows = "pds", .columns = pd_columns, .help = "the placement drivers as their leader sees them"},
	{.name = "add-pd", .arguments = {{.name = "endpoint", .kind = ARGUMENT_ENDPOINT}}, .help = "make a placement driver that waits there one of them",
		.done = "It joins: vectronctl pds shows it as a follower when it has the log and a vote."},
	{.name = "remove-pd", .arguments = {{.name = "id", .kind = ARGUMENT_ID}}, .help = "a placement driver is no longer one of them, for good",
		.done = "It leaves: when vectronctl pds does not show it any more it may be stopped, and its directory is not to come back."},
	{.name = "workers", .rows = "workers", .more = "tombstones", .columns = worker_columns,
		.help = "workers, what they hold and how they are; with --all also those that were forgotten"},
	{.name = "shards", .arguments = {{.name = "collection", .optional = true}}, .rows = "shards", .in_pages = true, .columns = shard_columns,
		.help = "replicas of shards, of all collections or of one, by generation or name"},
	{.name = "collections", .rows = "collections", .in_pages = true, .columns = collection_columns, .help = "collections: the indexes of all servers"},
	{.name = "set-replicas", .arguments = {{.name = "collection"}, {.name = "replicas", .kind = ARGUMENT_COUNT}},
		.help = "how many copies each shard of a collection is to have", .done = "So many are wanted: vectronctl operators shows what comes of it."},
	{.name = "operators", .rows = "operators", .columns = operator_columns, .help = "what is under way with replicas, why, and how far it is"},
	{.name = "move", .arguments = {SHARD, {.name = "from_store", .kind = ARGUMENT_ID}, {.name = "to_store", .kind = ARGUMENT_ID}},
		.help = "move a shard's replica from one worker to another", .done = UNDER_WAY},
	{.name = "transfer-leader", .arguments = {SHARD, STORE}, .help = "have the replica on a worker lead its shard", .done = UNDER_WAY},
	{.name = "cancel", .arguments = {SHARD}, .help = "end the operator of a shard; what is needed is begun anew",
		.done = "It has ended; what is still needed is begun anew."},
	{.name = "verify", .arguments = {{.name = "what", .optional = true}}, .columns = verify_columns,
		.help = "compare the replicas of a shard, a collection or all; shards shows what came of it",
		.done = "They are compared: vectronctl shards has the verdicts."},
	{.name = "drain", .arguments = {STORE}, .help = "move everything away from a worker, to take it out of service",
		.done = "It is being emptied: vectronctl operators shows how far it is. It may be stopped when vectronctl workers shows it without shards."},
	{.name = "split", .arguments = {SHARD}, .help = "make two shards of one, each with half of its hashes", .done = UNDER_WAY},
	{.name = "undrain", .arguments = {STORE}, .help = "let replicas come to a worker again", .done = "Replicas may come to it again."},
	{.name = "forget-store", .arguments = {STORE}, .help = "a worker that is gone and holds nothing is removed, and can never come back",
		.done = "It is forgotten, and its directory can never come back: vectronctl workers --all shows it as a tombstone."},
	{.name = "expose", .arguments = {{.name = "folder"}, {.name = "pd"}, {.name = "worker"}},
		.help = "how an embedded cluster grows out of its machine: what is done, and what is next", .run = expose_main},
	{.name = "unsafe-recover", .arguments = {{.name = "stores"}},
		.help = "stores (3,7) are lost for good, and with them majorities of shards: what would be done; --apply PLAN does it", .run = recover_main},
	{.name = "dump", .help = "all that the placement driver knows, as JSON, for a support case; no secrets", .run = dump_main},
};

#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static void
help_on(const Command *command, FILE *out)
{
	char		usage[64];
	int			len = snprintf(usage, sizeof(usage), "%s", command->name);

	for (const Argument *a = command->arguments; a->name; a++)
		len += snprintf(usage + len, sizeof(usage) - (size_t) len, a->optional ? " [%s]" : " %s", a->name);
	fprintf(out, "  %-32s %s\n", usage, command->help);
}

static void
help(FILE *out)
{
	fprintf(out, "vectronctl asks the cluster's placement driver.\n\n"
			"  vectronctl [--pd ENDPOINTS] [--json] [--timeout MS] COMMAND [ARGUMENT]\n"
			"  vectronctl --endpoint ENDPOINT [--json] [--timeout MS] status\n\n"
			"  --pd ENDPOINTS        unix:/path or tcp://address:port, comma-separated\n"
			"  --endpoint ENDPOINT   one worker or placement driver, asked by itself, also when no driver leads\n"
			"  --tls-ca-file FILE    whom to believe over tcp\n"
			"  --tls-cert-file FILE  an admin's certificate, and\n"
			"  --tls-key-file FILE   its key\n"
			"  --json                the answer as it came\n"
			"  --all                 of workers: also those that were forgotten, as tombstones\n"
			"  --apply PLAN          of unsafe-recover: do what this plan says; without it nothing is changed (--dry-run)\n"
			"  --timeout MS          how long to wait for it (%d)\n\n"
			"All of --pd and --tls-... may also stand in the environment, as VECTRON_CTL_PD, VECTRON_CTL_TLS_CA_FILE\n"
			"and so on.  Exit status: 0 done, 1 refused or not reached, 2 misused; of check and expose see there\n"
			"(docs/cluster.md).\n\n", TIMEOUT_MS);
	for (size_t i = 0; i < NCOMMANDS; i++)
		help_on(&commands[i], out);
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

/* What is wrong with an argument, for "... is ..."; NULL = nothing. */
static const char *
fault_of(const Argument *argument, const char *text)
{
	size_t		digits = strspn(text, "0123456789");
	Endpoint	endpoint;

	if (argument->kind == ARGUMENT_ENDPOINT)
		return endpoint_parse(text, &endpoint, NULL) == VT_OK ? NULL : "no unix:/path or tcp://address:port";
	if (argument->kind == ARGUMENT_TEXT || (digits > 0 && digits <= 20 && text[digits] == '\0'))
		return NULL;
	return "no number";
}

static json_t *
question_of(const Ctl *ctl, const Command *command, int n)
{
	json_t	   *question = json_object();
	char		op[32];

	snprintf(op, sizeof(op), "%s", command->name);
	for (char *p = op; (p = strchr(p, '-')) != NULL;)
		*p = '_';
	json_object_set_new(question, "op", json_string(op));
	if (command->in_pages)
		json_object_set_new(question, "page", json_true());
	/* Who does not say whether he wants them gets them. */
	if (command->more)
		json_object_set_new(question, command->more, json_boolean(ctl->all));
	for (int i = 0; i < n; i++)
		json_object_set_new(question, command->arguments[i].name, command->arguments[i].kind == ARGUMENT_COUNT ?
							json_integer(strtol(ctl->words[i], NULL, 10)) : json_string(ctl->words[i]));
	return question;
}

static void
show(const Ctl *ctl, const Command *command, json_t *answer)
{
	if (ctl->as_json)
		ctl_print(answer);
	else if (command->rows)
	{
		/* A driver of an earlier release does not tell them. */
		if (ctl->all)
			json_array_extend(json_object_get(answer, command->rows), json_object_get(answer, command->more));
		if (command->head)
		{
			table_print_one(stdout, command->head, answer);
			putchar('\n');
		}
		table_print(stdout, command->columns, json_object_get(answer, command->rows));
	}
	else if (command->columns)
		table_print_one(stdout, command->columns, answer);
	if (!ctl->as_json && command->done)
		puts(command->done);
}

static int
run(Ctl *ctl, const Command *command, json_t *question)
{
	VtError		err = {0};
	json_t	   *answer = command->in_pages ? ctl_ask_pages(ctl, question, command->rows, &err) : ctl_ask(ctl, question, &err);

	if (!answer)
		return ctl_failed(command->name, &err);
	show(ctl, command, answer);
	json_decref(answer);
	return 0;
}

static int
run_alone(Ctl *ctl, const Command *command)
{
	VtError		err = {0};
	json_t	   *answer = alone_ask(ctl, &err);

	if (!answer)
		return ctl_failed(command->name, &err);
	if (alone_is_worker(answer) && !ctl->as_json)
		alone_print(answer);
	else
	{
		show(ctl, command, answer);
		if (!alone_is_worker(answer) && !ctl->as_json)
			alone_print_driver(answer);
	}
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
		{"endpoint", required_argument, NULL, 'e'},
		{"json", no_argument, NULL, 'j'},
		{"all", no_argument, NULL, 'l'},
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
	Endpoint	endpoint;
	json_t	   *question;
	VtError		err = {0};
	bool		wants_help = false;
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
			case 'e':
				ctl.endpoint = optarg;
				break;
			case 'j':
				ctl.as_json = true;
				break;
			case 'l':
				ctl.all = true;
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
				wants_help = true;
				break;
			default:
				return misused("unrecognized or incomplete option %s", argv[optind - 1]);
		}
	for (size_t i = 0; i < NCOMMANDS && optind < argc && !command; i++)
		if (strcmp(argv[optind], commands[i].name) == 0)
			command = &commands[i];
	if (wants_help)
	{
		if (command)
			help_on(command, stdout);
		else
			help(stdout);
		return 0;
	}
	if (optind == argc)
		return misused("no command was given");
	if (!command && strcmp(argv[optind], "certs") == 0)
		return misused("certs stands before all options");
	if (!command)
		return misused("unrecognized command \"%s\"", argv[optind]);
	if ((ctl.apply || dry_run) && command->run != recover_main)
		return misused("--apply and --dry-run are for unsafe-recover, not for %s", command->name);
	if (ctl.all && !command->more)
		return misused("--all is for workers, not for %s", command->name);
	if (ctl.as_json && command->run == expose_main)
		return misused("expose is for people: it has no --json, but an exit status for each outcome");
	if (ctl.apply && dry_run)
		return misused("a plan is either shown or applied");
	arguments_of(command, &least, &most);
	optind++;
	if (argc - optind > most)
		return misused("%s has too many arguments", command->name);
	if (argc - optind < least)
		return misused("%s needs %s", command->name, least == 1 ? "an argument" : "more arguments");
	ctl.words = argv + optind;
	if (ctl.endpoint && strcmp(command->name, "status") != 0)
		return misused("--endpoint is for status, not for %s", command->name);
	if (ctl.endpoint && endpoint_parse(ctl.endpoint, &endpoint, NULL) != VT_OK)
		return misused("\"%s\" is no unix:/path or tcp://address:port", ctl.endpoint);
	if (ctl.endpoint)
		return run_alone(&ctl, command);
	if (!ctl.options.pd_endpoints || !*ctl.options.pd_endpoints)
		return misused("nobody said where the placement driver is (--pd)");
	for (int i = 0; i < argc - optind; i++)
		if (fault_of(&command->arguments[i], ctl.words[i]))
			return misused("%s: \"%s\" is %s, as %s has to be", command->name, ctl.words[i], fault_of(&command->arguments[i], ctl.words[i]), command->arguments[i].name);
	question = question_of(&ctl, command, argc - optind);
	if (client_open(&ctl.options, &ctl.client, &err) != VT_OK)
		status = ctl_failed(command->name, &err);
	else
		status = command->run ? command->run(&ctl) : run(&ctl, command, json_incref(question));
	json_decref(question);
	client_close(ctl.client);
	return status;
}
